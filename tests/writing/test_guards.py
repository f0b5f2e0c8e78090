"""Deletes and their guards, undo, dry runs, new names, queries, actions and pictures."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

from mounted import run_alyxfs
from writing import run, until, writing


@pytest.fixture(scope="module")
def room(changing, tmp_path_factory):
    with writing(changing, tmp_path_factory.mktemp("guards") / "home", "--deletes-per-minute", "1000") as room:
        yield room


@pytest.fixture(autouse=True)
def _no_requests(room):
    room.demo.clear_requests()


def new_session(room, **fields):
    session = room.asking.send("POST", "/sessions", {"subject": "KS001", "lab": "cortexlab", **fields})["id"]
    room.demo.clear_requests()
    return session


def failing(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    return done.stderr


def command(room, *arguments):
    done = run_alyxfs(room.home, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_others_hang_from_is_not_deleted(room):
    sessions = {row["session"] for row in room.asking.rows("/insertions")}
    rows = room.asking.rows("/datasets?collection=raw_ephys_data/probe00")
    session = next(each for each in (row["session"].rsplit("/", 1)[-1] for row in rows) if each in sessions)
    path = room.file("sessions", session)
    assert "not empty" in failing("rm", path)
    told = room.errors().splitlines()[-1]
    assert "insertions" in told
    assert "datasets" in told
    assert path.exists()
    assert "not empty" in failing("rm", room.file("labs", "cortexlab"))
    assert "subjects" in room.errors().splitlines()[-1]
    assert "not empty" in failing("rm", room.file("dataset-types", "spikes.times"))
    assert re.search(r"would take it out of \d+ datasets, which no undo brings back", room.errors().splitlines()[-1])
    assert room.writes() == []


def test_rm_and_undo(room):
    session = new_session(room, narrative="to be deleted", json={"a": 1})
    path = room.file("sessions", session)
    run("rm", path)
    assert room.writes() == [("DELETE", f"/sessions/{session}")]
    assert path.name not in os.listdir(path.parent)
    number = str(room.log()[-1]["number"])
    assert f"sessions/{session}" in command(room, "log", str(room.drive.path)), "records stand in one line"
    assert '-  "narrative": "to be deleted"' in command(room, "diff", number, "--drive", str(room.drive.path))
    told = command(room, "undo", number, "--drive", str(room.drive.path))
    new = room.log()[-1]["record"].split("/")[1]
    assert f"as {new}: the server gives a new id" in told
    made = json.loads(room.file("sessions", new).read_bytes())
    assert (made["narrative"], made["json"]) == ("to be deleted", {"a": 1})
    done = run_alyxfs(room.home, "undo", number, "--drive", str(room.drive.path))
    assert "was undone by write" in done.stderr


def test_undo_of_a_save_shows_at_once(room):
    session = new_session(room, narrative="first")
    path = room.file("sessions", session)
    path.write_text('{"narrative": "second"}')
    room.command("undo", number=room.log()[-1]["number"])
    until(lambda: json.loads(path.read_bytes())["narrative"] == "first", "the undone record is shown")
    path.write_text('{"narrative": "third"}')
    room.asking.send("PATCH", f"/sessions/{session}", {"narrative": "theirs"})
    done = run_alyxfs(room.home, "undo", str(room.log()[-1]["number"]), "--drive", str(room.drive.path))
    assert "changed on both sides" in done.stderr


def test_a_program_that_only_unlinks_deletes_a_moment_later(room):
    session = new_session(room)
    path = room.file("sessions", session)
    os.unlink(path)
    assert not path.exists()
    assert path.name not in os.listdir(path.parent)
    assert room.writes() == []
    assert room.log()[-1]["state"] == "prepared", "a drive that is killed now has it in the journal"
    until(lambda: room.writes() == [("DELETE", f"/sessions/{session}")], "the delete is sent")
    until(lambda: room.log()[-1]["state"] == "done", "the delete is done")
    assert not path.exists()


def test_a_save_that_takes_longer_than_the_grace_of_an_unlink_keeps_the_record(room):
    session = new_session(room)
    path = room.file("sessions", session)
    (path.parent / "scratch").write_text('{"narrative": "slow"}')
    os.unlink(path)
    room.demo.control(delay={"seconds": 4, "method": "PATCH"})
    os.rename(path.parent / "scratch", path)
    assert room.record("sessions", session)["narrative"] == "slow"
    assert room.writes() == [("PATCH", f"/sessions/{session}")]
    assert [entry["operation"] for entry in room.log() if entry["record"] == f"sessions/{session}"] == ["save"]


def test_directories_are_the_servers(room):
    assert "not permitted" in failing("mkdir", room.drive / "sessions" / "new")
    assert "not permitted" in failing("rmdir", room.drive / "sessions")
    assert "not permitted" in failing("ln", room.file("labs", "cortexlab"), room.drive / "labs" / "other.json")
    assert "Read-only" in failing("touch", room.drive / "new.json")
    assert "Read-only" in failing("rm", "-r", room.drive / "data")


def test_mv_tells_of_a_refused_name_and_tries_it_once(room):
    room.asking.send("POST", "/subjects", {"nickname": "REFUSED_1", "lab": "cortexlab"})
    room.demo.clear_requests()
    told = failing("mv", room.file("subjects", "REFUSED_1"), room.file("subjects", "x" * 65))
    assert "not permitted" in told
    assert room.writes() == [("PATCH", "/subjects/REFUSED_1")]
    assert "no more than 64 characters" in room.errors()


def test_a_record_without_an_address_of_its_own_is_said_to_be_one(room):
    path = room.file("projects", "R01 vision/audition")
    os.listdir(path.parent)
    with pytest.raises(OSError, match="not permitted"):
        path.write_text('{"description": "changed"}')
    assert "not permitted" in failing("rm", path)
    assert "not permitted" in failing("mv", room.file("projects", "practice"), room.file("projects", "a/b"))
    assert room.errors().count("The server has no address for") == 3
    assert room.writes() == []


def test_a_subject_gets_a_new_name(room):
    room.asking.send("POST", "/subjects", {"nickname": "OLD_1", "lab": "cortexlab"})
    room.demo.clear_requests()
    old, new = room.file("subjects", "OLD_1"), room.file("subjects", "NEW-1")
    run("mv", old, new)
    assert room.writes() == [("PATCH", "/subjects/OLD_1")]
    assert not old.exists()
    assert new.read_bytes() == room.shown("subjects", "NEW-1")
    listed = os.listdir(old.parent)
    assert new.name in listed
    assert old.name not in listed
    run("sed", "-i", 's/"nickname": "NEW-1"/"nickname": "NEWER"/', new)
    assert room.record("subjects", "NEWER")["nickname"] == "NEWER"
    assert new.read_bytes() == room.shown("subjects", "NEWER"), "the name that was written to leads to the record"
    for number in [entry["number"] for entry in room.log()[-1:-3:-1]]:
        room.command("undo", number=number)
    assert room.record("subjects", "OLD_1")["nickname"] == "OLD_1"
    run("rm", old)


def test_undo_of_a_new_name_that_was_written_into_the_file(room):
    room.asking.send("POST", "/tags", {"name": "written_1"})
    path = room.file("tags", "written_1")
    path.write_text('{"name": "written_2"}')
    assert json.loads(path.read_bytes())["name"] == "written_2", "the name that was written to leads to the record"
    room.command("undo", number=room.log()[-1]["number"])
    assert json.loads(path.read_bytes())["name"] == "written_1"
    with pytest.raises(OSError, match="Input/output error"):
        path.write_text('{"name": ""}')
    assert "name cannot be empty" in room.errors()
    run("rm", path)
    new = room.drive / "notes" / "new.json"
    new.write_text(
        json.dumps({"user": "demo", "content_type": "subject", "object_id": room.record("subjects", "KS001")["id"]})
    )
    assert new.exists()
    room.command("undo", number=room.log()[-1]["number"])
    assert not new.exists(), "it led to what is there no more"


def test_ids_cannot_be_given_another_name(room):
    session = new_session(room)
    path = room.file("sessions", session)
    assert "not permitted" in failing("mv", path, path.parent / "better.json")
    assert "not permitted" in failing("mv", path, room.drive / "subjects" / "x.json")


def test_a_query_that_is_done_here_can_be_written_to(room):
    """The server does not filter projects."""
    directory = room.drive / "projects" / "users=alice"
    (directory / "new_one.json").write_text('{"description": "made in a query"}')
    assert room.record("projects", "new_one") == {
        **room.record("projects", "new_one"),
        "users": ["alice"],
        "description": "made in a query",
    }
    assert "new_one.json" in os.listdir(directory)
    run("sed", "-i", "s/made in/changed in/", directory / "new_one.json")
    assert json.loads((room.drive / "projects" / "new_one.json").read_bytes())["description"] == "changed in a query"
    run("mv", directory / "new_one.json", directory / "old_one.json")
    run("cp", directory / "old_one.json", directory / "old_one.json~")
    assert {"old_one.json", "old_one.json~"} <= set(os.listdir(directory))
    run("rm", directory / "old_one.json~")
    assert "not permitted" in failing("rm", directory / "old_one.json"), "it may hold json, which nobody is shown"
    told = command(room, "allow-deletes", str(directory / "old_one.json"))
    assert "projects/old_one may be deleted" in told
    assert "forget what no undo brings back: json" in told
    run("rm", directory / "old_one.json")
    assert not {"new_one.json", "old_one.json"} & set(os.listdir(room.drive / "projects"))
    assert [method for method, _ in room.writes()] == ["POST", "PATCH", "PATCH", "DELETE"]
    room.asking.send("POST", "/projects", {"name": "anothers", "users": ["bob"]})
    assert not (directory / "anothers.json").exists()
    assert "cannot remove" in failing("rm", directory / "anothers.json")
    assert json.loads((room.drive / "projects" / "users=bob" / "anothers.json").read_bytes())["name"] == "anothers"


def test_a_record_made_in_a_query_gets_its_fields(room):
    directory = room.drive / "sessions" / "subject=KS004" / "lab=cortexlab" / "number=7"
    path = directory / "new.json"
    path.write_text('{"narrative": "made in a query", "start_time": "2024-05-05T10:00:00"}')
    made = json.loads(path.read_bytes())
    assert (made["subject"], made["lab"], made["number"]) == ("KS004", "cortexlab", 7)
    assert [entry.split(".")[0] for entry in os.listdir(directory)] == [made["url"].rsplit("/", 1)[-1]]
    path = room.drive / "sessions" / "projects=practice" / "subject=KS004" / "new.json"
    assert not path.exists(), "a name leads to what was made in its own directory"
    path.write_text('{"narrative": "with a list"}')
    assert json.loads(path.read_bytes())["projects"] == ["practice"]


def test_the_filter_by_a_subjects_nickname_is_the_field_of_a_new_weighing(room):
    path = room.drive / "weighings" / "nickname=KS004" / "today.json"
    path.write_text('{"weight": 21.5}')
    made = json.loads(path.read_bytes())
    assert (made["subject"], made["weight"]) == ("KS004", 21.5)


def test_a_record_deleted_in_a_query_is_gone_everywhere(room):
    made = room.drive / "weighings" / "new.json"
    made.write_text('{"subject": "KS004", "weight": 22.5}')
    key = json.loads(made.read_bytes())["url"].rsplit("/", 1)[-1]
    there = room.drive / "weighings" / f"{key}.json"
    assert there.exists()
    subprocess.run(["rm", room.drive / "weighings" / "nickname=KS004" / f"{key}.json"], check=True)
    until(lambda: not there.exists(), "the name's end in the endpoint's own directory", patience=5)


def test_a_relation_that_is_named_twice_is_saved_once(room):
    key = new_session(room)
    path = room.file("sessions", key)
    path.write_text('{"users": ["demo", "demo"]}')
    assert json.loads(path.read_bytes())["users"] == ["demo"]


def test_an_action(room):
    session = room.asking.rows("/sessions?subject=KS001&number=1")[0]
    path = room.drive / "register-file" / "new.json"
    request = {
        "created_by": "demo",
        "path": f"KS001/{session['start_time'][:10]}/001",
        "filenames": ["alf/spikes.times.npy"],
        "filesizes": [10],
        "hashes": ["0" * 32],
        "name": "cortexlab_SR",
    }
    path.write_text(json.dumps(request))
    answer = json.loads(path.read_bytes())
    assert answer[0]["dataset_type"]
    assert room.writes() == [("POST", "/register-file")]
    key = answer[0]["id"]
    assert room.file("datasets", key).read_bytes() == room.shown("datasets", key)
    entry = room.log()[-1]
    assert (entry["operation"], entry["state"]) == ("act", "done")
    with pytest.raises(OSError, match="Input/output error"):
        path.write_text("not JSON")
    assert "Read-only" in failing("touch", path.parent / "other.json")


def picture(size, colour="red", kind="PNG"):
    content = io.BytesIO()
    Image.new("RGB", size, colour).save(content, kind)
    return content.getvalue()


def test_the_picture_of_a_note_is_read(room):
    note = next(row for row in room.asking.rows("/notes") if row["image"])
    suffix = note["image"].rpartition(".")[2]
    path = room.drive / "notes" / f"{note['id']}.{suffix}"
    size = path.stat().st_size
    content = path.read_bytes()
    assert content == room.asking.bytes_of(note["image"])
    assert size == len(content), "at the first look, before it was opened"
    assert not path.with_suffix(".gif").exists(), "it has one of another kind"
    assert "not permitted" in failing("rm", path)
    assert path.name not in os.listdir(path.parent)


def test_a_note_is_given_a_picture(room, tmp_path):
    about = {"user": "demo", "content_type": "session", "object_id": new_session(room), "text": "without a picture"}
    note = room.asking.send("POST", "/notes", about)["id"]
    room.demo.clear_requests()
    path = room.drive / "notes" / f"{note}.png"
    assert not path.exists()
    (tmp_path / "figure.png").write_bytes(b"no picture")
    assert "Input/output error" in failing("cp", tmp_path / "figure.png", path)
    assert b"no picture" in [each.read_bytes() for each in (room.drive / ".alyxfs" / "rejected").iterdir()]
    (tmp_path / "figure.png").write_bytes(picture((300, 200)))
    run("cp", tmp_path / "figure.png", path)
    assert room.writes() == [("PATCH", f"/notes/{note}")] * 2
    assert path.stat().st_size > 0, "many programs do not open what is empty"
    assert path.read_bytes() == room.asking.bytes_of(room.record("notes", note)["image"])
    with pytest.raises(OSError, match="No such file"):
        (room.drive / "notes" / "00000000-0000-4000-8000-000000000000.png").write_bytes(picture((2, 2)))


def test_a_picture_that_is_still_being_written_is_none_yet(room, tmp_path):
    about = {"user": "demo", "content_type": "session", "object_id": new_session(room), "text": "without a picture"}
    note = room.asking.send("POST", "/notes", about)["id"]
    path = room.drive / "notes" / f"{note}.png"
    with path.open("wb") as file:
        file.write(picture((20, 10))[:50])
        with pytest.raises(FileNotFoundError):
            Path(f"/proc/self/fd/{file.fileno()}").read_bytes()  # by its name it is not there at all
        assert f"The note {path.name} has no picture yet." in room.errors()
        file.seek(0)
        file.write(picture((20, 10)))
    assert path.read_bytes() == room.asking.bytes_of(room.record("notes", note)["image"])


@pytest.mark.parametrize(("size", "kind"), [((1600, 900), "PNG"), ((900, 600), "BMP"), ((40, 30), "JPEG")])
def test_a_new_note_keeps_its_picture_as_it_is_and_an_old_one_is_not_given_what_it_would_not_keep(
    room, tmp_path, size, kind
):
    """An old note's picture is stored anew by the server, smaller or with a loss, whatever is asked of it."""
    name, notes = f"figure.{kind.lower()}", room.drive / "notes"
    (tmp_path / name).write_bytes(content := picture(size, kind=kind))
    about = {"user": "demo", "content_type": "session", "object_id": new_session(room), "text": "with a picture"}
    (tmp_path / "new.json").write_text(json.dumps({**about, "image": name}))
    assert "Input/output error" in failing("cp", tmp_path / "new.json", notes / "new.json")
    assert f"no file {name} in notes/" in room.errors().splitlines()[-1]
    run("cp", tmp_path / name, notes / name)
    run("cp", tmp_path / "new.json", notes / "new.json")
    (note,) = room.asking.rows(f"/notes?django=object_id,{about['object_id']}")
    assert room.asking.bytes_of(note["image"]) == content
    shown = notes / f"{note['id']}{Path(note['image']).suffix}"
    assert shown.read_bytes() == content
    assert name not in os.listdir(notes), "the server has it now"

    room.demo.clear_requests()
    assert failing("cp", tmp_path / name, shown)
    assert "would not keep it as it is" in room.errors()
    assert room.writes() == []
    assert room.asking.bytes_of(note["image"]) == content


def test_a_lost_picture_is_an_error_and_not_the_text_that_the_server_sends(room, tmp_path):
    about = {"user": "demo", "content_type": "session", "object_id": new_session(room), "text": "a picture"}
    note = room.asking.send("POST", "/notes", about)["id"]
    path = room.drive / "notes" / f"{note}.png"
    (tmp_path / "figure.png").write_bytes(picture((30, 20)))
    run("cp", tmp_path / "figure.png", path)
    uploads = f"{room.demo.url}/uploaded/"
    lost = urllib.request.Request(f"{uploads}nothing", headers={"Authorization": f"Token {room.asking.token}"})
    with urllib.request.urlopen(lost, timeout=30) as answer:
        stored = Path(answer.read().decode()).parent
    (stored / room.record("notes", note)["image"].removeprefix(uploads)).unlink()
    # The server in front lacks it, and the Alyx behind asks who wants it: what the database names gets no token.
    with pytest.raises(OSError, match="Permission denied"):
        path.read_bytes()
    assert "/uploaded/" in room.errors()


def test_no_delete(changing, home):
    with writing(changing, home, "--no-delete") as room:
        session = new_session(room)
        room.demo.clear_requests()
        assert "not permitted" in failing("rm", room.file("sessions", session))
        assert "--no-delete" in room.errors()
        assert room.writes() == []
        run("sed", "-i", 's/"narrative": ""/"narrative": "still writable"/', room.file("sessions", session))
        assert room.record("sessions", session)["narrative"] == "still writable"


def test_the_examples_of_the_help_run(room):
    """All but the picture, which needs one."""
    text = (room.drive / ".alyxfs" / "help.md").read_text()
    examples = text.split("## Writing")[1].split("```")[1].strip().splitlines()
    known = {row["nickname"] for row in room.asking.rows("/subjects")}
    if "KS022" not in known:
        room.asking.send("POST", "/subjects", {"nickname": "KS022", "lab": "cortexlab"})
    weighing = room.asking.send("POST", "/weighings", {"subject": "KS004", "weight": 20})["url"].rsplit("/", 1)[-1]
    session = new_session(room)
    ids = {"sessions/<id>": f"sessions/{session}", "weighings/<id>": f"weighings/{weighing}"}
    for example in examples:
        if not example.startswith("cp figure.png"):
            line = re.sub("|".join(ids), lambda found: ids[found.group()], example)
            run("bash", "-c", line, cwd=room.drive.path)
    assert [method for method, _ in room.writes()] == ["PATCH", "POST", "PATCH", "DELETE"]
    assert room.record("sessions", session)["narrative"] == "good session"
