"""What is known of one server, across mounts: records, listings and documents in one SQLite file.

Everything here came from the server and can be fetched again, so a file of another version is emptied and a broken
one is set aside. The one thing that is ours is the time at which a content was first seen.

All methods block and are safe to call from any thread: call them through ``trio.to_thread``. Several processes may
use one file at once: write-ahead logging, and transactions that last for one batch.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
import time
import zlib
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

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
"""

_RECORD = "SELECT identity, key, whole, body, fetched_at, changed_at FROM records WHERE endpoint = ? AND whole = ? AND "
_RECORD_BY_IDENTITY = _RECORD + "identity = ?"
_RECORD_BY_KEY = _RECORD + "key = ? ORDER BY fetched_at DESC LIMIT 1"


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
    """Unix seconds."""
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
        with self._writing() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO documents (name, body, fetched_at) VALUES (?, ?, ?)",
                (name, _packed(body), time.time()),
            )

    def document(self, name: str) -> StoredBody | None:
        """The document of this name."""
        return self._body("SELECT body, fetched_at FROM documents WHERE name = ?", (name,))

    def put_records(self, endpoint: str, records: Sequence[StoredRecord]) -> None:
        """Keep records; those that the store has with the same content keep their time of first sight."""
        rows = [
            (
                endpoint,
                record.identity,
                record.whole,
                record.key,
                _packed(record.body),
                record.fetched_at,
                record.changed_at,
            )
            for record in records
        ]
        with self._writing() as connection:
            connection.executemany(_PUT_RECORD, rows)

    def record(
        self, endpoint: str, key: str | None, identity: str | None = None, *, whole: bool = True
    ) -> StoredRecord | None:
        """The record of this identity if one is given, else the newest with this look-up."""
        query = _RECORD_BY_KEY if identity is None else _RECORD_BY_IDENTITY
        value = key if identity is None else identity
        with self._reading() as connection:
            row = connection.execute(query, (endpoint, whole, value)).fetchone()
            return row and StoredRecord(row[0], row[1], bool(row[2]), zlib.decompress(row[3]), row[4], row[5])
        return None

    def times(self, endpoint: str, identities: Sequence[str], *, whole: bool = True) -> dict[str, float]:
        """When the content of each of these records was first seen."""
        query = (
            "SELECT identity, changed_at FROM records "
            "WHERE endpoint = ? AND whole = ? AND identity IN (SELECT value FROM json_each(?))"
        )
        with self._reading() as connection:
            return dict(connection.execute(query, (endpoint, whole, json.dumps(identities))).fetchall())
        return {}

    def put_listing(self, endpoint: str, filters: str, body: bytes, fetched_at: float) -> None:
        """Keep the rows of a whole walk; ``filters`` names it."""
        with self._writing() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO listings (endpoint, filters, body, fetched_at) VALUES (?, ?, ?, ?)",
                (endpoint, filters, _packed(body), fetched_at),
            )

    def listing(self, endpoint: str, filters: str) -> StoredBody | None:
        """The rows of the newest whole walk."""
        return self._body(
            "SELECT body, fetched_at FROM listings WHERE endpoint = ? AND filters = ?", (endpoint, filters)
        )

    def outdate(self, endpoint: str, key: str | None) -> None:
        """Mark as old what is known of one record, or (no key) of an endpoint's listings; it stays for bad times."""
        with self._writing() as connection:
            if key is None:
                connection.execute("UPDATE listings SET fetched_at = 0 WHERE endpoint = ?", (endpoint,))
            else:
                connection.execute("UPDATE records SET fetched_at = 0 WHERE endpoint = ? AND key = ?", (endpoint, key))

    def _body(self, query: str, values: tuple[str, ...]) -> StoredBody | None:
        with self._reading() as connection:
            row = connection.execute(query, values).fetchone()
            return row and StoredBody(zlib.decompress(row[0]), row[1])
        return None

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._reader_lock, _forgiving(self.path):
                yield self._reader
        except (sqlite3.DatabaseError, zlib.error) as error:
            self._begin_anew(error)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._writer_lock, _forgiving(self.path):
                self._writer.execute("BEGIN IMMEDIATE")
                with self._writer:  # commits, or rolls back what failed
                    yield self._writer
                    self._writes += 1
                    if self._writes % _ROOM_CHECK_EVERY == 0:
                        self._make_room()
        except sqlite3.DatabaseError as error:
            self._begin_anew(error)

    def _begin_anew(self, error: Exception) -> None:
        with self._writer_lock, self._reader_lock:
            log.info("%s is broken (%s); it is set aside and begun anew", self.path, error)
            self._writer.close()
            self._reader.close()
            _set_aside(self.path)
            self._writer = _connect(self.path)
            self._reader = _connect(self.path)

    def _make_room(self) -> None:
        def value(pragma: str) -> int:
            return int(self._writer.execute(f"PRAGMA {pragma}").fetchone()[0])

        if (value("page_count") - value("freelist_count")) * value("page_size") <= self._limit:
            return
        self._writer.execute(
            "DELETE FROM records WHERE rowid IN (SELECT rowid FROM records ORDER BY fetched_at LIMIT "
            "(SELECT count(*) / ? + 1 FROM records))",
            (_SHARE_FREED,),
        )


@contextmanager
def _forgiving(path: Path) -> Iterator[None]:
    """Trouble that will pass, or that leaves the file whole, costs only what was known."""
    try:
        yield
    except (sqlite3.OperationalError, sqlite3.ProgrammingError) as error:  # locked, full, read-only, closed
        log.info("what is known of the server could not be read or kept in %s: %s", path, error)


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
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    path.chmod(0o600)
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")  # a power cut loses the last batches, never the file
        connection.execute("BEGIN IMMEDIATE")
        with connection:
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


def _packed(body: bytes) -> bytes:
    return zlib.compress(body, 1)
