"""Error bodies: the status is repeated in the body, and any exception at all is a 500 with its text."""

from typing import Any

from rest_framework.response import Response
from rest_framework.views import exception_handler


def answer_error(error: Exception, context: dict[str, Any]) -> Response:
    """Turn an exception of a view into the answer that Alyx gives for it."""
    response = exception_handler(error, context)
    if response is None:
        return Response({"status_code": 500, "detail": str(error)}, status=500)
    response.data["status_code"] = response.status_code
    return response
