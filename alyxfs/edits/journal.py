"""The journal of all writes: what was there, what was asked, what came of it.

A row is on the disk before its request leaves, and is deleted only where the user asked for that (expiry).
SQLite in WAL mode with synchronous=FULL: a commit that returned survives kill -9 and a power cut. Several processes may
write to one journal. Records and drafts are compressed, in a table of their own: the log reads only what it shows.

All functions here block: call them from a worker thread.
"""

from __future__ import annotations

import contextlib
import enum
import sqlite3
import threading
import time
import zlib
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from alyxfs import errors, json_text
from alyxfs.processes import process_lives, this_process
from alyxfs.sqlite_file import open_database, transaction

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Collection, Iterator, Mapping, Sequence

VERSION = 2
"""Of the file's layout, kept in SQLite's user_version. Version 1 lay in the cache directory (journal_move)."""

BUSY_TIMEOUT = 10.0
"""Seconds to wait for another process that writes to the same journal."""

LARGEST_NUMBER = 2**63 - 1
"""Of a row (SQLite's integers)."""

_LAYOUT = """
CREATE TABLE writes (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    time REAL NOT NULL,
    server TEXT NOT NULL,
    process TEXT NOT NULL,
    operation TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    key TEXT NOT NULL,
    method TEXT NOT NULL,
    fields TEXT NOT NULL DEFAULT '[]',
    state TEXT NOT NULL,
    status INTEGER,
    remark TEXT,
    undo_of INTEGER
);
CREATE TABLE documents (
    number INTEGER PRIMARY KEY REFERENCES writes(number) ON DELETE CASCADE,
    before BLOB,
    draft BLOB,
    request BLOB,
    answer BLOB,
    after BLOB
);
CREATE TABLE moved (first REAL PRIMARY KEY, last INTEGER NOT NULL, shift INTEGER NOT NULL);
CREATE INDEX unfinished ON writes(state) WHERE state IN ('prepared', 'sent', 'unknown');
CREATE INDEX undone ON writes(undo_of) WHERE undo_of IS NOT NULL;
CREATE INDEX of_record ON writes(endpoint, key);
"""
"""``moved`` tells of journals of version 1, by the time of their first row: up to which number they are in here, and by
how much those numbers grew."""


class State(enum.Enum):
    """How far a write came."""

    PREPARED = "prepared"
    """Nothing was sent yet."""
    SENT = "sent"
    """The request is on its way, or was when the process ended."""
    DONE = "done"
    REFUSED = "refused"
    """Nothing was changed: our own checks or the server refused it."""
    CONFLICT = "conflict"
    """Nothing was sent: the record was changed on both sides."""
    UNKNOWN = "unknown"
    """The request was sent, and neither an answer nor the record told what came of it."""
    PROPOSED = "proposed"
    """Nothing was sent, and nothing will be: it is shown as if it were done while the drive lasts."""
    WITHDRAWN = "withdrawn"
    """It was proposed, and undone."""
    DRY_RUN = "dry-run"
    """What earlier versions called proposed."""


@dataclass(frozen=True)
class Entry:
    """One row."""

    number: int
    time: float
    """Unix seconds."""
    server: str
    process: str
    """Which process wrote it: its id and when it was started."""
    operation: str
    """save, create, rename, delete, attach or act."""
    endpoint: str
    key: str
    """The record's look-up; of a new record, the name of its file until its look-up is known."""
    method: str
    fields: tuple[str, ...]
    """The names of the fields in the request."""
    before: Any
    """The record before, as the server had it just before the request."""
    draft: bytes | None
    """What the user wrote, byte for byte."""
    request: Any
    """The document that was, or would be, sent."""
    state: State
    status: int | None
    """The HTTP status of the answer."""
    answer: Any
    after: Any
    """The record after."""
    remark: str | None
    """Why it was refused, or what else there is to say, as a sentence."""
    undo_of: int | None


_DOCUMENTS = ("before", "draft", "request", "answer", "after")
"""The columns of the table of what can be large: compressed, the draft as it is and the others as JSON."""
_BRIEF = tuple(field.name for field in fields(Entry) if field.name not in _DOCUMENTS)


class Journal:
    """One journal file (0600). Usable from several threads: each call is one transaction under one lock."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            self._connection = open_database(path, synchronous="FULL", timeout=BUSY_TIMEOUT, lay_out=self._lay_out)
        except sqlite3.Error as error:
            raise _unusable(path, error) from error
        self._files = self._present_files()

    def close(self) -> None:
        """Close the file; the journal cannot be used afterwards."""
        with self._lock:
            self._connection.close()

    def prepare(
        self,
        server: str,
        operation: str,
        endpoint: str,
        key: str,
        method: str,
        *,
        draft: bytes | None = None,
        before: Any = None,
        undo_of: int | None = None,
    ) -> int:
        """Enter a write that is about to begin; on the disk when this returns. Returns its number."""
        values = {
            "time": time.time(),
            "server": server,
            "process": this_process(),
            "operation": operation,
            "endpoint": endpoint,
            "key": key,
            "method": method,
            "state": State.PREPARED.value,
            "undo_of": undo_of,
        }
        with self.transaction() as connection:
            number = insert(connection, values, {"before": _packed(before), "draft": compressed(draft)})
        self._refuse_gone()
        return number

    def withdraw(self, number: int) -> None:
        """Forget a write of which nothing was sent and that was called off."""
        with self.transaction() as connection:
            connection.execute("DELETE FROM writes WHERE number = ? AND state = ?", (number, State.PREPARED.value))

    def compact(self) -> None:
        """Give the disk back what removed rows took; another process that uses the file only puts it off."""
        with self._lock, contextlib.suppress(sqlite3.OperationalError):
            self._connection.execute("VACUUM")

    def mark_sent(self, number: int, request: Any, before: Any) -> None:
        """The request leaves now; on the disk when this returns."""
        self._update(number, state=State.SENT, request=request, before=before)
        self._refuse_gone()

    def record(self, number: int, state: State, **values: Any) -> None:
        """Enter what came of it: any of ``key, before, request, status, answer, after, remark``."""
        self._update(number, state=state, **values)

    def interrupted(self, server: str) -> list[Entry]:
        """Writes to this server that a process, now gone, left unfinished, and those whose outcome is not known."""
        entries = self._select("state IN ('prepared', 'sent', 'unknown') AND server = ?", (server,), documents=True)
        return [entry for entry in entries if entry.state is State.UNKNOWN or not process_lives(entry.process)]

    def entries(
        self,
        *,
        last: int | None = None,
        since: float | None = None,
        record: tuple[str, str] | None = None,
        states: Collection[str] = (),
    ) -> list[Entry]:
        """Rows, oldest first, without what can be large: before, draft, request, answer and after are None.

        ``last`` bounds their number, ``since`` is in Unix seconds, ``record`` an endpoint and a key, or only an
        endpoint and "".
        """
        conditions, parameters = ["1"], list[Any]()
        if since is not None:
            conditions.append("time >= ?")
            parameters.append(since)
        if record is not None:
            conditions.append("endpoint = ? AND ? IN (key, '')")
            parameters += record
        if states:
            conditions.append(f"state IN ({', '.join('?' * len(states))})")
            parameters += states
        ending = "ORDER BY number DESC" + (f" LIMIT {int(last)}" if last is not None else "")
        return self._select(" AND ".join(conditions), parameters, ending=ending)[::-1]

    def entry(self, number: int) -> Entry:
        """One row with its documents; raises NotFound."""
        found = self._select("number = ?", (number,), documents=True) if 0 < number <= LARGEST_NUMBER else []
        if not found:
            raise errors.NotFound(f"The journal has no write number {number}.")
        return found[0]

    def undone_by(self, number: int) -> int | None:
        """The number of the write that undid this one, or is about to; None where there is none."""
        found = self._select(
            "undo_of = ? AND state NOT IN ('refused', 'conflict', 'dry-run', 'proposed', 'withdrawn')", (number,)
        )
        return found[-1].number if found else None

    def made_again(self, server: str) -> dict[str, str]:
        """The look-ups of deleted records that were made again under another one, with that one."""
        with self._lock:
            try:
                rows = self._connection.execute(
                    "SELECT gone.key, made.key FROM writes AS made JOIN writes AS gone ON made.undo_of = gone.number"
                    " WHERE made.method = 'POST' AND gone.method = 'DELETE' AND made.state = 'done'"
                    " AND made.server = ? AND made.key != gone.key ORDER BY made.number",
                    (server,),
                ).fetchall()
            except sqlite3.Error as error:
                raise _unusable(self.path, error) from error
        again: dict[str, str] = dict(rows)
        return {former: _last(again, later) for former, later in again.items()}

    def keys(self, endpoint: str, but: int) -> set[str]:
        """The look-ups of all writes of an endpoint but this one."""
        return {entry.key for entry in self._select("endpoint = ? AND number != ?", (endpoint, but))}

    def _update(self, number: int, *, state: State, **values: Any) -> None:
        brief: dict[str, Any] = {"state": state.value}
        large: dict[str, bytes | None] = {}
        for name, value in values.items():
            if name in _DOCUMENTS:
                large[name] = _packed(value)
            else:
                brief[name] = value
        if "request" in values:
            brief["fields"] = names_of(values["request"])
        with self.transaction() as connection:
            _set(connection, "writes", number, brief)
            _set(connection, "documents", number, large)

    def _select(
        self, condition: str, parameters: Sequence[Any], *, documents: bool = False, ending: str = "ORDER BY number"
    ) -> list[Entry]:
        names = _BRIEF + _DOCUMENTS if documents else _BRIEF
        tables = "writes JOIN documents USING (number)" if documents else "writes"
        with self._lock:
            try:
                rows = self._connection.execute(
                    f"SELECT {', '.join(names)} FROM {tables} WHERE {condition} {ending}",  # noqa: S608 - from here
                    parameters,
                ).fetchall()
            except sqlite3.Error as error:
                raise _unusable(self.path, error) from error
        return [_entry(dict(zip(names, row, strict=True))) for row in rows]

    def _present_files(self) -> dict[pathlib.Path, tuple[int, int] | None]:
        """Device and inode of the file and its write-ahead log, as the directory names them now."""
        return {path: _identity(path) for path in (self.path, self.path.with_name(self.path.name + "-wal"))}

    def _refuse_gone(self) -> None:
        """Raise ConfigurationError where what was just entered went to a file that has no name any more."""
        if self._present_files() != self._files:
            raise errors.ConfigurationError(
                f"The journal {self.path} was removed or replaced while the drive is mounted, and nothing is changed "
                "without it: unmount the drive and mount it again."
            )

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, on the disk when the block ends; raises ConfigurationError where that cannot be."""
        with self._lock:
            try:
                with transaction(self._connection):
                    yield self._connection
            except sqlite3.Error as error:
                raise _unusable(self.path, error) from error

    def _lay_out(self, connection: sqlite3.Connection) -> None:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise errors.ConfigurationError(
                f"The journal {self.path} was written by a newer alyxfs (layout {version}): use that one."
            )
        if version == 0:
            for statement in _LAYOUT.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version={VERSION}")


def _last(again: Mapping[str, str], key: str) -> str:
    """The newest look-up of a record that was deleted and made again several times."""
    for _ in again:
        if key not in again:
            break
        key = again[key]
    return key


def insert(connection: sqlite3.Connection, brief: Mapping[str, Any], documents: Mapping[str, bytes | None]) -> int:
    """Add a row to both tables within a transaction; returns its number."""
    cursor = connection.execute(
        f"INSERT INTO writes ({', '.join(brief)}) VALUES ({', '.join('?' * len(brief))})",  # noqa: S608 - names of ours
        tuple(brief.values()),
    )
    assert cursor.lastrowid is not None
    connection.execute("INSERT INTO documents (number) VALUES (?)", (cursor.lastrowid,))
    _set(connection, "documents", cursor.lastrowid, documents)
    return cursor.lastrowid


def names_of(request: Any) -> str:
    """The fields of a request as they are stored."""
    return json_text.compact(sorted(request) if isinstance(request, dict) else []).decode()


def compressed(content: bytes | None) -> bytes | None:
    """Text as it is stored."""
    return None if content is None else zlib.compress(content)


def _packed(document: Any) -> bytes | None:
    return None if document is None else compressed(json_text.compact(document))


def _set(connection: sqlite3.Connection, table: str, number: int, values: Mapping[str, Any]) -> None:
    if values:
        columns = ", ".join(f"{name} = ?" for name in values)
        connection.execute(
            f"UPDATE {table} SET {columns} WHERE number = ?",  # noqa: S608 - names from this module
            (*values.values(), number),
        )


def _entry(values: dict[str, Any]) -> Entry:
    try:
        for name in _DOCUMENTS:
            content = values.get(name)
            content = None if content is None else zlib.decompress(content)
            values[name] = content if name == "draft" or content is None else json_text.decode(content)
        fields_told = tuple(json_text.decode(values["fields"].encode()))
        return Entry(**{**values, "state": State(values["state"]), "fields": fields_told})
    except (zlib.error, ValueError, TypeError, AttributeError) as error:
        raise errors.ConfigurationError(
            f"Write {values.get('number')} stands damaged in the journal ({error}): a disk or another program has "
            "changed the file. Put a copy of it in its place, or move it away and keep it."
        ) from error


def _identity(path: pathlib.Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _unusable(path: pathlib.Path, error: sqlite3.Error) -> errors.ConfigurationError:
    return errors.ConfigurationError(
        f"The journal {path} cannot be used ({error}), and nothing is changed without it. "
        "Is there room on the disk, and is it yours to write to?"
    )
