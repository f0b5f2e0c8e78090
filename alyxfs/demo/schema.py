"""What the server can do, in its own words: OpenAPI, and the older Core API document."""

from functools import cache
from typing import Any

from django.http import JsonResponse
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.views import SpectacularAPIView, SpectacularRedocView
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.response import Response

from .common.throttle import DocumentationThrottle

# How the actions of the Core API document are called, by the method and whether the address names a record.
LIST_ACTIONS = {"get": "list", "post": "create"}
DETAIL_ACTIONS = {"get": "read", "put": "update", "patch": "partial_update", "delete": "delete"}


@cache
def openapi() -> dict[str, Any]:
    """Describe all addresses; this takes long enough to be done once."""
    generator: Any = SchemaGenerator
    document: dict[str, Any] = generator().get_schema(request=None, public=True)
    return document


class Schema(SpectacularAPIView):
    """The OpenAPI document, open to all."""

    def _get_schema_response(self, request: Any) -> Response:  # noqa: ARG002
        return Response(openapi(), headers={"Content-Disposition": 'inline; filename="schema.yaml"'})


class AnyAccept(BaseContentNegotiation):
    """Leaves it to the view what to do with the Accept header."""

    def select_parser(self, request: Any, parsers: Any) -> Any:  # noqa: ARG002
        return parsers[0]

    def select_renderer(self, request: Any, renderers: Any, format_suffix: Any = None) -> Any:  # noqa: ARG002
        return renderers[0], renderers[0].media_type


class Documentation(SpectacularRedocView):
    """A page for people, or the Core API document for whoever asks for that."""

    content_negotiation_class = AnyAccept
    throttle_classes = [DocumentationThrottle]
    throttle_scope = "docs"

    def get(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        if request.headers.get("Accept", "").startswith("application/coreapi+json"):
            return JsonResponse(core_api(request.build_absolute_uri("/docs/")))
        page: Any = super()
        return page.get(request, *args, **kwargs)


def core_api(address: str) -> dict[str, Any]:
    """Say the same as the OpenAPI document in the form of the Core API."""
    document: dict[str, Any] = {
        "_type": "document",
        "_meta": {"url": address, "title": "Alyx REST API documentation"},
    }
    for url, operations in openapi()["paths"].items():
        resource = url.strip("/").split("/")[0]
        if resource == "api":  # the document is older than the OpenAPI one
            continue
        actions = DETAIL_ACTIONS if url.endswith("}") else LIST_ACTIONS
        for method, operation in operations.items():
            if method in actions:
                document.setdefault(resource, {})[actions[method]] = link(url, method, operation)
    return document


def link(url: str, method: str, operation: dict[str, Any]) -> dict[str, Any]:
    """Describe one action."""
    described = {
        "_type": "link",
        "url": url,
        "action": method,
        "description": operation.get("description", ""),
        "fields": [
            {
                "name": parameter["name"],
                "location": parameter["in"],
                **({"required": True} if parameter.get("required") else {}),
                "schema": {"_type": filter_kind(parameter), "title": "", "description": ""},
            }
            for parameter in operation.get("parameters", [])
        ]
        + [form_field(name, schema, required) for name, schema, required in body_fields(operation)],
    }
    if method in {"post", "put", "patch"}:
        described["encoding"] = "application/json"
    return described


def filter_kind(parameter: dict[str, Any]) -> str:
    """Name the type of a filter as this document does: numbers, and strings for all else, booleans too."""
    if parameter["name"] in {"limit", "offset"}:
        return "integer"
    return "number" if parameter["schema"].get("type") in {"integer", "number"} else "string"


def form_field(name: str, schema: dict[str, Any], required: bool) -> dict[str, Any]:
    """Describe one field of a body."""
    kind = {"_type": schema.get("type", "string"), "title": "", "description": schema.get("description", "")}
    return {"name": name, "location": "form", **({"required": True} if required else {}), "schema": kind}


def body_fields(operation: dict[str, Any]) -> list[tuple[str, dict[str, Any], bool]]:
    """List the fields that can be sent, with whether they must be."""
    contents = operation.get("requestBody", {}).get("content", {})
    for content in contents.values():
        name = content["schema"].get("$ref", "").rpartition("/")[2]
        schema = openapi()["components"]["schemas"].get(name, {})
        required = schema.get("required", [])
        return [
            (field, described, field in required)
            for field, described in schema.get("properties", {}).items()
            if not described.get("readOnly")
        ]
    return []
