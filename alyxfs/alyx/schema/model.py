"""What one endpoint of an Alyx offers, whichever document said so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

NOT_RESOURCES = frozenset(
    {"api", "auth-token", "docs", "cache", "cache.zip", "uploaded", "check-protected", "admin", "media"}
)
"""First parts of addresses that hold no records (BEHAVIOUR of Alyx 3.6.1, "Not lists")."""

NO_DETAIL = frozenset({"water-type"})
"""The address of one record answers with the whole list (BEHAVIOUR of Alyx 3.6.1, "Endpoints")."""

PAGE_PARAMETERS = frozenset({"limit", "offset"})
"""Query parameters that page a list; an address that takes them answers with a list."""


@dataclass(frozen=True)
class Filter:
    """A query parameter of a list."""

    name: str
    description: str
    kind: str
    """As the schema says: string, uuid, date-time, boolean, integer, number or array. It is wrong in places."""


@dataclass(frozen=True)
class Field:
    """A field of a record, as the schema says. It is wrong in places: no type here may be relied on."""

    name: str
    kind: str
    required: bool
    read_only: bool
    choices: tuple[object, ...] | None
    nullable: bool
    description: str
    pattern: str | None = None
    """A regular expression that its text must fit, where the schema tells of one."""


@dataclass(frozen=True)
class Endpoint:
    """A resource of the server."""

    name: str
    lookup: str | None
    """The field that stands in a record's address, as nickname, name or id; None: there is none."""
    listed: bool
    """There is a list to walk."""
    detailed: bool
    """A record can be had by its look-up."""
    list_methods: frozenset[str]
    """Methods of the list's address, in upper case."""
    detail_methods: frozenset[str]
    """Methods of a record's address, in upper case."""
    filters: Mapping[str, Filter]
    fields: Mapping[str, Field]
    """Of the detail where there is one, else of a row."""
    description: str
    action: bool
    """An address to POST to that holds no records, as register-file."""
    row_fields: tuple[str, ...] = ()
    """Names of what a row of the list holds, in its order; none where the document does not say. Wrong in places."""
