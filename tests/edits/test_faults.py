"""Writes that go wrong: every refusal, lost answers, a server that is gone, and kill -9 at every step."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest

from alyxfs import errors
from alyxfs.demo.server import running_demo
from alyxfs.edits import State
from editing import draft, editing

STEPS = ("begun", "prepared", "read again", "marked sent", "answered", "recorded", "forgotten")


@pytest.fixture
def demo(running):
    running.control(reset=True)
    running.clear_requests()
    yield running
    running.control(reset=True)


@pytest.fixture
def session_id(asking, running):
    running.control(reset=True)
    made = asking.send("POST", "/sessions", {"subject": "KS001", "lab": "cortexlab"})
    running.clear_requests()
    return made["id"]


def writes(demo, prefix):
    """What was written to these addresses; a request whose answer was dropped counts too."""
    return [one["method"] for one in demo.requests() if one["method"] != "GET" and one["path"].startswith(prefix)]


@pytest.mark.trio
@pytest.mark.parametrize(
    ("status", "error", "state"),
    [
        (400, errors.Invalid, State.REFUSED),
        (403, errors.AccessDenied, State.REFUSED),
        (404, errors.NotFound, State.REFUSED),
        (405, errors.NotAllowed, State.REFUSED),
        (409, errors.Invalid, State.REFUSED),
        (429, errors.Throttled, State.REFUSED),
        (500, errors.ServerFault, State.REFUSED),
        (502, errors.ServerFault, State.UNKNOWN),
        (504, errors.ServerFault, State.UNKNOWN),
    ],
)
async def test_each_refusal_is_told_journalled_and_keeps_the_draft(
    demo, asking, session_id, tmp_path, status, error, state
):
    async with editing(demo.url, tmp_path) as room:
        base = await room.read("sessions", session_id)
        demo.control(fail={"status": status, "method": "PATCH", "count": 1})
        mine = draft({"narrative": "mine"})
        with pytest.raises(error) as refusal:
            await room.editor.save("sessions", session_id, base, mine)
        (entry,) = await room.entries()
        assert (entry.state, entry.status) == (state, status)
        assert entry.remark == str(refusal.value)
        assert mine.decode() in room.kept().values()
        assert asking.get(f"/sessions/{session_id}")["narrative"] == ""
        if state is State.UNKNOWN:  # reading again, later, is certain
            assert "It is not known whether it was saved" in str(refusal.value)
            (sentence,) = await room.editor.recover()
            assert "as it was before" in sentence
            assert (await room.entries())[0].state is State.REFUSED
            assert await room.editor.recover() == []


@pytest.mark.trio
async def test_a_save_whose_answer_was_lost_is_found_saved(demo, asking, session_id, tmp_path):
    async with editing(demo.url, tmp_path) as room:
        base = await room.read("sessions", session_id)
        demo.control(drop_after_save={"count": 1, "method": "PATCH"})
        result = await room.editor.save("sessions", session_id, base, draft({"narrative": "mine"}))
        assert "saved nevertheless" in result.sentence
        assert (await room.read("sessions", session_id))["narrative"] == "mine"
        assert (await room.entries())[0].state is State.DONE
        await room.editor.undo(result.number)
        assert asking.get(f"/sessions/{session_id}")["narrative"] == ""
    assert writes(demo, f"/sessions/{session_id}") == ["PATCH", "PATCH"]


@pytest.mark.trio
async def test_a_new_record_whose_answer_was_lost_is_found_by_what_it_holds(demo, asking, tmp_path):
    weight = 20 + uuid.uuid4().int % 1000 / 1000
    async with editing(demo.url, tmp_path) as room:
        earlier = await room.editor.create("weighings", "new", draft({"subject": "KS001", "weight": weight}))
        demo.control(drop_after_save={"count": 1, "method": "POST"})
        made = await room.editor.create("weighings", "new", draft({"subject": "KS001", "weight": weight}))
        assert made.key != earlier.key
        assert asking.get(f"/weighings/{made.key}")["weight"] == weight
        with pytest.raises(errors.NotAllowed, match="the record was there before"):
            await room.editor.undo(made.number)
        assert asking.get(f"/weighings/{earlier.key}")["weight"] == weight
    assert writes(demo, "/weighings") == ["POST", "POST"]


@pytest.mark.trio
async def test_a_new_record_that_may_have_been_made_is_not_made_twice(demo, asking, tmp_path):
    weight = 20 + uuid.uuid4().int % 1000 / 1000
    new = draft({"subject": "KS001", "weight": weight})
    async with editing(demo.url, tmp_path) as room:
        demo.control(drop_after_save={"count": 1, "method": "POST", "path_prefix": "/weighings"})
        demo.control(fail={"status": 500, "method": "GET", "count": 1, "path_prefix": "/weighings"})
        with pytest.raises(errors.ServerFault, match="not known whether it was saved"):
            await room.editor.create("weighings", "new", new)
        demo.control(fail={"status": 500, "method": "GET", "count": 1, "path_prefix": "/weighings"})
        with pytest.raises(errors.ServerFault):  # it can still not be told, so nothing is sent
            await room.editor.create("weighings", "new", new)
        made = await room.editor.create("weighings", "other name", new)
        assert asking.get(f"/weighings/{made.key}")["weight"] == weight
        assert "nothing was sent again" in made.sentence
        assert writes(demo, "/weighings") == ["POST"]
        assert [entry.state for entry in await room.entries()] == [State.DONE, State.REFUSED, State.REFUSED]
        second = await room.editor.create("weighings", "new", new)  # meant as it is: all is known by now
        assert second.key != made.key
        await room.editor.undo(second.number)
    assert writes(demo, "/weighings") == ["POST", "POST", "DELETE"]


@pytest.mark.trio
async def test_a_new_record_of_which_several_may_have_been_made_is_left_alone(demo, asking, tmp_path):
    weight = 20 + uuid.uuid4().int % 1000 / 1000
    new = {"subject": "KS001", "weight": weight}
    async with editing(demo.url, tmp_path) as room:
        demo.control(fail={"status": 502, "method": "POST", "count": 1, "path_prefix": "/weighings"})
        with pytest.raises(errors.ServerFault, match="may still arrive"):
            await room.editor.create("weighings", "new", draft(new))
        for _ in range(2):
            asking.send("POST", "/weighings", new)
        with pytest.raises(errors.Exists, match="2 records with these values are there"):
            await room.editor.create("weighings", "new", draft(new))
        await room.editor.create("weighings", "new", draft({**new, "date_time": "2024-05-06T07:08:09"}))
    assert writes(demo, "/weighings") == ["POST", "POST", "POST", "POST"]


@pytest.mark.trio
async def test_a_delete_whose_answer_was_lost_is_found_done(demo, asking, session_id, tmp_path):
    async with editing(demo.url, tmp_path) as room:
        demo.control(drop_after_save={"count": 1, "method": "DELETE"})
        await room.editor.delete("sessions", session_id)
        assert (await room.entries())[0].state is State.DONE
        demo.control(fail={"status": 500, "method": "DELETE", "count": 1})
        with pytest.raises(errors.ServerFault, match="the record is still there"):
            await room.editor.delete("weighings", asking.rows("/weighings?nickname=KS001")[0]["url"].rsplit("/", 1)[-1])


@pytest.mark.trio
async def test_a_500_that_saved_is_told_from_one_that_did_not(demo, asking, tmp_path):
    dataset = asking.get("/datasets?limit=1")["results"][0]
    wrong = {
        "name": "_x_y.z.npy",
        "dataset_type": dataset["dataset_type"],
        "session": dataset["session"],
        "collection": "bad coll!",
    }
    async with editing(demo.url, tmp_path) as room:
        made = await room.editor.create("datasets", "new", draft(wrong))
        assert "saved nevertheless" in made.sentence
        assert asking.get(f"/datasets/{made.key}")["collection"] == "bad coll!"
        note = {"user": "demo", "content_type": "session", "object_id": str(uuid.uuid4()), "text": "of nothing"}
        with pytest.raises(errors.ServerFault, match="It was not saved"):
            await room.editor.create("notes", "new", draft(note))


@pytest.mark.trio
async def test_a_connection_closed_before_anything_was_done(demo, asking, session_id, tmp_path):
    async with editing(demo.url, tmp_path) as room:
        base = await room.read("sessions", session_id)
        demo.control(close_before={"count": 1, "method": "PATCH"})
        with pytest.raises(errors.AlyxfsError, match="not known whether it was saved"):
            await room.editor.save("sessions", session_id, base, draft({"narrative": "mine"}))
        assert (await room.entries())[0].state is State.UNKNOWN
    async with editing(demo.url, tmp_path) as room:
        (sentence,) = await room.editor.recover()
        assert "as it was before" in sentence
        assert (await room.entries())[0].state is State.REFUSED


@pytest.mark.trio
async def test_an_answer_that_takes_too_long_is_followed_by_reading(demo, asking, session_id, tmp_path):
    async with editing(demo.url, tmp_path, deadline=1) as room:
        base = await room.read("sessions", session_id)
        demo.control(delay={"seconds": 3, "count": 1, "method": "PATCH"})
        started = time.monotonic()
        with pytest.raises(errors.AlyxfsError, match="not known whether it was saved"):
            await room.editor.save("sessions", session_id, base, draft({"narrative": "late"}))
        assert time.monotonic() - started < 2.9
    wait_until(lambda: asking.get(f"/sessions/{session_id}")["narrative"] == "late")
    async with editing(demo.url, tmp_path) as room:
        (sentence,) = await room.editor.recover()
        assert "holds what was sent" in sentence
        assert (await room.entries())[0].state is State.DONE


@pytest.mark.trio
async def test_a_server_that_is_gone(demo_directory, tmp_path):
    with running_demo(demo_directory, largest_file_mb=2) as other:
        room_context = editing(other.url, tmp_path)
        room = await room_context.__aenter__()
        base = await room.read("projects", "practice")
    try:
        with pytest.raises(errors.Unreachable):
            await room.editor.save("projects", "practice", base, draft({"description": "mine"}))
        with pytest.raises(errors.Unreachable, match="nothing was sent"):
            await room.editor.create("weighings", "new", draft({"subject": "KS001", "weight": 20}))
        assert [entry.state for entry in await room.entries()] == [State.REFUSED, State.REFUSED]
        assert len(room.kept()) == 4
    finally:
        await room_context.__aexit__(None, None, None)


@pytest.mark.trio
async def test_a_field_that_the_server_does_not_take_is_told(demo, session_id, tmp_path, monkeypatch):
    async with editing(demo.url, tmp_path) as room:
        base = await room.read("sessions", session_id)
        schema = await room.metadata.schema()
        fields = schema.endpoints["sessions"].fields
        monkeypatch.setitem(fields, "invented", fields["narrative"])
        with pytest.raises(errors.Invalid, match='invented was sent as "x" and is'):
            await room.editor.save("sessions", session_id, base, draft({"invented": "x", "narrative": "kept"}))
        (entry,) = await room.entries()
        assert entry.state is State.DONE
        assert entry.after["narrative"] == "kept"
        assert "invented" in entry.remark


@pytest.mark.trio
async def test_an_action_without_a_clear_answer_is_reported_once(demo, tmp_path):
    order = draft({"path": "KS001/2020-01-01/001/alf", "filenames": []})
    async with editing(demo.url, tmp_path) as room:
        demo.control(fail={"status": 500, "method": "POST", "path_prefix": "/register-file"})
        with pytest.raises(errors.ServerFault):
            await room.editor.act("register-file", order)
        (entry,) = await room.entries()
        assert entry.state is State.UNKNOWN
        assert "look for its results" in entry.remark
        assert await room.editor.recover() == []


@pytest.mark.trio
async def test_a_server_that_breaks_off_its_answer(demo, asking, session_id, tmp_path):
    async with editing(demo.url, tmp_path) as room:
        base = await room.read("sessions", session_id)
        demo.control(truncate={"bytes": 20, "method": "PATCH"})
        await room.editor.save("sessions", session_id, base, draft({"narrative": "mine"}))
        assert (await room.entries())[0].state is State.DONE
        assert asking.get(f"/sessions/{session_id}")["narrative"] == "mine"
    assert writes(demo, "/sessions") == ["PATCH"]


def write_and_die(demo, directory, step, operation, *arguments):
    """Run a write in a process that kills itself at a step."""
    program = Path(__file__).parents[1] / "support" / "editing.py"
    command = [sys.executable, str(program), demo.url, str(directory), step, operation, json.dumps(arguments)]
    environment = {**os.environ, "PYTHONPATH": str(program.parent.parent)}
    return subprocess.run(command, env=environment, timeout=60, check=False).returncode


@pytest.mark.trio
@pytest.mark.parametrize("step", STEPS)
async def test_killed_while_saving(demo, asking, session_id, tmp_path, step):
    edit = {"narrative": f"killed at {step}"}
    assert write_and_die(demo, tmp_path, step, "save", "sessions", session_id, edit) == -signal.SIGKILL
    saved = asking.get(f"/sessions/{session_id}")["narrative"] == edit["narrative"]
    assert saved is (step in STEPS[4:])
    async with editing(demo.url, tmp_path) as room:
        sentences = await room.editor.recover()
        entries = await room.entries()
        assert await room.editor.recover() == []
        if step == "begun":
            assert (sentences, entries) == ([], [])
            return
        (entry,) = entries
        assert entry.state is (State.DONE if saved else State.REFUSED)
        assert entry.draft == draft(edit)
        if step in {"recorded", "forgotten"}:
            assert sentences == []
        else:
            assert sentences == [entry.remark]
            assert (draft(edit).decode() in room.kept().values()) is not saved
        if saved:
            await room.editor.undo(entry.number)
            assert asking.get(f"/sessions/{session_id}")["narrative"] == ""
    assert writes(demo, f"/sessions/{session_id}") == (["PATCH", "PATCH"] if saved else [])


@pytest.mark.trio
@pytest.mark.parametrize("step", ["prepared", "marked sent", "answered", "recorded"])
@pytest.mark.parametrize("operation", ["create", "delete"])
async def test_killed_while_making_or_deleting(demo, asking, session_id, tmp_path, step, operation):
    name = f"p{uuid.uuid4().hex}"
    arguments = ("projects", name, {"description": "killed"}) if operation == "create" else ("sessions", session_id)
    assert write_and_die(demo, tmp_path, step, operation, *arguments) == -signal.SIGKILL
    happened = step in {"answered", "recorded"}
    async with editing(demo.url, tmp_path) as room:
        sentences = await room.editor.recover()
        (entry,) = await room.entries()
        assert len(sentences) == (step != "recorded")
        assert entry.state is (State.DONE if happened else State.REFUSED)
        is_answered = operation == "delete" or step == "recorded"  # else the record may have been there before
        if happened and is_answered:
            await room.editor.undo(entry.number)
    expected = {"create": ["POST", "DELETE"], "delete": ["DELETE", "POST"]}[operation][: 1 + is_answered]
    address = "/projects" if operation == "create" else "/sessions"
    assert writes(demo, address) == ([] if not happened else expected)


@pytest.mark.trio
async def test_an_interrupted_new_record_is_found_again(demo, asking, tmp_path):
    weight = 30 + uuid.uuid4().int % 1000 / 1000
    new = {"subject": "KS001", "weight": weight}
    assert write_and_die(demo, tmp_path, "answered", "create", "weighings", "today", new) == -signal.SIGKILL
    async with editing(demo.url, tmp_path) as room:
        (sentence,) = await room.editor.recover()
        (entry,) = await room.entries()
        assert entry.key in sentence
        assert asking.get(f"/weighings/{entry.key}")["weight"] == weight
    assert writes(demo, "/weighings") == ["POST"]


@pytest.mark.trio
async def test_recovery_waits_for_a_server_that_is_down(demo, session_id, tmp_path):
    assert write_and_die(demo, tmp_path, "answered", "save", "sessions", session_id, {"narrative": "x"})
    async with editing(demo.url, tmp_path) as room:
        await room.metadata.schema()
        demo.control(fail={"status": 503, "count": 9, "path_prefix": "/sessions"})
        (sentence,) = await room.editor.recover()
        assert "not known yet" in sentence
        demo.control(reset=True)
        (sentence,) = await room.editor.recover()
        assert "holds what was sent" in sentence


def wait_until(condition, patience=20.0):
    ends = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < ends
        threading.Event().wait(0.05)
