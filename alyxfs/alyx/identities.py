"""By what a record is told from others: whatever a row holds, a name of some characters comes of it, or none."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_NAME = 1000
"""Characters of what stands for a record: an address may have 8 kB in all (BEHAVIOUR of Alyx 3.6.1, "Filters"), of
which a character takes up to 12."""

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""An id in the server's form."""

MAXIMUM_ID = 10**18
"""Of ids that are numbers."""


def identity_in_url(row: Mapping[str, Any]) -> str | None:
    """The last part of a row's own address, decoded: rows of some lists hold their id nowhere else.

    None where it has none; whatever else the address holds does not matter.
    """
    url = row.get("url")
    return name_of(last_part(url)) if isinstance(url, str) else None


def last_part(address: str) -> str:
    """The last part of the address of a record or a file, decoded; empty where it has none, or is no address."""
    below_host = re.split(r"[?#]", address, maxsplit=1)[0].partition("://")[2].partition("/")[2]
    return unquote(below_host.rpartition("/")[2])


def id_at_the_end(address: str) -> str:
    """The id at the end of a record's address; a bare id or name stays as it is."""
    return last_part(address.rstrip("/")) if re.match(r"https?://", address) else address


def identity_of(row: Mapping[str, Any]) -> str | None:
    """The id of a row that has one; rows of datasets have it in their url alone."""
    return name_of(row.get("id")) or identity_in_url(row)


def named_by(record: Mapping[str, Any], lookup: str) -> str | None:
    """The look-up of a record as it says itself, where it says one."""
    return name_of(record.get(lookup)) or (identity_in_url(record) if lookup == "id" else None)


def name_of(value: Any) -> str | None:
    """A value as a name, where it can be one."""
    if type(value) is int:
        value = str(value) if abs(value) < MAXIMUM_ID else None
    return value if isinstance(value, str) and 0 < len(value) <= LONGEST_NAME else None
