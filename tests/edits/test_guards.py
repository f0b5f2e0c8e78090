"""What is refused before anything is asked of a server: undoing, applying, changing and deleting what cannot be."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio

from alyxfs import errors
from alyxfs.alyx.schema.read import read_schema
from alyxfs.edits import Journal, State, undo
from alyxfs.edits.commit import refuse_unchangeable
from alyxfs.edits.delete_limit import WINDOW, DeleteGuard
from alyxfs.edits.proposals.kept import refuse_not_staged
from small_alyx import SCHEMA

HERE, ELSEWHERE = "http://alyx.example.org", "http://other.example.org"
DETAIL = {"/users/{username}": {"get": {}, "delete": {}}, "/labs/{name}": {"get": {}, "delete": {}}}
LISTS = {"/users": {"get": {}}, "/labs": {"get": {}}}
ENDPOINTS = read_schema({**SCHEMA, "paths": {**SCHEMA["paths"], **DETAIL, **LISTS}}).endpoints
LAB, SUBJECT, USER = (ENDPOINTS[name] for name in ("labs", "subjects", "users"))


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path / "journal.sqlite")
    yield journal
    journal.close()


@pytest.fixture
def entry(journal):
    """A write that is done."""
    number = journal.prepare(HERE, "save", "subjects", "S1", "PATCH", before={"description": "old"})
    journal.record(number, State.DONE, status=200, after={"description": "new"})
    return journal.entry(number)


def test_what_is_done_here_can_be_undone(entry):
    undo.refuse_impossible(entry, HERE, None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"server": ELSEWHERE}, f"was made on {ELSEWHERE}, not here"),
        (
            {"state": State.APPLIED, "remark": "Write 7 has sent it."},
            "staged. Write 7 has sent it. Undo that write",
        ),
        *(({"state": state}, f"it is {state.value}") for state in State if state not in {State.DONE, State.APPLIED}),
        ({"operation": "act"}, "the server offers no way back"),
        ({"operation": "attach"}, "the server offers no way back"),
        ({"method": "POST", "status": 500}, "may be that the record was there before"),
        ({"method": "POST", "status": None}, "may be that the record was there before"),
    ],
)
def test_what_cannot_be_undone_is_refused_with_the_reason(entry, changes, words):
    with pytest.raises(errors.NotAllowed, match=words) as refusal:
        undo.refuse_impossible(replace(entry, **changes), HERE, None)
    assert str(refusal.value).startswith(f"Write {entry.number} (")


@pytest.mark.parametrize(("state", "words"), [(State.DONE, "was undone by"), (State.UNKNOWN, "may be undone already")])
def test_what_another_undo_took_back_or_may_have_is_not_undone_twice(journal, entry, state, words):
    other = journal.prepare(HERE, "undo", "subjects", "S1", "PATCH", undo_of=entry.number)
    journal.record(other, state)
    with pytest.raises(errors.NotAllowed, match=f"{words}.* write {other}" if state is State.UNKNOWN else words):
        undo.refuse_impossible(entry, HERE, journal.entry(other))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"server": ELSEWHERE, "state": State.STAGED}, f"was made on {ELSEWHERE}, not here"),
        ({"state": State.APPLIED}, "is not staged: it is applied"),
        ({"state": State.WITHDRAWN}, "is not staged: it is withdrawn"),
        ({}, "is not staged: it is done"),
    ],
)
def test_only_what_is_staged_here_is_applied(entry, changes, words):
    with pytest.raises(errors.NotAllowed, match=words):
        refuse_not_staged(replace(entry, **changes), HERE)
    refuse_not_staged(replace(entry, state=State.STAGED), HERE)


@pytest.mark.parametrize("number", [0, -1, 1, 2**63, 2**64])
def test_a_set_that_the_journal_does_not_have(journal, number):
    with pytest.raises(errors.NotFound, match=f"no set number {number}"):
        journal.write_set(number)
    begun = journal.write_set(journal.begin_set(HERE, "alyxfs edit"))
    assert (begun.server, begun.made_by) == (HERE, "alyxfs edit")


def test_what_the_server_does_not_let_be_changed_or_deleted():
    with pytest.raises(errors.NotAllowed, match="does not let labs be changed"):
        refuse_unchangeable(LAB)
    guard = DeleteGuard(deletes_per_minute=None, allow_deletes=True, user="anna")
    with pytest.raises(errors.NotAllowed, match="does not let subjects be deleted"):
        guard.take(SUBJECT, "S1")
    guard.take(LAB, "cortexlab")


def test_nobody_deletes_themselves():
    guard = DeleteGuard(deletes_per_minute=None, allow_deletes=True, user="anna")
    with pytest.raises(errors.NotAllowed, match="logged in as anna"):
        guard.take(USER, "anna")
    guard.take(USER, "bob")


@pytest.mark.trio
async def test_one_delete_more_than_the_limit_stops_all_of_them(autojump_clock):
    guard = DeleteGuard(deletes_per_minute=3, allow_deletes=True, user=None)
    for _ in range(2):
        guard.take(LAB, "a")
    await trio.sleep(WINDOW + 1)
    for _ in range(3):
        guard.take(LAB, "a")
    with pytest.raises(errors.AlyxfsError):
        guard.take(LAB, "b")
    await trio.sleep(10 * WINDOW)
    with pytest.raises(errors.AlyxfsError):
        guard.take(LAB, "c")
