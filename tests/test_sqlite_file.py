"""A database file of ours that several processes open at once, also the first time."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from alyxfs.sqlite_file import open_database


def make_table(connection):
    connection.execute("CREATE TABLE IF NOT EXISTS numbers (number INTEGER)")


def opened(path, timeout=10.0):
    return contextlib.closing(open_database(path, synchronous="FULL", timeout=timeout, lay_out=make_table))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "file.sqlite"


@pytest.fixture
def held_by_another(path):
    """A file that is not yet logged ahead, and that a connection writes to: nobody may change it. Gives its end."""
    path.parent.mkdir()
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    make_table(other)
    other.execute("BEGIN IMMEDIATE")
    yield lambda: other.execute("COMMIT")
    other.close()


def test_a_file_that_another_writes_to_is_waited_for(path, held_by_another):
    timer = threading.Timer(0.2, held_by_another)
    timer.start()
    with opened(path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    timer.join()


@pytest.mark.usefixtures("held_by_another")
def test_the_wait_for_another_is_bounded(path):
    begin = time.monotonic()
    with pytest.raises(sqlite3.OperationalError, match="locked"), opened(path, timeout=0.2):
        pass
    assert 0.2 <= time.monotonic() - begin < 5


def test_many_make_a_new_file_at_once(tmp_path):
    crowd = 8
    barrier = threading.Barrier(crowd)

    def open_together(path):
        barrier.wait(timeout=10)
        with opened(path) as connection:
            connection.execute("INSERT INTO numbers VALUES (1)")

    with ThreadPoolExecutor(crowd) as pool:
        for number in range(int(os.environ.get("ALYXFS_NEW_FILES", "20"))):
            path = tmp_path / str(number) / "file.sqlite"
            list(pool.map(open_together, [path] * crowd))
            with opened(path) as connection:
                assert connection.execute("SELECT count(*) FROM numbers").fetchone() == (crowd,)
