"""What is concluded of a write that got no clear answer, from what the server shows afterwards."""

from __future__ import annotations

import json
from contextlib import nullcontext

import pytest
import trio

from alyxfs import errors
from alyxfs.alyx.auth import Account
from alyxfs.alyx.rest import MAXIMUM_PAGE, Api
from alyxfs.alyx.schema.read import read_schema
from alyxfs.edits import State, outcome
from alyxfs.net import open_network
from small_alyx import SCHEMA, identifiers, resource, small_alyx

OURS, OTHER = identifiers(2)
PATHS = {**SCHEMA["paths"], **resource("weighings", "id", "subject"), **resource("notes", "id", "django")}
ENDPOINTS = read_schema({**SCHEMA, "paths": PATHS}).endpoints
BEFORE = {"id": OURS, "narrative": "before", "number": 1}


@pytest.fixture
def alyx():
    with small_alyx() as alyx:
        yield alyx


def of(alyx, judge, *arguments):
    """The judgement, with an API of the server."""

    async def run():
        async with open_network(deadline=5) as network:
            return await judge(Api(network, alyx.url, Account(token="good")), *arguments)

    return trio.run(run)


@pytest.mark.parametrize(
    ("now", "state"),
    [
        (BEFORE | {"narrative": "sent"}, State.DONE),
        (BEFORE, State.REFUSED),
        (BEFORE | {"number": 2}, State.REFUSED),
        (BEFORE | {"narrative": "of another program"}, State.UNKNOWN),
        (None, State.REFUSED),
    ],
)
def test_a_patch_is_judged_by_what_the_record_holds_now(alyx, now, state):
    alyx.put("sessions", [] if now is None else [now])
    found = of(alyx, outcome.of_patch, ENDPOINTS["sessions"], OURS, {"narrative": "sent"}, BEFORE)
    assert found.state is state
    assert (found.after or {}).get("narrative") == (now or {}).get("narrative")


@pytest.mark.parametrize(("name", "state"), [("new", State.DONE), ("old", State.REFUSED)])
def test_a_record_that_gets_another_name_is_looked_for_under_both(alyx, name, state):
    alyx.put("projects", [{"name": name, "users": []}])
    found = of(alyx, outcome.of_patch, ENDPOINTS["projects"], "old", {"name": "new"}, {"name": "old", "users": []})
    assert (found.state, found.key) == (state, name)


@pytest.mark.parametrize(
    ("rows", "taken", "state"),
    [
        ([], (), State.REFUSED),
        ([{"id": OURS, "subject": "S1", "weight": 21.5}], (), State.DONE),
        ([{"id": OURS, "subject": "S1", "weight": 21.5}], (OURS,), State.REFUSED),
        ([{"id": OURS, "subject": "S1", "weight": 20}], (), State.REFUSED),
        ([{"id": each, "subject": "S1", "weight": 21.5} for each in (OURS, OTHER)], (), State.UNKNOWN),
        ([{"id": each, "subject": "S1", "weight": 21.5} for each in (OURS, OTHER)], (OTHER,), State.DONE),
    ],
    ids=["none", "one", "one that was there before", "another", "two", "two, one of them there before"],
)
def test_a_record_that_may_have_been_made_is_looked_for_among_those_like_it(alyx, rows, taken, state):
    alyx.put("weighings", rows)
    found = of(alyx, outcome.of_post, ENDPOINTS["weighings"], {"subject": "S1", "weight": 21.5}, taken)
    assert found.state is state
    assert found.key == (OURS if state is State.DONE else None)


def test_a_record_that_may_have_been_made_is_found_behind_a_thousand_others(alyx):
    many = identifiers(MAXIMUM_PAGE + 5, seed=1)
    rows = [{"id": each, "subject": "S1", "weight": 20} for each in many] + [
        {"id": OURS, "subject": "S1", "weight": 21.5}
    ]
    alyx.put("weighings", rows)
    found = of(alyx, outcome.of_post, ENDPOINTS["weighings"], {"subject": "S1", "weight": 21.5}, set(many))
    assert (found.state, found.key) == (State.DONE, OURS)


def test_where_a_list_cannot_be_narrowed_down_nobody_knows(alyx):
    found = of(alyx, outcome.of_post, ENDPOINTS["weighings"], {"weight": 21.5}, ())
    assert found.state is State.UNKNOWN
    assert "cannot be searched" in found.remark
    assert alyx.asked_for("/weighings") == []


@pytest.mark.parametrize(
    ("record", "state"),
    [
        (None, State.REFUSED),
        ({"name": "new", "users": ["anna"]}, State.DONE),
        ({"name": "new", "users": []}, State.UNKNOWN),
    ],
)
def test_a_record_with_a_name_of_its_own_is_looked_up_by_it(alyx, record, state):
    alyx.put("projects", [record] if record else [])
    found = of(alyx, outcome.of_post, ENDPOINTS["projects"], {"name": "new", "users": ["anna"]}, ())
    assert found.state is state
    assert alyx.asked_for("/projects") == ["/projects/new"]


@pytest.mark.parametrize(("is_there", "state"), [(False, State.DONE), (True, State.REFUSED)])
def test_a_delete_is_done_when_the_record_is_gone(alyx, is_there, state):
    alyx.put("sessions", [BEFORE] if is_there else [])
    assert of(alyx, outcome.of_delete, ENDPOINTS["sessions"], OURS).state is state


@pytest.mark.parametrize(
    ("note", "state"),
    [
        (None, State.REFUSED),
        ({"id": OURS, "image": "http://alyx/1.png"}, State.REFUSED),
        ({"id": OURS, "image": "http://alyx/2.png"}, State.DONE),
        ({"id": OURS, "image": None}, State.UNKNOWN),
    ],
)
def test_a_picture_has_come_when_the_note_names_another_one(alyx, note, state):
    alyx.put("notes", [note] if note else [])
    assert of(alyx, outcome.of_image, OURS, {"image": "http://alyx/1.png"}).state is state


@pytest.mark.parametrize(
    ("method", "key", "sent", "answer", "sentence"),
    [
        ("POST", "new", {"name": "new"}, None, "without the record"),
        ("POST", "new", {"name": "new"}, {"users": []}, "without the record"),
        ("PATCH", "a", {"users": []}, ["a"], "without the record"),
        ("PATCH", "a", {"users": []}, {"name": "b"}, "another record, b"),
        ("PATCH", "a", {"users": []}, {"name": "a"}, None),
        ("PATCH", "a", {"users": []}, {"users": []}, None),
        ("PATCH", "a", {"name": "b"}, {"name": "b"}, None),
        ("DELETE", "a", {}, None, None),
    ],
)
def test_an_answer_that_is_not_the_record_settles_nothing(method, key, sent, answer, sentence):
    with pytest.raises(errors.ServerFault, match=sentence) if sentence else nullcontext():
        outcome.refuse_unusable(ENDPOINTS["projects"], method, key, sent, answer)


@pytest.mark.parametrize(
    ("words", "is_one"),
    [
        ("duplicate key value violates unique constraint", True),
        ("UNIQUE constraint failed: subjects_subject.nickname", True),
        ("null value violates not-null constraint", False),
    ],
)
def test_the_words_of_databases_for_a_name_that_is_taken(words, is_one):
    assert outcome.is_duplicate(errors.ServerFault(json.dumps(words))) is is_one
