"""``as-of/<date>/data``: the file that ONE takes before a date, at its plain path."""

from __future__ import annotations

import os

import pytest

from alyxfs.demo.server import running_demo
from asking import Asking
from mounted import mounted
from one_client import needs_one, run_one

DATES = ("2022-10-30", "2022-12-31", "2023-04-20", "2030-01-01")
NAMES = [f"tile.n{number:04d}.npy" for number in range(200)]
SESSION = "cortexlab/Subjects/KS001/2023-01-02/001"
REVISIONS = {
    "": NAMES[:150],
    "2022-10-31": NAMES[50:],
    "2023-04-20": NAMES[::2],
    "2024-05-06": NAMES[::3],
    "latest": NAMES[::5],
}
"""In the order in which they are registered: which of them is the default plays no part."""


@pytest.fixture(scope="module")
def revised(demo_directory):
    """A demo with 200 datasets more, which have one to five revisions each."""
    with running_demo(demo_directory, largest_file_mb=2, control=True) as demo:
        asking = Asking(demo.url)
        for size, (revision, names) in enumerate(REVISIONS.items(), 1000):
            folder = f"/#{revision}#" if revision else ""
            order = {
                "path": f"KS001/2023-01-02/001/alf/many{folder}",
                "filenames": names,
                "filesizes": [size] * len(names),
                "qc": ["CRITICAL" if number % 7 == 0 else "PASS" for number in range(len(names))],
                "server_only": True,
                "created_by": "demo",
            }
            asking.send("POST", "/register-file", order)
        yield demo


@pytest.fixture(scope="module")
def drive(revised, tmp_path_factory):
    with mounted(revised.url, tmp_path_factory.mktemp("as-of") / "home") as drive:
        yield drive


ONE_BEFORE = """
set_up()
from one.api import ONE
one = ONE(base_url=url, username="demo", password="demo", silent=True, cache_dir=data, mode="remote",
          cache_rest=None, tables_dir=own)
eid, = one.search(subject="KS001", date_range=["2023-01-02", "2023-01-02"])
names = json.loads(os.environ["NAMES"])
_, records = one.load_datasets(eid, names, "alf/many", download_only=True, assert_present=False, check_hash=False)
answers["many"] = {str(record.rel_path): str(record.id) for record in records if record is not None}
answers["others"] = {}
for collection, name in (("alf", "_ibl_trials.table.pqt"), ("alf/probe00/pykilosort", "spikes.times.npy"),
                         ("alf/probe00/pykilosort", "spikes.amps.npy"), ("alf", "_ibl_wheel.position.npy")):
    try:
        path = one.load_dataset(eid, name, collection, download_only=True, check_hash=False)
    except Exception as error:
        answers["others"][f"{collection}/{name}"] = type(error).__name__
    else:
        answers["others"][f"{collection}/{name}"] = digest(path)
"""


@needs_one
@pytest.mark.parametrize("date", DATES)
def test_it_is_what_one_takes(revised, drive, tmp_path, date):
    import hashlib
    import json

    answers = run_one(
        revised, tmp_path, ONE_BEFORE, drive / "data", ONE_REVISION_LAST_BEFORE=date, NAMES=json.dumps(NAMES)
    )
    session = drive / "as-of" / date / "data" / SESSION
    folder = session / "alf" / "many"
    shown = {name: os.getxattr(folder / name, "user.alyx.dataset").decode() for name in os.listdir(folder)}
    assert shown == {path.rpartition("/")[2]: dataset for path, dataset in answers["many"].items()}
    assert len(shown) > 100
    for path, digest in answers["others"].items():
        if digest == "ALFObjectNotFound":
            assert not (session / path).exists(), path
        else:
            assert hashlib.sha256((session / path).read_bytes()).hexdigest() == digest, path


def test_no_revision_is_a_folder_and_each_file_tells_its_own(drive):
    data = drive / "as-of" / "2023-04-20" / "data" / SESSION
    assert not [name for _, folders, _ in os.walk(data) for name in folders if name.startswith("#")]
    found = {os.getxattr(data / "alf/many" / name, "user.alyx.revision") for name in os.listdir(data / "alf/many")}
    assert found == {b"", b"2022-10-31", b"2023-04-20"}
    rows = [row.split("\t") for row in (data / "alf" / ".files.tsv").read_text().splitlines()]
    assert {row[rows[0].index("revision")] for row in rows[1:]} >= {"", "2022-10-31", "2023-04-20"}
    assert not [row for row in rows if "#" in row[0]]


def test_only_dates_are_there_and_none_is_listed(drive):
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


def test_walking_a_date_costs_no_request_once_data_is_known(revised, drive):
    os.listdir(drive / "data" / "cortexlab" / "Subjects")
    revised.clear_requests()
    walked = sum(len(names) for _, _, names in os.walk(drive / "as-of" / "2021-01-01" / "data" / "cortexlab"))
    assert walked > 500
    assert revised.requests() == []
