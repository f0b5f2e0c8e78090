"""``as-of/<date>/data``: the file that ONE takes before a date, at its plain path."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import uuid
from contextlib import closing

from alyxfs.demo.seed.build import built
from alyxfs.demo.server import running_demo
from mounted import mounted
from one_client import needs_one, run_one

DATES = ("2022-10-30", "2023-04-20", "2030-01-01")
"""Before all revisions, on the day of one, and after all that are dates."""
NAMES = [f"tile.n{number:04d}.npy" for number in range(200)]
SESSION = "cortexlab/Subjects/KS001/2023-01-02/001"
REVISIONS = {
    "": NAMES[:150],
    "2022-10-31": NAMES[50:],
    "2023-04-20": NAMES[::2],
    "2024-05-06": NAMES[::3],
    "latest": NAMES[::5],
}


def add_revisions(database):
    """200 datasets more in a session, with one to five revisions each; what is the default plays no part."""
    with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        connection.row_factory = sqlite3.Row
        [like] = connection.execute(
            "SELECT d.* FROM data_dataset d JOIN actions_session s ON s.id = d.session_id JOIN subjects_subject u "
            "ON u.id = s.subject_id WHERE u.nickname = 'KS001' AND date(s.start_time) = '2023-01-02' "
            "AND d.name = '_ibl_wheel.position.npy'"
        )
        [record, *_] = connection.execute("SELECT * FROM data_filerecord WHERE dataset_id = ?", (like["id"],))
        identities = dict(connection.execute("SELECT name, id FROM data_revision").fetchall())

        def put(table, row):
            marks = ", ".join("?" * len(row))
            columns = ", ".join(f'"{name}"' for name in row)
            connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", list(row.values()))

        for revision, names in REVISIONS.items():
            for number, name in enumerate(names):
                identity = uuid.uuid4().hex
                told = {"name": name, "collection": "alf/many", "revision_id": identities.get(revision)}
                told |= {"auto_datetime": "2024-07-01 12:00:00"}  # after the server's tables were made
                told |= {"qc": 50 if number % 7 == 0 else 10, "default_dataset": number % 3 == 0}
                put("data_dataset", {**dict(like), "id": identity, **told})
                folder = f"#{revision}#/" if revision else ""
                path = f"KS001/2023-01-02/001/alf/many/{folder}{name}"
                at = {"id": uuid.uuid4().hex, "dataset_id": identity, "relative_path": path}
                put("data_filerecord", {**dict(record), **at})


ONE_BEFORE = """
set_up()
import one.api
from one.api import ONE
one_client = ONE(base_url=url, username="demo", password="demo", silent=True, cache_dir=data, mode="remote",
                 cache_rest=None, tables_dir=own)
eid, = one_client.search(subject="KS001", date_range=["2023-01-02", "2023-01-02"])
names, dates = json.loads(os.environ["NAMES"]), json.loads(os.environ["DATES"])
assert one.api.REVISION_LAST_BEFORE == dates[0]
for date in dates:
    one.api.REVISION_LAST_BEFORE = date  # as the variable does when ONE is imported
    _, records = one_client.load_datasets(
        eid, names, "alf/many", download_only=True, assert_present=False, check_hash=False)
    found = {str(record.rel_path): str(record.id) for record in records if record is not None}
    for collection, name in (("alf", "_ibl_trials.table.pqt"), ("alf/probe00/pykilosort", "spikes.times.npy"),
                             ("alf/probe00/pykilosort", "spikes.amps.npy"), ("alf", "_ibl_wheel.position.npy")):
        try:
            path = one_client.load_dataset(eid, name, collection, download_only=True, check_hash=False)
        except one.alf.exceptions.ALFObjectNotFound:
            found[f"{collection}/{name}"] = None
        else:
            found[f"{collection}/{name}"] = digest(path)
    answers[date] = found
"""


@needs_one
def test_it_is_what_one_takes(demo_directory, home, tmp_path):
    place = tmp_path / "demo" / built(demo_directory, 1, 2).name
    shutil.copytree(built(demo_directory, 1, 2), place, symlinks=True)
    add_revisions(place / "alyx.sqlite3")
    with running_demo(place.parent, largest_file_mb=2, fresh=False) as demo, mounted(demo.url, home) as drive:
        environment = {"NAMES": json.dumps(NAMES), "DATES": json.dumps(DATES), "ONE_REVISION_LAST_BEFORE": DATES[0]}
        answers = run_one(demo, tmp_path, ONE_BEFORE, drive / "data", **environment)
        numbers = [check_date(drive / "as-of" / date / "data" / SESSION, answers[date]) for date in DATES]
        many = drive / "as-of" / "2023-04-20" / "data" / SESSION / "alf" / "many"
        revisions = {os.getxattr(many / name, "user.alyx.revision") for name in os.listdir(many)}
        assert revisions == {b"", b"2022-10-31", b"2023-04-20"}
    assert numbers == [128, 188, 189]


def check_date(session, answers):
    """How many datasets there were to be compared."""
    many = {path.rpartition("/")[2]: identity for path, identity in answers.items() if path.startswith("alf/many/")}
    shown = {
        name: os.getxattr(session / "alf/many" / name, "user.alyx.dataset").decode()
        for name in os.listdir(session / "alf/many")
    }
    assert shown == many
    for path in set(answers) - {path for path in answers if path.startswith("alf/many/")}:
        if answers[path] is None:
            assert not (session / path).exists(), path
        else:
            assert hashlib.sha256((session / path).read_bytes()).hexdigest() == answers[path], path
    return len(many)


def test_no_revision_is_a_folder_also_in_tables(shared_drive):
    session = shared_drive / "as-of" / "2024-05-06" / "data" / SESSION
    assert not [name for _, folders, _ in os.walk(session) for name in folders if name.startswith("#")]
    rows = [row.split("\t") for row in (session / "alf" / ".files.tsv").read_text().splitlines()]
    found = {row[rows[0].index("path")]: row[rows[0].index("revision")] for row in rows[1:]}
    assert found["_ibl_trials.table.pqt"] == found["probe00/pykilosort/spikes.times.npy"] == "2024-05-06"
    assert found["_ibl_wheel.position.npy"] == ""


def test_only_dates_are_there_and_none_is_listed(shared_drive):
    drive = shared_drive
    assert os.listdir(drive / "as-of") == []
    assert "as-of" not in os.listdir(drive.path)
    for name in ("2024-02-30", "2024-1-1", "20240101", "2024-W01-1", "yesterday", "\uff12\uff10\uff12\uff14-01-01"):
        assert not (drive / "as-of" / name).exists(), name
    directory = drive / "as-of" / "2024-02-29"
    assert sorted(os.listdir(directory)) == [".alyx-notes", "data"]
    assert "sessions.pqt" not in os.listdir(directory / "data"), "they would name the folders of revisions"
    notes = (directory / ".alyx-notes").read_text()
    assert "deleted since 2024-02-29" in notes
    assert "replaced in place" in notes


def test_walking_a_date_costs_no_request_once_data_is_known(demo, drive):
    os.listdir(drive / "data" / "cortexlab" / "Subjects")
    demo.clear_requests()
    walked = sum(len(names) for _, _, names in os.walk(drive / "as-of" / "2021-01-01" / "data" / "cortexlab"))
    assert walked > 500
    assert [entry["path"] for entry in demo.requests() if "data_files" not in entry["path"]] == []


def test_a_file_without_a_size_is_no_trouble_there(demo, drive):
    """Its size is asked for as in ``data/``."""
    path = "cortexlab/Subjects/KS002/2023-02-03/001/alf/odd.sizeNull.npy"
    assert (drive / "as-of" / "2024-01-01" / "data" / path).stat().st_size == 64 * 1024
