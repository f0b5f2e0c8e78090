"""Opening a database file of our own: private, shared by processes, read while it is written.

On a disk without locks it is neither shared nor read while it is written: see claims.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sqlite3
import time
from typing import TYPE_CHECKING

from alyxfs import claims
from alyxfs.private_files import claim_folder, close_to_others, open_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_DAMAGE = re.compile("unsupported file format|no such (table|column)|has no column|malformed")
"""SQLite's words (its build.c, resolve.c, insert.c) where a file's header or its list of tables is not as it was."""

_TURN = 0.01
"""Seconds until a file that others are changing is asked for again; such a change takes one write to the disk."""


def open_database(
    path: Path, *, synchronous: str, timeout: float, lay_out: Callable[[sqlite3.Connection], object]
) -> sqlite3.Connection:
    """A connection in autocommit mode, usable from any one thread at a time, of a file that ``lay_out`` prepares.

    ``synchronous`` is SQLite's: FULL survives a power cut whole, NORMAL loses the last transactions. ``timeout`` is how
    many seconds to wait for other processes. Raises OSError, sqlite3.Error and what ``lay_out`` raises.
    """
    claim_folder(path.parent)
    is_shared = can_be_shared(path)
    if not path.exists():
        # Only for a new file: closing a file gives up the locks that this process holds on it through SQLite.
        with contextlib.suppress(FileExistsError):
            os.close(open_file(path, os.O_RDWR | os.O_EXCL))
    close_to_others(path)
    # See sqlite.org/vfs.html and sqlite.org/wal.html: without locks there is no memory shared by processes, either.
    address = f"{path.absolute().as_uri()}?vfs={'unix' if is_shared else 'unix-none'}"
    connection = sqlite3.connect(address, uri=True, timeout=timeout, isolation_level=None, check_same_thread=False)
    try:
        if is_shared:
            _log_ahead(connection, timeout)
        else:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA foreign_keys = ON")
        with transaction(connection):
            lay_out(connection)
    except UnicodeDecodeError as error:  # of SQLite's own words, which quote a file whose schema is damaged
        connection.close()
        raise sqlite3.DatabaseError("it is damaged, and what SQLite says of it is no text") from error
    except BaseException as error:
        connection.close()
        if is_damage(error):
            raise sqlite3.DatabaseError(str(error)) from error
        raise
    return connection


def _log_ahead(connection: sqlite3.Connection, timeout: float) -> None:
    """Use write-ahead logging. ``timeout`` is how many seconds to wait for others that change a new file to it.

    Each of them reads the file and then wants it alone, so that SQLite refuses all but one at once, without the wait
    that the connection was made with (sqlite.org/c3ref/busy_handler.html).
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(_TURN)
        else:
            return


def is_damage(error: BaseException) -> bool:
    """Whether the file is to blame, not its disk or another process: SQLite gives that the same name at times."""
    if isinstance(error, sqlite3.OperationalError):
        return _DAMAGE.search(str(error)) is not None
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.ProgrammingError)


def can_be_shared(path: Path) -> bool:
    """Whether several connections may use a database at this place; else only one.

    Raises OSError where the disk has no locks, and this process has not claimed the folder.
    """
    why = claims.why_unshared(path.parent)
    if why is not None and not claims.is_mine(path):
        raise OSError(errno.ENOLCK, f"{path.parent} cannot be locked: {why}")
    return why is None


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Begin at once, so that waiting for other writers happens here; commit, or roll back what failed."""
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        yield connection
