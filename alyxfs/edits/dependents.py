"""What hangs from a record and would be deleted with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alyxfs import errors
from alyxfs.edits import quirks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alyxfs.alyx.api import Api
    from alyxfs.alyx.schema import Schema

PAGE = 1000
"""Rows that one request brings at most (BEHAVIOUR of Alyx 3.6.1, "Pages")."""

MAXIMUM_PAGES = 5
"""Pages of an unfiltered list that are read for a count: these lists have tens or hundreds of rows."""


async def refuse_if_any(api: Api, schema: Schema, endpoint: str, key: str, document: Mapping[str, Any]) -> None:
    """Raise HasDependents with the counts where a DELETE of the record would take others with it, or be lost in them.

    One request for each kind of record that can hang from it, none for records that nothing can hang from.
    """
    deleted: list[str] = []
    unlinked: list[str] = []
    for dependent in quirks.DEPENDENTS.get(endpoint, ()):
        if dependent.endpoint in schema.endpoints:
            count = await _count(api, dependent, _value(dependent, key, document))
            if count:
                (deleted if dependent.is_deleted else unlinked).append(f"{count} {dependent.endpoint}")
    effects = [f"delete {', '.join(deleted)} with it"] if deleted else []
    effects += [f"take it out of {', '.join(unlinked)}, which no undo brings back"] if unlinked else []
    if effects:
        raise errors.HasDependents(
            f"{endpoint}/{key} is not deleted: the server would {' and '.join(effects)}. "
            f"{'Delete' if deleted else 'Change'} those first, if that is what you want."
        )


def _value(dependent: quirks.Dependent, key: str, document: Mapping[str, Any]) -> str:
    return key if dependent.value == "key" else str(document.get(dependent.value, ""))


async def _count(api: Api, dependent: quirks.Dependent, value: str) -> int:
    filters = quirks.dependent_filters(dependent, value)
    if filters is not None and (dependent.field is None or "django" in filters):  # the free filter is exact
        page = await api.page(dependent.endpoint, tuple(filters.items()), 1, 0)
        return len(page.rows) if page.count is None else page.count
    return await _count_rows(api, dependent, tuple((filters or {}).items()), value)


def _names(field: Any, value: str) -> bool:
    return value in field if isinstance(field, list) else bool(field == value)


async def _count_rows(api: Api, dependent: quirks.Dependent, filters: tuple[tuple[str, str], ...], value: str) -> int:
    """Count rows by their own field, where the list's filter ignores case or does not exist."""
    counted = offset = 0
    for _ in range(MAXIMUM_PAGES):
        page = await api.page(dependent.endpoint, filters, PAGE, offset)
        counted += sum(1 for row in page.rows if _names(row.get(dependent.field or ""), value))
        offset += len(page.rows)
        if len(page.rows) < PAGE:
            return counted
    # More rows than it is worth reading. With a filter they are nearly all the record's own; without, nobody knows.
    return counted if filters and counted else max(counted, 1)
