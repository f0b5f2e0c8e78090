"""The journal: on the disk before anything is sent, readable after every kill, shared by several processes."""

import os
import signal
import stat
import subprocess
import sys
import threading

import pytest

from alyxfs import errors, json_text
from alyxfs.edits import entry_diff
from alyxfs.edits.journal import Journal, State
from alyxfs.processes import process_lives, this_process

SERVER = "http://alyx.example"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal" / "journal.sqlite"


@pytest.fixture
def journal(path):
    journal = Journal(path)
    yield journal
    journal.close()


def test_a_write_is_entered_step_by_step(journal):
    number = journal.prepare(SERVER, "save", "labs", "cortexlab", "PATCH", draft=b'{"a": 1}\n', before={"a": 0})
    assert journal.entry(number).state is State.PREPARED
    journal.mark_sent(number, {"a": 1}, {"a": 0, "b": 2})
    assert journal.entry(number).state is State.SENT
    journal.record(number, State.DONE, status=200, after={"a": 1, "b": 2}, answer=None)
    entry = journal.entry(number)
    assert (entry.state, entry.status, entry.draft) == (State.DONE, 200, b'{"a": 1}\n')
    assert (entry.before, entry.request, entry.after) == ({"a": 0, "b": 2}, {"a": 1}, {"a": 1, "b": 2})
    (brief,) = journal.entries()
    assert (brief.number, brief.state, brief.fields) == (number, State.DONE, ("a",))
    assert brief.before is brief.after is brief.draft is brief.request is None


def test_a_write_knows_the_last_one_that_undid_it(journal):
    first = journal.prepare(SERVER, "save", "labs", "x", "PATCH")
    assert journal.undone_by(first) is None
    undone = [journal.prepare(SERVER, "undo", "labs", "x", "PATCH", undo_of=first) for _ in range(3)]
    journal.record(undone[2], State.REFUSED)
    assert journal.undone_by(first) == undone[1]
    assert journal.undone_by(undone[0]) is None


def test_the_journal_is_private(journal, path):
    journal.prepare(SERVER, "save", "labs", "x", "PATCH")
    files = list(path.parent.iterdir())
    assert len(files) >= 2  # the file and its write-ahead log
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("number", [7, 0, -1, 2**63 - 1, 2**63])
def test_an_unknown_number_is_not_found(journal, number):
    with pytest.raises(errors.NotFound, match=f"no write number {number}"):
        journal.entry(number)


def test_documents_come_back_exactly(journal):
    document = {"big": 2**70, "text": "é\ud800", "nan": float("nan"), "order": {"b": 1, "a": [None, True]}}
    number = journal.prepare(SERVER, "save", "labs", "x", "PATCH", before=document)
    before = journal.entry(number).before
    assert repr(before) == repr(document)


def test_writes_of_a_living_process_are_not_interrupted(journal):
    number = journal.prepare(SERVER, "save", "labs", "x", "PATCH")
    assert journal.interrupted(SERVER) == []
    journal.record(number, State.UNKNOWN)
    assert [entry.number for entry in journal.interrupted(SERVER)] == [number]
    assert journal.interrupted("http://other.example") == []


def test_processes_are_told_apart():
    mine = this_process()
    assert process_lives(mine)
    identifier, _, started = mine.partition(" ")
    assert not process_lives(f"{identifier} 1{started}")
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    child.communicate(b"\n", timeout=20)
    assert not process_lives(f"{child.pid} {started}")


def test_what_a_killed_process_prepared_is_there(path):
    code = (
        "import os, pathlib, signal, sys\n"
        "from alyxfs.edits.journal import Journal\n"
        "journal = Journal(pathlib.Path(sys.argv[1]))\n"
        f"number = journal.prepare({SERVER!r}, 'save', 'labs', 'x', 'PATCH', draft=b'mine')\n"
        "journal.mark_sent(number, {'a': 1}, {'a': 0})\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, path], timeout=30, cwd=os.getcwd(), check=False)
    assert killed.returncode == -signal.SIGKILL
    journal = Journal(path)
    (entry,) = journal.interrupted(SERVER)
    assert (entry.state, entry.draft, entry.request) == (State.SENT, b"mine", {"a": 1})
    journal.close()


def test_several_writers_share_one_journal(path):
    def write_many():
        journal = Journal(path)
        for _ in range(20):
            journal.record(journal.prepare(SERVER, "save", "labs", "x", "PATCH"), State.DONE)
        journal.close()

    threads = [threading.Thread(target=write_many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    journal = Journal(path)
    entries = journal.entries()
    assert [entry.number for entry in entries] == list(range(1, 81))
    assert {entry.state for entry in entries} == {State.DONE}
    journal.close()


def test_a_journal_that_cannot_be_written_stops_the_write(path):
    journal = Journal(path)
    journal._connection.execute("PRAGMA query_only=1")
    with pytest.raises(errors.ConfigurationError, match="nothing is changed without it"):
        journal.prepare(SERVER, "save", "labs", "x", "PATCH")
    journal.close()


@pytest.mark.parametrize("gone", ["journal.sqlite", "journal.sqlite-wal"])
@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_journal_whose_file_is_gone_stops_the_write(path, gone, is_replaced):
    Journal(path).close()
    journal = Journal(path)  # of an earlier mount, so that nothing has been written yet
    number = journal.prepare(SERVER, "save", "labs", "x", "PATCH")
    (path.parent / gone).unlink()
    if is_replaced:
        (path.parent / gone).touch()
    with pytest.raises(errors.ConfigurationError, match="removed or replaced"):
        journal.mark_sent(number, {"a": 1}, {"a": 0})
    with pytest.raises(errors.ConfigurationError, match="mount it again"):
        journal.prepare(SERVER, "save", "labs", "x", "PATCH")
    journal.close()


def test_the_log_is_selected_by_number_time_record_and_state(journal):
    for index in range(6):
        number = journal.prepare(SERVER, "save", "labs" if index % 2 else "users", "ab"[index // 3], "PATCH")
        journal.record(number, State.REFUSED if index == 4 else State.DONE)
    middle = journal.entries()[3].time

    def numbers(**selection):
        return [entry.number for entry in journal.entries(**selection)]

    assert numbers() == [1, 2, 3, 4, 5, 6]
    assert numbers(last=2) == [5, 6]
    assert numbers(since=middle) == [4, 5, 6]
    assert numbers(record=("labs", "")) == [2, 4, 6]
    assert numbers(record=("labs", "b")) == [4, 6]
    assert numbers(states=["refused", "conflict"]) == [5]
    assert numbers(record=("labs", "b"), since=middle, states=["done"], last=1) == [6]


def test_a_record_takes_a_fraction_of_its_size(journal, path):
    document = {"weighings": [{"date_time": f"2024-05-{day:02}T10:00:00", "weight": 20 + day / 7} for day in range(30)]}
    document = {f"{name}_{index}": value for index in range(10) for name, value in document.items()}
    for _ in range(50):
        number = journal.prepare(SERVER, "save", "subjects", "x", "PATCH", before=document)
        journal.record(number, State.DONE, before=document, after=document)
    journal._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert path.stat().st_size < 50 * 2 * len(json_text.compact(document)) / 5
    assert journal.entry(50).after == document


def test_a_file_that_is_no_journal_is_refused(path):
    path.parent.mkdir()
    path.write_bytes(b"this is no database, but it is long enough to look like a file" * 20)
    with pytest.raises(errors.ConfigurationError, match=str(path)):
        Journal(path)


def test_a_newer_layout_is_refused(path):
    journal = Journal(path)
    journal._connection.execute("PRAGMA user_version=9")
    journal.close()
    with pytest.raises(errors.ConfigurationError, match="newer alyxfs"):
        Journal(path)


def test_a_diff_shows_what_was_and_what_would_have_been(journal):
    number = journal.prepare(SERVER, "save", "labs", "x", "PATCH", draft=b"{}", before={"a": 0, "b": 1})
    journal.record(number, State.DRY_RUN, request={"a": 5})
    text = entry_diff.diff(journal.entry(number))
    assert '-  "a": 0,\n+  "a": 5,\n' in text
    assert "labs/x.json (as it would be (dry-run))" in text
    journal.record(number, State.DONE, after={"a": 7, "b": 1})
    assert '+  "a": 7,\n' in entry_diff.diff(journal.entry(number))
    made = journal.prepare(SERVER, "create", "labs", "new", "POST")
    journal.record(made, State.DONE, key="y", after={"a": 1})
    assert entry_diff.diff(journal.entry(made)).splitlines()[3:] == ["+{", '+  "a": 1', "+}"]
