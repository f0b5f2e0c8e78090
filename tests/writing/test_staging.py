"""Staged editing: what is saved on a drive with ``--stage`` is kept and shown, and reaches the server by ``apply``."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal

import pytest
from PIL import Image

from alyxfs.demo.server import running_demo
from asking import Asking
from mounted import in_front, mounted, run_alyxfs, until
from writing import FAST, Writing, run, writing


@pytest.fixture(scope="module")
def demo(changing, demo_directory, tmp_path_factory):
    """A demo of its own, whose records nobody else changes; ``changing`` has seen to it that there is one to copy."""
    place = tmp_path_factory.mktemp("staged") / "demo"
    shutil.copytree(demo_directory, place)
    with running_demo(place, largest_file_mb=2, control=True, fresh=False) as demo:
        yield demo


def read(path):
    return json.loads(path.read_bytes())


def write(path, **fields):
    path.write_text(json.dumps(fields))


def told(room, command, *arguments):
    """Exit code, output and errors of a command about the drive."""
    where = [] if command == "diff" else ["--drive", str(room.drive.path)]
    done = run_alyxfs(room.home, command, *arguments, *where)
    return done.returncode, done.stdout, done.stderr


def staged(room):
    return [entry for entry in room.log() if entry["state"] == "staged"]


def number_of(room, record):
    return room.command("log", record=record)[-1]["number"]


def named_in(text, words):
    return [int(number) for number in re.findall(rf"{words} (\d+)", text)]


def edit_many(demo, home, number):
    """Stage so many edits, have others change three of the records, apply them, and take the set back."""
    asking = Asking(demo.url)

    def rows():
        """As the server has them; the list is that of the records."""
        listed = asking.get(f"/datasets?limit={2 * number}")["results"]
        return {row["url"].rsplit("/", 1)[-1]: {**row, "auto_datetime": 0} for row in listed}

    before, theirs = rows(), f"of another, before {number} edits"
    keys = [key for key, row in before.items() if row["version"]][:number]
    with writing(demo, home, "--stage") as room:
        for place, key in enumerate(keys):
            write(room.file("datasets", key), version=f"edit {place}")
        code, text, _ = told(room, "diff", "--staged", str(room.drive.path))
        assert code == 0
        assert all(f'+  "version": "edit {place}"' in text for place in range(number))
        assert read(room.file("datasets", keys[0]))["version"] == "edit 0"
        assert room.writes() == []
        for key in keys[:3]:
            asking.send("PATCH", f"/datasets/{key}", {"version": theirs})
        demo.clear_requests()
        code, text, errors = told(room, "apply")
        assert code == 1, errors
        assert f"{number - 3} staged writes applied, 3 not." in text
        assert errors.count(f'the server has "{theirs}"') == 3
        assert len(room.writes()) == number - 3
        now = rows()
        for place, key in enumerate(keys):
            assert now[key]["version"] == (f"edit {place}" if place > 2 else theirs)
        assert len(staged(room)) == 3
        (in_set,) = set(named_in(text, "They are set"))
        assert len(room.command("log", set=in_set)) == number
        code, text, errors = told(room, "undo", "--set", str(in_set))
        assert (code, errors) == (0, "")
        assert f"{number - 3} of {number - 3} writes of set {in_set} are taken back" in text
        others = dict.fromkeys(keys[:3], None)
        assert {**rows(), **others} == {**before, **others}
        code, text, _ = told(room, "discard")
        assert (code, text) == (0, "3 staged writes discarded.\n")
        assert staged(room) == []
        assert "nothing that could be taken back" in told(room, "undo", "--set", str(in_set))[1]


def test_sixty_staged_edits_are_reviewed_applied_and_taken_back(demo, home):
    edit_many(demo, home, 60)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_five_hundred_staged_edits_are_reviewed_applied_and_taken_back(demo, home):
    edit_many(demo, home, 500)


def stage_one_of_each(room, session):
    """A change, a new record and what names it, a new name and what has it, a delete; and two pictures."""
    write(room.file("sessions", session), narrative="staged")
    write(room.file("subjects", "STAGED-1"), lab="cortexlab", nickname="STAGED-1")
    made = room.drive / "sessions" / "made.json"
    write(made, subject="STAGED-1", narrative="new", number=1)
    key = read(made)["id"]
    content = io.BytesIO()
    Image.new("RGB", (30, 20), "red").save(content, "PNG")
    (room.drive / "notes" / "figure.png").write_bytes(content.getvalue())
    note = room.drive / "notes" / "about.json"
    write(note, user="demo", content_type="session", object_id=key, text="about it", image="figure.png")
    old = room.asking.send(
        "POST", "/notes", {"user": "demo", "content_type": "session", "object_id": session, "text": ""}
    )
    run("cp", room.drive / "notes" / "figure.png", room.drive / "notes" / f"{old['id']}.png")
    write(made, narrative="changed")
    run("mv", room.file("subjects", "STAGED-1"), room.file("subjects", "STAGED-2"))
    weighing = room.drive / "weighings" / "w.json"
    write(weighing, subject="STAGED-2", weight=20)
    gone = room.asking.rows("/weighings?nickname=KS004")[0]["url"].rsplit("/", 1)[-1]
    run("rm", room.drive / "weighings" / f"{gone}.json")
    return key, read(note)["id"], old["id"], gone, content.getvalue()


def test_what_is_staged_outlives_a_kill_and_is_applied_with_the_servers_ids(demo, home):
    asking = Asking(demo.url)
    session = asking.rows("/sessions?subject=KS002")[0]["id"]
    credentials = {"ALYXFS_USER": "demo", "ALYXFS_PASSWORD": "demo"}
    with in_front(demo.url, home, options=("--stage", *FAST), **credentials) as (process, path):
        demo.clear_requests()
        killed = Writing(path, demo, asking, home)
        made, note, old, gone, picture = stage_one_of_each(killed, session)
        until(lambda: len(staged(killed)) == 9, "all are staged")
        renamed = run_alyxfs(home, "diff", "--staged", str(killed.file("subjects", "STAGED-2"))).stdout
        assert '+  "nickname": "STAGED-2"' in renamed
        assert "sessions/" not in renamed
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        assert killed.writes() == [("POST", "/notes")], "the test's own"
    with writing(demo, home, "--stage") as room:
        assert "9 staged writes wait to be sent: `alyxfs diff --staged` shows what" in "".join(room.drive.log)
        assert room.command("log", record=f"weighings/{gone}")[-1]["state"] == "staged"
        assert read(room.file("sessions", session))["narrative"] == "staged"
        shown = read(room.file("sessions", made))
        assert (shown["narrative"], shown["subject"]) == ("changed", "STAGED-2")
        assert [each["text"] for each in shown["notes"]] == ["about it"]
        for each in (note, old):
            assert (room.drive / "notes" / f"{each}.png").read_bytes() == picture
        assert f"{gone}.json" not in os.listdir(room.drive / "weighings")
        assert {"STAGED-1.json", "STAGED-2.json"} & set(os.listdir(room.drive / "subjects")) == {"STAGED-2.json"}
        text = run_alyxfs(home, "status", str(room.drive.path)).stdout
        assert "9 staged writes, nothing is sent before `alyxfs apply`" in text
        assert room.writes() == []
        code, text, errors = told(room, "apply")
        assert (code, errors) == (0, "")
        assert "9 staged writes applied." in text
        (real,) = asking.rows("/sessions?subject=STAGED-2")
        found = asking.get(f"/sessions/{real['id']}")
        assert real["id"] != made
        assert found["narrative"] == "changed"
        assert [each["text"] for each in found["notes"]] == ["about it"]
        assert found["notes"][0]["image"]
        assert asking.get(f"/notes/{old}")["image"]
        assert [each["weight"] for each in asking.rows("/weighings?nickname=STAGED-2")] == [20.0]
        assert gone not in str(asking.rows("/weighings?nickname=KS004"))
        assert asking.get(f"/sessions/{session}")["narrative"] == "staged"
        assert read(room.file("sessions", real["id"]))["narrative"] == "changed"
        until(lambda: not room.file("sessions", made).exists(), "the kernel's knowledge of the name runs out", 3.0)
        assert "Nothing is staged." in told(room, "apply")[1]
        told(room, "undo", "--set", "1")
        assert asking.rows("/sessions?subject=STAGED-2") == []


def test_what_builds_on_another_is_neither_sent_before_it_nor_left_without_it(demo, home):
    asking = Asking(demo.url)
    session = asking.rows("/sessions?subject=KS003")[0]["id"]
    with writing(demo, home, "--stage") as room:
        path = room.file("sessions", session)
        for text in ("one", "two"):
            write(path, narrative=text)
        write(path, number=71)
        write(room.file("projects", "staged"), name="staged", users=[])
        write(path, projects=["staged"])
        one, two, other, project, naming = (entry["number"] for entry in staged(room))
        code, _, errors = told(room, "apply", str(two), str(naming))
        assert code == 1
        assert f"builds on write {one}, still staged" in errors
        assert f"builds on write {project}, still staged" in errors
        assert room.writes() == []
        code, _, errors = told(room, "discard", str(one), str(project))
        assert code == 1
        assert f"(write {two}): discard those, too" in errors
        assert f"(write {naming}): discard those, too" in errors
        assert told(room, "apply", str(other))[0] == 0
        assert asking.get(f"/sessions/{session}")["number"] == 71
        assert read(path)["narrative"] == "two"
        assert told(room, "discard", str(one), str(two)) == (0, "2 staged writes discarded.\n", "")
        assert read(path)["narrative"] != "two"
        assert "staged no longer" in room.command("undo", number=naming)
        code, _, errors = told(room, "apply", str(one))
        assert code == 1
        assert "is not staged: it is withdrawn" in errors
        assert told(room, "apply")[0] == 0
        assert asking.get("/projects/staged")["name"] == "staged"
        assert read(room.file("projects", "staged"))["name"] == "staged"


def test_a_staged_delete_is_sent_only_if_the_record_is_as_it_was(demo, home):
    """What was to be lost with it was agreed to when it was staged; the limit of deletes holds when it is sent."""
    asking = Asking(demo.url)
    kept, gone = (
        asking.send("POST", "/sessions", {"subject": "KS005", "narrative": text, "number": number})["id"]
        for number, text in enumerate(("kept", "gone"), 50)
    )
    first, second, grown = (row["url"].rsplit("/", 1)[-1] for row in asking.get("/datasets?limit=3")["results"])
    with writing(demo, home, "--stage", "--deletes-per-minute", "4") as room:
        for session in (kept, gone):
            run("rm", room.file("sessions", session))
        for dataset in (first, second, grown):
            assert "the server would" in room.command("allow-deletes", path=f"datasets/{dataset}.json")
            run("rm", room.file("datasets", dataset))
        until(lambda: len(staged(room)) == 5, "all are staged")
        asking.send("PATCH", f"/sessions/{kept}", {"narrative": "of another"})
        asking.send("POST", "/notes", {"user": "demo", "content_type": "dataset", "object_id": grown, "text": "new"})
        code, _, errors = told(room, "apply")
        assert code == 1
        assert errors.count("Deleting is stopped") == 1
        assert asking.get(f"/sessions/{kept}")["narrative"] == "of another"
        room.command("allow-deletes", path=".")
        code, _, errors = told(room, "apply")
        assert code == 1
        assert "was changed since (narrative), so it is not deleted" in errors
        assert f"datasets/{grown}: datasets/{grown} is not deleted: more would be lost with it than when" in errors
        assert {entry["record"] for entry in staged(room)} == {f"sessions/{kept}", f"datasets/{grown}"}
        assert gone not in str(asking.rows("/sessions?subject=KS005"))
        assert not room.file("sessions", kept).exists()
        told(room, "discard")
        for place in (room.file("datasets", grown), room.file("sessions", kept)):
            until(place.exists, "it is there again")
        assert read(room.file("sessions", kept))["narrative"] == "of another"


def test_a_drive_that_does_not_show_what_is_staged_says_so_and_sends_it(demo, home):
    asking = Asking(demo.url)
    session = asking.rows("/sessions?subject=KS004")[0]["id"]
    before = asking.get(f"/sessions/{session}")["narrative"]
    with writing(demo, home, "--stage") as room:
        write(room.file("sessions", session), narrative="staged before")
        with mounted(demo.url, home, "--rw", *FAST, directory=home / "other") as drive:
            second = Writing(drive, demo, asking, home)
            for command in ("apply", "discard"):
                code, _, errors = told(second, command)
                assert code in {1, 3}
                assert "Another drive of this server is mounted with --stage" in errors
        refused = run_alyxfs(home, "mount", "--stage", demo.url, str(home / "third"), ALYXFS_TOKEN=asking.token)
        assert refused.returncode == 3
        assert "Another drive of this server is mounted with --stage" in refused.stderr
    words = "1 staged write waits to be sent; this drive does not show it."
    for options in ((), ("--rw", "--dry-run"), ("--rw",)):
        with mounted(demo.url, home, *options, *FAST, expected_trouble="which was saved as") as drive:
            assert words in "".join(drive.log)
            other = Writing(drive, demo, asking, home)
            assert read(other.file("sessions", session))["narrative"] == before
            demo.clear_requests()
            code, text, errors = told(other, "diff", "--staged", str(other.file("sessions", session)))
            if options != ("--rw",):
                assert code == 1
                assert "mount it with --stage" in errors
                continue
            assert '+  "narrative": "staged before"' in text
            assert "Nothing is staged." in told(other, "diff", "--staged", str(drive / "subjects"))[1]
            assert other.writes() == []
            code, text, _ = told(other, "apply")
            assert code == 0
            (in_set,) = set(named_in(text, "They are set"))
            assert read(other.file("sessions", session))["narrative"] == "staged before"
            text = run_alyxfs(home, "log", "--set", str(in_set), str(drive.path)).stdout
            assert "alyxfs apply" in text
            assert f"[set {in_set}]" in text
            asking.send("PATCH", f"/sessions/{session}", {"narrative": before})


def test_staging_and_a_dry_run_exclude_each_other(home):
    refused = run_alyxfs(home, "mount", "--stage", "--dry-run", "http://127.0.0.1:9", str(home / "drive"))
    assert refused.returncode == 3
    assert "give one of them" in refused.stderr
