"""The journal of all writes: what was there, what was asked, what came of it.

A row is on the disk before its request leaves, and is never deleted. SQLite in WAL mode with synchronous=FULL: a
commit that returned survives kill -9 and a power cut. Several processes may write to one journal.

All functions here block: call them from a worker thread.
"""

from __future__ import annotations

import enum
import os
import pathlib
import sqlite3
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from alyxfs import documents, errors

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSION = 1
"""Of the file's layout, kept in SQLite's user_version."""

BUSY_TIMEOUT = 10.0
"""Seconds to wait for another process that writes to the same journal."""

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
    before TEXT,
    draft BLOB,
    request TEXT,
    state TEXT NOT NULL,
    status INTEGER,
    answer TEXT,
    after TEXT,
    remark TEXT,
    undo_of INTEGER REFERENCES writes(number)
);
CREATE INDEX unfinished ON writes(state) WHERE state IN ('prepared', 'sent', 'unknown');
"""


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
    DRY_RUN = "dry-run"


FINISHED = frozenset({State.DONE, State.REFUSED, State.CONFLICT, State.DRY_RUN})


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


_DOCUMENTS = frozenset({"before", "request", "answer", "after"})
_COLUMNS = ", ".join(field.name for field in fields(Entry))
_BRIEF_COLUMNS = ", ".join(
    "NULL" if field.name in {"before", "draft", "answer", "after"} else field.name for field in fields(Entry)
)


class Journal:
    """One journal file (0600). Usable from several threads: each call is one transaction under one lock."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.chmod(0o600)
        try:
            self._connection = sqlite3.connect(
                path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            with self._transaction() as connection:
                self._lay_out(connection)
        except sqlite3.Error as error:
            raise _unusable(path, error) from error

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
        values = (
            time.time(), server, this_process(), operation, endpoint, key, method, _text(before), draft,
            State.PREPARED.value, undo_of,
        )  # fmt: skip
        with self._transaction() as connection:
            cursor = connection.execute(
                "INSERT INTO writes (time, server, process, operation, endpoint, key, method, before, draft, state,"
                " undo_of) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                values,
            )
            number = cursor.lastrowid
        assert number is not None
        return number

    def withdraw(self, number: int) -> None:
        """Forget a write of which nothing was sent and that was called off."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM writes WHERE number = ? AND state = ?", (number, State.PREPARED.value))

    def mark_sent(self, number: int, request: Any, before: Any) -> None:
        """The request leaves now; on the disk when this returns."""
        self._update(number, state=State.SENT, request=request, before=before)

    def record(self, number: int, state: State, **values: Any) -> None:
        """Enter what came of it: any of ``key, before, request, status, answer, after, remark``."""
        self._update(number, state=state, **values)

    def interrupted(self, server: str) -> list[Entry]:
        """Writes to this server that a process, now gone, left unfinished, and those whose outcome is not known."""
        entries = self._select("state IN ('prepared', 'sent', 'unknown') AND server = ?", (server,))
        return [entry for entry in entries if entry.state is State.UNKNOWN or not process_lives(entry.process)]

    def entries(self) -> list[Entry]:
        """All rows, oldest first, without what can be large: before, draft, answer and after are None."""
        return self._select("1", (), _BRIEF_COLUMNS)

    def entry(self, number: int) -> Entry:
        """One row; raises NotFound."""
        found = self._select("number = ?", (number,))
        if not found:
            raise errors.NotFound(f"The journal has no write number {number}.")
        return found[0]

    def undone_by(self, number: int) -> int | None:
        """The number of the write that undid this one, or is about to; None where there is none."""
        condition = "undo_of = ? AND state NOT IN ('refused', 'conflict', 'dry-run')"
        found = self._select(condition, (number,), _BRIEF_COLUMNS)
        return found[-1].number if found else None

    def _update(self, number: int, *, state: State, **values: Any) -> None:
        columns = ", ".join(f"{name} = ?" for name in values)
        stored = [_text(value) if name in _DOCUMENTS else value for name, value in values.items()]
        with self._transaction() as connection:
            connection.execute(
                f"UPDATE writes SET state = ?{', ' if columns else ''}{columns} WHERE number = ?",  # noqa: S608 - names from this module
                (state.value, *stored, number),
            )

    def _select(self, condition: str, parameters: tuple[Any, ...], columns: str = _COLUMNS) -> list[Entry]:
        with self._lock:
            try:
                rows = self._connection.execute(
                    f"SELECT {columns} FROM writes WHERE {condition} ORDER BY number",  # noqa: S608 - from this module
                    parameters,
                ).fetchall()
            except sqlite3.Error as error:
                raise _unusable(self.path, error) from error
        return [_entry(row) for row in rows]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._connection
                except BaseException:
                    self._connection.execute("ROLLBACK")
                    raise
                self._connection.execute("COMMIT")
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


def this_process() -> str:
    """The process that runs, told apart from a later one of the same id."""
    return f"{os.getpid()} {_started(os.getpid())}"


def process_lives(process: str) -> bool:
    """Whether the process that :func:`this_process` named is still there."""
    identifier, _, started = process.partition(" ")
    return bool(started) and _started(int(identifier)) == started


def _started(identifier: int) -> str:
    """When the process was started: clock ticks since the boot, and which boot (proc(5)); empty where it is gone."""
    try:
        statistics = pathlib.Path(f"/proc/{identifier}/stat").read_text()
        boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    # The name in parentheses may hold anything; state is the field after it and the start is the twenty-second in all.
    after_name = statistics.rpartition(")")[2].split()
    return "" if after_name[0] in "ZX" else f"{after_name[19]}@{boot}"


def _entry(row: tuple[Any, ...]) -> Entry:
    values = dict(zip((field.name for field in fields(Entry)), row, strict=True))
    for name in _DOCUMENTS:
        values[name] = None if values[name] is None else documents.decode(values[name].encode())
    return Entry(**{**values, "state": State(values["state"])})


def _text(document: Any) -> str | None:
    return None if document is None else documents.compact(document).decode()


def _unusable(path: pathlib.Path, error: sqlite3.Error) -> errors.ConfigurationError:
    return errors.ConfigurationError(
        f"The journal {path} cannot be used ({error}), and nothing is changed without it. "
        "Is there room on the disk, and is it yours to write to?"
    )
