"""Undo of an undo, of many writes from the last to the first, and where what it needs is gone or away."""

from __future__ import annotations

import random

import pytest

from alyxfs import errors
from alyxfs.edits.journal import State
from asking import Asking
from editing import draft, editing

pytestmark = pytest.mark.trio


@pytest.fixture
def demo(changing):
    changing.control(reset=True)
    yield changing
    changing.control(reset=True)


@pytest.fixture
def asking(demo):
    return Asking(demo.url)


async def test_an_undo_can_be_undone_whatever_it_was(demo, tmp_path):
    async with editing(demo.url, tmp_path) as room:
        made = await room.editor.create("tags", "again", draft({"description": "one"}))
        gone = await room.editor.undo(made.number)
        back = await room.editor.undo(gone.number)
        assert back.document["description"] == "one"
        edit = await room.editor.save("tags", "again", None, draft({"description": "two"}))
        undone = await room.editor.undo(edit.number)
        await room.editor.undo(undone.number)
        assert (await room.read("tags", "again"))["description"] == "two"
        deleted = await room.editor.delete("tags", "again")
        back = await room.editor.undo(deleted.number)
        await room.editor.undo(back.number)
        with pytest.raises(errors.NotFound):
            await room.read("tags", "again")
        with pytest.raises(errors.NotAllowed, match=f"was undone by write {back.number} already"):
            await room.editor.undo(deleted.number)


async def test_an_undo_of_two_requests_is_undone_as_one(demo, asking, tmp_path):
    """A subject's new name is noted in its json, so that to take it back takes the note back, too."""
    async with editing(demo.url, tmp_path) as room:
        await room.editor.create("subjects", "TWICE_1", draft({"lab": "cortexlab"}))
        renamed = await room.editor.rename("subjects", "TWICE_1", "TWICE_2")
        undone = await room.editor.undo(renamed.number)
        parts = [entry.number for entry in await room.entries() if entry.undo_of == renamed.number]
        assert len(parts) == 2
        assert asking.get("/subjects/TWICE_1")["json"] is None
        await room.editor.undo(undone.number)
        assert asking.get("/subjects/TWICE_2")["nickname"] == "TWICE_2"
        for part in parts:
            with pytest.raises(errors.NotAllowed, match="already"):
                await room.editor.undo(part)


async def test_what_an_undo_needs_and_was_deleted_is_to_be_undone_first(demo, tmp_path):
    async with editing(demo.url, tmp_path) as room:
        await room.editor.create("subjects", "PARENT_1", draft({"lab": "cortexlab"}))
        session = (await room.editor.create("sessions", "new", draft({"subject": "PARENT_1", "users": []}))).key
        await room.editor.create("revisions", "first-one", draft({}))
        await room.editor.create("revisions", "second-one", draft({}))
        await room.editor.create("tags", "mine", draft({"description": "x"}))
        edit = await room.editor.save("tags", "mine", None, draft({"description": "y"}))
        deleted = [(await room.editor.delete(*each)).number for each in (("sessions", session), ("tags", "mine"))]
        deleted.append((await room.editor.delete("subjects", "PARENT_1")).number)
        with pytest.raises(
            errors.Invalid, match=rf"It needs subjects/PARENT_1, which write {deleted[2]} deleted: undo"
        ):
            await room.editor.undo(deleted[0])
        with pytest.raises(
            errors.NotFound, match=rf"It needs tags/mine, which write {deleted[1]} deleted: undo that fi"
        ):
            await room.editor.undo(edit.number)
        for number in reversed(deleted):
            await room.editor.undo(number)
        await room.editor.undo(edit.number)
        assert (await room.read("tags", "mine"))["description"] == "x"


async def test_an_undo_while_the_server_is_away_changes_nothing_and_works_later(demo, tmp_path):
    async with editing(demo.url, tmp_path, deadline=5) as room:
        await room.editor.create("tags", "away", draft({"description": "x"}))
        edit = await room.editor.save("tags", "away", None, draft({"description": "y"}))
        made = await room.editor.create("tags", "away2", draft({}))
        note = await room.editor.create("notes", "new", draft(note_about(await room.read("subjects", "KS001"))))
        deleted = await room.editor.delete("notes", note.key)
        entered = len(await room.entries())
        for write, path in ((edit, "/tags"), (made, "/tags"), (deleted, "/notes")):
            demo.control(fail={"status": 503, "count": 99, "path_prefix": path})
            with pytest.raises(errors.ServerFault):
                await room.editor.undo(write.number)
            demo.control(reset=True)
        later = (await room.entries())[entered:]
        assert {entry.state for entry in later} <= {State.REFUSED, State.UNKNOWN}
        await room.editor.recover()
        for write in (edit, made, deleted):
            await room.editor.undo(write.number)
        assert (await room.read("tags", "away"))["description"] == "x"
        with pytest.raises(errors.NotFound):
            await room.read("tags", "away2")


def note_about(subject):
    return {"user": "demo", "content_type": "subject", "object_id": subject["id"], "text": "about it"}


async def test_an_undo_without_a_clear_answer_is_not_said_to_be_done(demo, tmp_path):
    async with editing(demo.url, tmp_path) as room:
        await room.editor.create("tags", "unclear", draft({"description": "x"}))
        edit = await room.editor.save("tags", "unclear", None, draft({"description": "y"}))
        undone = await room.editor.undo(edit.number)
        room.journal.record(undone.number, State.UNKNOWN)  # as where its answer was lost
        with pytest.raises(errors.NotAllowed, match="not known what came of write"):
            await room.editor.undo(edit.number)
        await room.editor.recover()
        with pytest.raises(errors.NotAllowed, match="already"):
            await room.editor.undo(edit.number)


async def test_twenty_writes_are_taken_back_from_the_last_to_the_first(demo, asking, tmp_path):
    """Edits of the same fields, renames, and records that are made and deleted, each naming others of them."""
    random.seed(20)
    async with editing(demo.url, tmp_path, deletes_per_minute=1000) as room:
        session = (await room.editor.create("sessions", "new", draft({"subject": "KS001", "users": []}))).key
        await room.editor.create("tags", "twenty", draft({}))
        stay = [("sessions", session), ("tags", "twenty"), ("subjects", "KS001")]
        before = [state_of(asking, *each) for each in stay]
        counts = [asking.get(f"/{endpoint}?limit=1")["count"] for endpoint in COUNTED]
        writes, tag, notes, tasks = [], "twenty", [], []
        for number in range(20):
            if number % 5 == 0:
                edit = {"narrative": f"text {number}", "json": {"n": number, f"k{number}": [number]}}
                write = await room.editor.save("sessions", session, None, draft(edit))
            elif number % 5 == 1:
                document = {"user": "demo", "content_type": "session", "object_id": session, "text": f"{number}"}
                write = await room.editor.create("notes", f"new{number}", draft(document))
                notes.append(write.key)
            elif number % 5 == 2:
                write = await room.editor.rename("tags", tag, f"twenty{number}")
                tag = write.key
            elif number % 5 == 3:
                task = {"name": f"T{number}", "session": session, "status": "Waiting", "parents": tasks[-1:]}
                write = await room.editor.create("tasks", f"new{number}", draft(task))
                tasks.append(write.key)
            else:
                write = await room.editor.delete("notes", notes.pop())
            writes.append(write.number)
        told = [(await room.editor.undo(number)).sentence for number in reversed(writes)]
        assert not [sentence for sentence in told if "Not as before" in sentence]
        assert [state_of(asking, *each) for each in stay] == before
        assert [asking.get(f"/{endpoint}?limit=1")["count"] for endpoint in COUNTED] == counts


COUNTED = ("sessions", "notes", "tags", "tasks")


def state_of(asking, endpoint, key):
    record = asking.get(f"/{endpoint}/{key}")
    return {name: value for name, value in record.items() if name != "auto_datetime"}
