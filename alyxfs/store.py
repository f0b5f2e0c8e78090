"""What is known of one server, across mounts: records, listings and documents in one SQLite file.

Everything here came from the server and can be fetched again, so a file of another version is emptied and a broken
one is set aside. The one thing that is ours is the time at which a content was first seen.

All methods block and are safe to call from any thread: call them through ``trio.to_thread``. Several processes may
use one file at once: write-ahead logging, and transactions that last for one batch.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
import threading
import time
import zlib
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio

from alyxfs import errors

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence
    from pathlib import Path

log = logging.getLogger(__name__)

VERSION = 1
"""Of the tables below; a file with another one is emptied."""

BUSY_TIMEOUT = 10.0
"""Seconds to wait for another process that writes."""

DEFAULT_LIMIT = 2 * 1024**3
"""Bytes; beyond it the records fetched longest ago go first."""

_ROOM_CHECK_EVERY = 64
"""Writes between looks at the file's size."""
_SHARE_FREED = 10
"""A file that is full loses one record in so many."""

_PASSING = (sqlite3.OperationalError, sqlite3.ProgrammingError, UnicodeError)
"""Locked, full, read-only, closed, or a name that is no text: the file itself is whole."""

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
WHERE excluded.fetched_at >= abs(fetched_at)
"""
"""An answer that was asked for earlier does not replace a later one, nor what was declared out of date since.

A negative ``fetched_at`` is the time at which the record, or the listing, was declared out of date.
"""

_PUT_DOCUMENT = "INSERT OR REPLACE INTO documents (name, body, fetched_at) VALUES (?, ?, ?)"
_PUT_LISTING = "INSERT OR REPLACE INTO listings (endpoint, filters, body, fetched_at) VALUES (?, ?, ?, ?)"
_LISTING = "SELECT body, fetched_at FROM listings WHERE endpoint = ? AND filters = ?"
_TIMES = """
SELECT identity, changed_at FROM records
WHERE endpoint = ? AND whole = ? AND identity IN (SELECT value FROM json_each(?))
"""
_FIND = "SELECT identity, key, whole, body, fetched_at, changed_at FROM records WHERE endpoint = ? AND whole = ? AND "
_RECORD_BY_IDENTITY = _FIND + "identity = ?"
_RECORD_BY_KEY = _FIND + "key = ? ORDER BY abs(fetched_at) DESC LIMIT 1"


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

    def __init__(self, path: Path, limit: int = DEFAULT_LIMIT) -> None:
        self.path = path
        self._limit = limit
        self._writes = 0
        # Reading never waits for writing. Taken in this order where both are: writer, reader.
        self._writer_lock = threading.Lock()
        self._reader_lock = threading.Lock()
        self._writer = _open(path)
        self._reader = _connect(path)

    def close(self) -> None:
        """Close the file; later calls find nothing."""
        with self._writer_lock, self._reader_lock:
            self._writer.close()
            self._reader.close()

    def put_document(self, name: str, body: bytes) -> None:
        """Keep a document under a name."""
        self._write(_PUT_DOCUMENT, [(name, _packed(body), time.time())])

    def document(self, name: str) -> StoredBody | None:
        """The document of this name."""
        return _stored_body(self._read("SELECT body, fetched_at FROM documents WHERE name = ?", (name,)))

    def put_records(self, endpoint: str, records: Sequence[StoredRecord]) -> None:
        """Keep records; those that the store has with the same content keep their time of first sight."""
        self._write(
            _PUT_RECORD,
            [
                (endpoint, one.identity, one.whole, one.key, _packed(one.body), one.fetched_at, one.changed_at)
                for one in records
            ],
        )

    def record(
        self, endpoint: str, key: str | None, identity: str | None = None, *, whole: bool = True
    ) -> StoredRecord | None:
        """The record of this identity if one is given, else the newest with this look-up."""
        query = _RECORD_BY_KEY if identity is None else _RECORD_BY_IDENTITY
        found = self._read(query, (endpoint, whole, key if identity is None else identity))
        if not found or (body := _unpacked(found[0][3])) is None:
            return None
        identity, key, whole, _, fetched_at, changed_at = found[0]
        return StoredRecord(identity, key, bool(whole), body, max(0.0, fetched_at), changed_at)

    def times(self, endpoint: str, identities: Sequence[str], *, whole: bool = True) -> dict[str, float]:
        """When the content of each of these records was first seen."""
        return dict(self._read(_TIMES, (endpoint, whole, json.dumps(identities))))

    def put_listing(self, endpoint: str, filters: str, body: bytes, fetched_at: float) -> None:
        """Keep the rows of a whole walk; ``filters`` names it."""
        self._write(_PUT_LISTING, [(endpoint, filters, _packed(body), fetched_at)])

    def listing(self, endpoint: str, filters: str) -> StoredBody | None:
        """The rows of the newest whole walk."""
        return _stored_body(self._read(_LISTING, (endpoint, filters)))

    def outdate(self, endpoint: str, key: str | None) -> None:
        """Mark as old what is known of one record, or (no key) of an endpoint's listings; it stays for bad times."""
        if key is None:
            self._write("UPDATE listings SET fetched_at = ? WHERE endpoint = ?", [(-time.time(), endpoint)])
        else:
            statement = "UPDATE records SET fetched_at = ? WHERE endpoint = ? AND key = ?"
            self._write(statement, [(-time.time(), endpoint, key)])

    def outdate_details(self, endpoint: str) -> None:
        """Mark as old what is known of every record of an endpoint; it stays for bad times."""
        self._write("UPDATE records SET fetched_at = ? WHERE endpoint = ?", [(-time.time(), endpoint)])

    def _read(self, query: str, values: tuple[object, ...]) -> list[Any]:
        """All rows of the answer; none where the file cannot be read."""
        reader = self._reader
        try:
            with self._reader_lock:
                return reader.execute(query, values).fetchall()
        except _PASSING as error:
            self._note(error)
        except sqlite3.DatabaseError as error:
            self._begin_anew(error, reader)
        return []

    def _write(self, statement: str, values: Sequence[tuple[object, ...]]) -> None:
        """One transaction, with the statement for each of the values."""
        writer = self._writer
        try:
            with self._writer_lock, _transaction(writer):
                writer.executemany(statement, values)
                self._writes += 1
                if self._writes % _ROOM_CHECK_EVERY == 0:
                    _make_room(writer, self._limit)
        except _PASSING as error:
            self._note(error)
        except sqlite3.DatabaseError as error:
            self._begin_anew(error, writer)

    def _note(self, error: Exception) -> None:
        log.info("what is known of the server could not be read or kept in %s: %s", self.path, error)

    def _begin_anew(self, error: Exception, broken: sqlite3.Connection) -> None:
        with self._writer_lock, self._reader_lock:
            if broken not in {self._writer, self._reader}:
                return  # another thread met the same and has begun anew
            log.info("%s is broken (%s); it is set aside and begun anew", self.path, error)
            self._writer.close()
            self._reader.close()
            _set_aside(self.path)
            self._writer = _connect(self.path)
            self._reader = _connect(self.path)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Begin at once, so that waiting for other writers happens here; commit, or roll back what failed."""
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        yield


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
    store = await trio.to_thread.run_sync(Store, path, limit)
    try:
        yield store
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(store.close)


def _open(path: Path) -> sqlite3.Connection:
    try:
        return _connect(path)
    except (OSError, sqlite3.OperationalError) as error:
        raise errors.ConfigurationError(f"What is known of the server cannot be kept in {path}: {error}.") from error
    except sqlite3.DatabaseError as error:
        log.info("%s is broken (%s); it is set aside and begun anew", path, error)
        _set_aside(path)
        return _connect(path)


def _connect(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        # Only for a new file: closing a file gives up the locks that this process holds on it through SQLite.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    path.chmod(0o600)
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")  # a power cut loses the last batches, never the file
        with _transaction(connection):
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version != VERSION:
                _empty(connection, path, version)
    except BaseException:
        connection.close()
        raise
    return connection


def _empty(connection: sqlite3.Connection, path: Path, version: int) -> None:
    if version:
        log.info("%s is of version %s, not %s: what it knew is fetched again", path, version, VERSION)
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    for (table,) in tables:
        connection.execute(f'DROP TABLE "{table}"')
    for statement in _TABLES.split(";"):
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {VERSION}")


def _set_aside(path: Path) -> None:
    path.replace(path.with_name(path.name + ".broken"))
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _stored_body(found: list[Any]) -> StoredBody | None:
    if not found or (body := _unpacked(found[0][0])) is None:
        return None
    return StoredBody(body, max(0.0, found[0][1]))


def _unpacked(packed: bytes) -> bytes | None:
    try:
        return zlib.decompress(packed)
    except zlib.error as error:
        log.info("something kept of the server is broken, and fetched again: %s", error)
        return None


def _packed(body: bytes) -> bytes:
    return zlib.compress(body, 1)
