"""What is staged: kept by the journal, in order, sent once whatever becomes of its drive, and never lost."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
import trio

from alyxfs import errors
from alyxfs.demo.server import running_demo
from alyxfs.edits import Journal, State
from alyxfs.edits.entry import Entry
from alyxfs.edits.proposals.order import levels
from alyxfs.edits.write_sets import to_undo
from asking import Asking
from editing import draft, editing


@pytest.fixture
def demo(running):
    running.control(reset=True)
    yield running
    running.control(reset=True)


@pytest.fixture
def session(asking, demo):
    made = asking.send("POST", "/sessions", {"subject": "KS001", "lab": "cortexlab"})["id"]
    demo.clear_requests()
    return made


def writes(demo):
    asked = [(one["method"], one["path"]) for one in demo.requests()]
    return [(method, path) for method, path in asked if method != "GET" and path != "/auth-token"]


async def stage_both(demo, directory, session, weight):
    """A change and a new record, on a drive that is gone afterwards; their numbers."""
    async with editing(demo.url, directory, stage=True) as room:
        await room.editor.save("sessions", session, None, draft({"narrative": "staged"}))
        await room.editor.create("weighings", "new", draft({"subject": "KS001", "weight": weight}))
        return [entry.number for entry in await room.staging.entries()]


def apply_and_die(demo, directory, step, number):
    program = Path(__file__).parents[1] / "support" / "editing.py"
    command = [sys.executable, str(program), demo.url, str(directory), step, "apply", json.dumps([number])]
    environment = {**os.environ, "PYTHONPATH": str(program.parent.parent)}
    return subprocess.run(command, env=environment, timeout=60, check=False).returncode


@pytest.mark.trio
@pytest.mark.parametrize("step", ["prepared", "marked sent", "answered", "recorded"])
async def test_a_kill_while_it_is_applied_neither_loses_nor_repeats_anything(demo, asking, session, tmp_path, step):
    weight = 20 + uuid.uuid4().int % 1000 / 1000
    numbers = await stage_both(demo, tmp_path, session, weight)
    for number in numbers:
        assert apply_and_die(demo, tmp_path, step, number) == -signal.SIGKILL
    happened = step in {"answered", "recorded"}
    async with editing(demo.url, tmp_path, stage=True) as room:
        await room.staging.editor.recover()
        await room.staging.load()
        waiting = [entry.number for entry in await room.staging.entries()]
        assert waiting == ([] if happened else numbers)
        assert (await room.read("sessions", session))["narrative"] == "staged"
        results, refused = await room.staging.apply(waiting, await room.editor.begin_set("again"))
        assert len(results) == len(waiting)
        assert refused == {}
        for number in numbers:
            assert (await room.editor.entry(number)).state is State.APPLIED
    assert asking.get(f"/sessions/{session}")["narrative"] == "staged"
    assert sorted(method for method, _ in writes(demo)) == ["PATCH", "POST"]


@pytest.mark.trio
async def test_a_staged_record_whose_answer_was_lost_is_not_made_twice(demo, asking, session, tmp_path):
    weight = 20 + uuid.uuid4().int % 1000 / 1000
    _, number = await stage_both(demo, tmp_path, session, weight)
    async with editing(demo.url, tmp_path, stage=True) as room:
        demo.control(drop_after_save={"count": 1, "method": "POST", "path_prefix": "/weighings"})
        demo.control(fail={"status": 500, "method": "GET", "count": 1, "path_prefix": "/weighings"})
        _, refused = await room.staging.apply([number], await room.editor.begin_set("first"))
        assert "not known whether it was saved" in str(refused[number])
        assert (await room.editor.entry(number)).state is State.STAGED
        results, refused = await room.staging.apply([number], await room.editor.begin_set("second"))
        assert refused == {}
        assert "had done it after all" in results[0].sentence
        assert (await room.editor.entry(number)).state is State.APPLIED
    assert [method for method, path in writes(demo) if path == "/weighings"] == ["POST"]


@pytest.mark.trio
async def test_what_is_staged_on_a_new_record_is_compared_with_what_the_server_made_of_it(demo, asking, tmp_path):
    name = f"p{uuid.uuid4().hex}"
    async with editing(demo.url, tmp_path, stage=True) as room:
        made = await room.editor.create("sessions", "new", draft({"subject": "KS001", "lab": "cortexlab"}))
        await room.editor.create("projects", name, draft({"name": name}))
        shown = await room.read("sessions", made.key)
        await room.editor.save("sessions", made.key, shown, draft({"projects": [name], "narrative": "later"}))
        first, project, change = [entry.number for entry in await room.staging.entries()]
        assert await room.staging.in_order([]) == [[first, project], [change]]
        in_set = await room.editor.begin_set("new ones")
        for group in ([first], [project]):
            results, refused = await room.staging.apply(group, in_set)
            assert refused == {}
        real = (await room.editor.entry(results[0].number)).key
        assert real == name
    async with editing(demo.url, tmp_path) as room:  # one that shows nothing of it
        results, refused = await room.staging.apply([change], await room.editor.begin_set("the rest"))
        assert refused == {}
        found = asking.get(f"/sessions/{results[0].key}")
        assert (found["projects"], found["narrative"]) == ([name], "later")


@pytest.mark.trio
async def test_an_action_is_staged_and_sent(demo, tmp_path):
    async with editing(demo.url, tmp_path, stage=True) as room:
        document = {"path": "KS001/2023-01-02/001", "filenames": ["alf/x.y.npy"], "name": "flatiron_cortexlab"}
        await room.editor.act("register-file", draft(document))
        (entry,) = await room.staging.entries()
        assert (entry.operation, entry.request) == ("act", document)
        demo.clear_requests()
        await room.staging.apply([entry.number], await room.editor.begin_set("an action"))
        assert [path for _, path in writes(demo)] == ["/register-file"]


@pytest.mark.trio
async def test_one_process_has_what_is_staged(demo, session, tmp_path):
    from alyxfs.edits.staging import having

    number, _ = await stage_both(demo, tmp_path, session, 21)
    async with editing(demo.url, tmp_path) as room:
        with having(tmp_path / "staging.lock"), pytest.raises(errors.ConfigurationError, match="mounted with --stage"):
            await room.staging.discard([number])
        assert len(await room.staging.entries()) == 2
        results, _ = await room.staging.discard([])
        assert len(results) == 2


def test_a_journal_of_an_earlier_version_is_brought_up_to_date(tmp_path):
    from alyxfs.edits import journal_layout

    path = tmp_path / "journal.sqlite"
    with sqlite3.connect(path) as old:
        old.executescript(journal_layout._LAYOUT)
        old.execute("PRAGMA user_version=2")
        old.execute(
            "INSERT INTO writes (time, server, process, operation, endpoint, key, method, state)"
            " VALUES (1, 's', 'p', 'save', 'labs', 'x', 'PATCH', 'done')"
        )
        old.execute("INSERT INTO documents (number) VALUES (1)")
    old.close()
    journal = Journal(path)
    try:
        assert (journal.entry(1).key, journal.entry(1).in_set) == ("x", None)
        number = journal.begin_set("s", "a test")
        journal.prepare("s", "save", "labs", "x", "PATCH", in_set=number)
        assert [each.number for each in journal.entries(in_set=number)] == [2]
        assert journal.write_set(number).made_by == "a test"
    finally:
        journal.close()


def entry(number, method, key, operation="save", **more):
    values = dict.fromkeys(Entry.__dataclass_fields__)
    return Entry(
        **{**values, "number": number, "endpoint": "x", "key": key, "method": method, "operation": operation}
        | {"state": State.DONE, "server": "s", **more}
    )


def test_a_set_is_taken_back_from_its_end_and_what_is_independent_at_a_time():
    writes = [
        entry(1, "PATCH", "a"),
        entry(2, "PATCH", "b"),
        entry(3, "PATCH", "a"),
        entry(4, "POST", "c", "create"),
        entry(5, "PATCH", "c"),
        entry(6, "PATCH", "d", "rename"),
        entry(7, "PATCH", "e", state=State.REFUSED),
        entry(8, "PATCH", "f"),
        entry(9, "PATCH", "g", undo_of=90),
        entry(10, "PATCH", "g", undo_of=90),
    ]
    assert to_undo(writes, {8}) == [[10], [6], [5], [4], [3, 2], [1]]
    assert to_undo([], ()) == []


def test_what_builds_on_others_comes_after_them():
    assert levels([1, 2, 3, 4], {2: {1}, 3: {1, 2}, 4: {9}}) == [[1, 4], [2], [3]]
    assert levels([], {}) == []


@pytest.mark.trio
async def test_two_who_apply_the_same_at_once_send_it_once(demo, session, tmp_path):
    numbers = await stage_both(demo, tmp_path, session, 20 + uuid.uuid4().int % 1000 / 1000)
    async with editing(demo.url, tmp_path) as room:
        in_set, came = await room.editor.begin_set("twice"), []

        async def apply():
            came.append(await room.staging.apply(numbers, in_set))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(apply)
            nursery.start_soon(apply)
        assert sorted(len(results) for results, _ in came) == [0, 2]

    assert sorted(method for method, _ in writes(demo)) == ["PATCH", "POST"]


@pytest.mark.trio
async def test_without_the_server_all_stays_staged_and_can_be_discarded(demo_directory, tmp_path):
    with running_demo(demo_directory, largest_file_mb=2, control=True) as demo:
        session = Asking(demo.url).rows("/sessions?subject=KS001")[0]["id"]
        async with editing(demo.url, tmp_path, stage=True, deadline=6) as room:
            for text in ("one", "two"):
                await room.editor.save("sessions", session, None, draft({"narrative": text}))
            first, second = [entry.number for entry in await room.staging.entries()]
            demo.process.kill()
            demo.process.wait(10)
            _, refused = await room.staging.apply([first], await room.editor.begin_set("away"))
            assert isinstance(refused[first], errors.Unreachable)
            assert [entry.number for entry in await room.staging.entries()] == [first, second]
            _, refused = await room.staging.discard([first])
            assert f"(write {second}): discard those, too" in str(refused[first])
            results, _ = await room.staging.discard([])
            assert [result.number for result in results] == [second, first]
