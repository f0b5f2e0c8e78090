"""Fields of datasets' records as the rest of this room takes them: of the type that the API promises, or none.

What comes from outside may be of any shape. What a file cannot do without makes its record odd (OddRecordError), which
costs that one entry; everything else is taken for not told.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alyxfs.alyx.identities import id_at_the_end

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

LONGEST_TEXT = 255
"""Characters of a name, a collection or a revision (data/models of Alyx 3.6.1)."""
LONGEST_PATH = 1024
"""Characters of a path below a session, which has three such texts."""
MOST_FOLDERS = 32
"""In a path. The kernel takes 4096 bytes in all."""
HIGHEST_NUMBER = 1_000_000
"""Of a session: a folder's name must hold it."""
LONGEST_ADDRESS = 2000
"""Characters of a record's address."""
LARGEST_SIZE = 1 << 40
"""Bytes of a file: 1 TiB, which no recording has. More is a mistake or a trap: what is kept of a file in memory grows
with its size (LARGEST in files/extents)."""

_DIGEST = re.compile(r"[!-~]{1,128}")
_IDENTITY = re.compile(r"[0-9A-Za-z-]{1,64}")


class OddRecordError(ValueError):
    """A record that cannot be shown; the message says why."""


@dataclass(frozen=True)
class Copy:
    """A copy of a dataset's file on a repository, as ``file_records`` tells it."""

    repository: str
    path: str
    """On the repository, without slashes at its ends."""
    url: str | None
    exists: bool


def identity(value: Any, what: str) -> str:
    """A UUID, or another name that can stand in a path as it is."""
    if not isinstance(value, str) or not _IDENTITY.fullmatch(value):
        raise OddRecordError(f"{what} {str(value)[:80]!r} is no id")
    return value


def text(record: Mapping[str, Any], field: str, most: int = LONGEST_TEXT) -> str:
    """A text that may be missing; raises OddRecordError where it is of another type, or too long."""
    value = record.get(field)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > most:
        raise OddRecordError(f"its {field} is {str(value)[:80]!r}")
    return value


def collection(record: Mapping[str, Any]) -> str:
    """The folders below the session."""
    found = text(record, "collection")
    if found.count("/") >= MOST_FOLDERS:
        raise OddRecordError(f"its collection has more than {MOST_FOLDERS} folders")
    return found


def session_of(dataset: Mapping[str, Any]) -> str:
    """The id of the session that a dataset's record names by its address; empty for none."""
    found = id_at_the_end(text(dataset, "session", LONGEST_ADDRESS))
    return identity(found, "its session") if found else ""


def size(value: Any) -> int | None:
    """Bytes of a file, where that is a number of bytes."""
    return value if type(value) is int and 0 <= value < LARGEST_SIZE else None


def plain(value: Any) -> str:
    """A text or a number as text, else nothing."""
    return value if isinstance(value, str) else str(value) if type(value) is int and abs(value) < 1 << 63 else ""


def digest(value: Any) -> str:
    """A hash, whichever it is."""
    return value if isinstance(value, str) and _DIGEST.fullmatch(value) else ""


def address(value: Any) -> str | None:
    """The address of a file, where there is one."""
    return value if isinstance(value, str) and value else None


def mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    """The objects of a list, where it is one."""
    yield from (item for item in value if isinstance(item, dict)) if isinstance(value, list) else ()


def copies(dataset: Mapping[str, Any]) -> list[Copy]:
    """All copies of a dataset's file; what is none is passed over."""
    return [
        Copy(
            plain(record.get("data_repository")),
            _path(record),
            address(record.get("data_url")),
            bool(record.get("exists")),
        )
        for record in mappings(dataset.get("file_records"))
    ]


def is_offered(dataset: Mapping[str, Any], personal: Collection[str]) -> bool:
    """Whether a server has the file; ``personal`` names the repositories that are none."""
    return any(copy.exists and copy.repository not in personal for copy in copies(dataset))


def _path(record: Mapping[str, Any]) -> str:
    parts = (plain(record.get(name)).strip("/") for name in ("data_repository_path", "relative_path"))
    return "/".join(part for part in parts if part)
