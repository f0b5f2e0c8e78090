"""Data files: laid out as in ONE's cache, sizes without the file server, bytes by what is touched, kept on disk."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import tarfile

import numpy as np
import pandas as pd
import pytest

from alyxfs.demo.server import running_demo
from asking import Asking
from mounted import mounted


@pytest.fixture(scope="module")
def real(demo):
    """Data files that the demo really serves: place in the drive, dataset, address."""
    asking = Asking(demo.url)
    sessions = {row["id"]: row for row in asking.rows("/sessions")}
    found = []
    for dataset in asking.rows("/datasets?exists=true"):
        session = sessions.get((dataset["session"] or "").rsplit("/", 1)[-1])
        address = next((record["data_url"] for record in dataset["file_records"] if record["data_url"]), None)
        if session and session["lab"] and session["number"] and session["subject"] != ".." and address:
            found.append((asking.place(session, dataset), dataset, address))
    served = [entry for entry in found if asking.serves(entry[2])]
    assert len(served) > 20
    return served


def of_kind(real, ending):
    return next(entry for entry in real if entry[0].endswith(ending) and entry[1]["file_size"] and right(entry))


def right(entry):
    """Whether the database tells the truth of a file: some sizes and hashes are wrong on purpose."""
    content = Asking.bytes_of(entry[2])
    return len(content) == entry[1]["file_size"] and hashlib.md5(content).hexdigest() == entry[1]["hash"]


def content(path):
    try:
        return path.read_bytes()
    except OSError as error:
        return error


def to_files(demo):
    return [entry for entry in demo.requests() if entry["path"].startswith("/data_files")]


def test_every_file_is_byte_exact(demo, drive, real):
    wrong = [place for place, _, address in real if content(drive / place) != Asking.bytes_of(address)]
    assert wrong == []


def test_sizes_come_from_the_database_without_asking_the_file_server(demo, drive, real):
    for place, dataset, _ in real:
        if dataset["file_size"] is not None:
            assert (drive / place).stat().st_size == dataset["file_size"]
    assert to_files(demo) == []


def test_a_wrong_size_of_a_small_file_is_found_out_when_it_is_opened(demo, drive, real, tmp_path):
    wrong = [entry for entry in real if "sizeToo" in entry[0] and entry[1]["file_size"] <= 64 * 1024]
    assert wrong
    for place, dataset, address in wrong:
        path = drive / place
        true = Asking.bytes_of(address)
        assert path.stat().st_size == dataset["file_size"] != len(true)
        subprocess.run(["tar", "-C", path.parent, "-cf", tmp_path / "copy.tar", path.name], check=True, timeout=30)
        with tarfile.open(tmp_path / "copy.tar") as archive:
            assert archive.extractfile(path.name).read() == true
        assert path.stat().st_size == len(true)


def test_numpy_and_pandas_open_files_in_place(demo, drive, real):
    place, _, address = of_kind(real, ".npy")
    array = np.load(drive / place, mmap_mode="r")
    assert array.tobytes() == Asking.bytes_of(address)[-array.nbytes :]
    place, _, address = of_kind(real, ".pqt")
    assert len(pd.read_parquet(drive / place)) > 0


def test_a_read_costs_what_it_touches(demo, drive, real):
    place, dataset, address = max((entry for entry in real if right(entry)), key=lambda entry: entry[1]["file_size"])
    size = dataset["file_size"]
    assert size > 500_000
    with open(drive / place, "rb", buffering=0) as file:
        file.seek(size // 2)
        piece = file.read(4096)
    assert piece == Asking.bytes_of(address)[size // 2 : size // 2 + 4096]
    requests = [entry for entry in to_files(demo) if entry["range"]]
    assert len(requests) == 1
    assert requests[0]["bytes"] <= 128 * 1024


def test_reading_again_asks_nothing_not_even_after_a_remount(demo, home, real):
    place, _, address = of_kind(real, ".npy")
    with mounted(demo.url, home) as drive:
        content = (drive / place).read_bytes()
    demo.clear_requests()
    with mounted(demo.url, home) as drive:
        assert (drive / place).read_bytes() == content == Asking.bytes_of(address)
        assert os.getxattr(drive / place, "user.alyx.cached") == b"100%"
    assert len(to_files(demo)) == 1, "the one request is the comparison's own"


def test_extended_attributes_say_which_dataset_a_file_is(demo, drive, real):
    place, dataset, _ = of_kind(real, ".npy")
    path = drive / place
    values = {name: os.getxattr(path, name).decode() for name in os.listxattr(path)}
    assert values["user.alyx.id"] == dataset["url"].rsplit("/", 1)[-1]
    assert values["user.alyx.endpoint"] == "datasets"
    assert values["user.alyx.hash"] == dataset["hash"]
    assert values["user.alyx.session"] == dataset["session"].rsplit("/", 1)[-1]
    assert values["user.alyx.revision"] == (dataset["revision"] or "")
    assert values["user.alyx.cached"] == "0%"
    session = path.parents[len(path.relative_to(drive.path).parts) - 7]
    assert os.getxattr(session, "user.alyx.session") == values["user.alyx.session"].encode()
    day, subject, subjects, lab = session.parents[:4]
    assert os.getxattr(day, "user.alyx.session") == values["user.alyx.session"].encode()
    assert os.getxattr(subject, "user.alyx.subject") == values["user.alyx.subject"].encode()
    assert os.getxattr(subjects, "user.alyx.lab") == os.getxattr(lab, "user.alyx.lab") == lab.name.encode()
    with pytest.raises(OSError, match="No data available") as caught:
        os.getxattr(path, "user.alyx.nothing")
    assert caught.value.errno == errno.ENODATA


def test_a_records_extended_attributes_say_which_record_it_is(demo, drive):
    path = drive / "labs" / "cortexlab.json"
    values = {name: os.getxattr(path, name).decode() for name in os.listxattr(path)}
    assert values["user.alyx.endpoint"] == "labs"
    assert values["user.alyx.url"] == f"{demo.url}/labs/cortexlab"


def test_a_record_leads_to_its_files(demo, drive, real):
    place, dataset, _ = of_kind(real, ".npy")
    session = dataset["session"].rsplit("/", 1)[-1]
    subject = place.split("/")[3]
    identity = dataset["url"].rsplit("/", 1)[-1]
    assert os.path.realpath(drive / "sessions" / session) == str(drive / "/".join(place.split("/")[:6]))
    assert os.path.realpath(drive / "subjects" / subject) == str(drive / "/".join(place.split("/")[:4]))
    assert os.path.realpath(drive / "datasets" / identity) == str(drive / place)
    assert (drive / "datasets" / identity).read_bytes() == (drive / place).read_bytes()


def test_df_times_owner_and_modes_are_sensible(demo, drive, real):
    assert subprocess.run(["df", drive.path], capture_output=True, check=True, timeout=30).stdout.count(b"\n") == 2
    place, dataset, _ = real[0]
    state = (drive / place).stat()
    assert state.st_mode & 0o777 == 0o444
    assert state.st_uid == os.getuid()
    assert 946684800 < state.st_mtime < 4102444800
    record = json.loads((drive / "sessions" / f"{dataset['session'].rsplit('/', 1)[-1]}.json").read_bytes())
    stamp = pd.Timestamp(record["auto_datetime"], tz="UTC").timestamp()
    listed = (drive / "sessions" / f"{record['id']}.json").stat().st_mtime
    assert abs(listed - stamp) < 0.001


def test_sessions_with_one_subject_day_and_number_share_a_directory_as_in_a_one_cache(demo_directory, home):
    with running_demo(demo_directory, largest_file_mb=2) as demo, mounted(demo.url, home) as drive:
        asking = Asking(demo.url)
        by_place: dict[tuple, list[dict]] = {}
        for row in asking.rows("/sessions"):
            if row["lab"] and row["start_time"] and row["number"] and row["subject"].isalnum():
                by_place.setdefault((row["lab"], row["subject"], row["start_time"][:10], row["number"]), []).append(row)
        (lab, subject, date, number), twins = next((place, rows) for place, rows in by_place.items() if len(rows) == 2)
        made = [with_file(asking, lab, row, kind) for row, kind in zip(twins, ("times", "amps"), strict=True)]
        shared = drive / "data" / lab / "Subjects" / subject / date / f"{number:03d}"
        assert os.listdir(shared.parent) == [f"{number:03d}"]
        assert sorted(os.listdir(shared / "alf")) == ["spikes.amps.npy", "spikes.times.npy"]
        shown = {os.getxattr(path, "user.alyx.id").decode() for path in (shared / "alf").iterdir()}
        assert shown == set(made)
        for row in twins:
            assert os.path.realpath(drive / "sessions" / row["id"]) == str(shared)
            assert row["id"] in os.getxattr(shared, "user.alyx.session").decode()


def with_file(asking, lab, session, kind):
    """Give a session a dataset that a file server lists."""
    place = f"{session['subject']}/{session['start_time'][:10]}/{session['number']:03d}/alf/spikes.{kind}.npy"
    fields = {
        "name": f"spikes.{kind}.npy",
        "dataset_type": f"spikes.{kind}",
        "collection": "alf",
        "session": session["url"],
    }
    made = asking.send("POST", "/datasets", {**fields, "file_size": 10})
    record = {"dataset": made["url"], "data_repository": f"flatiron_{lab}", "relative_path": place, "exists": True}
    asking.send("POST", "/files", record)
    return made["url"].rsplit("/", 1)[-1]
