"""The journal: on the disk before anything is sent, readable after every kill, shared by several processes."""

import os
import signal
import stat
import subprocess
import sys
import threading

import pytest

from alyxfs import errors
from alyxfs.edits import reports
from alyxfs.edits.journal import Journal, State, process_lives, this_process

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
    assert (brief.number, brief.state, brief.request) == (number, State.DONE, {"a": 1})
    assert brief.before is brief.after is brief.draft is None


def test_the_journal_is_private(journal, path):
    journal.prepare(SERVER, "save", "labs", "x", "PATCH")
    files = list(path.parent.iterdir())
    assert len(files) >= 2  # the file and its write-ahead log
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_an_unknown_number_is_not_found(journal):
    with pytest.raises(errors.NotFound, match="no write number 7"):
        journal.entry(7)


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
    text = reports.diff(journal.entry(number))
    assert '-  "a": 0,\n+  "a": 5,\n' in text
    assert "labs/x.json (as it would be (dry-run))" in text
    journal.record(number, State.DONE, after={"a": 7, "b": 1})
    assert '+  "a": 7,\n' in reports.diff(journal.entry(number))
    made = journal.prepare(SERVER, "create", "labs", "new", "POST")
    journal.record(made, State.DONE, key="y", after={"a": 1})
    assert reports.diff(journal.entry(made)).splitlines()[3:] == ["+{", '+  "a": 1', "+}"]
