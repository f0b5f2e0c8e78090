"""kill -9 of the daemon at every step of a write, through the mount: no write lost without trace, none sent twice."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from asking import Asking
from mounted import environment, until
from writing import FAST, writing

STEPS = ("begun", "prepared", "read again", "marked sent", "answered", "recorded", "forgotten")
SENT = {"answered", "recorded", "forgotten"}


@contextlib.contextmanager
def dying(demo, home, step):
    """A drive in which the first write ends in kill -9 at this step."""
    path = home / "drive"
    command = [
        sys.executable,
        str(Path(__file__).parents[1] / "support" / "dying_drive.py"),
        step,
        "mount",
        "-f",
        "--rw",
        *FAST,
    ]
    variables = environment(home, PYTHONUNBUFFERED="1", ALYXFS_USER="demo", ALYXFS_PASSWORD="demo")
    with open(home / "output", "w") as output:
        process = subprocess.Popen([*command, demo.url, str(path)], env=variables, stdout=output, stderr=output)
    try:
        until(lambda: "is mounted at" in (home / "output").read_text() or process.poll() is not None, "the mount")
        assert process.poll() is None, (home / "output").read_text()
        yield path
        assert process.wait(30) == -signal.SIGKILL
    finally:
        process.kill()
        process.wait()
        subprocess.run(["umount", "-l", str(path)], capture_output=True, check=False)


def program(code, *arguments):
    """Run a few lines of Python as a process of its own: it must not hang pytest if the drive does."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, timeout=30, check=False
    )


def session_of(asking):
    return asking.send("POST", "/sessions", {"subject": "KS001", "lab": "cortexlab"})["id"]


@pytest.mark.parametrize("step", STEPS)
def test_a_save(changing, home, step):
    asking = Asking(changing.url)
    session = session_of(asking)
    changing.clear_requests()
    with dying(changing, home, step) as path:
        save = "import sys; file = open(sys.argv[1], 'w'); file.write('{\"narrative\": \"mine\"}'); file.close()"
        assert program(save, path / "sessions" / f"{session}.json").returncode != 0, "the program is told"
    patches = [each for each in changing.requests() if each["method"] == "PATCH"]
    assert len(patches) == (1 if step in SENT else 0)
    with writing(changing, home) as room:
        assert asking.get(f"/sessions/{session}")["narrative"] == ("mine" if step in SENT else "")
        entries = room.log()
        if step == "begun":
            assert entries == [], "nothing had begun: the program's error is all there is"
            return
        (entry,) = entries
        assert (entry["operation"], entry["state"]) == ("save", "done" if step in SENT else "refused")
        if step in {"recorded", "forgotten"}:
            assert room.errors() == "", "nothing was interrupted that the journal does not know"
        else:
            assert "was interrupted" in entry["remark"]
            assert entry["remark"] in room.errors()
        if step not in SENT:
            assert '{"narrative": "mine"}' in room.rejected().values()
        assert room.writes() == [], "nothing is sent again"


@pytest.mark.parametrize("step", ["prepared", "marked sent", "answered"])
def test_a_new_record(changing, home, step):
    asking = Asking(changing.url)
    weight = 20 + uuid.uuid4().int % 100_000 / 100_000
    document = f'{{"subject": "KS001", "weight": {weight}}}'
    changing.clear_requests()
    with dying(changing, home, step) as path:
        save = "import sys; file = open(sys.argv[1], 'w'); file.write(sys.argv[2]); file.close()"
        assert program(save, path / "weighings" / "today.json", document).returncode != 0
    with writing(changing, home) as room:
        made = [row for row in asking.rows("/weighings?nickname=KS001") if row["weight"] == weight]
        assert len(made) == (1 if step in SENT else 0)
        (entry,) = room.log()
        assert entry["state"] == ("done" if step in SENT else "refused")
        assert entry["remark"] in room.errors()
        if made:
            assert entry["record"] == "weighings/" + made[0]["url"].rsplit("/", 1)[-1]
        else:
            assert document in room.rejected().values()


@pytest.mark.parametrize("step", ["prepared", "marked sent", "answered"])
def test_a_delete(changing, home, step):
    asking = Asking(changing.url)
    session = session_of(asking)
    changing.clear_requests()
    with dying(changing, home, step) as path:
        done = subprocess.run(
            ["rm", path / "sessions" / f"{session}.json"], capture_output=True, timeout=30, check=False
        )
        assert done.returncode != 0
    with writing(changing, home) as room:
        (entry,) = room.log()
        assert (entry["operation"], entry["state"]) == ("delete", "done" if step in SENT else "refused")
        assert entry["remark"] in room.errors()
        assert room.file("sessions", session).exists() == (step not in SENT)
        assert room.writes() == []
        if step in SENT:
            assert "again" in room.command("undo", number=entry["number"])


def test_a_delete_that_waits_for_its_name_to_be_made_anew(changing, home):
    asking = Asking(changing.url)
    session = session_of(asking)
    with dying(changing, home, "promised") as path:
        assert program("import os, sys; os.unlink(sys.argv[1])", path / "sessions" / f"{session}.json").returncode != 0
    with writing(changing, home) as room:
        (entry,) = room.log()
        assert (entry["operation"], entry["state"]) == ("delete", "refused")
        assert f"delete of sessions/{session}) was interrupted: nothing had been sent" in room.errors()
        assert room.file("sessions", session).exists()
        assert room.writes() == []


def test_what_a_program_has_not_closed_when_the_drive_is_told_to_end_is_kept(changing, home):
    asking = Asking(changing.url)
    session = session_of(asking)
    with writing(changing, home) as room:
        descriptor = os.open(room.file("sessions", session), os.O_WRONLY | os.O_TRUNC)
        os.write(descriptor, b'{"narrative": "half')
        scratch = os.open(room.drive / "sessions" / "notes.txt", os.O_WRONLY | os.O_CREAT)
        os.write(scratch, b"remember")
        room.drive.process.terminate()
        room.drive.process.wait(30)
        for each in (descriptor, scratch):
            with contextlib.suppress(OSError):
                os.close(each)
    with writing(changing, home) as room:
        assert {'{"narrative": "half', "remember"} <= set(room.rejected().values())
        assert asking.get(f"/sessions/{session}")["narrative"] == ""
