"""What the server would delete with a record: shown no longer once the delete is proposed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alyxfs.alyx.identities import named_by
from alyxfs.alyx.metadata import rows
from alyxfs.alyx.quirks import losses as quirks
from alyxfs.alyx.rest import MAXIMUM_PAGE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alyxfs.alyx.rest import Api, Filters
    from alyxfs.alyx.schema.model import Endpoint
    from alyxfs.alyx.schema.read import Schema

MOST_PAGES = 50
"""Of one list: a lab has some ten thousand datasets."""
MOST_FOLLOWED = 50
"""Records of which it is asked, each with requests of its own, what hangs from them in turn."""


@dataclass(frozen=True)
class Hanging:
    """A record that goes with another one."""

    endpoint: Endpoint
    key: str
    identity: str
    row: Mapping[str, Any]


async def hanging_from(
    api: Api, schema: Schema, endpoint: Endpoint, key: str, record: Mapping[str, Any]
) -> list[Hanging]:
    """All that goes with a record; of more than MOST_FOLLOWED only those that hang from it directly."""
    found: dict[tuple[str, str], Hanging] = {}
    waiting: list[tuple[Endpoint, str, Mapping[str, Any]]] = [(endpoint, key, record)]
    while waiting:
        below = [each for one in waiting for each in await _directly(api, schema, *one)]
        new = {(each.endpoint.name, each.identity): each for each in below}
        new = {name: each for name, each in new.items() if name not in found}
        found.update(new)
        has_more = len(new) <= MOST_FOLLOWED
        waiting = [(each.endpoint, each.key, each.row) for each in new.values()] if has_more else []
    return list(found.values())


async def _directly(api: Api, schema: Schema, endpoint: Endpoint, key: str, record: Mapping[str, Any]) -> list[Hanging]:
    found = []
    for dependent in quirks.DEPENDENTS.get(endpoint.name, ()):
        other = schema.endpoints.get(dependent.endpoint)
        value = key if dependent.value == "key" else str(record.get(dependent.value) or "")
        filters = quirks.dependent_filters(dependent, value)
        if other is None or not dependent.is_deleted or not value or (filters is None and dependent.field is None):
            continue
        for row in await _all_rows(api, other.name, tuple((filters or {}).items())):
            identity = rows.identity_of(other, row)
            name = named_by(row, other.lookup) if other.lookup else None
            if dependent.field is None or row.get(dependent.field) == value:
                found.append(Hanging(other, name or identity, identity, row))
    return found


async def _all_rows(api: Api, endpoint: str, filters: Filters) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for number in range(MOST_PAGES):
        page = await api.page(endpoint, filters, MAXIMUM_PAGE, number * MAXIMUM_PAGE)
        found += page.rows
        if page.count is None or (number + 1) * MAXIMUM_PAGE >= page.count:
            break
    return found
