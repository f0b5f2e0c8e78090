"""What is known of a server outlasts mounts, versions, broken files and other processes."""

from __future__ import annotations

import fcntl
import sqlite3
import stat
import subprocess
import sys
import time

import pytest
import trio

from alyxfs import errors, store, store_file
from alyxfs.scratch_folders import IN_USE
from alyxfs.store import Store, StoredRecord


@pytest.fixture
def path(tmp_path):
    return tmp_path / "known" / "store.sqlite"


@pytest.fixture
def opened(path):
    opened = Store(path)
    yield opened
    opened.close()


def record(identity, body=b"{}", at=1000.0, *, whole=True, key=None):
    return StoredRecord(identity, key or identity, whole, body, at, at)


def test_a_record_is_found_by_its_look_up_and_by_its_identity(opened):
    opened.put_records("subjects", [record("1", b'{"a":1}', key="KS"), record("2", b'{"a":2}', at=2000.0, key="KS")])
    assert opened.record("subjects", "KS").identity == "2"
    assert opened.record("subjects", None, "1").body == b'{"a":1}'
    assert opened.record("subjects", "KS", "1").body == b'{"a":1}'
    assert opened.record("subjects", "ks") is None
    assert opened.record("labs", "KS") is None


def test_a_row_does_not_replace_the_whole_record(opened):
    opened.put_records("sessions", [record("1", b'{"all":1}')])
    opened.put_records("sessions", [record("1", b'{"row":1}', at=2000.0, whole=False)])
    assert opened.record("sessions", "1").body == b'{"all":1}'
    assert opened.record("sessions", "1", whole=False).body == b'{"row":1}'


def test_a_content_keeps_the_time_of_its_first_sight(opened):
    opened.put_records("labs", [record("1", b"old", at=1000.0), record("2", b"same", at=1000.0)])
    opened.put_records("labs", [record("1", b"new", at=2000.0), record("2", b"same", at=2000.0)])
    assert opened.times("labs", ["1", "2", "3"]) == {"1": 2000.0, "2": 1000.0}
    assert opened.record("labs", "2").fetched_at == 2000.0


def test_an_answer_that_was_asked_for_earlier_does_not_replace_a_later_one(opened):
    opened.put_records("labs", [record("1", b"later", at=2000.0)])
    opened.put_records("labs", [record("1", b"earlier", at=1000.0)])
    assert opened.record("labs", "1").body == b"later"
    opened.outdate("labs", "1")
    opened.put_records("labs", [record("1", b"asked before that", at=3000.0)])
    assert opened.record("labs", "1").body == b"later"
    opened.put_records("labs", [record("1", b"asked after that", at=time.time() + 1)])
    assert opened.record("labs", "1").body == b"asked after that"


def test_it_outlasts_its_process(path):
    first = Store(path)
    first.put_document("schema", b"{}")
    first.put_listing("labs", "[]", b"[1]", 1000.0)
    first.close()
    second = Store(path)
    assert second.document("schema").body == b"{}"
    assert second.document("schema").fetched_at == pytest.approx(time.time(), abs=60)
    assert second.listing("labs", "[]") == store.StoredBody(b"[1]", 1000.0)
    assert second.listing("labs", '[["a","b"]]') is None
    second.close()


def test_what_is_out_of_date_stays_for_times_without_a_server(opened):
    opened.put_records("labs", [record("1")])
    opened.put_listing("labs", "[]", b"[1]", 1000.0)
    opened.outdate("labs", "1")
    opened.outdate("labs", None)
    assert opened.record("labs", "1").fetched_at == 0
    assert opened.listing("labs", "[]").fetched_at == 0


def test_the_file_is_the_owners_alone(opened, path):
    opened.put_records("labs", [record("1")])
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("content", [b"this is no database" * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_broken_file_is_set_aside(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    opened = Store(path)
    opened.put_records("labs", [record("1")])
    assert opened.record("labs", "1") is not None
    opened.close()
    assert path.with_name(path.name + ".broken").read_bytes() == content


@pytest.mark.parametrize(
    "damage", [lambda whole: whole[:47] + b"\x7f" + whole[48:], lambda whole: whole.replace(b"body ", b"bodi ")]
)
def test_a_file_that_only_its_own_list_of_tables_tells_is_broken_is_set_aside(path, damage):
    """SQLite gives this the name of what passes: a locked file, or a full disk."""
    Store(path).close()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert path.read_bytes() != whole
    opened = Store(path)
    for _ in range(2):  # the first may be what finds it out
        opened.put_records("labs", [record("1")])
    assert opened.record("labs", "1") is not None
    assert not opened.trouble
    opened.close()
    assert path.with_name(path.name + ".broken").exists()


def test_a_file_that_breaks_while_open_is_set_aside(path):
    opened = Store(path)
    opened.put_records("labs", [record(str(number), b"x" * 5000) for number in range(300)])
    opened._file._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    for number in range(300):
        opened.record("labs", str(number))
    opened.put_records("labs", [record("new")])
    assert opened.record("labs", "new") is not None
    opened.close()
    assert path.with_name(path.name + ".broken").exists()


def test_a_file_of_another_version_is_begun_anew(path):
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE records (something TEXT)")
    connection.execute("PRAGMA user_version = 999")
    connection.commit()
    connection.close()
    opened = Store(path)
    opened.put_records("labs", [record("1")])
    assert opened.record("labs", "1") is not None
    opened.close()


def test_a_place_that_cannot_be_written_is_a_clear_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(errors.ConfigurationError, match="cannot be kept in"):
        Store(tmp_path / "file" / "store.sqlite")


def test_it_stays_within_its_bound(path, monkeypatch):
    monkeypatch.setattr(store, "_ROOM_CHECK_EVERY", 1)
    opened = Store(path, limit=2_000_000)
    source = __import__("random").Random(1)
    for number in range(400):
        opened.put_records("tasks", [record(str(number), source.randbytes(20_000), at=float(number))])
    assert opened.record("tasks", "399") is not None
    assert opened.record("tasks", "0") is None
    opened.close()
    assert path.stat().st_size < 4_000_000


WRITER = """
import sys
from pathlib import Path
from alyxfs.scratch_folders import IN_USE
from alyxfs.store import Store, StoredRecord
store, name = Store(Path(sys.argv[1])), sys.argv[2]
for number in range(100):
    store.put_records("labs", [StoredRecord(f"{name}{number}", f"{name}{number}", True, b"{}", 1.0, 1.0)])
store.close()
"""


def test_several_processes_write_at_once(path, opened):
    processes = [subprocess.Popen([sys.executable, "-c", WRITER, path, name]) for name in "abc"]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    missing = [f"{name}{n}" for name in "abc" for n in range(100) if opened.record("labs", f"{name}{n}") is None]
    assert missing == []


def test_reading_does_not_wait_for_writing(path, opened):
    opened.put_records("labs", [record("1")])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("DELETE FROM records")
    started = time.monotonic()
    assert opened.record("labs", "1") is not None
    assert time.monotonic() - started < 1
    other.execute("ROLLBACK")
    other.close()


def test_a_store_that_another_process_keeps_busy_costs_only_what_was_known(path, monkeypatch):
    monkeypatch.setattr(store_file, "BUSY_TIMEOUT", 0.05)
    opened = Store(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    opened.put_records("labs", [record("1")])
    other.execute("ROLLBACK")
    other.close()
    assert opened.record("labs", "1") is None
    opened.put_records("labs", [record("1")])
    assert opened.record("labs", "1") is not None
    opened.close()


def test_what_was_asked_for_in_the_future_is_replaced(opened):
    """It is of a clock that was set back since, and older than anything that is asked for now."""
    now = time.time()
    opened.put_records("labs", [record("a", b"old", at=now + 3600)])
    opened.put_records("labs", [record("a", b"new", at=now)])
    assert opened.record("labs", "a").body == b"new"
    opened.put_records("labs", [record("a", b"asked for earlier", at=now - 5)])
    assert opened.record("labs", "a").body == b"new"


def test_a_copy_begins_with_what_is_known_and_leaves_nothing(opened, path):
    opened.put_document("schema", b"as it is")
    of_a_killed_one, of_a_living_one = (path.with_name(f"store-copy-{each}") for each in ("killed", "living"))
    for each in (of_a_killed_one, of_a_living_one):
        each.mkdir()
        (each / IN_USE).touch()

    async def use_copy():
        async with store.open_copy_of_store(path) as copy:
            assert copy.document("schema").body == b"as it is"
            assert not of_a_killed_one.exists()
            copy.put_document("schema", b"as it would be")
            assert copy.document("schema").body == b"as it would be"

    with (of_a_living_one / IN_USE).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as a process in another container, whose number says nothing here
        trio.run(use_copy)
    assert opened.document("schema").body == b"as it is"
    assert [each.name for each in path.parent.glob("*-copy-*")] == [of_a_living_one.name]
