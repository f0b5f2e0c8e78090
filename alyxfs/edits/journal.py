"""The journal of all writes: what was there, what was asked, what came of it.

A row is on the disk before its request leaves, and is deleted only where the user asked for that (expiry).
SQLite in WAL mode with synchronous=FULL: a commit that returned survives kill -9 and a power cut. Several processes may
write to one journal. Records and drafts are compressed, in a table of their own: the log reads only what it shows.

All functions here block: call them from a worker thread.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from alyxfs import errors
from alyxfs.edits.entry import BRIEF, BYTES, DOCUMENTS, Entry, State, WriteSet, compressed, entry_of, names_of, packed
from alyxfs.edits.journal_layout import lay_out
from alyxfs.processes import process_lives, this_process
from alyxfs.sqlite_file import open_database, transaction

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Collection, Iterator, Mapping, Sequence

BUSY_TIMEOUT = 10.0
"""Seconds to wait for another process that writes to the same journal."""

LARGEST_NUMBER = 2**63 - 1
"""Of a row (SQLite's integers)."""


class Journal:
    """One journal file (0600). Usable from several threads: each call is one transaction under one lock."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            self._connection = open_database(
                path, synchronous="FULL", timeout=BUSY_TIMEOUT, lay_out=partial(lay_out, path)
            )
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
        in_set: int | None = None,
        applies: int | None = None,
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
            "in_set": in_set,
            "applies": applies,
        }
        with self.transaction() as connection:
            number = insert(connection, values, {"before": packed(before), "draft": compressed(draft)})
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

    def mark_sent(self, number: int, request: Any, before: Any, picture: bytes | None = None) -> None:  # noqa: ARG002
        """The request leaves now; on the disk when this returns. ``picture`` is kept where it is only staged."""
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
        in_set: int | None = None,
    ) -> list[Entry]:
        """Rows, oldest first, without what can be large: before, draft, request, answer, after and picture are None.

        ``last`` bounds their number, ``since`` is in Unix seconds, ``record`` an endpoint and a key, or only an
        endpoint and "", ``in_set`` the number of a set.
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
        if in_set is not None:
            conditions.append("in_set = ?")
            parameters.append(in_set)
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
        rows = self._rows(
            "SELECT gone.key, made.key FROM writes AS made JOIN writes AS gone ON made.undo_of = gone.number"
            " WHERE made.method = 'POST' AND gone.method = 'DELETE' AND made.state = 'done'"
            " AND made.server = ? AND made.key != gone.key ORDER BY made.number",
            (server,),
        )
        again: dict[str, str] = dict(rows)
        return {former: _last(again, later) for former, later in again.items()}

    def begin_set(self, server: str, made_by: str) -> int:
        """A number for writes that are made together."""
        with self.transaction() as connection:
            values = (time.time(), server, made_by)
            number = connection.execute("INSERT INTO sets (time, server, made_by) VALUES (?, ?, ?)", values).lastrowid
        assert number is not None
        return number

    def write_set(self, number: int) -> WriteSet:
        """One set; raises NotFound."""
        columns = "SELECT number, time, server, made_by FROM sets WHERE number = ?"
        found = self._rows(columns, (number,)) if 0 < number <= LARGEST_NUMBER else []
        if not found:
            raise errors.NotFound(f"The journal has no set number {number}.")
        return WriteSet(*found[0])

    def undone_in(self, in_set: int) -> set[int]:
        """The numbers of the writes of a set that were taken back."""
        rows = self._rows(
            "SELECT undo_of FROM writes WHERE state = 'done'"
            " AND undo_of IN (SELECT number FROM writes WHERE in_set = ?)",
            (in_set,),
        )
        return {number for (number,) in rows}

    def staged(self, server: str) -> list[Entry]:
        """What waits to be applied to this server, oldest first, with its documents."""
        return self._select("state = 'staged' AND server = ?", (server,), documents=True)

    def note_staged(self, number: int, remark: str | None) -> None:
        """What is to be said of a staged write, if it is still staged."""
        with self.transaction() as connection:
            connection.execute("UPDATE writes SET remark = ? WHERE number = ? AND state = 'staged'", (remark, number))

    def applying(self, number: int) -> list[Entry]:
        """The writes that were to send a staged one, oldest first, with their documents."""
        return self._select("applies = ?", (number,), documents=True)

    def applied_of(self, endpoint: str, key: str) -> list[tuple[Entry, Entry]]:
        """What was staged of a record and is applied, each with the write that did it, oldest first."""
        staged = self._select("endpoint = ? AND key = ? AND state = 'applied'", (endpoint, key), documents=True)
        return [(each, done) for each in staged for done in self.applying(each.number) if done.state is State.DONE]

    def applied_ids(self, server: str) -> dict[str, str]:
        """The look-ups that new records had while they were staged, with those that the server gave them."""
        return dict(
            self._rows(
                "SELECT staged.key, made.key FROM writes AS made JOIN writes AS staged ON made.applies = staged.number"
                " WHERE made.method = 'POST' AND made.state = 'done' AND made.server = ? AND made.key != staged.key",
                (server,),
            )
        )

    def keys(self, endpoint: str, but: int) -> set[str]:
        """The look-ups of all writes of an endpoint but this one."""
        return {entry.key for entry in self._select("endpoint = ? AND number != ?", (endpoint, but))}

    def _update(self, number: int, *, state: State, **values: Any) -> None:
        brief: dict[str, Any] = {"state": state.value}
        large: dict[str, bytes | None] = {}
        for name, value in values.items():
            if name in DOCUMENTS:
                large[name] = compressed(value) if name in BYTES else packed(value)
            else:
                brief[name] = value
        if "request" in values:
            brief["fields"] = names_of(values["request"])
        with self.transaction() as connection:
            _set(connection, "writes", number, brief)
            _set(connection, "documents", number, large)
            if state is State.DONE:
                connection.execute(
                    "UPDATE writes SET state = ?, remark = 'Applied as write ' || ? || '.'"
                    " WHERE state = ? AND number = (SELECT applies FROM writes WHERE number = ?)",
                    (State.APPLIED.value, number, State.STAGED.value, number),
                )

    def _select(
        self, condition: str, parameters: Sequence[Any], *, documents: bool = False, ending: str = "ORDER BY number"
    ) -> list[Entry]:
        names = BRIEF + DOCUMENTS if documents else BRIEF
        tables = "writes JOIN documents USING (number)" if documents else "writes"
        columns = ", ".join(names)
        rows = self._rows(f"SELECT {columns} FROM {tables} WHERE {condition} {ending}", parameters)  # noqa: S608 - from here
        return [entry_of(dict(zip(names, row, strict=True))) for row in rows]

    def _rows(self, statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        with self._lock:
            try:
                return self._connection.execute(statement, parameters).fetchall()
            except sqlite3.Error as error:
                raise _unusable(self.path, error) from error

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


def count_staged(path: pathlib.Path, server: str) -> int:
    """How many writes to this server wait to be applied, for who only reads; 0 where that cannot be told."""
    if not path.exists():
        return 0
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1)
        with contextlib.closing(connection):
            statement = "SELECT count(*) FROM writes WHERE state = 'staged' AND server = ?"
            return int(connection.execute(statement, (server,)).fetchone()[0])
    except sqlite3.Error:
        return 0


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


def _set(connection: sqlite3.Connection, table: str, number: int, values: Mapping[str, Any]) -> None:
    if values:
        columns = ", ".join(f"{name} = ?" for name in values)
        connection.execute(
            f"UPDATE {table} SET {columns} WHERE number = ?",  # noqa: S608 - names from this module
            (*values.values(), number),
        )


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
