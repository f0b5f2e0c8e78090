"""Who may do what: the public user may only look, everybody else may do everything."""

from typing import Any

from rest_framework.permissions import BasePermission, IsAuthenticated


class PublicUserOnlyGets(BasePermission):
    """Refuses a public user every method but GET, HEAD and OPTIONS included."""

    def has_permission(self, request: Any, view: Any) -> bool:  # noqa: ARG002
        return bool(request.method == "GET" or not request.user.is_public_user)


LOGGED_IN = (IsAuthenticated & PublicUserOnlyGets,)
