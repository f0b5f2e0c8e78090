"""Queries of endpoints that the server does not filter (projects, locations, ...): plain fields, compared here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def is_selected(document: Mapping[str, Any], query: Iterable[tuple[str, str]]) -> bool:
    """Whether a record has all these values."""
    return all(matches(document.get(field), value) for field, value in query)


def matches(found: Any, wanted: str) -> bool:
    """Whether a field's value is what a directory's name says: a list matches by any of its items."""
    if isinstance(found, list):
        return any(matches(item, wanted) for item in found)
    if found is None:
        return wanted in {"", "null"}
    if isinstance(found, bool):
        return wanted.lower() == str(found).lower()
    return str(found) == wanted
