"""The server's own description of itself: the endpoints of an OpenAPI or of an older Core API document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alyxfs import errors
from alyxfs.alyx.schema import coreapi, openapi
from alyxfs.alyx.schema.model import Endpoint, Field, Filter

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Endpoint", "Field", "Filter", "Schema", "read_schema"]


@dataclass(frozen=True)
class Schema:
    """All endpoints of a server that hold records or take actions, by name, in alphabetical order."""

    endpoints: Mapping[str, Endpoint]
    document: dict[str, Any]
    """As the server gave it."""


def read_schema(document: Any) -> Schema:
    """Understand an OpenAPI 3 or a Core API document; raises ServerFault where it is neither."""
    if isinstance(document, dict) and isinstance(document.get("paths"), dict):
        found = openapi.endpoints(document)
    elif isinstance(document, dict) and document.get("_type") == "document":
        found = coreapi.endpoints(document)
    else:
        raise errors.ServerFault("The server's schema is neither OpenAPI nor Core API: is this address an Alyx?")
    if not found:
        raise errors.ServerFault("The server's schema names no endpoint: is this address an Alyx?")
    return Schema({name: found[name] for name in sorted(found)}, document)
