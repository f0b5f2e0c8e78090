"""``rm -rf`` of a drive with many sessions: what is gone, what is untouched, and what undo brings back."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
import uuid
from collections import Counter

import pytest

from alyxfs.demo.seed.build import built
from alyxfs.demo.server import running_demo
from alyxfs.errors import AlyxfsError
from asking import Asking
from mounted import run_alyxfs
from writing import writing

LAB = "cortexlab"
SESSIONS = 3000
LIMIT = 20
"""Deletes a minute: what a drive allows unless told otherwise."""
TABLES = {
    "channels": "experiments_channel",
    "data-repository": "data_datarepository",
    "fov-location": "experiments_fovlocation",
    "notes": "misc_note",
    "projects": "subjects_project",
    "sessions": "actions_session",
    "subjects": "subjects_subject",
    "tasks": "jobs_task",
    "users": "misc_labmember",
    "water-administrations": "actions_wateradministration",
    "weighings": "actions_weighing",
}
"""Endpoints that are emptied one by one, the limit lifted before each, with the tables of their records."""
LINKS = {
    "actions_session_procedures",
    "actions_session_projects",
    "actions_session_users",
    "experiments_fovlocation_brain_region",
    "jobs_task_parents",
    "misc_labmembership",
    "subjects_project_users",
}
"""Tables that hold what a record says of others, and go with it."""
SET_BY_DJANGO = {"authtoken_token", "sqlite_sequence", "sqlite_stat1"}
"""Tables that log-ins write to, and those of SQLite itself."""


@pytest.fixture
def large(demo_directory, tmp_path):
    """A demo with so many sessions, and the file of its database; few datasets, for each takes rm its time."""
    home = tmp_path / "demo" / built(demo_directory, 1, 2).name
    shutil.copytree(built(demo_directory, 1, 2), home, symlinks=True)
    with running_demo(tmp_path / "demo", largest_file_mb=2, fresh=False, control=True) as demo:
        asking = Asking(demo.url)
        for lab in asking.rows("/labs"):
            if lab["name"] != LAB:
                asking.send("DELETE", f"/labs/{lab['name']}")
        add_sessions(home / "alyx.sqlite3")
        yield demo, home / "alyx.sqlite3"


def add_sessions(database):
    """Copies of the sessions that are there, without their datasets, a day later each."""
    with sqlite3.connect(database) as connection:
        names = [row[1] for row in connection.execute("PRAGMA table_info(actions_session)")]
        rows = connection.execute("SELECT * FROM actions_session").fetchall()
        for number in range(SESSIONS - len(rows)):
            row = dict(zip(names, rows[number % len(rows)], strict=True))
            row["id"] = uuid.uuid5(uuid.NAMESPACE_OID, str(number)).hex
            row["number"] = 2 + number // len(rows)
            connection.execute(f"INSERT INTO actions_session VALUES ({', '.join('?' * len(row))})", [*row.values()])
    connection.close()


def contents(database):
    """The rows of every table."""
    found = {}
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        if table not in SET_BY_DJANGO:
            found[table] = set(connection.execute(f'SELECT * FROM "{table}"'))
    connection.close()
    return found


@pytest.mark.long
@pytest.mark.timeout(300)
def test_rm_rf_of_a_drive_with_many_sessions(large, tmp_path):
    """At most the limit's number of records are gone, the others are untouched, and undo says what it does not do."""
    demo, database = large
    with writing(demo, tmp_path / "home") as room:
        before = contents(database)
        assert len(before["actions_session"]) == SESSIONS
        remove(room.drive.path)
        gone = deletes(room)
        assert 0 < len(gone) <= LIMIT
        assert_only_these_are_gone(before, contents(database), gone)

        for endpoint in TABLES:
            known = len(deletes(room))
            room.command("allow-deletes")
            remove(room.drive / endpoint)
            assert len(deletes(room)) - known <= LIMIT
        gone = deletes(room)
        assert len([write for write in room.writes() if write[0] == "DELETE"]) == len(gone)
        assert_only_these_are_gone(before, contents(database), gone)
        run_alyxfs(room.home, "allow-deletes", str(room.drive.path))
        remove(room.drive / "users" / "demo.json")
        assert "users/demo is not deleted: this drive is logged in as demo" in room.errors().splitlines()[-1]

        restored, impossible = take_back(room, gone)
        print(f"rm -rf deleted {dict(kinds(gone))}; undo restored {len(restored)}; not: {impossible}")
        assert len(restored) >= len(gone) - LIMIT
        assert {told.split("/")[0] for told in impossible} <= {"notes"}, "whose session had gone before"
        for entry, now, told in restored:
            assert_told(entry, now, told)


def remove(path):
    """As a user who makes a mistake; nothing goes without rm being told of what stayed."""
    done = subprocess.run(["rm", "-rf", path], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 1
    assert done.stderr


def deletes(room):
    return [entry for entry in room.log() if entry["operation"] == "delete" and entry["state"] == "done"]


def kinds(entries):
    return Counter(entry["record"].split("/")[0] for entry in entries)


def assert_only_these_are_gone(before, after, gone):
    assert [table for table in before if after[table] - before[table]] == [], "nothing was changed"
    lost = {table: len(before[table] - after[table]) for table in before}
    assert {table: count for table, count in lost.items() if count and table not in LINKS} == {
        TABLES[endpoint]: count for endpoint, count in kinds(gone).items()
    }


def take_back(room, gone):
    """Undo each, the newest first: what was made again, with what the drive said of it, and what could not be."""
    restored, impossible, again = [], [], {}
    for entry in reversed(gone):
        try:
            told = room.command("undo", number=entry["number"])
        except AlyxfsError as error:
            impossible.append(f"{entry['record']}: {error}")
        else:
            endpoint, _, key = room.log()[-1]["record"].partition("/")
            again[entry["record"].partition("/")[2]] = key
            before = with_new_ids(before_image(room, entry["number"]), again)
            restored.append((before, room.record(endpoint, key), told))
    return restored, impossible


def with_new_ids(record, again):
    """What named records that were made again names them by their new ids."""
    text = json.dumps(record)
    for former, later in again.items():
        text = text.replace(f'{former}"', f'{later}"')
    return json.loads(text)


def before_image(room, number):
    return next(entry.before for entry in room.journal() if entry.number == number)


def assert_told(before, now, told):
    """All fields are as they were, but those that the drive named."""
    assert "made again" in told
    different = {field for field, value in before.items() if now[field] != value} - {"url"}
    assert not {field for field in different if not re.search(rf"\b{field}\b", told)}
