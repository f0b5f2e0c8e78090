"""A database file of what can be fetched again: trouble with it is told and costs what was known, and nothing else.

A file that somebody removes is made anew, one that is broken is set aside; where the disk refuses it, what is known is
kept in memory until the disk takes it. All of this blocks, and is safe to call from any thread.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sqlite3
import threading
import time
import zlib
from typing import TYPE_CHECKING, Any

from alyxfs import errors, free_space
from alyxfs.sqlite_file import can_be_shared, is_damage, open_database, transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

log = logging.getLogger(__name__)

BUSY_TIMEOUT = 10.0
"""Seconds to wait for another process that writes."""
TRY_AGAIN = 10.0
"""Seconds after which a file is tried again that the disk refused."""
RELEASE = "PRAGMA shrink_memory"
WRITTEN_TIMES = 3
"""What is written to the log, from there to the file, and there with some pages around it."""

LARGEST_BODY = 1024**3
"""Bytes of a listing or record: what is kept here is no more, but a file may come from elsewhere."""

_FAILURES = (sqlite3.DatabaseError, OSError, UnicodeError)
"""The file is damaged; or it is whole, and locked, full, read-only, closed, or a name is no text."""


class StoreFile:
    """See the module. ``lay_out`` prepares a file; ``tidy`` is called with each transaction, in it.

    State: the two connections, which are one where the disk has no locks, or nothing is kept there. They change under
    both locks, taken in this order: writer, reader. Reading never waits for writing, if there are two.
    """

    def __init__(
        self,
        path: Path,
        lay_out: Callable[[sqlite3.Connection], object],
        tidy: Callable[[sqlite3.Connection], object] = lambda _: None,
    ) -> None:
        self.path = path
        self.trouble = ""
        """Why nothing is kept at the moment, as a sentence; empty where it is."""
        self._lay_out = lay_out
        self._tidy = tidy
        self._try_again_at = 0.0
        """Monotonic seconds; see :meth:`_open_again`."""
        self._writer_lock = threading.RLock()
        self._reader_lock = threading.RLock()
        try:
            self._writer = self._open()
            self._reader = self._reader_beside(self._writer)
            self._is_in_memory = False
        except _DiskRefusesError as error:
            self._keep_in_memory(error)

    def close(self) -> None:
        """Close the file; later calls find nothing."""
        with self._writer_lock, self._reader_lock:
            self._writer.close()
            self._reader.close()

    def release(self) -> None:
        """Give back the memory of what was read of the file."""
        with self._writer_lock, self._reader_lock, contextlib.suppress(sqlite3.Error):
            self._writer.execute(RELEASE)
            self._reader.execute(RELEASE)

    def read(self, query: str, values: tuple[object, ...]) -> list[Any]:
        """All rows of the answer; none where the file cannot be read."""
        reader = self._reader
        try:
            with self._writer_lock if reader is self._writer else self._reader_lock:
                return reader.execute(query, values).fetchall()
        except _FAILURES as error:
            if is_damage(error):
                self._begin_anew(error, reader)
            else:
                log.info("what is known of the server could not be read in %s: %s", self.path, error)
        return []

    def put(self, statement: str, values: Sequence[tuple[object, ...]]) -> None:
        """Write what takes room, unless too little would stay free."""
        length = sum(len(field) for row in values for field in row if isinstance(field, bytes))
        try:
            has_room = WRITTEN_TIMES * length <= -free_space.lacking(os.statvfs(self.path.parent))
        except OSError:  # which writing will meet, too
            has_room = True
        if has_room or self._is_in_memory:
            self.write(statement, values)
        else:
            self._note(OSError(errno.ENOSPC, "the disk is nearly full"))

    def write(self, statement: str, values: Sequence[tuple[object, ...]]) -> None:
        """One transaction, with the statement for each of the values."""
        self._open_again()
        writer = self._writer
        try:
            with self._writer_lock:
                before = writer.total_changes
                with transaction(writer):
                    writer.executemany(statement, values)
                    self._tidy(writer)
                has_written = writer.total_changes != before  # else the disk was asked for nothing
            if has_written and not self._is_in_memory:
                self.trouble = ""
        except _FAILURES as error:
            if is_damage(error):
                self._begin_anew(error, writer)
            else:
                self._note(error)

    def copy_to(self, other: StoreFile) -> None:
        """Have another file hold what this one does."""
        try:
            with self._writer_lock, other._writer_lock:
                self._writer.backup(other._writer)
        except sqlite3.Error as error:
            log.info("what is known of the server is not copied to %s: %s", other.path, error)

    def _note(self, error: Exception) -> None:
        log.info("what is known of the server could not be kept in %s: %s", self.path, error)
        self.trouble = f"What is known of the server is not kept in {self.path}: {error}."

    def _open_again(self) -> None:
        """Where the file was removed, which SQLite does not notice, or is in memory: try the disk now and then."""
        try:
            if not self._is_to_be_opened():
                return
            with self._writer_lock, self._reader_lock:
                if not self._is_to_be_opened():  # another thread has done it
                    return
                writer = self._connect()
                try:
                    reader = self._reader_beside(writer)
                except BaseException:
                    writer.close()
                    raise
                self._writer.close()
                self._reader.close()
                self._writer, self._reader, self._is_in_memory = writer, reader, False
        except (OSError, sqlite3.Error) as error:
            self._note(error)
            self._try_again_at = time.monotonic() + TRY_AGAIN

    def _is_to_be_opened(self) -> bool:
        return (self._is_in_memory or not self.path.exists()) and time.monotonic() >= self._try_again_at

    def _begin_anew(self, error: Exception, broken: sqlite3.Connection) -> None:
        with self._writer_lock, self._reader_lock:
            if broken not in {self._writer, self._reader}:
                return  # another thread met the same and has begun anew
            log.info("%s is broken (%s); it is set aside and begun anew", self.path, error)
            self._writer.close()
            self._reader.close()
            try:
                _set_aside(self.path)
                self._writer = self._connect()
                self._reader = self._reader_beside(self._writer)
            except (OSError, sqlite3.Error) as refusal:
                self._keep_in_memory(refusal)

    def _keep_in_memory(self, error: Exception) -> None:
        """Until the disk takes the file: what was known before is fetched again."""
        self._note(error)
        self._try_again_at = time.monotonic() + TRY_AGAIN
        self._writer = self._reader = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        with transaction(self._writer):
            self._lay_out(self._writer)
        self._is_in_memory = True

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except (OSError, sqlite3.OperationalError) as error:
            refusal: Exception | None = error
            if isinstance(error, sqlite3.OperationalError):  # which says little
                refusal = free_space.refusal(self.path.parent)
            if isinstance(refusal, OSError) and refusal.errno in free_space.DISK_REFUSES:
                raise _DiskRefusesError(str(refusal)) from error
            raise errors.ConfigurationError(
                f"What is known of the server cannot be kept in {self.path}: {error}."
            ) from error
        except sqlite3.DatabaseError as error:
            log.info("%s is broken (%s); it is set aside and begun anew", self.path, error)
            try:
                _set_aside(self.path)
                return self._connect()
            except (OSError, sqlite3.OperationalError) as refusal:
                raise _DiskRefusesError(str(refusal)) from refusal

    def _connect(self) -> sqlite3.Connection:
        # A power cut loses the last batches, never the file.
        return open_database(self.path, synchronous="NORMAL", timeout=BUSY_TIMEOUT, lay_out=self._lay_out)

    def _reader_beside(self, writer: sqlite3.Connection) -> sqlite3.Connection:
        """A connection for reading; the one that writes where the disk has no locks."""
        return self._connect() if can_be_shared(self.path) else writer


class FixedFile:
    """A file that nobody writes to, read as a StoreFile is: without locks, without a log, and never changed.

    Raises OSError or sqlite3.Error where it cannot be opened.
    """

    trouble = ""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        address = f"{path.absolute().as_uri()}?mode=ro&immutable=1"  # sqlite.org/uri.html
        self._reader = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)
        for pragma in ("query_only = ON", "trusted_schema = OFF", "cell_size_check = ON"):
            self._reader.execute(f"PRAGMA {pragma}")

    def close(self) -> None:
        """Close the file; later calls find nothing."""
        with self._lock:
            self._reader.close()

    def release(self) -> None:
        """Give back the memory of what was read of the file."""
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._reader.execute(RELEASE)

    def read(self, query: str, values: tuple[object, ...]) -> list[Any]:
        """All rows of the answer; none where the file cannot be read."""
        try:
            with self._lock:
                return self._reader.execute(query, values).fetchall()
        except _FAILURES as error:
            log.info("what is known of the server could not be read in %s: %s", self.path, error)
        return []

    def put(self, statement: str, values: Sequence[tuple[object, ...]]) -> None:
        """Nothing is kept."""

    def write(self, statement: str, values: Sequence[tuple[object, ...]]) -> None:
        """Nothing is kept."""


class _DiskRefusesError(Exception):
    """The disk takes nothing at the moment."""


def _set_aside(path: Path) -> None:
    path.replace(path.with_name(path.name + ".broken"))
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def packed(body: bytes) -> bytes:
    """Bytes as they are kept."""
    return zlib.compress(body, 1)


def unpacked(kept: bytes) -> bytes | None:
    """What was packed; None where it is damaged."""
    try:
        inflater = zlib.decompressobj()
        body = inflater.decompress(kept, LARGEST_BODY)
        if not inflater.eof:
            raise zlib.error("it does not end")
    except (zlib.error, TypeError) as error:
        log.info("something kept of the server is broken, and fetched again: %s", error)
        return None
    return body
