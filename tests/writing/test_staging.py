"""Staged editing: what is saved on a drive with ``--stage`` is kept and shown, and reaches the server by ``apply``."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess

import pytest

from alyxfs.demo.server import running_demo
from asking import Asking
from mounted import in_front, mounted, run_alyxfs
from writing import FAST, Writing, run, writing


@pytest.fixture(scope="module")
def staging_demo(changing, demo_directory, tmp_path_factory):
    """A demo of its own, whose sessions nobody else changes."""
    place = tmp_path_factory.mktemp("staged") / "demo"
    shutil.copytree(demo_directory, place)
    with running_demo(place, largest_file_mb=2, control=True, fresh=False) as demo:
        yield demo


def read(path):
    return json.loads(path.read_bytes())


def write(path, **fields):
    path.write_text(json.dumps(fields))


def told(room, *arguments):
    done = run_alyxfs(room.home, *arguments)
    return done.returncode, done.stdout, done.stderr


def drive_of(room):
    return "--drive", str(room.drive.path)


def staged(room):
    return [entry for entry in room.log() if entry["state"] == "staged"]


def edit_many(staging_demo, tmp_path, number):
    home = tmp_path / "home"
    asking = Asking(staging_demo.url)
    sessions = [row["id"] for row in asking.rows("/sessions")][:number]
    with writing(staging_demo, home, "--stage") as room:
        before = {key: room.record("sessions", key) for key in sessions}
        staging_demo.clear_requests()
        for place, key in enumerate(sessions):
            write(room.file("sessions", key), narrative=f"edit {place}")
        assert room.writes() == []
        code, text, _ = told(room, "diff", "--staged", str(room.drive.path))
        assert code == 0
        assert all(f'+  "narrative": "edit {place}"' in text for place in range(number))
        assert read(room.file("sessions", sessions[0]))["narrative"] == "edit 0"
        for key in sessions[:3]:
            asking.send("PATCH", f"/sessions/{key}", {"narrative": "of another"})
        assert room.record("sessions", sessions[5])["narrative"] == before[sessions[5]]["narrative"]
        staging_demo.clear_requests()
        code, text, errors = told(room, "apply", *drive_of(room))
        assert code == 1, errors
        assert f"{number - 3} staged writes applied, 3 not." in text
        assert errors.count('the server has "of another"') == 3
        assert len(room.writes()) == number - 3
        assert {room.record("sessions", key)["narrative"] for key in sessions[:3]} == {"of another"}
        for place, key in enumerate(sessions[3:], 3):
            assert room.record("sessions", key)["narrative"] == f"edit {place}"
        assert len(staged(room)) == 3
        code, text, errors = told(room, "undo", "--set", "1", *drive_of(room))
        assert (code, errors) == (0, "")
        assert f"{number - 3} of {number - 3} writes of set 1 are taken back (as set 2)." in text
        for key in sessions[3:]:
            now = room.record("sessions", key)
            assert {**now, "auto_datetime": 0} == {**before[key], "auto_datetime": 0}
        code, text, _ = told(room, "discard", *drive_of(room))
        assert (code, text) == (0, "3 staged writes discarded.\n")
        assert staged(room) == []


def test_sixty_staged_edits_are_reviewed_applied_and_taken_back(staging_demo, tmp_path):
    edit_many(staging_demo, tmp_path, 60)
