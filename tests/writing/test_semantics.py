"""The tables of ``semantics.md`` are true: each cell is tried on a mounted drive."""

from __future__ import annotations

import errno
import itertools
import json
import os
import re
import subprocess
from functools import partial
from pathlib import Path

import pytest

from mounted import mounted
from system_calls import DIRECTORIES, FILES, RENAME_EXCHANGE, RENAME_NOREPLACE, opened, outcome, rename
from writing import writing

ROOT = Path(__file__).resolve().parent.parent.parent
TEXT = (ROOT / "alyxfs" / "help" / "semantics.md").read_text(encoding="utf-8")
numbers = itertools.count(1)


def table(name: str) -> tuple[list[str], dict[str, list[str]]]:
    """The columns of a table of the text, and its cells by the first of their row."""
    shown = re.search(rf"^<!-- {name} -->\n(.*?)^<!-- end of {name} -->$", TEXT, re.MULTILINE | re.DOTALL)[1]
    head, _, *rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in shown.splitlines()]
    return head[1:], {row[0]: row[1:] for row in rows}


@pytest.fixture(scope="module")
def room(changing, tmp_path_factory):
    with writing(changing, tmp_path_factory.mktemp("semantics") / "home", "--deletes-per-minute", "100") as room:
        yield room


@pytest.fixture(scope="module")
def read_only(changing, room, tmp_path_factory):
    with mounted(changing.url, tmp_path_factory.mktemp("read-only") / "home") as drive:
        yield drive


def session(room) -> Path:
    """A record of one's own."""
    made = room.asking.send("POST", "/sessions", {"subject": "KS001", "lab": "cortexlab"})
    return room.file("sessions", made["id"])


def scratch(room) -> Path:
    path = room.drive / "labs" / f".scratch{next(numbers)}"
    path.write_text("a few words, and some more of them")
    return path


def fixed_files(drive) -> list[Path]:
    data = next((drive / "data/cortexlab/Subjects/KS001/2023-01-02").rglob("spikes.times.npy"))
    return [data, drive / "labs/.rows.jsonl", drive / ".alyxfs/help.md"]


def test_each_call_on_a_file_does_what_the_table_says(room, read_only):
    columns, rows = table("files")
    assert columns == ["record", "scratch file", "fixed", "without `--rw`"]
    fixed = fixed_files(room.drive)
    unwritable = [read_only / "labs/cortexlab.json", *fixed_files(read_only)]
    found = {}
    for name, call in FILES.items():
        of_fixed, of_unwritable = ({outcome(partial(call, path)) for path in paths} for paths in (fixed, unwritable))
        found[name] = [
            outcome(partial(call, session(room))),
            outcome(partial(call, scratch(room))),
            " ".join(of_fixed),
            " ".join(of_unwritable),
        ]
    assert found == rows


def test_each_call_on_a_directory_does_what_the_table_says(room, read_only):
    columns, rows = table("directories")
    assert columns == ["endpoint or query", "fixed", "without `--rw`"]
    places = [
        [room.drive / "labs", room.drive / "labs/name=cortexlab"],
        [room.drive.path, room.drive / "data", room.drive / "data/cortexlab", room.drive / ".alyxfs"],
        [read_only.path, read_only / "labs", read_only / "data"],
    ]
    found = {}
    for name, call in DIRECTORIES.items():
        found[name] = [" ".join({outcome(partial(call, path)) for path in paths}) for paths in places]
    assert found == rows


def test_a_name_leads_where_the_table_says(room):
    _, rows = table("names")
    drive = room.drive.path
    lookups = {
        "a record that the server does not have": lambda: os.stat(drive / "labs/nowhere.json"),
        "a filter that the endpoint does not have": lambda: os.stat(drive / "labs/colour=red"),
        "a filter without a value": lambda: os.stat(drive / "sessions/lab="),
        "a yes-or-no filter with another value": lambda: os.stat(drive / "subjects/alive=perhaps"),
        "a name of 300 bytes": lambda: os.stat(drive / "labs" / ("x" * 300)),
        "a name that is not UTF-8": lambda: os.stat(os.fsencode(drive) + b"/labs/\xff.json"),
        "a name below a file": lambda: os.stat(drive / "labs/cortexlab.json/x"),
        "readlink of `subjects/<nickname>`": lambda: os.readlink(drive / "subjects/KS001"),
        "readlink of a record": lambda: os.readlink(drive / "labs/cortexlab.json"),
        "`.alyxfs/status.json`": lambda: os.stat(drive / ".alyxfs/status.json"),
    }
    assert {name: [outcome(lookup)] for name, lookup in lookups.items()} == rows


def saved(path: Path, text: bytes) -> list[str]:
    """The outcomes of fsync, and of a close without one."""
    with opened(path, os.O_WRONLY | os.O_TRUNC) as descriptor:
        os.write(descriptor, text)
        synced = outcome(lambda: os.fsync(descriptor))
        os.ftruncate(descriptor, 0)  # so that the close of it has nothing to say
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC)
    os.write(descriptor, text)
    return [synced, outcome(lambda: os.close(descriptor))]


def changed_on_both_sides(room) -> list[str]:
    outcomes = []
    for is_synced in (True, False):
        path = session(room)
        mine = json.loads(path.read_text()) | {"narrative": "mine"}
        room.asking.send("PATCH", f"/sessions/{path.stem}", {"narrative": "theirs"})
        descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC)
        os.write(descriptor, json.dumps(mine).encode())
        if is_synced:
            outcomes.append(outcome(partial(os.fsync, descriptor)))
            os.ftruncate(descriptor, 0)
            os.close(descriptor)
        else:
            outcomes.append(outcome(partial(os.close, descriptor)))
    return outcomes


def test_a_save_comes_out_as_the_table_says(room):
    columns, rows = table("saves")
    assert columns == ["at fsync", "at close"]
    texts = {
        "a whole JSON object that the server takes": b'{"narrative": "good"}',
        "nothing: the file was only emptied": b"",
        "the beginning of a JSON object": b'{"narrative": "goo',
        "text that never becomes a JSON object": b"narrative = good",
        "an unknown or read-only field, a wrong type": b'{"colour": "red"}',
    }
    found = {what: saved(session(room), text) for what, text in texts.items()}
    found["a field that was changed on the server since it was read"] = changed_on_both_sides(room)
    assert found == rows
    for text in (b'{"url": "http://elsewhere/"}', b'{"n_trials": "many"}'):
        assert saved(session(room), text) == rows["an unknown or read-only field, a wrong type"]


def ready_to_move(room, text: str) -> tuple[Path, Path]:
    """A scratch file with this text beside a record."""
    record = session(room)
    path = record.with_name(f".new{next(numbers)}")
    path.write_text(text)
    return path, record


def removed(path: Path) -> str:
    """What the program rm says."""
    done = subprocess.run(["rm", path], capture_output=True, text=True, timeout=60, check=False, env={"LC_ALL": "C"})
    if done.returncode == 0:
        return "done"
    said = done.stderr.strip().rsplit(": ", 1)[1]
    return next(name for number, name in errno.errorcode.items() if os.strerror(number) == said)


def test_a_rename_or_unlink_comes_out_as_the_table_says(room):
    _, rows = table("renames")
    labs, record = room.drive / "labs", session(room)
    room.asking.send("POST", "/labs", {"name": "movinglab", "timezone": "Europe/London"})
    unwritten = partial(room.file, "sessions")
    ready, other = ready_to_move(room, '{"narrative": "moved"}'), ready_to_move(room, "no record")
    moves = {
        "a record to a free name, where the name is a field (`labs`, `subjects`)": (
            labs / "movinglab.json",
            labs / "movedlab.json",
        ),
        "a record to a free name, where the name is an id (`sessions`)": (
            record,
            unwritten("01234567-89ab-cdef-0123-456789abcdef"),
        ),
        "a record over another record": (labs / "cortexlab.json", labs / "harborlab.json"),
        "a record to another directory": (labs / "cortexlab.json", room.drive / "subjects/cortexlab.json"),
        "a scratch file over a record: a whole JSON object": ready,
        "a scratch file over a record: text that is none": other,
        "a scratch file over a scratch file": (scratch(room), scratch(room)),
        "with RENAME_NOREPLACE, to a name that is taken": (
            labs / "cortexlab.json",
            labs / "harborlab.json",
            RENAME_NOREPLACE,
        ),
        "with RENAME_EXCHANGE": (labs / "cortexlab.json", labs / "harborlab.json", RENAME_EXCHANGE),
        "an endpoint's directory": (labs, room.drive / "laboratories"),
        "a record to a scratch name": (record, record.with_name(record.name + "~")),
    }
    found = {what: [outcome(partial(rename, *move))] for what, move in moves.items()}
    found["rmdir of an endpoint or a query"] = [
        " ".join({outcome(partial(os.rmdir, path)) for path in (labs, labs / "name=cortexlab")})
    ]
    found["`rm` of a record that others hang from"] = [removed(labs / "harborlab.json")]
    found["`rm` of a table (`labs/.rows.csv`)"] = [removed(labs / ".rows.csv")]
    assert found == rows
    assert room.record("sessions", ready[1].stem)["narrative"] == "moved"
    assert other[0].read_text() == "no record", "what was refused is there"


def test_too_much_is_refused_when_it_is_written(room):
    with opened(session(room), os.O_WRONLY) as descriptor:
        assert outcome(lambda: os.pwrite(descriptor, b"x", 16 << 20)) == "EFBIG"


def test_the_drive_shows_the_text(room):
    assert (room.drive / ".alyxfs" / "semantics.md").read_text(encoding="utf-8") == TEXT
