"""A dry run: what is written on the drive shows everywhere on it, and nowhere else."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess

import pytest
from PIL import Image

from alyxfs.demo.server import running_demo
from asking import Asking
from mounted import mounted, run_alyxfs, until
from same_steps import unchanged
from writing import FAST, Writing, run, writing

REFUSED = "Input/output error"


@pytest.fixture(scope="module")
def demo_of_its_own(changing, demo_directory, tmp_path_factory):
    """A demo and its database; ``changing`` has seen to it that there is something to copy."""
    place = tmp_path_factory.mktemp("dry") / "demo"
    shutil.copytree(demo_directory, place)
    (database,) = place.rglob("*.sqlite3")
    with running_demo(place, largest_file_mb=2, control=True, fresh=False) as demo:
        yield demo, database


@pytest.fixture(scope="module")
def room(demo_of_its_own, tmp_path_factory):
    """One drive for all tests here that change no record of the server."""
    demo, database = demo_of_its_own
    with writing(demo, tmp_path_factory.mktemp("dry") / "home", "--dry-run") as room, unchanged(database):
        yield room
        assert room.writes() == []


@pytest.fixture
def session(room):
    """A session of which nothing is proposed yet."""
    proposed = {entry["record"] for entry in room.log()}
    rows = room.asking.rows("/sessions?subject=KS002")
    return next(row["id"] for row in rows if f"sessions/{row['id']}" not in proposed)


def read(path):
    return json.loads(path.read_bytes())


def write(path, **fields):
    path.write_text(json.dumps(fields))


def last(room, **selection):
    return room.command("log", **selection)[-1]


def failing(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    return done.stderr


def test_edits_build_on_each_other(room, session):
    path = room.file("sessions", session)
    write(path, narrative="first", json={"a": 1})
    run("sed", "-i", "s/first/second/", path)
    shown = read(path)
    assert (shown["narrative"], shown["json"]) == ("second", {"a": 1})
    assert path.stat().st_size == len(path.read_bytes())
    edited = {**shown, "json": {"a": 1, "b": 2}}
    path.write_text(json.dumps(edited))
    assert read(path)["json"] == {"a": 1, "b": 2}
    own = room.command("log", record=f"sessions/{session}")
    assert [(entry["state"], list(entry["fields"])) for entry in own] == [
        ("proposed", ["json", "narrative"]),
        ("proposed", ["narrative"]),
        ("proposed", ["json"]),
    ]
    assert '-  "narrative": "first"' in room.command("diff", number=own[1]["number"])
    assert os.getxattr(path, "user.alyx.proposed").decode() == ", ".join(str(entry["number"]) for entry in own)
    assert room.record("sessions", session)["narrative"] != "second"
    assert room.errors() == "" or "dry run" not in room.errors()


def test_queries_follow_what_is_proposed(room, session):
    before = room.record("sessions", session)
    here, there = room.drive / "sessions" / f"number={before['number']}", room.drive / "sessions" / "number=77"
    protocols = room.drive / "sessions" / "task_protocol=_quite_new_"
    assert f"{session}.json" in os.listdir(here)
    assert os.listdir(there) == []
    write(room.file("sessions", session), number=77, task_protocol="some_Quite_New_one")
    assert f"{session}.json" not in os.listdir(here)
    assert os.listdir(there) == os.listdir(protocols) == [f"{session}.json"]
    assert read(there / f"{session}.json")["number"] == 77
    assert f"{session}.json" in os.listdir(room.drive / "sessions" / f"subject={before['subject']}" / "number=77")
    write(there / "new.json", subject="KS003")
    assert len(os.listdir(there)) == 2


def test_data_follows_what_is_proposed(room, session):
    before = room.record("sessions", session)
    write(room.file("sessions", session), number=88)
    day = room.drive / "data" / before["lab"] / "Subjects" / before["subject"] / before["start_time"][:10]
    assert "088" in os.listdir(day)
    assert f"{before['number']:03d}" not in os.listdir(day)
    assert os.path.realpath(room.drive / "sessions" / session) == str(day / "088")
    dataset = before["data_dataset_session_related"][0]
    content = room.drive / "datasets" / dataset["id"]
    assert content.exists()
    room.command("allow-deletes", path=f"datasets/{dataset['id']}.json")
    run("rm", room.file("datasets", dataset["id"]))
    assert not content.exists()
    shown = read(room.file("sessions", session))["data_dataset_session_related"]
    assert dataset["id"] not in [each["id"] for each in shown]


def test_a_new_record_is_one_like_any_other_until_it_is_deleted(room):
    weighings = room.drive / "weighings"
    number = len(os.listdir(weighings))
    path = weighings / "today.json"
    write(path, subject="KS005", weight=23)
    shown = read(path)
    assert (shown["weight"], shown["user"]) == (23.0, "demo")
    key = shown["url"].rsplit("/", 1)[-1]
    assert f"{key}.json" in os.listdir(weighings)
    assert len(os.listdir(weighings)) == number + 1
    assert shown["url"] in [each["url"] for each in read(room.file("subjects", "KS005"))["weighings"]]
    run("rm", weighings / f"{key}.json")
    assert not path.exists()
    assert len(os.listdir(weighings)) == number
    made, deleted = room.command("log", record=f"weighings/{key}")
    assert [each["operation"] for each in (made, deleted)] == ["create", "delete"]
    assert [each["state"] for each in (made, deleted)] == ["proposed"] * 2


def test_a_new_name_stands_everywhere(room):
    before = os.listdir(room.drive / "sessions" / "subject=KS006")
    run("mv", room.file("subjects", "KS006"), room.file("subjects", "NEW006"))
    assert {"KS006.json", "NEW006.json"} & set(os.listdir(room.drive / "subjects")) == {"NEW006.json"}
    assert not room.file("subjects", "KS006").exists()
    assert os.listdir(room.drive / "sessions" / "subject=NEW006") == before
    assert os.listdir(room.drive / "sessions" / "subject=KS006") == []
    assert read(room.drive / "sessions" / before[0])["subject"] == "NEW006"
    assert "NEW006" in os.listdir(room.drive / "data" / "cortexlab" / "Subjects")
    write(room.drive / "sessions" / "of-it.json", subject="NEW006")
    with pytest.raises(OSError, match=REFUSED):
        write(room.drive / "weighings" / "of-none.json", subject="KS006", weight=1)
    write(room.drive / "projects" / "made.json", description="x")
    run("mv", room.drive / "projects" / "made.json", room.file("projects", "a[b]"))
    text = run_alyxfs(room.home, "log", "--record", "projects/a[b]", str(room.drive.path)).stdout
    assert "proposed   rename projects/a[b]  (name)" in text


@pytest.mark.parametrize(
    ("endpoint", "fields", "words"),
    [
        ("weighings", {"subject": "nobody", "weight": 1}, "subjects has no record 'nobody'"),
        ("weighings", {"subject": "KS005"}, "needs weight"),
        ("sessions", {"subject": "KS005", "projects": ["none"]}, "projects has no record 'none'"),
        ("sessions", {"subject": "KS005", "narative": "x"}, "no field 'narative'"),
        ("projects", {"name": "taken", "users": ["nobody"]}, "users has no record 'nobody'"),
        ("labs", {"name": "cortexlab"}, "holds the name of labs/cortexlab"),
    ],
)
def test_what_the_server_would_refuse_is_refused(room, endpoint, fields, words):
    path = room.drive / endpoint / "refused.json"
    if "holds" in words:  # a copy, which stays here
        write(path, **fields)
    else:
        with pytest.raises(OSError, match=REFUSED):
            write(path, **fields)
    assert words in room.errors()
    path.unlink()


def test_what_hangs_from_a_record_counts_as_it_is_proposed(room):
    run("bash", "-c", f'echo \'{{"lab": "cortexlab"}}\' > {room.file("subjects", "HOLDER")}')
    write(room.drive / "weighings" / "held.json", subject="HOLDER", weight=20)
    assert "Directory not empty" in failing("rm", room.file("subjects", "HOLDER"))
    assert "1 weighings" in room.errors()
    run("rm", room.drive / "weighings" / "held.json")
    run("rm", room.file("subjects", "HOLDER"))
    assert "HOLDER.json" not in os.listdir(room.drive / "subjects")


def test_a_delete_takes_with_it_what_the_server_would_delete_and_undo_brings_it_back(room, session):
    dataset = room.record("sessions", session)["data_dataset_session_related"][0]["id"]
    file = next(row for row in room.asking.rows(f"/files?dataset={dataset}"))["url"].rsplit("/", 1)[-1]
    others = [room.file("datasets", dataset), room.file("files", file)]
    room.command("allow-deletes", path=f"sessions/{session}.json")
    run("rm", room.file("sessions", session))
    assert [path.exists() for path in others] == [False, False]
    assert os.listdir(room.drive / "datasets" / f"session={session}") == []
    assert "proposed no longer" in room.command("undo", number=last(room)["number"])
    until(lambda: all(path.exists() for path in others), "they are there again")


def test_undo_withdraws_a_proposal(room, session):
    path = room.file("sessions", session)
    before = read(path)
    write(path, narrative="one")
    one = last(room)["number"]
    write(path, narrative="two")
    two = last(room)["number"]
    refusal = run_alyxfs(room.home, "undo", str(one), "--drive", str(room.drive.path))
    assert refusal.returncode != 0
    assert f"write {two}" in refusal.stderr
    for number in (two, one):
        assert "proposed no longer" in room.command("undo", number=number)
    assert read(path) == before
    states = [each["state"] for each in room.command("log", record=f"sessions/{session}")]
    assert states == ["withdrawn", "withdrawn"]
    note = room.drive / "notes" / "new.json"
    write(note, user="demo", content_type="session", object_id=session, text="to be deleted")
    made, own = last(room)["number"], room.file("notes", read(note)["id"])
    assert [each["text"] for each in read(path)["notes"]][-1] == "to be deleted"
    run("rm", note)
    room.command("undo", number=last(room)["number"])
    assert read(own)["text"] == "to be deleted"
    room.command("undo", number=made)
    until(lambda: not own.exists(), "the note is gone")
    assert [each["text"] for each in read(path)["notes"]] == [each["text"] for each in before["notes"]]


def test_the_picture_of_a_note_is_the_proposed_one(room, session, tmp_path):
    note = room.drive / "notes" / "with-picture.json"
    write(note, user="demo", content_type="session", object_id=session, text="look")
    picture = room.drive / "notes" / f"{read(note)['id']}.png"
    content = io.BytesIO()
    Image.new("RGB", (30, 20), "red").save(content, "PNG")
    (tmp_path / "figure.png").write_bytes(content.getvalue())
    run("cp", tmp_path / "figure.png", picture)
    assert picture.stat().st_size == len(content.getvalue())
    assert picture.read_bytes() == content.getvalue()
    run("cp", tmp_path / "figure.png", room.drive / "notes" / "figure.png")
    another = room.drive / "notes" / "another.json"
    write(another, user="demo", content_type="session", object_id=session, text="another", image="figure.png")
    assert (room.drive / "notes" / f"{read(another)['id']}.png").read_bytes() == content.getvalue()
    (tmp_path / "figure.png").write_bytes(b"no picture")
    assert REFUSED in failing("cp", tmp_path / "figure.png", picture)


def test_status_and_log_tell_of_a_dry_run(room):
    text = run_alyxfs(room.home, "status", str(room.drive.path)).stdout
    proposals = len([each for each in room.log() if each["state"] == "proposed"])
    assert f"dry run: {proposals} proposals, nothing is sent" in text
    assert "writable" not in text
    assert "dry run" in run_alyxfs(room.home, "status").stdout
    assert "dry run: nothing is sent" in "".join(room.drive.log)
    shown = json.loads(run_alyxfs(room.home, "log", "--json", "--state", "proposed", str(room.drive.path)).stdout)
    assert {each["state"] for each in shown} == {"proposed"}


def test_it_ends_with_the_drive_and_leaves_the_journal(demo_of_its_own, tmp_path):
    demo, database = demo_of_its_own
    home = tmp_path / "home"
    session = Asking(demo.url).rows("/sessions?subject=KS003")[0]["id"]
    with unchanged(database), writing(demo, home, "--dry-run") as room:
        before = room.shown("sessions", session)
        write(room.file("sessions", session), narrative="as it would be")
        assert b"as it would be" in room.file("sessions", session).read_bytes()
        os.listdir(room.drive / "sessions")
        assert list((home / ".cache" / "alyxfs").rglob("known-copy-*/*.sqlite"))
    assert not list((home / ".cache" / "alyxfs").rglob("known-copy-*"))
    with mounted(demo.url, home, "--rw", *FAST) as drive:
        real = Writing(drive, demo, Asking(demo.url), home)
        assert real.file("sessions", session).read_bytes() == before
        (entry,) = real.log()
        assert (entry["state"], entry["operation"]) == ("proposed", "save")
        assert "as it would be" in real.command("diff", number=entry["number"])
        refusal = run_alyxfs(home, "undo", str(entry["number"]), "--drive", str(drive.path))
        assert "proposed" in refusal.stderr
        assert real.writes() == []


def test_a_later_change_on_the_server_is_merged_or_told_as_a_conflict(changing, tmp_path):
    asking = Asking(changing.url)
    session = asking.send("POST", "/sessions", {"subject": "KS001", "narrative": "begun", "number": 1})["id"]
    with writing(changing, tmp_path / "home", "--dry-run") as room:
        path = room.file("sessions", session)
        write(path, narrative="proposed")
        write(path, json={"mine": 1})
        asking.send("PATCH", f"/sessions/{session}", {"json": {"theirs": 2}, "number": 5})
        room.command("refresh", path=f"sessions/{session}.json")
        shown = read(path)
        assert (shown["narrative"], shown["json"], shown["number"]) == ("proposed", {"theirs": 2, "mine": 1}, 5)
        asking.send("PATCH", f"/sessions/{session}", {"narrative": "of another"})
        room.command("refresh", path=f"sessions/{session}.json")
        assert read(path)["narrative"] == "of another"
        first, second = room.log()
        assert (first["state"], second["state"]) == ("conflict", "proposed")
        assert 'narrative was "begun", you wrote "proposed", the server has "of another"' in first["remark"]
        status = run_alyxfs(room.home, "status", str(room.drive.path)).stdout
        assert "2 proposals (1 in conflict with the server), nothing is sent" in status
        room.command("undo", number=first["number"])
        assert "1 proposal, nothing is sent" in run_alyxfs(room.home, "status", str(room.drive.path)).stdout
        write(path, narrative="after all")
        assert read(path)["narrative"] == "after all"
        asking.send("DELETE", f"/sessions/{session}")
        room.command("refresh", path="sessions")
        until(lambda: not path.exists(), "the session is gone")
        assert {each["state"] for each in room.log()} == {"conflict", "withdrawn"}
        assert [each for each in room.writes() if each[0] == "POST"] == []
