"""ONE reads the drive's ``data/`` as if all of it had been downloaded, in both of its modes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil

import pytest

from asking import Asking
from mounted import mounted
from one_client import needs_one, run_one

pytestmark = needs_one

NAMES = (
    "alf/_ibl_trials.table.pqt",
    "alf/_ibl_wheel.position.npy",
    "raw_behavior_data/_iblrig_taskSettings.raw.json",
    "raw_behavior_data/_iblrig_ambientSensorData.raw.csv",
    "raw_behavior_data/_iblrig_taskData.raw.jsonable",
)
"""Datasets of five kinds; of the first there is a newer revision, which ONE takes."""

LOCAL = """
from one.api import ONE
one = ONE(cache_dir=data, mode="local")
"""
REMOTE = """
set_up()
from one.api import ONE
one = ONE(base_url=url, username="demo", password="demo", silent=True, cache_dir=data, mode="remote",
          cache_rest=None, tables_dir=own)
"""
PLAIN = """
set_up()
from one.api import ONE
one = ONE(base_url=url, username="demo", password="demo", silent=True, cache_dir=data)
"""
"""As people write it: ONE keeps answers of the server in its cache directory."""
LOAD = f"""
eid, = one.search(subject="KS001", date_range=["2023-01-02", "2023-01-02"])
answers["session"] = str(eid)
answers["files"], answers["kinds"] = {{}}, {{}}
for name in {NAMES!r}:
    collection, _, name = name.rpartition("/")
    path = one.load_dataset(eid, name, collection, download_only=True, check_hash=False)
    answers["files"][str(path)] = digest(path)
    answers["kinds"][name] = type(one.load_dataset(eid, name, collection, check_hash=False)).__name__
spikes = one.load_object(eid, "spikes", collection="alf/probe00/pykilosort", check_hash=False)
answers["spikes"] = {{key: hashlib.sha256(value.tobytes()).hexdigest() for key, value in spikes.items()}}
"""


@pytest.mark.parametrize("begin", [LOCAL, PLAIN], ids=["local", "remote"])
def test_one_loads_datasets_and_an_object_from_the_drive_byte_for_byte(demo, drive, tmp_path, begin):
    answers = run_one(demo, tmp_path, begin + LOAD, drive / "data")
    addresses = by_path(demo, drive, answers["session"])
    assert len(answers["files"]) == len(NAMES)
    for path, digest in answers["files"].items():
        assert digest == hashlib.sha256(Asking.bytes_of(addresses[path])).hexdigest(), path
    assert sorted(set(answers["kinds"].values())) == ["DataFrame", "dict", "list", "ndarray"]
    assert sorted(answers["spikes"]) == ["amps", "clusters", "depths", "times"]
    for part, digest in answers["spikes"].items():
        folder = f"{drive.path}/data/cortexlab/Subjects/KS001/2023-01-02/001/alf/probe00/pykilosort/#2024-05-06#"
        content = Asking.bytes_of(addresses[f"{folder}/spikes.{part}.npy"])
        assert digest == hashlib.sha256(content[128:]).hexdigest(), part  # numpy's header has 128 bytes here


def test_answers_that_one_keeps_go_to_a_private_folder_outside_of_the_drive(demo, drive, home, tmp_path):
    run_one(demo, tmp_path, PLAIN + 'one.search(subject="KS001")', drive / "data")
    assert ".rest" not in os.listdir(drive / "data")
    kept = (drive / "data" / ".rest").resolve(strict=True)
    assert kept.is_relative_to(home / ".cache")
    assert kept.stat().st_mode & 0o777 == 0o700
    assert [path for path in kept.rglob("*") if path.is_file()]
    shutil.rmtree(kept)
    assert list((drive / "data" / ".rest").iterdir()) == [], "made anew"


def test_settings_that_one_has_written_are_enough_to_mount(demo, tmp_path):
    run_one(demo, tmp_path, PLAIN)
    with mounted(demo.url, tmp_path / "one-home", ALYXFS_USER="") as drive:
        status = json.loads((drive / ".alyxfs" / "status.json").read_text())
        assert (status["user"], status["user_from"]) == ("demo", "ONE's settings")
        assert len(os.listdir(drive / "labs")) > 1


def test_what_one_finds_by_its_spikes_can_be_loaded(demo, drive, tmp_path):
    script = """
found = one.search(datasets="spikes.times.npy")
answers["found"] = len(found)
answers["lengths"] = []
for eid in found[:2]:
    spikes = one.load_object(eid, "spikes", collection="alf/probe00/pykilosort")
    answers["lengths"].append(sorted({len(part) for part in spikes.values()}))
    clusters = one.load_object(eid, "clusters", collection="alf/probe00/pykilosort", attribute=["depths", "metrics"])
    assert len(clusters["depths"]) == len(clusters["metrics"]) > spikes["clusters"].max()
"""
    answers = run_one(demo, tmp_path, PLAIN + script, drive / "data")
    assert answers["found"] > 50
    assert [len(lengths) for lengths in answers["lengths"]] == [1, 1]


def test_one_loads_an_aggregate_from_the_drive(demo, drive, tmp_path):
    script = """
dataset = "_ibl_subjectTrials.table"
answers["path"] = str(one.load_aggregate("Subjects", "KS001", dataset, download_only=True))
answers["digest"] = digest(answers["path"])
answers["kind"] = type(one.load_aggregate("Subjects", "KS001", dataset)).__name__
"""
    answers = run_one(demo, tmp_path, REMOTE + script, drive / "data")
    assert answers["path"].startswith(f"{drive.path}/data/aggregates/Subjects/"), "nothing was downloaded elsewhere"
    asking = Asking(demo.url)
    dataset = asking.get(f"/datasets/{os.getxattr(answers['path'], 'user.alyx.dataset').decode()}")
    content = asking.bytes_of(dataset["file_records"][0]["data_url"])
    assert (answers["digest"], answers["kind"]) == (hashlib.sha256(content).hexdigest(), "DataFrame")


def test_one_in_remote_mode_reads_a_file_of_another_size_than_the_database_says(fresh_demo, home, tmp_path):
    """What the README says of it: ONE would download the file anew to where it is, and the drive is read-only."""
    asking = Asking(fresh_demo.url)
    script = """
import errno
eid, = one.search(subject="KS001", date_range=["2023-01-02", "2023-01-02"])
def load():
    return one.load_dataset(eid, "_ibl_wheel.position.npy", "alf", check_hash=False)
try:
    load()
except OSError as error:
    answers["remote"] = errno.errorcode[error.errno]
one.mode = "local"
answers["local"] = type(load()).__name__
"""
    with mounted(fresh_demo.url, home) as drive:
        file = drive / "data/cortexlab/Subjects/KS001/2023-01-02/001/alf/_ibl_wheel.position.npy"
        dataset = os.getxattr(file, "user.alyx.dataset").decode()
        asking.send("PATCH", f"/datasets/{dataset}", {"file_size": file.stat().st_size + 1})
        answers = run_one(fresh_demo, tmp_path, REMOTE + script, drive / "data")
    assert answers == {"remote": "EROFS", "local": "ndarray"}


def by_path(demo, drive, session):
    """The addresses of a session's files by their places in the drive."""
    asking = Asking(demo.url)
    row = next(row for row in asking.rows("/sessions?subject=KS001") if row["id"] == session)
    datasets = asking.rows(f"/datasets?session={session}")
    return {
        str(drive / asking.place(row, dataset)): next(
            record["data_url"] for record in dataset["file_records"] if record["data_url"] and record["exists"]
        )
        for dataset in datasets
    }


def test_without_its_hash_check_one_reads_only_what_numpy_touches(demo, drive, tmp_path):
    script = """
import numpy
eid, = one.search(subject="KS003", date_range=["2023-03-04", "2023-03-04"])
path = one.load_dataset(eid, "signal.mb8.npy", "raw_ephys_data", download_only=True, check_hash=False)
array = numpy.load(path, mmap_mode="r")
answers["size"], answers["last"] = array.nbytes, float(array[-1])
"""
    demo.clear_requests()
    answers = run_one(demo, tmp_path, LOCAL + script, drive / "data")
    fetched = sum(entry["bytes"] for entry in demo.requests() if entry["path"].startswith("/data_files"))
    assert answers["size"] > 1_900_000
    assert 0 < fetched < answers["size"] / 2
