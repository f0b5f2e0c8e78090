"""What is known of one server, across mounts: records, listings and documents in one SQLite file.

Everything here came from the server and can be fetched again, so a file of another version is emptied and a broken
one is set aside. The one thing that is ours is the time at which a content was first seen.

All methods block and are safe to call from any thread: call them through ``trio.to_thread``. Several processes may
use one file at once: write-ahead logging, and transactions that last for one batch.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import sqlite3
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio

from alyxfs import clock
from alyxfs.scratch_folders import scratch_folder
from alyxfs.store_file import FixedFile, StoreFile, packed, unpacked
from alyxfs.store_walks import WALK_TABLES, StoredWalks

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
    from pathlib import Path

log = logging.getLogger(__name__)

VERSION = 1
"""Of the tables below; a file with another one is emptied."""

DEFAULT_LIMIT = 2 * 1024**3
"""Bytes; beyond it the records fetched longest ago go first."""

_ROOM_CHECK_EVERY = 64
"""Writes between looks at the file's size."""
_SHARE_FREED = 10
"""A file that is full loses one record in so many."""

_TABLES = """
CREATE TABLE documents (name TEXT PRIMARY KEY, body BLOB NOT NULL, fetched_at REAL NOT NULL);
CREATE TABLE records (
    endpoint TEXT NOT NULL,
    identity TEXT NOT NULL,
    whole INTEGER NOT NULL,
    key TEXT NOT NULL,
    body BLOB NOT NULL,
    fetched_at REAL NOT NULL,
    changed_at REAL NOT NULL,
    PRIMARY KEY (endpoint, identity, whole)
);
CREATE INDEX records_by_key ON records (endpoint, key);
CREATE TABLE listings (
    endpoint TEXT NOT NULL,
    filters TEXT NOT NULL,
    body BLOB NOT NULL,
    fetched_at REAL NOT NULL,
    PRIMARY KEY (endpoint, filters)
);
"""

_PUT_RECORD = """
INSERT INTO records (endpoint, identity, whole, key, body, fetched_at, changed_at) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (endpoint, identity, whole) DO UPDATE SET
    key = excluded.key,
    fetched_at = excluded.fetched_at,
    changed_at = CASE WHEN body = excluded.body THEN changed_at ELSE excluded.changed_at END,
    body = excluded.body
WHERE excluded.fetched_at >= abs(fetched_at) OR abs(fetched_at) > ?
"""
"""An answer that was asked for earlier does not replace a later one, nor what was declared out of date since; but for
one of the future (after the time that is the last value), which is of a clock that was set back.

A negative ``fetched_at`` is the time at which the record, or the listing, was declared out of date.
"""

_PUT_DOCUMENT = "INSERT OR REPLACE INTO documents (name, body, fetched_at) VALUES (?, ?, ?)"
_PUT_LISTING = "INSERT OR REPLACE INTO listings (endpoint, filters, body, fetched_at) VALUES (?, ?, ?, ?)"
_LISTING = "SELECT body, fetched_at FROM listings WHERE endpoint = ? AND filters = ?"
_LISTING_TIME = "SELECT fetched_at FROM listings WHERE endpoint = ? AND filters = ?"
_TIMES = """
SELECT identity, changed_at FROM records
WHERE endpoint = ? AND whole = ? AND identity IN (SELECT value FROM json_each(?))
"""
_BODIES = """
SELECT identity, body FROM records
WHERE endpoint = ? AND whole = ? AND identity IN (SELECT value FROM json_each(?))
"""
_FIND = "SELECT identity, key, whole, body, fetched_at, changed_at FROM records WHERE endpoint = ? AND whole = ? AND "
_RECORD_BY_IDENTITY = _FIND + "identity = ?"
_RECORD_BY_KEY = _FIND + "key = ? ORDER BY abs(fetched_at) DESC LIMIT 1"


_COPIED = {
    "documents": "name, body, fetched_at",
    "listings": "endpoint, filters, body, fetched_at",
    "pages": "endpoint, filters, begun_at, number, body, state, fetched_at",
    "records": "endpoint, identity, whole, key, body, fetched_at, changed_at",
}
"""Columns by table. Records come last: those of a listing that are put meanwhile are copied, too."""
_COPIED_AT_ONCE = 500
"""Rows."""


@dataclass(frozen=True)
class StoredRecord:
    """A record, or a row of a list, as the server gave it."""

    identity: str
    key: str
    whole: bool
    """The whole record, not a row that holds less."""
    body: bytes
    """JSON."""
    fetched_at: float
    """Unix seconds; 0 where it was declared out of date."""
    changed_at: float
    """Unix seconds of the first sight of this content."""


@dataclass(frozen=True)
class StoredBody:
    """A document or a listing with its age."""

    body: bytes
    fetched_at: float
    """Unix seconds."""


class Store:
    """One open file. Trouble with it is logged and costs only what was known: nothing is raised after opening."""

    def __init__(self, path: Path, limit: int = DEFAULT_LIMIT, *, is_fixed: bool = False) -> None:
        """``is_fixed``: a copy that :meth:`copy_to` made, which is read alone. Raises OSError, sqlite3.Error then."""
        self._limit = limit
        self._writes = 0
        self._file: StoreFile | FixedFile
        self._file = FixedFile(path) if is_fixed else StoreFile(path, _lay_out, self._make_room_now_and_then)
        self.walks = StoredWalks(self._file)
        """Of long listings."""

    def close(self) -> None:
        """Close the file; later calls find nothing."""
        self._file.close()

    def release(self) -> None:
        """Give back the memory of what was read of the file; reading it again takes it from the kernel."""
        self._file.release()

    def _make_room_now_and_then(self, connection: sqlite3.Connection) -> None:
        self._writes += 1
        if self._writes % _ROOM_CHECK_EVERY == 0:
            _make_room(connection, self._limit)

    @property
    def trouble(self) -> str:
        """Why what is known of the server is not kept at the moment, as a sentence; empty where it is."""
        return self._file.trouble

    def put_document(self, name: str, body: bytes) -> None:
        """Keep a document under a name."""
        self._file.put(_PUT_DOCUMENT, [(name, packed(body), clock.now())])

    def document(self, name: str) -> StoredBody | None:
        """The document of this name."""
        return _stored_body(self._file.read("SELECT body, fetched_at FROM documents WHERE name = ?", (name,)))

    def put_records(self, endpoint: str, records: Sequence[StoredRecord]) -> None:
        """Keep records; those that the store has with the same content keep their time of first sight."""
        now = clock.now()
        self._file.put(
            _PUT_RECORD,
            [
                (endpoint, one.identity, one.whole, one.key, packed(one.body), one.fetched_at, one.changed_at, now)
                for one in records
            ],
        )

    def record(
        self, endpoint: str, key: str | None, identity: str | None = None, *, whole: bool = True
    ) -> StoredRecord | None:
        """The record of this identity if one is given, else the newest with this look-up."""
        query = _RECORD_BY_KEY if identity is None else _RECORD_BY_IDENTITY
        found = self._file.read(query, (endpoint, whole, key if identity is None else identity))
        if not found or (body := unpacked(found[0][3])) is None:
            return None
        identity, key, whole, _, fetched_at, changed_at = found[0]
        return StoredRecord(identity, key, bool(whole), body, max(0.0, fetched_at), changed_at)

    def times(self, endpoint: str, identities: Sequence[str], *, whole: bool = True) -> dict[str, float]:
        """When the content of each of these records was first seen."""
        return dict(self._file.read(_TIMES, (endpoint, whole, json.dumps(identities))))

    def bodies(self, endpoint: str, identities: Sequence[str], *, whole: bool) -> dict[str, bytes]:
        """The JSON of those of these records that are there, however old."""
        found = self._file.read(_BODIES, (endpoint, whole, json.dumps(identities)))
        bodies = ((identity, unpacked(body)) for identity, body in found)
        return {identity: body for identity, body in bodies if body is not None}

    def put_listing(self, endpoint: str, filters: str, body: bytes, fetched_at: float) -> None:
        """Keep the rows of a whole walk; ``filters`` names it."""
        self._file.put(_PUT_LISTING, [(endpoint, filters, packed(body), fetched_at)])

    def listing(self, endpoint: str, filters: str) -> StoredBody | None:
        """The rows of the newest whole walk."""
        return _stored_body(self._file.read(_LISTING, (endpoint, filters)))

    def listing_time(self, endpoint: str, filters: str) -> float | None:
        """When they were fetched, in Unix seconds; 0 where they were declared out of date, None without any."""
        found = self._file.read(_LISTING_TIME, (endpoint, filters))
        return max(0.0, found[0][0]) if found else None

    def forget_listing(self, endpoint: str, filters: str) -> None:
        """Drop a listing, which a long one replaces."""
        self._file.write("DELETE FROM listings WHERE endpoint = ? AND filters = ?", [(endpoint, filters)])

    def outdate(self, endpoint: str, key: str | None) -> None:
        """Mark as old what is known of one record, or (no key) of an endpoint's listings; it stays for bad times."""
        if key is None:
            self._file.write("UPDATE listings SET fetched_at = ? WHERE endpoint = ?", [(-clock.now(), endpoint)])
            self.walks.outdate(endpoint)
        else:
            statement = "UPDATE records SET fetched_at = ? WHERE endpoint = ? AND key = ?"
            self._file.write(statement, [(-clock.now(), endpoint, key)])

    def outdate_details(self, endpoint: str) -> None:
        """Mark as old what is known of every record of an endpoint; it stays for bad times."""
        self._file.write("UPDATE records SET fetched_at = ? WHERE endpoint = ?", [(-clock.now(), endpoint)])

    def copy_to(
        self, path: Path, documents: Sequence[str], changed: Callable[[str, bytes], bytes | None]
    ) -> dict[str, int]:
        """Write to a new file what is known: these documents, all listings, and all records; returns how many.

        ``changed`` gives the JSON that is written in place of that of a record of an endpoint; None leaves it out.
        Nothing else is in the file, not even as what was deleted in it. Raises OSError, sqlite3.Error.
        """
        copied = dict.fromkeys(_COPIED, 0)
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as target:
            target.execute("PRAGMA journal_mode = OFF")
            target.execute("BEGIN")
            _lay_out(target)
            for table, columns in _COPIED.items():
                places = ", ".join("?" * (columns.count(",") + 1))
                for rows in self._batches(table, columns):
                    if table == "documents":
                        rows = [row for row in rows if row[0] in documents]  # noqa: PLW2901
                    elif table == "records":
                        rows = [one for row in rows if (one := _changed(row, changed)) is not None]  # noqa: PLW2901
                    target.executemany(f"INSERT OR REPLACE INTO {table} ({columns}) VALUES ({places})", rows)  # noqa: S608
                    copied[table] += len(rows)
            target.execute("COMMIT")
        return copied

    def _batches(self, table: str, columns: str) -> Iterator[list[Any]]:
        """The rows of a table, some at a time, so that others read meanwhile."""
        last = -1
        query = f"SELECT rowid, {columns} FROM {table} WHERE rowid > ? ORDER BY rowid LIMIT {_COPIED_AT_ONCE}"  # noqa: S608
        while rows := self._file.read(query, (last,)):
            last = rows[-1][0]
            yield [row[1:] for row in rows]


def _changed(row: tuple[Any, ...], changed: Callable[[str, bytes], bytes | None]) -> tuple[Any, ...] | None:
    *names, kept, fetched_at, changed_at = row
    body = unpacked(kept)
    told = None if body is None else changed(names[0], body)
    if told is None:
        return None
    return (*names, kept if told == body else packed(told), fetched_at, changed_at)


def _make_room(connection: sqlite3.Connection, limit: int) -> None:
    def value(pragma: str) -> int:
        return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])

    if (value("page_count") - value("freelist_count")) * value("page_size") <= limit:
        return
    connection.execute(
        "DELETE FROM records WHERE rowid IN (SELECT rowid FROM records ORDER BY abs(fetched_at) LIMIT "
        "(SELECT count(*) / ? + 1 FROM records))",
        (_SHARE_FREED,),
    )


@asynccontextmanager
async def open_store(path: Path, limit: int = DEFAULT_LIMIT) -> AsyncGenerator[Store, None]:
    """The store in the file ``path``, of at most ``limit`` bytes, for as long as the block lasts."""
    async with _opened(functools.partial(Store, path, limit)) as store:
        yield store


@asynccontextmanager
async def open_fixed_store(path: Path) -> AsyncGenerator[Store, None]:
    """A store that is read alone, for as long as the block lasts. Raises OSError, sqlite3.Error."""
    async with _opened(functools.partial(Store, path, is_fixed=True)) as store:
        yield store


@asynccontextmanager
async def _opened(make: Callable[[], Store]) -> AsyncGenerator[Store, None]:
    store = await trio.to_thread.run_sync(make)
    try:
        yield store
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(store.close)


@asynccontextmanager
async def open_copy_of_store(path: Path) -> AsyncGenerator[Store, None]:
    """A store of this process alone, for what is not true: it begins with what ``path`` knows, and leaves nothing.

    Raises OSError where there is no folder for it.
    """
    with contextlib.ExitStack() as held:
        copy = await trio.to_thread.run_sync(_copied, path, held)
        async with open_store(copy) as store:
            yield store


def _copied(path: Path, held: contextlib.ExitStack) -> Path:
    """One that cannot be made begins empty. Where it lies is removed when what is ``held`` ends."""
    prefix = f"{path.stem}-copy-"
    try:
        folder = held.enter_context(scratch_folder(prefix, path.parent))
    except OSError as error:  # a disk without locks, too: a copy in use looks like a dead one there
        log.info("the copy of %s lies in the directory for temporary files: %s", path, error)
        folder = held.enter_context(scratch_folder(prefix))
    copy = folder / path.name
    known, began = StoreFile(path, _lay_out), StoreFile(copy, _lay_out)
    try:
        known.copy_to(began)
    finally:
        known.close()
        began.close()
    return copy


def _lay_out(connection: sqlite3.Connection) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == VERSION:
        connection.execute(WALK_TABLES)
        return
    if version:
        log.info("a store is of version %s, not %s: what it knew is fetched again", version, VERSION)
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    for (table,) in tables:
        connection.execute(f'DROP TABLE "{table}"')
    for statement in (*_TABLES.split(";"), WALK_TABLES):
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {VERSION}")


def _stored_body(found: list[Any]) -> StoredBody | None:
    if not found or (body := unpacked(found[0][0])) is None:
        return None
    return StoredBody(body, max(0.0, found[0][1]))
