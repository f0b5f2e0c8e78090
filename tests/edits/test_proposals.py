"""Proposals laid over what a server gives: merge, names, queries. Without a server."""

from __future__ import annotations

import pytest

from alyxfs.alyx.schema.model import Endpoint, Field
from alyxfs.edits.proposals import answers
from alyxfs.edits.proposals.order import builds_on
from alyxfs.edits.proposals.overlay import Overlay
from alyxfs.edits.proposals.proposal import Proposal
from alyxfs.edits.proposals.selection import Standing, selects

SESSION = {
    "id": "11111111-0000-4000-8000-000000000000",
    "subject": "KS001",
    "lab": "cortexlab",
    "projects": ["ibl_brainwide", "u19"],
    "users": ["alice", "bob"],
    "number": 3,
    "start_time": "2023-05-01T10:00:00",
    "task_protocol": "_iblrig_ephysChoiceWorld",
    "narrative": "",
    "n_trials": None,
    "json": {"a": 1},
    "auto_datetime": "2023-05-02T00:00:00",
}


def endpoint(name, lookup, **kinds):
    fields = {field: Field(field, kind, False, False, None, True, "") for field, kind in kinds.items()}
    return Endpoint(name, lookup, True, True, frozenset(), frozenset(), {}, fields, "", False)


SESSIONS = endpoint(
    "sessions", "id", subject="string", narrative="string", number="int64", start_time="date-time", json="any"
)
SUBJECTS = endpoint("subjects", "nickname", nickname="string", lab="string")


@pytest.mark.parametrize(
    ("name", "value", "judged"),
    [
        ("subject", "ks001", True),
        ("subject", "KS00", False),
        ("task_protocol", "ephys", True),
        ("project", "brainwide", True),
        ("projects", "none", False),
        ("users", "alice,bob", True),
        ("users", "alice,carol", False),
        ("number", "3", True),
        ("number", "4", False),
        ("date_range", "2023-01-01,2023-05-01", True),
        ("date_range", "2024-01-01,2024-05-01", False),
        ("tag", "2022_Q2", None),
        ("performance_gte", "70", None),
        ("django", "narrative,", True),
        ("django", "number__gte,3,narrative__icontains,x", False),
        ("django", "number__lt,3.5", True),
        ("django", "n_trials__isnull,True", True),
        ("django", "~n_trials__isnull,True", False),
        ("django", "subject__nickname__in,['KS001','KS002']", True),
        ("django", "lab__name,cortexlab,number,3", True),
        ("django", "subject__line__name,C57", None),
        ("django", f"id__in,['{SESSION['id']}']", True),
        ("django", "pk,22222222-0000-4000-8000-000000000000", False),
        ("django", "json__a,1", None),
        ("django", "number", None),
        ("django", "number__in," + "[" * 200, None),
        ("django", "auto_datetime__gt,2024-01-01T00:00:00", False),
    ],
)
def test_a_query_is_judged_as_the_server_would(name, value, judged):
    assert selects("sessions", ((name, value),), SESSION) is judged


def test_what_changed_is_newer_than_all_that_the_server_has():
    query = (("django", "auto_datetime__gt,2024-01-01T00:00:00"),)
    assert selects("sessions", query, SESSION, Standing.CHANGED)
    assert selects("sessions", query, {**SESSION, "auto_datetime": None}, Standing.NEW)


def test_columns_that_are_not_shown_are_empty_in_a_new_record_that_is_asked_for():
    query = (("django", f"id,{SESSION['id']},name,,session__isnull,True"),)
    assert selects("sessions", query, SESSION, Standing.NEW)
    assert selects("sessions", query, SESSION, Standing.CHANGED) is None
    assert selects("sessions", (("django", "hidden,x"),), SESSION, Standing.NEW) is None


def change(overlay, at, described, key, before, /, **fields):
    return overlay.add(Proposal(at, "PATCH", described, key, fields, before))


def test_proposals_are_merged_in_their_order_and_conflicts_change_nothing():
    overlay = Overlay()
    change(overlay, 1, SESSIONS, SESSION["id"], SESSION, number=7)
    record = change(overlay, 2, SESSIONS, SESSION["id"], {**SESSION, "number": 7}, json={"a": 1, "b": 2})
    theirs = {**SESSION, "json": {"a": 1, "c": 3}, "narrative": "theirs"}
    assert record.shown(theirs) == {**theirs, "number": 7, "json": {"a": 1, "b": 2, "c": 3}}
    assert record.conflicts(theirs) == {}
    theirs["number"] = 9
    assert record.shown(theirs)["number"] == 9
    assert list(record.conflicts(theirs)) == [1]
    assert record.shown({"id": SESSION["id"], "number": 3}) == {"id": SESSION["id"], "number": 7}, "a row has less"


def test_a_new_name_stands_in_all_that_names_it_and_names_can_be_swapped():
    overlay = Overlay()
    change(overlay, 1, SESSIONS, SESSION["id"], SESSION, subject="B")
    for number, old, new in ((2, "A", "C"), (3, "B", "A"), (4, "C", "B")):
        change(overlay, number, SUBJECTS, old, {"nickname": old, "id": f"id of {number}"}, nickname=new)
    assert overlay.with_new_names("weighings", {"subject": "A"}) == {"subject": "B"}
    assert overlay.with_new_names("weighings", {"subject": "B"}) == {"subject": "A"}
    assert overlay.with_new_names("labs", {"subject": "A"}) == {"subject": "A"}, "those name no subjects"
    assert overlay.live("sessions", SESSION["id"]).shown(SESSION)["subject"] == "A"
    assert overlay.origin_of("subjects", "A") == "B"
    assert overlay.is_gone("subjects", "C") is False
    assert overlay.origin_of("subjects", "C") == "C", "the server would know, if it had one"


def test_a_name_that_was_given_up_can_be_given_anew():
    overlay = Overlay()
    record = overlay.add(Proposal(1, "DELETE", SUBJECTS, "A", {}, {"nickname": "A", "id": "x"}))
    assert overlay.is_gone("subjects", "A")
    assert overlay.origin_of("subjects", "A") is None
    made = overlay.add(Proposal(2, "POST", SUBJECTS, "A", {"nickname": "A", "id": "y", "lab": "l"}, {}))
    assert overlay.live("subjects", "A") is made
    assert made.is_new
    overlay.withdraw(made, made.proposals[0])
    overlay.withdraw(record, record.proposals[0])
    assert overlay.of("subjects") == []
    assert not overlay.is_gone("subjects", "A")


def test_values_are_stored_as_the_server_stores_them():
    fields = {"narrative": " x ", "number": "4", "start_time": "2023-01-02T03:04:05+05:00", "json": {"x": " y "}}
    stored = answers.stored(SESSIONS, fields, lambda name, key: f"http://alyx/{name}/{key}")
    assert stored == {"narrative": "x", "number": 4, "start_time": "2023-01-01T22:04:05", "json": {"x": " y "}}


def test_what_others_build_on_is_not_withdrawn():
    overlay = Overlay()
    a, new = {"nickname": "A", "id": "x"}, {"nickname": "NEW", "id": "y"}
    renamed = change(overlay, 1, SUBJECTS, "A", a, nickname="B")
    again = overlay.add(Proposal(2, "POST", SUBJECTS, "A", {"nickname": "A", "id": "z"}, {}))
    made = overlay.add(Proposal(3, "POST", SUBJECTS, "NEW", new, {}))
    session = overlay.add(Proposal(4, "POST", SESSIONS, "s", {"id": "s", "subject": "NEW"}, {}))
    changed = change(overlay, 5, SUBJECTS, "NEW", new, lab="l")
    assert overlay.in_the_way(renamed, renamed.proposals[0], a) == {2}, "its name is taken"
    assert overlay.in_the_way(made, made.proposals[0], None) == {4, 5}, "it is named, and changed"
    assert changed is made
    overlay.withdraw(session, session.proposals[0])
    overlay.withdraw(made, made.proposals[1])
    overlay.withdraw(again, again.proposals[0])
    for record, theirs in ((renamed, a), (made, None)):
        assert overlay.in_the_way(record, record.proposals[0], theirs) == set()
        overlay.withdraw(record, record.proposals[0])
    assert list(overlay) == []


NOTE = endpoint("notes", "id", object_id="uuid", text="string")
THEIR_ID = "99999999-0000-4000-8000-000000000000"
OWN_ID = "88888888-0000-4000-8000-000000000000"


def test_a_proposal_builds_on_what_it_names_changes_and_takes_the_name_of():
    overlay = Overlay()
    new = {"nickname": "NEW", "id": "y"}
    overlay.add(Proposal(1, "POST", SUBJECTS, "NEW", new, {}))
    overlay.add(Proposal(2, "POST", SESSIONS, OWN_ID, {"id": OWN_ID, "subject": "NEW"}, {}))
    overlay.add(Proposal(3, "POST", NOTE, "n", {"id": "n", "object_id": OWN_ID}, {}))
    change(overlay, 4, SUBJECTS, "NEW", new, lab="l")
    change(overlay, 5, SUBJECTS, "OLD", {"nickname": "OLD", "id": "o"}, nickname="NEWER")
    change(overlay, 6, SUBJECTS, "NEWER", {"nickname": "NEWER", "id": "o"}, lab="l")
    overlay.add(Proposal(7, "POST", SUBJECTS, "OLD", {"nickname": "OLD", "id": "z"}, {}))
    change(overlay, 8, SESSIONS, SESSION["id"], SESSION, number=1)
    change(overlay, 9, SESSIONS, SESSION["id"], SESSION, narrative="x")
    change(overlay, 10, SESSIONS, SESSION["id"], SESSION, narrative="y", subject="NEWER")
    overlay.add(Proposal(11, "DELETE", SESSIONS, SESSION["id"], {}, SESSION))
    expected = {1: set(), 2: {1}, 3: {2}, 4: {1}, 5: set(), 6: {5}, 7: {5}, 8: set(), 9: set(), 10: {5, 9}}
    assert builds_on(overlay) == {**expected, 11: {8, 9, 10}}


def test_what_is_sent_leaves_the_others_in_terms_of_the_server():
    overlay = Overlay()
    made = {"id": OWN_ID, "subject": "KS001", "narrative": None, "number": 1}
    record = overlay.add(Proposal(1, "POST", SESSIONS, OWN_ID, made, {}))
    change(overlay, 2, SESSIONS, OWN_ID, made, narrative="later")
    note = overlay.add(Proposal(3, "POST", NOTE, "n", {"id": "n", "object_id": OWN_ID}, {}))
    real = {**made, "id": THEIR_ID, "narrative": ""}
    overlay.sent(1, real)
    assert (record.is_new, record.origin, record.key, record.identity) == (False, THEIR_ID, THEIR_ID, THEIR_ID)
    assert record.shown(real) == {**real, "narrative": "later"}
    assert record.conflicts(real) == {}
    assert note.shown(None)["object_id"] == THEIR_ID
    overlay.sent(2, {**real, "narrative": "later"})
    assert overlay.of("sessions") == []
    theirs = {"nickname": "A", "id": "x"}
    renamed = change(overlay, 4, SUBJECTS, "A", theirs, nickname="B")
    change(overlay, 5, SUBJECTS, "B", {**theirs, "nickname": "B"}, lab="l")
    overlay.sent(4, {**theirs, "nickname": "B"})
    assert (renamed.origin, renamed.key) == ("B", "B")
    assert overlay.with_new_names("sessions", {"subject": "A"}) == {"subject": "A"}, "the server says so itself now"
