"""Long listings in the store: rows as they come, some at a time, each time with where the walk of the list is then."""

from __future__ import annotations

from dataclasses import dataclass

from alyxfs import clock
from alyxfs.store_file import FixedFile, StoreFile, packed, unpacked

WALK_TABLES = """
CREATE TABLE IF NOT EXISTS pages (
    endpoint TEXT NOT NULL,
    filters TEXT NOT NULL,
    begun_at REAL NOT NULL,
    number INTEGER NOT NULL,
    body BLOB NOT NULL,
    state BLOB NOT NULL,
    fetched_at REAL NOT NULL,
    PRIMARY KEY (endpoint, filters, begun_at, number)
)
"""
"""What earlier versions do not have, and leave alone: rows of long listings, some at a time. Each of them has the state
of the walk after it, which is empty where that is whole."""

_PUT_PAGE = """
INSERT OR REPLACE INTO pages (endpoint, filters, begun_at, number, body, state, fetched_at) VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_WALKS = """
SELECT begun_at, count(*), state, fetched_at, max(number) FROM pages WHERE endpoint = ? AND filters = ?
GROUP BY begun_at ORDER BY begun_at DESC
"""
_PAGE = "SELECT body FROM pages WHERE endpoint = ? AND filters = ? AND begun_at = ? AND number = ?"
_WHOLE = "SELECT begun_at FROM pages WHERE endpoint = ? AND filters = ? AND state = x''"
_DROP_UNFINISHED = """
DELETE FROM pages WHERE endpoint = ?1
AND (filters, begun_at) NOT IN (SELECT filters, begun_at FROM pages WHERE endpoint = ?1 AND state = x'')
"""


@dataclass(frozen=True)
class StoredWalk:
    """A long listing, as far as it was walked."""

    begun_at: float
    """Unix seconds."""
    pages: int
    state: bytes
    """Where the walk is; empty: it is whole."""
    fetched_at: float
    """Unix seconds; 0 where it was declared out of date."""


class StoredWalks:
    """In a file that others use, too. All of it blocks."""

    def __init__(self, file: StoreFile | FixedFile) -> None:
        self._file = file

    def put(
        self, endpoint: str, filters: str, begun_at: float, number: int, body: bytes, state: bytes, fetched_at: float
    ) -> None:
        """Keep some rows of the walk that began at this time (Unix seconds), with its state after them."""
        self._file.put(_PUT_PAGE, [(endpoint, filters, begun_at, number, packed(body), state, fetched_at)])

    def of(self, endpoint: str, filters: str) -> list[StoredWalk]:
        """Those of a list of which all pages so far are there, the newest first."""
        found = self._file.read(_WALKS, (endpoint, filters))
        return [
            StoredWalk(begun_at, pages, state, max(0.0, fetched_at))
            for begun_at, pages, state, fetched_at, last in found
            if pages == last + 1 and isinstance(state, bytes)
        ]

    def page(self, endpoint: str, filters: str, begun_at: float, number: int) -> bytes | None:
        """Some rows of a walk."""
        stored = self._file.read(_PAGE, (endpoint, filters, begun_at, number))
        return unpacked(stored[0][0]) if stored else None

    def forget(self, endpoint: str, filters: str, before: float, *, only_unfinished: bool = False) -> None:
        """Drop what is kept of those that began before this time (Unix seconds), which another one replaces."""
        unfinished = f" AND begun_at NOT IN ({_WHOLE})" if only_unfinished else ""
        values = (endpoint, filters, before, *((endpoint, filters) if only_unfinished else ()))
        statement = f"DELETE FROM pages WHERE endpoint = ? AND filters = ? AND begun_at < ?{unfinished}"  # noqa: S608
        self._file.write(statement, [values])

    def outdate(self, endpoint: str) -> None:
        """Mark as old what is whole, for bad times, and drop what is not."""
        self._file.write("UPDATE pages SET fetched_at = ? WHERE endpoint = ?", [(-clock.now(), endpoint)])
        self._file.write(_DROP_UNFINISHED, [(endpoint,)])
