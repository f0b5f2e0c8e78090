"""Journals of drives that send nothing by themselves: their own writes are proposed or staged, all others as ever."""

from __future__ import annotations

import pytest

from alyxfs.edits import Journal, State
from alyxfs.edits.proposals import ProposalJournal, StagingJournal

SERVER = "http://alyx.example"
KINDS = {ProposalJournal: State.PROPOSED, StagingJournal: State.STAGED}


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def journal(request, tmp_path):
    journal = request.param(tmp_path / "journal.sqlite")
    yield journal
    journal.close()


@pytest.fixture
def of_another(tmp_path):
    """A write of a drive that sends, to the same journal."""
    other = Journal(tmp_path / "journal.sqlite")
    number = other.prepare(SERVER, "save", "labs", "x", "PATCH")
    other.close()
    return number


def prepared(journal, **values):
    return journal.prepare(SERVER, "save", "notes", "x", "PATCH", draft=b"{}", **values)


def test_what_would_be_sent_is_kept_and_not_called_sent(journal):
    number = prepared(journal)
    journal.mark_sent(number, {"a": 1}, {"a": 0}, b"a picture")
    entry = journal.entry(number)
    assert entry.state is State.PREPARED, "a drive that is killed now has sent nothing"
    assert (entry.request, entry.before, entry.picture) == ({"a": 1}, {"a": 0}, b"a picture")
    journal.record(number, State.DONE, status=200, after={"a": 1})
    entry = journal.entry(number)
    assert (entry.state, entry.after, entry.picture) == (KINDS[type(journal)], {"a": 1}, b"a picture")


@pytest.mark.parametrize("state", State)
def test_only_what_would_be_done_is_a_proposal(journal, state):
    number = prepared(journal)
    journal.record(number, state)
    is_accepted = state in {State.DONE, State.PROPOSED}
    assert journal.entry(number).state is (KINDS[type(journal)] if is_accepted else state)


def test_a_write_of_another_drive_is_what_that_says_it_is(journal, of_another):
    journal.mark_sent(of_another, {"a": 1}, {"a": 0}, b"a picture")
    assert (journal.entry(of_another).state, journal.entry(of_another).picture) == (State.SENT, None)
    journal.record(of_another, State.DONE)
    assert journal.entry(of_another).state is State.DONE


@pytest.mark.parametrize("values", [{"applies": 1}, {"undo_of": 1}])
def test_what_applies_or_undoes_is_sent_by_a_drive_that_stages_and_proposed_by_one_that_proposes(journal, values):
    prepared(journal)
    number = prepared(journal, **values)
    journal.mark_sent(number, {"a": 1}, {"a": 0})
    is_sent = isinstance(journal, StagingJournal)
    assert journal.entry(number).state is (State.SENT if is_sent else State.PREPARED)
    journal.record(number, State.DONE)
    assert journal.entry(number).state is (State.DONE if is_sent else State.PROPOSED)


def test_a_proposal_is_in_conflict_as_long_as_somebody_says_so(journal):
    number = prepared(journal)
    journal.record(number, State.DONE)
    journal.note_conflict(number, "Somebody changed it.")
    is_staged = isinstance(journal, StagingJournal)
    assert journal.entry(number).state is (State.STAGED if is_staged else State.CONFLICT), "staged stays staged"
    assert journal.entry(number).remark == "Somebody changed it."
    journal.note_conflict(number, None)
    assert (journal.entry(number).state, journal.entry(number).remark) == (KINDS[type(journal)], None)


def test_what_was_sent_or_forgotten_meanwhile_is_not_staged_again_by_a_conflict(tmp_path):
    journal = StagingJournal(tmp_path / "journal.sqlite")
    try:
        number = prepared(journal)
        journal.record(number, State.DONE)
        journal.record(number, State.WITHDRAWN, remark="It is staged no longer.")
        for conflict in ("Somebody changed it.", None):
            journal.note_conflict(number, conflict)
            entry = journal.entry(number)
            assert (entry.state, entry.remark) == (State.WITHDRAWN, "It is staged no longer.")
    finally:
        journal.close()
