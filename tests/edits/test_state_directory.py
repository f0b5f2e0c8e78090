"""What earlier versions kept in the cache is moved to the state directory, once, and nothing of it is lost."""

import multiprocessing
import os
import sqlite3
import stat

import pytest

from alyxfs.edits.journal import Journal, State
from alyxfs.edits.state_directory import JOURNAL, move_from_cache

LAYOUT_1 = """
CREATE TABLE writes (
    number INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, server TEXT NOT NULL, process TEXT NOT NULL,
    operation TEXT NOT NULL, endpoint TEXT NOT NULL, key TEXT NOT NULL, method TEXT NOT NULL, before TEXT, draft BLOB,
    request TEXT, state TEXT NOT NULL, status INTEGER, answer TEXT, after TEXT, remark TEXT,
    undo_of INTEGER REFERENCES writes(number)
);
PRAGMA user_version=1;
"""
"""As version 1 wrote it."""


def write_old_journal(directory, count, time=1000.0):
    directory.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(directory / JOURNAL, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.executescript(LAYOUT_1)
    for index in range(count):
        connection.execute(
            "INSERT INTO writes (time, server, process, operation, endpoint, key, method, before, draft, request,"
            " state, status, after, undo_of) VALUES (?, 'http://a', '1 2', 'save', 'labs', ?, 'PATCH', ?, ?, ?, ?, 200,"
            " ?, ?)",
            (
                time + index, f"lab{index}", '{"a": 0, "é": 1}', b"{draft", '{"b": 1, "a": 1}',
                "sent" if index == 1 else "done", '{"a": 1}', index or None,
            ),
        )  # fmt: skip
    return connection


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def journal(state):
    journal = Journal(state / JOURNAL)
    yield journal
    journal.close()


def test_a_journal_is_moved_with_all_that_it_holds(tmp_path, journal, state):
    write_old_journal(tmp_path / "old", 3).close()
    (sentence,) = move_from_cache(tmp_path / "old", journal, state / "rejected")
    assert "3 entries" in sentence
    entries = [journal.entry(number) for number in (1, 2, 3)]
    assert [(entry.key, entry.state, entry.undo_of) for entry in entries] == [
        ("lab0", State.DONE, None), ("lab1", State.SENT, 1), ("lab2", State.DONE, 2),
    ]  # fmt: skip
    assert (entries[0].before, entries[0].draft, entries[0].fields) == ({"a": 0, "é": 1}, b"{draft", ("a", "b"))
    assert (entries[0].time, entries[0].request, entries[0].status) == (1000.0, {"b": 1, "a": 1}, 200)
    assert not (tmp_path / "old" / JOURNAL).exists()
    assert move_from_cache(tmp_path / "old", journal, state / "rejected") == []
    assert journal.prepare("http://a", "save", "labs", "x", "PATCH") == 4


def test_what_a_crash_left_copied_is_not_copied_again(tmp_path, journal, state):
    write_old_journal(tmp_path / "old", 3).close()
    content = (tmp_path / "old" / JOURNAL).read_bytes()
    move_from_cache(tmp_path / "old", journal, state / "rejected")
    (tmp_path / "old" / JOURNAL).write_bytes(content)  # killed before the file was renamed
    more = sqlite3.connect(tmp_path / "old" / JOURNAL, isolation_level=None)  # a drive of the earlier version went on
    columns = "time + 9, server, process, operation, endpoint, 'new', method, before, draft, request, state, status"
    more.execute(f"INSERT INTO writes SELECT 4, {columns}, answer, after, remark, undo_of FROM writes WHERE number = 3")
    more.close()
    move_from_cache(tmp_path / "old", journal, state / "rejected")
    assert [entry.key for entry in journal.entries()] == ["lab0", "lab1", "lab2", "new"]
    assert journal.entries()[-1].undo_of == 2


def test_journals_of_two_caches_become_one(tmp_path, journal, state):
    write_old_journal(tmp_path / "old", 2).close()
    write_old_journal(tmp_path / "other", 2, time=2000.0).close()
    move_from_cache(tmp_path / "old", journal, state / "rejected")
    move_from_cache(tmp_path / "other", journal, state / "rejected")
    entries = journal.entries()
    assert [(entry.number, entry.time, entry.undo_of) for entry in entries] == [
        (1, 1000.0, None), (2, 1001.0, 1), (3, 2000.0, None), (4, 2001.0, 3),
    ]  # fmt: skip


def test_a_journal_in_use_is_moved_when_its_drive_has_ended(tmp_path, journal, state):
    running = write_old_journal(tmp_path / "old", 1)
    running.execute("SELECT * FROM writes").fetchall()
    (sentence,) = move_from_cache(tmp_path / "old", journal, state / "rejected")
    assert "at the first mount after that has ended" in sentence
    assert journal.entries() == []
    running.execute("UPDATE writes SET key = 'later'")
    running.close()
    move_from_cache(tmp_path / "old", journal, state / "rejected")
    assert [entry.key for entry in journal.entries()] == ["later"]


def test_what_is_no_journal_stays_where_it_is(tmp_path, journal, state):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / JOURNAL).write_bytes(b"no database" * 500)
    (sentence,) = move_from_cache(tmp_path / "old", journal, state / "rejected")
    assert "stays where it is" in sentence
    assert (tmp_path / "old" / JOURNAL).read_bytes() == b"no database" * 500


def test_rejected_drafts_are_moved_and_never_overwritten(tmp_path, journal, state):
    old, rejected = tmp_path / "old" / "rejected", state / "rejected"
    old.mkdir(parents=True)
    rejected.mkdir()
    (old / "same.json").write_text("same")
    (rejected / "same.json").write_text("same")
    (old / "other.json").write_text("old")
    (rejected / "other.json").write_text("new")
    (old / "alone.json").write_text("alone")
    os.utime(old / "alone.json", (1, 1))
    (sentence,) = move_from_cache(tmp_path / "old", journal, rejected)
    assert "3 files" in sentence
    assert not old.exists()
    moved = {file.name: file.read_text() for file in rejected.iterdir()}
    assert moved == {"same.json": "same", "other.json": "new", "2-other.json": "old", "alone.json": "alone"}
    assert (rejected / "alone.json").stat().st_mtime == 1
    assert stat.S_IMODE((rejected / "alone.json").stat().st_mode) == 0o600


def _mount(old, state):
    journal = Journal(state / JOURNAL)
    move_from_cache(old, journal, state / "rejected")
    journal.close()


def test_drives_that_are_mounted_together_move_it_once(tmp_path, state):
    write_old_journal(tmp_path / "old", 50).close()
    (tmp_path / "old" / "rejected").mkdir()
    for index in range(50):
        (tmp_path / "old" / "rejected" / f"{index}.json").write_text(str(index))
    spawning = multiprocessing.get_context("spawn")
    drives = [spawning.Process(target=_mount, args=(tmp_path / "old", state)) for _ in range(3)]
    for drive in drives:
        drive.start()
    for drive in drives:
        drive.join(60)
    assert [drive.exitcode for drive in drives] == [0, 0, 0]
    journal = Journal(state / JOURNAL)
    assert [entry.key for entry in journal.entries()] == [f"lab{index}" for index in range(50)]
    assert len(list((state / "rejected").iterdir())) == 50
    journal.close()
