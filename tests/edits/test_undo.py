"""A write and its undo leave every row of every table as it was, or what is not was told, before and after."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections import Counter
from contextlib import closing

import pytest

from alyxfs import errors
from alyxfs.demo.seed.build import built
from alyxfs.demo.server import running_demo
from demo_database import DemoDatabase
from editing import draft, editing
from undo_rounds import KINDS, Rounds

ROUNDS = int(os.environ.get("ALYXFS_UNDO", "1"))
"""Records made and deleted of each endpoint; the long form has 30, and changes each field on its own."""
ODDITIES = (
    "UPDATE actions_session SET narrative = narrative || '\n' WHERE number = 1",
    "UPDATE actions_session SET lab_id = NULL WHERE number = 2",
    "UPDATE data_datasettype SET filename_pattern = upper(filename_pattern) WHERE name LIKE '%Times'",
    "UPDATE subjects_subject SET strain_id = NULL WHERE nickname LIKE '%1'",
    "UPDATE subjects_subject SET description = ' ' || nickname || ' ' WHERE nickname LIKE '%2'",
)
"""What a database holds that the API would not have stored so."""


@pytest.fixture(scope="module")
def own_demo(demo_directory, tmp_path_factory):
    """A demo and its database, for this module alone."""
    home = tmp_path_factory.mktemp("undo") / built(demo_directory, 1, 2).name
    shutil.copytree(built(demo_directory, 1, 2), home, symlinks=True)
    with closing(sqlite3.connect(home / "alyx.sqlite3")) as connection, connection:
        for statement in ODDITIES:
            connection.execute(statement)
    with running_demo(home.parent, largest_file_mb=2, fresh=False) as demo:
        yield demo, home / "alyx.sqlite3"


class EditorsHands:
    """Writes through an editor; Hands of undo_rounds."""

    def __init__(self, room):
        self._room = room

    async def save(self, endpoint, key, edit):
        return (await self._room.editor.save(endpoint, key, None, draft(edit))).number

    async def make(self, endpoint, name, document):
        return (await self._room.editor.create(endpoint, name, draft(document))).number

    async def delete(self, endpoint, key):
        return (await self._room.editor.delete(endpoint, key)).number

    async def consent(self, endpoint, key):
        return await self._room.editor.consent_to_delete(endpoint, key)

    async def logged(self, number):
        entry = await self._room.editor.entry(number)
        return entry.remark or "", entry.key

    async def undo(self, number):
        return (await self._room.editor.undo(number)).sentence


@pytest.mark.trio
@pytest.mark.timeout(600 * ROUNDS)
async def test_every_row_of_every_table_is_as_it_was_or_was_told_of(own_demo, tmp_path):
    demo, database = own_demo
    async with editing(demo.url, tmp_path, deletes_per_minute=100_000) as room:
        schema = await room.metadata.schema()
        await room.api.page("labs", (), 1, 0)  # logs in, which the server notes
        judged = DemoDatabase(database, tmp_path, room.journal)
        rounds = Rounds(room.api, EditorsHands(room), judged, seed=ROUNDS)
        expected = set()
        for endpoint in schema.endpoints.values():
            if not endpoint.detailed:
                continue
            started = time.monotonic()
            await rounds.change_all(endpoint, at_once=6 if ROUNDS == 1 else 1, kinds=KINDS[: min(ROUNDS, 3)])
            for _ in range(ROUNDS):
                if "DELETE" in endpoint.detail_methods:
                    expected |= {(endpoint.name, "create"), (endpoint.name, "delete")}
                    await rounds.make(endpoint)
                    await rounds.delete(endpoint)
            print(endpoint.name, f"{time.monotonic() - started:.1f} s")
    print(Counter((done.endpoint, done.operation) for done in rounds.done))
    print(*rounds.refused, sep="\n")
    wrong = [done for done in rounds.done if done.untold or done.false]
    print(*wrong, sep="\n")
    assert not wrong
    assert expected - {(done.endpoint, done.operation) for done in rounds.done} == set()


@pytest.mark.trio
async def test_what_names_a_record_that_was_made_again_gets_its_new_id(own_demo, tmp_path):
    """Records that hang from each other, deleted one after the other, and an edit of one: taken back from the last."""
    demo, _ = own_demo
    async with editing(demo.url, tmp_path) as room:
        session = (await room.editor.create("sessions", "new", draft({"subject": "KS001", "users": []}))).key
        tasks = []
        for number in range(3):
            task = {"name": f"T{number}", "session": session, "status": "Waiting", "parents": tasks[-1:]}
            tasks.append((await room.editor.create("tasks", "new", draft(task))).key)
        about = {"user": "demo", "content_type": "session", "object_id": session, "text": "about it"}
        note = (await room.editor.create("notes", "new", draft(about))).key
        edit = await room.editor.save("sessions", session, None, draft({"narrative": "edited"}))
        deleted = [(await room.editor.delete("notes", note)).number]
        deleted += [(await room.editor.delete("tasks", task)).number for task in reversed(tasks)]
        deleted.append((await room.editor.delete("sessions", session)).number)
        with pytest.raises(errors.NotFound):
            await room.editor.undo(edit.number)
        made = [await room.editor.undo(number) for number in reversed(deleted)]
        session, *tasks, note = (each.key for each in made)
        assert [(await room.read("tasks", task))["parents"] for task in tasks] == [[], tasks[:1], tasks[1:2]]
        assert {(await room.read("tasks", task))["session"] for task in tasks} == {session}
        assert (await room.read("notes", note))["object_id"] == session
        assert (await room.read("sessions", session))["narrative"] == "edited"
        await room.editor.undo(edit.number)
        assert (await room.read("sessions", session))["narrative"] == ""
