"""What is refused when a write has begun already: nothing is sent, and its user is told in which case they are."""

from __future__ import annotations

import io
import uuid

import pytest
import trio
from PIL import Image

from alyxfs import errors
from alyxfs.alyx.lookups import quote_key
from alyxfs.edits import State
from editing import draft, editing
from folding_front import folding_front

pytestmark = pytest.mark.trio


@pytest.fixture
def sent(demo):
    """The methods of the requests that change something, since the test began."""
    demo.clear_requests()
    return lambda: [one["method"] for one in demo.requests() if one["method"] != "GET" and one["path"] != "/auth-token"]


def picture(color):
    stream = io.BytesIO()
    Image.new("RGB", (7, 5), color).save(stream, "PNG")
    return stream.getvalue()


async def test_a_kind_of_record_that_the_server_makes_none_of(demo, tmp_path, sent):
    async with editing(demo.url, tmp_path) as room:
        with pytest.raises(errors.NotAllowed) as refusal:
            await room.editor.create("locations", "a_rig", draft({"name": "a_rig"}))
        (entry,) = await room.entries()
    assert str(refusal.value).startswith("The server does not let new locations be made.")
    assert (entry.state, entry.operation) == (State.REFUSED, "create")
    assert sent() == []


async def test_a_record_whose_name_leads_to_another_on_the_way(demo, asking, tmp_path):
    """A server on the way folds ``x%2F..%2Fvictim`` away, once decoded, and gives the record of another."""
    victim = f"victim{uuid.uuid4().hex}"
    name = f"x%2F..%2F{victim}"
    for each in (victim, name):
        asking.send("POST", "/projects", {"name": each, "users": []})
    with folding_front(demo.url, decodes=2) as front:
        async with editing(front.url, tmp_path) as room:
            with pytest.raises(errors.NotAllowed) as refusal:
                await room.editor.save("projects", name, {"name": name, "users": []}, draft({"users": ["demo"]}))
            with pytest.raises(errors.NotAllowed):
                await room.editor.delete("projects", name)
    assert f"answered with another record than projects/{name}" in str(refusal.value)
    assert "It can be changed on Alyx's own pages." in str(refusal.value)
    assert {method for method, *_ in front.passed} <= {"GET", "POST"}, "the log-in alone is a POST"
    for each in (victim, name):
        assert asking.get(f"/projects/{quote_key(each)}")["users"] == []


async def test_a_write_of_which_the_server_takes_nothing_back(demo, asking, tmp_path, sent):
    session = asking.rows("/sessions?subject=KS001")[0]["id"]
    model = next(each["model"] for each in asking.rows("/insertions") if each["model"])
    made = asking.send("POST", "/insertions", {"name": f"p{uuid.uuid4().hex[:8]}", "session": session})
    assert made["model"] is None
    async with editing(demo.url, tmp_path) as room:
        saved = await room.editor.save("insertions", made["id"], None, draft({"model": model}))
        with pytest.raises(errors.NotAllowed) as refusal:
            await room.editor.undo(saved.number)
        assert [entry.number for entry in await room.entries()] == [saved.number]
    assert str(refusal.value) == f"Write {saved.number} cannot be undone (model: the server does not take it empty)."
    assert sent() == ["POST", "PATCH"]
    assert asking.get(f"/insertions/{made['id']}")["model"] == model


async def test_of_two_who_undo_a_proposal_at_once_the_later_is_told(demo, asking, tmp_path):
    session = asking.send("POST", "/sessions", {"subject": "KS001", "lab": "cortexlab"})
    told = []
    async with editing(demo.url, tmp_path, dry_run=True) as room:
        first = await room.editor.save("sessions", session["id"], None, draft({"narrative": "proposed"}))
        await room.editor.save("sessions", session["id"], None, draft({"number": 3}))

        async def undo():
            try:
                told.append((await room.editor.undo(first.number)).sentence)
            except errors.NotAllowed as refusal:
                told.append(str(refusal))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(undo)
            nursery.start_soon(undo)
        shown = await room.read("sessions", session["id"])
    assert sorted(told) == [
        f"The save of sessions/{session['id']} is proposed no longer.",
        f"Write {first.number} is no proposal that this drive shows: there is nothing to undo.",
    ]
    assert (shown["narrative"], shown["number"]) == (session["narrative"], 3), "the other proposal stays"


async def test_a_staged_picture_of_a_note_that_has_got_another_since(demo, asking, tmp_path):
    note = asking.send(
        "POST",
        "/notes",
        {
            "user": "demo",
            "text": "a figure",
            "content_type": "session",
            "object_id": asking.rows("/sessions?subject=KS001")[0]["id"],
        },
    )
    async with editing(demo.url, tmp_path / "mine", stage=True) as room:
        await room.editor.attach_image(note["id"], picture("red"), "mine.png")
        async with editing(demo.url, tmp_path / "theirs") as other:
            await other.editor.attach_image(note["id"], picture("blue"), "theirs.png")
        theirs = asking.get(f"/notes/{note['id']}")["image"]
        assert theirs
        (staged,) = await room.staging.entries()
        results, refused = await room.staging.apply([staged.number], await room.editor.begin_set("a test"))
        assert results == []
        assert isinstance(refused[staged.number], errors.Conflict)
        assert str(refused[staged.number]).startswith(f"notes/{note['id']} has got another picture since. ")
        assert f"alyxfs discard {staged.number}" in str(refused[staged.number])
        assert (await room.editor.entry(staged.number)).state is State.STAGED
        assert (await room.editor.entry(staged.number)).draft == picture("red"), "it is not lost"
    assert asking.get(f"/notes/{note['id']}")["image"] == theirs
