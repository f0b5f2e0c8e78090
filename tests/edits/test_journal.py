"""The journal: on the disk before anything is sent, readable after every kill, shared by several processes."""

import contextlib
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time

import pytest

from alyxfs import errors, json_text
from alyxfs.edits import entry_diff
from alyxfs.edits.journal import Journal, State, count_staged
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
    undone = [journal.prepare(SERVER, "undo", "labs", "x", "PATCH", undo_of=first)]
    assert journal.undone_by(first) == undone[0]
    undone += [journal.prepare(SERVER, "undo", "labs", "x", "PATCH", undo_of=first) for _ in range(2)]
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


def test_what_is_no_text_comes_back_byte_for_byte(journal):
    content = os.urandom(500)
    number = journal.prepare(SERVER, "create", "notes", "new", "POST", draft=content)
    assert journal.entry(number).draft == content
    journal.record(number, State.STAGED, picture=content[::-1], draft=content * 2)
    assert (journal.entry(number).picture, journal.entry(number).draft) == (content[::-1], content * 2)


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


def test_a_journal_whose_pages_are_damaged_is_told_by_whatever_reads_or_writes_it(path):
    journal = Journal(path)
    journal.prepare(SERVER, "save", "labs", "x", "PATCH")
    journal.close()
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    journal = Journal(path)
    for use in (
        journal.entries,
        lambda: journal.entry(1),
        lambda: journal.interrupted(SERVER),
        lambda: journal.staged(SERVER),
        lambda: journal.write_set(1),
        lambda: journal.prepare(SERVER, "save", "labs", "x", "PATCH"),
    ):
        with pytest.raises(errors.ConfigurationError) as refusal:
            use()
        assert f"The journal {path} cannot be used (" in str(refusal.value)
        assert "nothing is changed without it" in str(refusal.value)
    assert count_staged(path, SERVER) == 0
    journal.close()


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


def done(journal, operation, endpoint, key, method, **values):
    """A write to the server that is done."""
    made = values.pop("as_", key)
    number = journal.prepare(values.pop("server", SERVER), operation, endpoint, key, method, **values)
    journal.record(number, State.DONE, key=made, after={"name": made})
    return number


def test_only_what_was_not_sent_can_be_withdrawn(journal):
    kept, gone = (journal.prepare(SERVER, "delete", "labs", key, "DELETE") for key in ("kept", "gone"))
    journal.mark_sent(kept, None, {"name": "kept"})
    for number in (kept, gone):
        journal.withdraw(number)
    assert [(entry.number, entry.state) for entry in journal.entries()] == [(kept, State.SENT)]
    assert journal.entry(kept).before == {"name": "kept"}
    with pytest.raises(errors.NotFound):
        journal.entry(gone)


def test_what_was_removed_gives_its_room_back_when_nobody_else_is_in_the_way(journal, path):
    number = journal.prepare(SERVER, "save", "labs", "x", "PATCH", draft=os.urandom(1_000_000))
    journal.withdraw(number)
    journal._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert path.stat().st_size > 1_000_000
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        journal._connection.execute("PRAGMA busy_timeout=0")
        journal.compact()
        assert path.stat().st_size > 1_000_000, "another process writes: it is put off"
    journal.compact()
    journal._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert path.stat().st_size < 200_000


def test_a_closed_journal_has_let_its_file_go(journal, path):
    def held():
        links = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
        return [link for link in links if os.path.lexists(link) and os.readlink(link).startswith(str(path))]

    assert held()
    journal.close()
    assert held() == []


def test_a_set_knows_its_writes_and_which_of_them_were_taken_back(journal):
    assert journal.begin_set("http://other.example", "another") == 1
    number = journal.begin_set(SERVER, "alyxfs edit")
    found = journal.write_set(number)
    assert (found.number, found.server, found.made_by) == (2, SERVER, "alyxfs edit")
    assert abs(found.time - time.time()) < 60
    done(journal, "save", "labs", "of no set", "PATCH")
    writes = [done(journal, "save", "labs", key, "PATCH", in_set=number) for key in "abc"]
    done(journal, "save", "labs", "of another", "PATCH", in_set=1)
    assert [entry.number for entry in journal.entries(in_set=number)] == writes
    assert {entry.in_set for entry in journal.entries(in_set=number)} == {number}
    assert journal.undone_in(number) == set()
    done(journal, "undo", "labs", "a", "PATCH", undo_of=writes[0])
    done(journal, "undo", "labs", "of no set", "PATCH", undo_of=1)
    journal.record(journal.prepare(SERVER, "undo", "labs", "b", "PATCH", undo_of=writes[1]), State.REFUSED)
    assert journal.undone_in(number) == {writes[0]}
    assert journal.undone_in(1) == set()
    for unknown in (3, 0, -1, 2**63 - 1, 2**63):
        with pytest.raises(errors.NotFound, match=f"The journal has no set number {unknown}"):
            journal.write_set(unknown)


def test_a_record_that_was_made_again_several_times_is_found_by_each_of_its_names(journal):
    for former, later in (("a", "b"), ("b", "c"), ("same", "same")):
        gone = done(journal, "delete", "notes", former, "DELETE")
        done(journal, "undo", "notes", former, "POST", undo_of=gone, as_=later)
    elsewhere = done(journal, "delete", "notes", "x", "DELETE", server="http://other.example")
    done(journal, "undo", "notes", "x", "POST", undo_of=elsewhere, as_="y", server="http://other.example")
    refused = done(journal, "delete", "notes", "r", "DELETE")
    journal.record(journal.prepare(SERVER, "undo", "notes", "s", "POST", undo_of=refused), State.REFUSED)
    patched = done(journal, "save", "notes", "p", "PATCH")
    done(journal, "undo", "notes", "p", "PATCH", undo_of=patched, as_="q")
    assert journal.made_again(SERVER) == {"a": "c", "b": "c"}
    assert journal.made_again("http://other.example") == {"x": "y"}


def test_names_that_were_given_back_and_forth_lead_to_an_end(journal):
    """A look-up that is a name can come again: deleted as a, made as b, deleted as b, made as a."""
    for former, later in (("a", "b"), ("b", "a")):
        gone = done(journal, "delete", "labs", former, "DELETE")
        done(journal, "undo", "labs", former, "POST", undo_of=gone, as_=later)
    assert set(journal.made_again(SERVER)) == {"a", "b"}


def staged(journal, key, method="PATCH", server=SERVER, **values):
    number = journal.prepare(server, "save", "labs", key, method, draft=b"{}", **values)
    journal.record(number, State.STAGED, request={"name": key}, before={"name": "before"})
    return number


def test_what_is_staged_waits_with_its_documents_until_a_write_that_is_done_has_applied_it(journal, path):
    first, second = staged(journal, "a"), staged(journal, "new", "POST")
    staged(journal, "elsewhere", server="http://other.example")
    done(journal, "save", "labs", "a", "PATCH")
    assert [entry.number for entry in journal.staged(SERVER)] == [first, second]
    entry = journal.staged(SERVER)[0]
    assert (entry.request, entry.before, entry.draft) == ({"name": "a"}, {"name": "before"}, b"{}")
    assert count_staged(path, SERVER) == 2

    refused = journal.prepare(SERVER, "save", "labs", "a", "PATCH", applies=first, before={"name": "theirs"})
    journal.record(refused, State.CONFLICT)
    assert journal.entry(first).state is State.STAGED, "nothing was sent"
    journal.note_staged(first, "Somebody changed it.")
    assert journal.entry(first).remark == "Somebody changed it."
    sent = done(journal, "save", "labs", "a", "PATCH", applies=first)
    made = done(journal, "create", "labs", "new", "POST", applies=second, as_="real")
    assert [entry.number for entry in journal.applying(first)] == [refused, sent]
    assert journal.applying(first)[0].before == {"name": "theirs"}
    assert (journal.entry(first).state, journal.entry(first).remark) == (State.APPLIED, f"Applied as write {sent}.")
    journal.note_staged(first, "Too late.")
    assert journal.entry(first).remark == f"Applied as write {sent}.", "what was applied is not noted upon"
    assert journal.staged(SERVER) == []
    assert count_staged(path, SERVER) == 0
    assert count_staged(path, "http://other.example") == 1

    ((of_first, by_first),) = journal.applied_of("labs", "a")
    assert (of_first.number, by_first.number) == (first, sent)
    assert (of_first.request, by_first.after) == ({"name": "a"}, {"name": "a"})
    assert journal.applied_of("users", "a") == []
    assert journal.applied_ids(SERVER) == {"new": "real"}
    assert journal.applied_ids("http://other.example") == {}
    assert journal.keys("labs", made) == {"a", "new", "elsewhere"}
    assert journal.keys("users", made) == set()


def test_only_what_is_staged_becomes_applied(journal):
    withdrawn = staged(journal, "a")
    journal.record(withdrawn, State.WITHDRAWN)
    done(journal, "save", "labs", "a", "PATCH", applies=withdrawn)
    assert journal.entry(withdrawn).state is State.WITHDRAWN
    other = staged(journal, "b")
    done(journal, "save", "labs", "b", "PATCH")
    assert journal.entry(other).state is State.STAGED, "that write was none of it"


def test_who_only_counts_what_is_staged_makes_no_file_and_is_not_stopped_by_a_broken_one(tmp_path):
    assert count_staged(tmp_path / "none.sqlite", SERVER) == 0
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "broken.sqlite").write_bytes(b"no database" * 100)
    assert count_staged(tmp_path / "broken.sqlite", SERVER) == 0
