"""Tells the web server in front who asked."""

from collections.abc import Callable
from typing import Any

# Where the web server finds the name of the user once a request is answered.
USER_KEY = "alyxfs.demo.user"


def remember_user(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Write the user's name, or None, into the request's environment."""

    def middleware(request: Any) -> Any:
        response = get_response(request)
        user = getattr(request, "user", None)
        request.environ[USER_KEY] = user.get_username() or None if user else None
        return response

    return middleware
