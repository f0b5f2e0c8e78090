"""Writes through the editor to the demo Alyx: which requests leave, what the journal says, and what can be undone."""

import io

import pytest
import trio
from PIL import Image

from alyxfs import errors
from alyxfs.edits import State
from alyxfs.edits.request import EVERY_RECORD
from editing import draft, editing
from outage_front import OutageFront

pytestmark = pytest.mark.trio


@pytest.fixture
def session(asking):
    """A session of one's own."""
    return asking.send("POST", "/sessions", {"subject": "KS001", "json": {"a": 1, "b": {"c": 2}}, "lab": "cortexlab"})


@pytest.fixture
def session_id(session):
    return session["id"]


@pytest.fixture
def writes(demo):
    """The requests that change something, since the test began."""
    demo.clear_requests()

    def sent():
        return [
            f"{one['method']} {one['path'].split('?')[0]} {one['status']}"
            for one in demo.requests()
            if one["method"] != "GET" and one["path"] != "/auth-token"
        ]

    return sent


def picture():
    stream = io.BytesIO()
    Image.new("RGB", (700, 500), "red").save(stream, "PNG")
    return stream.getvalue()


async def test_a_save_sends_only_what_changed(demo, asking, session_id, tmp_path, writes):
    async with editing(demo.url, tmp_path) as room:
        base = await room.read("sessions", session_id)
        result = await room.editor.save("sessions", session_id, base, draft({**base, "narrative": "good  "}))
        assert result.sent == {"narrative": "good  "}
        assert writes() == [f"PATCH /sessions/{session_id} 200"]
        assert (await room.read("sessions", session_id))["narrative"] == "good"
        (entry,) = await room.entries()
        assert (entry.state, entry.status, entry.key) == (State.DONE, 200, session_id)
        assert entry.before["narrative"] == ""
        assert entry.after["narrative"] == "good"
        assert entry.draft == draft({**base, "narrative": "good  "})
        assert '-  "narrative": "",\n+  "narrative": "good",\n' in await room.editor.diff(1)


async def test_saving_what_was_read_sends_nothing(demo, session_id, tmp_path):
    async with editing(demo.url, tmp_path) as room:
        base = await room.read("sessions", session_id)
        demo.clear_requests()
        result = await room.editor.save("sessions", session_id, base, draft(base))
        assert result.number is None
        assert demo.requests() == []
        assert await room.entries() == []


async def test_edits_of_different_fields_and_keys_merge(demo, asking, session_id, tmp_path):
    async with editing(demo.url, tmp_path) as room:
        base = await room.read("sessions", session_id)
        asking.send(
            "PATCH", f"/sessions/{session_id}", {"narrative": "theirs", "json": {"a": 1, "b": {"c": 2, "new": 3}}}
        )
        await room.editor.save("sessions", session_id, base, draft({**base, "json": {"b": {"c": 5}}}))
        now = asking.get(f"/sessions/{session_id}")
        assert now["narrative"] == "theirs"
        assert now["json"] == {"b": {"c": 5, "new": 3}}


async def test_a_conflict_sends_nothing_and_keeps_both_versions(demo, asking, session_id, tmp_path):
    async with editing(demo.url, tmp_path) as room:
        base = await room.read("sessions", session_id)
        asking.send("PATCH", f"/sessions/{session_id}", {"narrative": "theirs"})
        with pytest.raises(errors.Conflict, match='narrative was "", you wrote "mine", the server has "theirs"'):
            await room.editor.save("sessions", session_id, base, draft({"narrative": "mine"}))
        kept = room.kept()
        assert len(kept) == 4
        assert {name.split(session_id)[1] for name in kept} == {".json", ".base.json", ".theirs.json", ".reason.txt"}
        assert (await room.entries())[0].state is State.CONFLICT
        assert asking.get(f"/sessions/{session_id}")["narrative"] == "theirs"
        assert (await room.read("sessions", session_id))["narrative"] == "theirs"


async def test_what_the_server_holds_already_is_not_sent(demo, asking, session_id, tmp_path, writes):
    async with editing(demo.url, tmp_path) as room:
        base = await room.read("sessions", session_id)
        asking.send("PATCH", f"/sessions/{session_id}", {"narrative": "same"})
        result = await room.editor.save("sessions", session_id, base, draft({"narrative": "same"}))
        assert (result.sent, len(writes())) == ({}, 1)
        assert (await room.read("sessions", session_id))["narrative"] == "same", "what was saved is what is shown"
        assert ("sessions", session_id) in result.touched


async def test_a_refused_draft_is_kept_with_the_reason(demo, session_id, tmp_path, writes):
    async with editing(demo.url, tmp_path) as room:
        base = await room.read("sessions", session_id)
        for content, words in (
            (draft({"narative": "x"}), "Did you mean 'narrative'"),
            (draft({"id": "x"}), "set by the server"),
            (b"{bad", "line 1, column 2"),
        ):
            with pytest.raises(errors.Invalid, match=words):
                await room.editor.save("sessions", session_id, base, content)
            kept = room.kept()
            assert content.decode() in kept.values()
            assert any(words in text for name, text in kept.items() if name.endswith(".reason.txt"))
        assert writes() == []


async def test_an_editor_that_writes_back_old_computed_values_is_not_refused(demo, asking, session_id, tmp_path):
    async with editing(demo.url, tmp_path) as room:
        base = await room.read("sessions", session_id)
        room.editor.bases.served(7, "sessions", session_id, base)
        first = await room.editor.save("sessions", session_id, base, draft({**base, "narrative": "one"}))
        fresh = await room.read("sessions", session_id)
        assert fresh["auto_datetime"] != base["auto_datetime"]
        second = await room.editor.save("sessions", session_id, fresh, draft({**base, "narrative": "two"}))
        assert (first.sent, second.sent) == ({"narrative": "one"}, {"narrative": "two"})


async def test_an_editor_that_saves_twice_overwrites_nobody_else(demo, asking, session_id, tmp_path, writes):
    async with editing(demo.url, tmp_path) as room:
        bases = room.editor.bases
        for editor in (1, 2):
            bases.served(editor, "sessions", session_id, await room.read("sessions", session_id))

        async def save(writer, content):
            base = bases.base_of(writer, "sessions", session_id)
            return await room.editor.save("sessions", session_id, base, draft({**base, **content}), writer=writer)

        await save(1, {"narrative": "first"})
        await save(2, {"task_protocol": "second"})  # its buffer still holds the old narrative
        assert (await save(1, {})).number is None
        await save(1, {"narrative": ""})  # an undo in the editor is an edit
        with pytest.raises(errors.Conflict, match="task_protocol"):
            await save(1, {"task_protocol": "first's"})
        now = asking.get(f"/sessions/{session_id}")
        assert (now["narrative"], now["task_protocol"]) == ("", "second")
        assert len(writes()) == 3


async def test_a_new_weighing_gets_the_servers_id(demo, asking, tmp_path, writes):
    async with editing(demo.url, tmp_path) as room:
        subject = await room.read("subjects", "KS001")
        result = await room.editor.create("weighings", "today", draft({"subject": "KS001", "weight": 23.125}))
        assert writes() == ["POST /weighings 201"]
        assert asking.get(f"/weighings/{result.key}")["weight"] == 23.125
        weighings = (await room.read("subjects", "KS001"))["weighings"]
        assert len(weighings) == len(subject["weighings"]) + 1  # the subject shows it at once


async def test_weighings_cannot_be_changed(demo, asking, tmp_path, writes):
    async with editing(demo.url, tmp_path) as room:
        made = await room.editor.create("weighings", "new", draft({"subject": "KS001", "weight": 20}))
        with pytest.raises(errors.NotAllowed, match="delete this one and make a new one"):
            await room.editor.save("weighings", made.key, made.document, draft({"weight": 21}))
        await room.editor.delete("weighings", made.key)
        assert writes() == ["POST /weighings 201", f"DELETE /weighings/{made.key} 204"]


async def test_a_name_of_a_new_record_comes_from_its_file(demo, asking, tmp_path, writes):
    async with editing(demo.url, tmp_path) as room:
        made = await room.editor.create("subjects", "NEW_001", draft({"lab": "cortexlab"}))
        assert made.key == "NEW_001"
        with pytest.raises(errors.NameTaken, match="exists already"):
            await room.editor.create("subjects", "NEW_001", draft({"lab": "cortexlab"}))
        assert writes() == ["POST /subjects 201"]
        with pytest.raises(errors.Invalid, match="needs lab"):
            await room.editor.create("subjects", "NEW_002", draft({}))
        with pytest.raises(errors.Invalid, match="Nicknames must only contain"):
            await room.editor.create("subjects", "bad name", draft({"lab": "cortexlab"}))


async def test_a_query_gives_a_new_record_its_fields(demo, tmp_path):
    async with editing(demo.url, tmp_path) as room:
        made = await room.editor.create("sessions", "new", draft({"subject": "KS001"}), defaults={"lab": "cortexlab"})
        assert made.document["lab"] == "cortexlab"


async def test_a_rename_is_a_patch_of_the_look_up(demo, asking, tmp_path, writes):
    asking.send("POST", "/subjects", {"nickname": "OLD_1", "lab": "cortexlab"})
    async with editing(demo.url, tmp_path) as room:
        await room.read("subjects", "OLD_1")
        result = await room.editor.rename("subjects", "OLD_1", "NEW_1")
        assert (result.key, result.sent) == ("NEW_1", {"nickname": "NEW_1"})
        assert ("subjects", "OLD_1") in result.touched
        with pytest.raises(errors.NotFound):
            await room.read("subjects", "OLD_1")
        with pytest.raises(errors.Invalid, match="exists already"):
            await room.editor.rename("subjects", "NEW_1", "KS001")
        assert (await room.editor.undo(result.number)).key == "OLD_1"
        with pytest.raises(errors.NotAllowed, match="named by their id"):
            await room.editor.rename("sessions", "a", "b")
        with pytest.raises(errors.Invalid, match="exists already"):
            await room.editor.save("subjects", "OLD_1", {"nickname": "OLD_1"}, draft({"nickname": "KS001"}))
        assert asking.get("/subjects/OLD_1")["json"] is None, "the server had noted the former names there"
        assert [line.split()[1] for line in writes()[1:]] == ["/subjects/OLD_1", "/subjects/NEW_1", "/subjects/OLD_1"]


async def test_records_that_hold_a_name_show_the_new_one(demo, asking, tmp_path):
    asking.send("POST", "/subjects", {"nickname": "OLD_2", "lab": "cortexlab"})
    session = asking.send("POST", "/sessions", {"subject": "OLD_2", "lab": "cortexlab"})["url"].rsplit("/", 1)[-1]
    async with editing(demo.url, tmp_path) as room:
        assert (await room.read("sessions", session))["subject"] == "OLD_2"
        result = await room.editor.rename("subjects", "OLD_2", "NEW_2")
        assert (await room.read("sessions", session))["subject"] == "NEW_2"
        assert ("sessions", EVERY_RECORD) in result.touched
        narrated = await room.editor.save(
            "subjects", "NEW_2", await room.read("subjects", "NEW_2"), draft({"description": "as before"})
        )
        assert ("sessions", EVERY_RECORD) not in narrated.touched, "only a new name is anywhere else"


async def test_doubled_names_are_refused_with_the_reason(demo, tmp_path, writes):
    async with editing(demo.url, tmp_path) as room:
        with pytest.raises(errors.NotAllowed, match="2 subjects are called 'dup_001'"):
            await room.editor.save("subjects", "dup_001", {"description": ""}, draft({"description": "x"}))
        with pytest.raises(errors.NotAllowed, match="2 subjects are called 'dup_001'"):
            await room.editor.delete("subjects", "dup_001")
        assert writes() == []


async def test_what_others_hang_from_is_not_deleted(demo, asking, tmp_path, writes):
    subjects, datasets = (asking.get(f"/{one}?lab=cortexlab&limit=1")["count"] for one in ("subjects", "datasets"))
    async with editing(demo.url, tmp_path) as room:
        with pytest.raises(errors.HasDependents, match=rf"{subjects} subjects.*{datasets} datasets.* locations"):
            await room.editor.delete("labs", "cortexlab")
        insertion = asking.get("/insertions?limit=1")["results"][0]
        for endpoint, key, words in (
            ("users", "alice", "datasets.*notes"),
            ("subjects", "KS002", "sessions.*weighings"),
            ("sessions", insertion["session"], "datasets.*insertions"),
            ("insertions", insertion["id"], "trajectories"),
            ("data-repository", "flatiron_cortexlab", "files"),
        ):
            with pytest.raises(errors.HasDependents, match=words):
                await room.editor.delete(endpoint, key)
        assert writes() == []


async def test_a_record_by_itself_is_deleted_and_made_again_by_undo(demo, asking, session_id, tmp_path, writes):
    async with editing(demo.url, tmp_path) as room:
        before = await room.read("sessions", session_id)
        deleted = await room.editor.delete("sessions", session_id)
        with pytest.raises(errors.NotFound):
            await room.read("sessions", session_id)
        again = await room.editor.undo(deleted.number)
        assert again.key in again.sentence
        assert again.key != session_id
        now = await room.read("sessions", again.key)
        own = {"url", "id", "auto_datetime"}
        assert {name: now[name] for name in now if name not in own} == {
            name: before[name] for name in before if name not in own
        }
        with pytest.raises(errors.NotAllowed, match=f"undone by write {again.number}"):
            await room.editor.undo(deleted.number)
        assert [line.split()[0] for line in writes()] == ["DELETE", "POST"]


async def test_the_limit_on_deletes_stops_all_of_them_until_lifted(demo, asking, tmp_path, writes):
    keys = [asking.send("POST", "/sessions", {"subject": "KS001", "lab": "cortexlab"})["id"] for _ in range(6)]
    async with editing(demo.url, tmp_path, deletes_per_minute=3) as room:
        for key in keys[:3]:
            await room.editor.delete("sessions", key)
        for _ in range(2):
            with pytest.raises(errors.NotAllowed, match="more than 3 records"):
                await room.editor.delete("sessions", keys[3])
            room.editor.guard._times.clear()  # as after a minute: it stays pulled all the same
        with pytest.raises(errors.NotAllowed, match="more than 3 records"):
            await room.editor.check_delete("sessions", keys[3])
        room.editor.guard.lift()
        await room.editor.check_delete("sessions", keys[3])
        await room.editor.delete("sessions", keys[3], checked=True)
        with pytest.raises(errors.HasDependents):
            await room.editor.check_delete("labs", "cortexlab")
        assert len(room.editor.guard._times) == 2
    assert sum(line.startswith("DELETE") for line in writes()) == 4


async def test_no_delete_means_no_delete(demo, session_id, tmp_path, writes):
    async with editing(demo.url, tmp_path, allow_deletes=False) as room:
        with pytest.raises(errors.NotAllowed, match="--no-delete"):
            await room.editor.delete("sessions", session_id)
        made = await room.editor.create("weighings", "new", draft({"subject": "KS001", "weight": 20}))
        with pytest.raises(errors.NotAllowed, match="--no-delete"):
            await room.editor.undo(made.number)
        assert len(writes()) == 1


async def test_undo_patches_back_only_what_the_write_changed(demo, asking, session_id, tmp_path):
    async with editing(demo.url, tmp_path) as room:
        base = await room.read("sessions", session_id)
        edit = {"narrative": "mine", "json": {"a": 9, "b": {"c": 2}}}
        saved = await room.editor.save("sessions", session_id, base, draft(edit))
        asking.send("PATCH", f"/sessions/{session_id}", {"task_protocol": "theirs", "json": {**edit["json"], "x": 1}})
        undone = await room.editor.undo(saved.number)
        now = asking.get(f"/sessions/{session_id}")
        assert (now["narrative"], now["task_protocol"]) == ("", "theirs")
        assert now["json"] == {"a": 1, "b": {"c": 2}, "x": 1}
        entry = (await room.entries())[-1]
        assert (entry.number, entry.undo_of, entry.operation) == (undone.number, saved.number, "undo")
        redone = await room.editor.undo(undone.number)  # an undo is a write like any other
        assert asking.get(f"/sessions/{session_id}")["narrative"] == "mine"
        assert redone.number == 3


async def test_undo_refuses_what_somebody_changed_since(demo, asking, session_id, tmp_path):
    async with editing(demo.url, tmp_path) as room:
        base = await room.read("sessions", session_id)
        saved = await room.editor.save("sessions", session_id, base, draft({"narrative": "mine"}))
        asking.send("PATCH", f"/sessions/{session_id}", {"narrative": "theirs"})
        with pytest.raises(errors.Conflict, match="theirs"):
            await room.editor.undo(saved.number)
        made = await room.editor.create("sessions", "new", draft({"subject": "KS001", "users": []}))
        asking.send("PATCH", f"/sessions/{made.key}", {"narrative": "theirs"})
        with pytest.raises(errors.Conflict, match="changed since"):
            await room.editor.undo(made.number)
        assert asking.get(f"/sessions/{made.key}")["narrative"] == "theirs"
        with pytest.raises(errors.NotFound, match="no write number 99"):
            await room.editor.undo(99)


async def test_undo_deletes_what_was_made(demo, asking, tmp_path):
    async with editing(demo.url, tmp_path) as room:
        made = await room.editor.create("projects", "short lived", draft({"description": "x"}))
        assert asking.get("/projects/short%20lived")["users"] == []
        await room.editor.undo(made.number)
        with pytest.raises(errors.NotFound):
            await room.read("projects", "short lived")


async def test_a_dry_run_sends_nothing_and_shows_what_it_would(demo, session_id, tmp_path, writes):
    async with editing(demo.url, tmp_path, dry_run=True) as room:
        base = await room.read("sessions", session_id)
        saved = await room.editor.save("sessions", session_id, base, draft({"narrative": "would be"}))
        made = await room.editor.create("weighings", "new", draft({"subject": "KS001", "weight": 1}))
        assert (await room.read("sessions", session_id))["narrative"] == "would be"
        assert (await room.read("weighings", made.key))["weight"] == 1
        gone = await room.editor.delete("weighings", made.key)
        with pytest.raises(errors.NotFound):
            await room.read("weighings", made.key)
        answer = await room.editor.act("register-file", draft({"path": "KS001/2020-01-01/001/alf", "filenames": []}))
        with pytest.raises(errors.Invalid, match="no field"):
            await room.editor.save("sessions", session_id, base, draft({"nonsense_field": 1}))
        with pytest.raises(errors.HasDependents):
            await room.editor.delete("labs", "cortexlab")
        assert answer is None
        assert '+  "narrative": "would be",' in await room.editor.diff(saved.number)
        assert '+  "weight": 1' in await room.editor.diff(made.number)
        assert '-  "weight": 1' in await room.editor.diff(gone.number)
        states = [entry.state for entry in await room.entries()]
        assert states == [State.PROPOSED] * 4 + [State.REFUSED] * 2
        await room.editor.undo(saved.number)
        assert (await room.read("sessions", session_id))["narrative"] == base["narrative"]
        assert (await room.editor.entry(saved.number)).state is State.WITHDRAWN
        assert writes() == []


async def test_a_proposal_that_the_servers_answer_is_missing_for_is_refused(demo, tmp_path):
    with OutageFront(int(demo.url.rsplit(":", 1)[1])) as front:
        async with editing(front.url, tmp_path, dry_run=True, deadline=2) as room:
            front.stop()
            with pytest.raises(errors.NotConnected, match="nothing was sent"):
                await room.editor.create("weighings", "new", draft({"subject": "KS001", "weight": 1}))
            assert (await room.entries())[-1].state is State.REFUSED, "and not that nobody knows what came of it"


async def test_notes_are_patched_with_what_the_server_needs(demo, asking, session_id, tmp_path):
    about = {"user": "demo", "content_type": "session", "object_id": session_id, "text": "first"}
    async with editing(demo.url, tmp_path) as room:
        made = await room.editor.create("notes", "new", draft(about))
        assert [note["id"] for note in (await room.read("sessions", session_id))["notes"]] == [made.key]
        base = await room.read("notes", made.key)
        saved = await room.editor.save("notes", made.key, base, draft({**base, "text": "second"}))
        assert saved.sent == {"content_type": "actions.session", "object_id": session_id, "text": "second"}
        assert (await room.read("sessions", session_id))["notes"][0]["text"] == "second"


async def test_a_note_with_a_picture_loses_it_when_it_is_deleted(demo, asking, session_id, tmp_path, writes):
    about = {"user": "demo", "content_type": "session", "object_id": session_id, "text": "t", "json": {"k": [1]}}
    async with editing(demo.url, tmp_path) as room:
        key = (await room.editor.create("notes", "new", draft(about))).key
        made = await room.editor.attach_image(key, picture(), "figure.png")
        assert made.document["image"].endswith(".png")
        assert made.document["json"] == {"k": [1]}
        base = await room.read("notes", made.key)
        with pytest.raises(errors.Invalid, match=r"<id>\.png"):
            await room.editor.save("notes", made.key, base, draft({"image": "http://elsewhere/x.png"}))
        with pytest.raises(errors.NotAllowed, match=r"what no undo brings back: its picture\. `alyxfs allow"):
            await room.editor.delete("notes", made.key)
        assert "its picture" in await room.editor.consent_to_delete("notes", made.key)
        deleted = await room.editor.delete("notes", made.key)
        told = (await room.editor.undo(deleted.number)).sentence
        assert "Not restored, because no new record gets it: its picture." in told
        assert [line.split()[0] for line in writes()] == ["POST", "PATCH", "DELETE", "POST"]


async def test_a_note_with_a_picture_can_be_changed_until_its_name_is_used_up(demo, session_id, tmp_path):
    about = {"user": "demo", "content_type": "session", "object_id": session_id, "text": "t"}
    async with editing(demo.url, tmp_path) as room:
        note = (await room.editor.create("notes", "new", draft(about))).key
        for text in ("first", "second"):
            await room.editor.attach_image(note, picture(), f"{note}.png")
            saved = await room.editor.save("notes", note, await room.read("notes", note), draft({"text": text}))
            assert saved.document["text"] == text
            with pytest.raises(errors.NotAllowed, match="which makes its name short again"):
                await room.editor.save("notes", note, await room.read("notes", note), draft({"text": "more"}))


async def test_a_picture_for_a_note_is_one_multipart_patch(demo, session_id, tmp_path, writes):
    about = {"user": "demo", "content_type": "session", "object_id": session_id, "text": "t"}
    async with editing(demo.url, tmp_path) as room:
        made = await room.editor.create("notes", "new", draft(about))
        with pytest.raises(errors.Invalid, match="not an image"):
            await room.editor.attach_image(made.key, b"no picture", "figure.png")
        assert any(name.endswith(".png") for name in room.kept())
        result = await room.editor.attach_image(made.key, picture(), f"{made.key}.png")
        assert result.document["image"].endswith(".png")
        assert writes()[1:] == [f"PATCH /notes/{made.key} 400", f"PATCH /notes/{made.key} 200"]
        entry = (await room.entries())[-1]
        assert entry.draft == picture()
        assert entry.request["image"] == f"{made.key[:20]}.png"


async def test_trajectories_keep_their_insertion(demo, asking, tmp_path):
    rows = asking.rows("/trajectories")
    trajectory = next(row for row in rows if row["probe_insertion"])
    async with editing(demo.url, tmp_path) as room:
        base = await room.read("trajectories", trajectory["id"])
        await room.editor.save("trajectories", trajectory["id"], base, draft({"x": 12.5}))
    now = asking.get(f"/trajectories/{trajectory['id']}")
    assert (now["x"], now["probe_insertion"]) == (12.5, trajectory["probe_insertion"])


async def test_a_dataset_is_saved_from_its_own_whole_content(demo, asking, tmp_path):
    key = asking.get("/datasets?limit=1")["results"][0]["url"].rsplit("/", 1)[1]
    async with editing(demo.url, tmp_path) as room:
        base = await room.read("datasets", key)
        saved = await room.editor.save("datasets", key, base, draft({**base, "version": "9"}))
        assert saved.sent == {"version": "9"}
        with pytest.raises(errors.Invalid, match="only for a new record"):
            await room.editor.save("datasets", key, base, draft({"subject": "KS001"}))


async def test_an_action_is_posted_and_its_answer_returned(demo, asking, tmp_path):
    session = next(
        row for row in asking.rows("/sessions?lab=cortexlab") if row["start_time"] and row["number"] is not None
    )
    path = f"{session['subject']}/{session['start_time'][:10]}/{session['number']:03d}/alf"
    order = {"path": path, "filenames": ["spikes.times.npy"], "name": "flatiron_cortexlab", "created_by": "demo"}
    async with editing(demo.url, tmp_path) as room:
        answer = await room.editor.act("register-file", draft(order))
        assert answer[0]["name"] == "spikes.times.npy"
        with pytest.raises(errors.Invalid, match="NOSUCH"):
            await room.editor.act("register-file", draft({**order, "path": "NOSUCH/2020-01-01/001/alf"}))
        done, refused = await room.entries()
        assert (done.state, refused.state) == (State.DONE, State.REFUSED)
        assert done.answer == answer
        with pytest.raises(errors.NotAllowed, match="holds records"):
            await room.editor.act("labs", b"{}")


async def test_writes_of_one_record_take_turns(demo, asking, session_id, tmp_path):
    async with editing(demo.url, tmp_path) as room:
        base = await room.read("sessions", session_id)
        failures = []

        async def save(number):
            edit = {"json": {**base["json"], f"key {number}": number}}
            if number % 4 == 0:
                edit["narrative"] = f"by {number}"
            try:
                await room.editor.save("sessions", session_id, base, draft(edit))
            except errors.Conflict:
                failures.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(12):
                nursery.start_soon(save, number)
        now = asking.get(f"/sessions/{session_id}")
        entries = await room.entries()
        assert len(failures) == 2  # three wrote the narrative, one of them first
        assert sum(entry.state is State.CONFLICT for entry in entries) == 2
        expected = {f"key {number}" for number in range(12) if number not in failures}
        assert {key for key in now["json"] if key.startswith("key")} == expected
        assert not room.editor._committer._locks


async def test_the_public_user_is_refused_and_the_draft_kept(demo, session_id, tmp_path):
    async with editing(demo.url, tmp_path, user="public") as room:
        base = await room.read("sessions", session_id)
        with pytest.raises(errors.AccessDenied, match="do not have permission"):
            await room.editor.save("sessions", session_id, base, draft({"narrative": "x"}))
        assert draft({"narrative": "x"}).decode() in room.kept().values()
        assert (await room.entries())[0].status == 403


NEW_RECORDS = [
    ("weighings", {"subject": "KS001", "weight": 21.5, "date_time": "2024-06-01T12:00:00+02:00"}),
    ("water-administrations", {"subject": "KS001", "water_administered": 1.25, "session": None}),
    ("notes", {"user": "demo", "content_type": "session", "object_id": "SESSION", "text": "  spaces  ", "image": None}),
    ("sessions", {"subject": "KS001", "users": [], "lab": None, "json": {"deep": {"er": [1, {"x": None}]}}}),
    ("datasets", {"name": "_ibl_x.y.npy", "dataset_type": "wheel.position", "session": "SESSION_URL", "revision": ""}),
    ("insertions", {"session": "SESSION", "name": "probe09", "model": None}),
    ("tasks", {"name": "Anything", "session": "SESSION", "status": "Waiting", "arguments": {"n": 1}}),
    ("projects", {"name": "a new project", "description": "made here"}),
    ("tags", {"name": "a new tag"}),
    ("labs", {"name": "newlab", "timezone": "Europe/London"}),
    ("data-formats", {"name": "newformat", "file_extension": ".new"}),
]


@pytest.mark.parametrize(("endpoint", "document"), NEW_RECORDS, ids=[endpoint for endpoint, _ in NEW_RECORDS])
async def test_every_kind_of_record_is_made_deleted_and_brought_back(
    demo, session, session_id, tmp_path, writes, endpoint, document
):
    own = {"SESSION": session_id, "SESSION_URL": session["url"]}
    document = {name: own.get(value, value) if isinstance(value, str) else value for name, value in document.items()}
    async with editing(demo.url, tmp_path) as room:
        made = await room.editor.create(endpoint, "new", draft(document))
        before = await room.read(endpoint, made.key)
        if endpoint == "projects":  # whether it holds any json cannot be asked
            with pytest.raises(errors.NotAllowed, match="forget what no undo brings back: json"):
                await room.editor.delete(endpoint, made.key)
            await room.editor.consent_to_delete(endpoint, made.key)
        deleted = await room.editor.delete(endpoint, made.key)
        with pytest.raises(errors.NotFound):
            await room.read(endpoint, made.key)
        again = await room.editor.undo(deleted.number)
        now = await room.read(endpoint, again.key)
        server_sets = {"id", "url", "auto_datetime", "datetime", "created_datetime"}
        assert {**now, **dict.fromkeys(server_sets)} == {**before, **dict.fromkeys(server_sets)}
        await room.editor.undo(again.number)
        assert [line.split()[0] for line in writes()] == ["POST", "DELETE", "POST", "DELETE"]


async def test_tasks_without_status_would_break_every_page(demo, session_id, tmp_path, writes):
    async with editing(demo.url, tmp_path) as room:
        with pytest.raises(errors.Invalid, match="needs status"):
            await room.editor.create("tasks", "new", draft({"name": "x", "session": session_id}))
        assert writes() == []
