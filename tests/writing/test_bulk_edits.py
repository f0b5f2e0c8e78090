"""``alyxfs edit``: the rows of a table, each saved as its record's file would be, and taken back together."""

from __future__ import annotations

import csv
import json
import re

import pytest

from alyxfs.errors import Invalid
from mounted import run_alyxfs
from writing import writing


@pytest.fixture(scope="module")
def room(changing, tmp_path_factory):
    with writing(changing, tmp_path_factory.mktemp("bulk") / "home") as room:
        yield room


@pytest.fixture
def sessions(room):
    """Sessions that nobody else knows."""
    made = ({"subject": "KS002", "lab": "cortexlab", "narrative": f"old {number}"} for number in range(12))
    return [room.asking.send("POST", "/sessions", each)["id"] for each in made]


def table(room, name, *lines, separator=",", **options):
    path = room.home / name
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file, delimiter=separator, **options).writerows(lines)
    return path


def edit(room, path, endpoint, *flags):
    """Exit code, output and errors."""
    done = run_alyxfs(room.home, "edit", "--from", str(path), *flags, endpoint, str(room.drive.path))
    return done.returncode, done.stdout, done.stderr


def set_in(text):
    (number,) = set(re.findall(r"They are set (\d+)", text))
    return number


def test_each_row_is_saved_and_the_whole_set_taken_back(room, sessions):
    before = [room.record("sessions", key) for key in sessions]
    lines = [(key, f"new {number}", json.dumps({"a": [number]}), number) for number, key in enumerate(sessions)]
    lines[3] = (sessions[3], "", "", "")
    lines[5] = (sessions[5], "old 5", "", "")
    path = table(room, "changes.csv", ("id", "narrative", "json", "number"), *lines)
    room.demo.clear_requests()
    code, text, errors = edit(room, path, "sessions", "--dry-run")
    assert (code, errors) == (0, "")
    assert '-  "narrative": "old 0"' in text
    assert '+  "narrative": "new 0"' in text
    assert text.count("(as it would be)") == 10
    assert "10 records would change, 2 had these values already." in text
    assert room.writes() == []
    code, text, errors = edit(room, path, "sessions/")
    assert (code, errors) == (0, "")
    assert "10 records changed, 2 had these values already." in text
    assert len(room.writes()) == 10
    shown = json.loads(room.file("sessions", sessions[7]).read_bytes())
    assert (shown["narrative"], shown["json"], shown["number"]) == ("new 7", {"a": [7]}, 7)
    log = run_alyxfs(room.home, "log", "--set", set_in(text), str(room.drive.path)).stdout
    assert f"Set {set_in(text)}, " in log
    assert "alyxfs edit --from changes.csv sessions" in log
    assert log.count("done") == 10
    code, again, _ = edit(room, path, "sessions")
    assert (code, again.partition(".")[0]) == (0, "0 records changed, 12 had these values already")
    room.demo.clear_requests()
    undone = run_alyxfs(room.home, "undo", "--set", set_in(text), "--drive", str(room.drive.path))
    assert (undone.returncode, undone.stderr) == (0, "")
    assert f"10 of 10 writes of set {set_in(text)} are taken back" in undone.stdout
    for key, record in zip(sessions, before, strict=True):
        now = room.record("sessions", key)
        assert {**now, "auto_datetime": 0} == {**record, "auto_datetime": 0}


def test_rows_that_fail_are_told_and_the_others_go_on(room, sessions):
    nobody = "00000000-0000-4000-8000-000000000000"
    path = table(
        room,
        "some.csv",
        ("url", "narrative", "json", "projects", "qc"),
        (sessions[0], "good", "", "", ""),
        (nobody, "x", "", "", ""),
        (sessions[1], "", "{broken", "", ""),
        (f"https://alyx.example.org/sessions/{sessions[2]}", "also good", "", "", ""),
        (sessions[3], "", "", '["no such project"]', ""),
        (sessions[4], "null", "null", "[]", "PASS"),
    )
    code, text, errors = edit(room, path, "sessions")
    assert code == 1
    assert "3 records changed, 3 failed." in text
    assert f"Row 3, sessions/{nobody}: " in errors
    assert f"Row 4, sessions/{sessions[1]}: json must be JSON" in errors
    assert f"Row 6, sessions/{sessions[3]}: " in errors
    assert "no such project" in errors
    assert room.record("sessions", sessions[2])["narrative"] == "also good"
    last = room.record("sessions", sessions[4])
    assert (last["narrative"], last["json"], last["qc"]) == ("", None, "PASS")
    states = {entry["record"]: entry["state"] for entry in room.command("log", set=int(set_in(text)))}
    assert states[f"sessions/{nobody}"] == "refused"
    assert states[f"sessions/{sessions[0]}"] == "done"


def test_what_another_changed_meanwhile_is_not_overwritten(room, sessions):
    paths = [room.file("sessions", key) for key in sessions[:2]]
    assert all(path.read_bytes() for path in paths)
    room.asking.send("PATCH", f"/sessions/{sessions[0]}", {"narrative": "of another"})
    room.asking.send("PATCH", f"/sessions/{sessions[1]}", {"json": {"theirs": 1}})
    path = table(room, "both.csv", ("id", "narrative", "json"), *((key, "mine", '{"mine": 2}') for key in sessions[:2]))
    code, text, errors = edit(room, path, "sessions")
    assert code == 1
    assert "1 record changed, 1 failed" in text
    assert f"Row 2, sessions/{sessions[0]}: " in errors
    assert 'the server has "of another"' in errors
    assert room.record("sessions", sessions[1])["json"] == {"theirs": 1, "mine": 2}


@pytest.mark.parametrize(
    ("endpoint", "lines", "words"),
    [
        ("sessions", [("narrative",), ("x",)], "no column 'id' or 'url'"),
        ("subjects", [("id", "description"), ("x", "y")], "no column 'nickname'"),
        ("sessions", [("id", "narative", "auto_datetime"), ("x", "y", "z")], "'narative'. Did you mean 'narrative'?"),
        ("sessions", [("id", "narrative", "auto_datetime"), ("x", "y", "z")], "auto_datetime of sessions is set by"),
        ("sessions", [("id", "json", "json"), ("x", "1", "2")], "the column 'json' stands there twice"),
        ("sessions", [("id",), ("x",)], "no column besides 'id'"),
        ("sessions", [("id", "json"), ("x", "1"), ("x", "2")], "'x' stands in the column 'id' of rows 2 and 3"),
        ("sessions", [("id", "json"), ("x", "1"), ("", "2")], "row 3 has nothing in the column 'id'"),
        ("sessions", [("id", "json"), ("x",)], "row 2 of"),
        ("sessions", [("id", "json", "narrative"), ("x", "1" * 60_000, "2" * 60_000)], "more than 100,000 characters"),
        ("weighings", [("url", "weight"), ("x", "1")], "Weighings cannot be changed"),
        ("nothing", [("id", "json"), ("x", "1")], "no endpoint nothing"),
        ("notes", [("id", "image"), ("x", "y")], "image cannot be changed so"),
        ("sessions", [("",)], "no first line"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused_before_anything_is_sent(room, endpoint, lines, words):
    path = table(room, "wrong.csv", *lines)
    known = len(room.log())
    room.demo.clear_requests()
    code, text, errors = edit(room, path, endpoint)
    assert code == 1
    assert words in errors
    assert text == ""
    assert room.writes() == []
    assert len(room.log()) == known


@pytest.mark.parametrize("row", [5, {}, {"key": "x"}, {"row": 2, "key": "x", "cells": ["narrative", "y"]}])
def test_what_another_program_says_of_rows_is_judged_before_anything_is_sent(room, sessions, row):
    right = {"row": 1, "key": sessions[0], "cells": {"narrative": "new"}}
    known = len(room.log())
    room.demo.clear_requests()
    with pytest.raises(Invalid) as refusal:
        room.command("edit", endpoint="sessions", rows=[right, row])
    assert str(refusal.value) == "What is to be edited are objects with a row, a key and cells."
    assert room.writes() == []
    assert len(room.log()) == known


def test_tables_of_spreadsheets_elsewhere_are_read(room, sessions):
    path = table(room, "semicolons.csv", ("id", "narrative"), (sessions[0], "a, b\nc; d"), separator=";")
    assert edit(room, path, "sessions")[0] == 0
    assert room.record("sessions", sessions[0])["narrative"] == "a, b\nc; d"
    (room.home / "no-text.csv").write_bytes(b"id,narrative\nx,\xff\n")
    code, _, errors = edit(room, room.home / "no-text.csv", "sessions")
    assert code == 1
    assert "not UTF-8 text" in errors


def test_a_drive_that_stages_stages_them(changing, tmp_path):
    with writing(changing, tmp_path / "home", "--stage") as room:
        keys = [row["id"] for row in room.asking.rows("/sessions?subject=KS003")][:3]
        before = [room.record("sessions", key)["narrative"] for key in keys]
        path = table(room, "staged.csv", ("id", "narrative"), *((key, "in bulk") for key in keys))
        code, text, _ = edit(room, path, "sessions")
        assert code == 0
        assert "3 records staged." in text
        assert room.writes() == []
        assert [json.loads(room.file("sessions", key).read_bytes())["narrative"] for key in keys] == ["in bulk"] * 3
        done = run_alyxfs(room.home, "undo", "--set", set_in(text), "--drive", str(room.drive.path))
        assert "3 of 3 writes" in done.stdout
        assert [json.loads(room.file("sessions", key).read_bytes())["narrative"] for key in keys] == before
        assert {entry["state"] for entry in room.log()} == {"withdrawn"}
        assert room.writes() == []


def test_a_read_only_drive_edits_nothing(changing, shared_drive, tmp_path):
    path = tmp_path / "changes.csv"
    path.write_text("id,narrative\nx,y\n")
    done = run_alyxfs(tmp_path, "edit", "--from", str(path), "sessions", str(shared_drive.path))
    assert done.returncode == 1
    assert "mount it with --rw" in done.stderr
