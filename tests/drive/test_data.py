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
from hypothesis import given
from hypothesis import strategies as st

from alyxfs.alyx.datasets.layout import SessionPlace, folder_names
from alyxfs.demo.server import running_demo
from asking import Asking
from mounted import mounted
from other_python import WITHOUT_PYARROW, python_with


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
        return error if error.errno != errno.ESTALE else path.read_bytes()  # its size in the database was wrong


def to_files(demo):
    return [entry for entry in demo.requests() if entry["path"].startswith("/data_files")]


@pytest.mark.timeout(180)
def test_every_file_is_byte_exact(demo, drive, real):
    # Many sessions have files of the same content: one of each will do.
    different = {(dataset["hash"], dataset["name"]): (place, address) for place, dataset, address in real}
    assert len(different) > 200
    wrong = [place for place, address in different.values() if content(drive / place) != Asking.bytes_of(address)]
    assert wrong == []


def test_sizes_come_from_the_database_without_asking_the_file_server(demo, drive, real):
    for place, dataset, _ in real:
        if dataset["file_size"] is not None:
            assert (drive / place).stat().st_size == dataset["file_size"]
    assert to_files(demo) == []


@pytest.mark.parametrize("listed", [False, True])
def test_a_size_that_the_database_does_not_know_is_true_at_the_first_look(demo, home, real, listed):
    unknown = [entry for entry in real if entry[1]["file_size"] is None]
    assert unknown
    with mounted(demo.url, home) as drive:
        for place, _, address in unknown:
            if listed:
                assert (drive / place).name in os.listdir((drive / place).parent)
            assert (drive / place).stat().st_size == len(Asking.bytes_of(address))
    with mounted(demo.url, home) as drive:
        demo.clear_requests()
        for place, _, _ in unknown:
            (drive / place).stat()
        assert to_files(demo) == [], "it is kept across mounts"


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
    assert state.st_mode & 0o777 == 0o644
    assert state.st_uid == os.getuid()
    assert 946684800 < state.st_mtime < 4102444800
    record = json.loads((drive / "sessions" / f"{dataset['session'].rsplit('/', 1)[-1]}.json").read_bytes())
    stamp = pd.Timestamp(record["auto_datetime"], tz="UTC").timestamp()
    listed = (drive / "sessions" / f"{record['id']}.json").stat().st_mtime
    assert abs(listed - stamp) < 0.001


@pytest.mark.parametrize("tables", [True, False], ids=["from tables", "from the API"])
def test_sessions_with_one_subject_day_and_number_never_mix_their_files(demo_directory, home, tables):
    kinds = ("spikes.times", "spikes.clusters")
    halves = ("ephysData.raw.ap", "ephysData.raw.ch")
    with running_demo(demo_directory, largest_file_mb=2) as demo:
        asking = Asking(demo.url)
        (lab, subject, date, number), twins = twin_sessions(asking)
        made = {
            row["id"]: dict(with_file(asking, repository, row, kind) for kind in [*kinds, half])
            for row, half, repository in zip(twins, halves, (f"flatiron_{lab}", f"aws_{lab}"), strict=True)
        }
        packages = {} if tables else python_with(home / "packages", WITHOUT_PYARROW)
        with mounted(demo.url, home, **packages) as drive:
            day = drive / "data" / lab / "Subjects" / subject / date
            first, second = sorted(made)
            assert sorted(os.listdir(day)) == [f"{number:03d}", f"{number:03d}~{second}"]
            for session, name in ((first, f"{number:03d}"), (second, f"{number:03d}~{second}")):
                folder = day / name
                assert os.path.realpath(drive / "sessions" / session) == str(folder)
                assert os.getxattr(folder, "user.alyx.session").decode() == session
                shown = {path.name: os.getxattr(path, "user.alyx.id").decode() for path in (folder / "alf").iterdir()}
                assert shown == made[session], "neither a file of the other's, nor a pair made of both"
                for path in (folder / "alf").iterdir():
                    assert os.getxattr(path, "user.alyx.session").decode() == session
                for dataset, path in ((dataset, folder / "alf" / name) for name, dataset in made[session].items()):
                    assert os.path.realpath(drive / "datasets" / dataset) == str(path)
            assert set(os.getxattr(day, "user.alyx.session").decode().split()) == {first, second}
            assert json.loads((drive / ".alyxfs/status.json").read_bytes())["cache_tables"]["used"] is tables


def twin_sessions(asking):
    by_place: dict[tuple, list[dict]] = {}
    for row in asking.rows("/sessions"):
        if row["lab"] and row["start_time"] and row["number"] and row["subject"].isalnum():
            by_place.setdefault((row["lab"], row["subject"], row["start_time"][:10], row["number"]), []).append(row)
    return next((place, rows) for place, rows in by_place.items() if len(rows) == 2)


@given(ids=st.lists(st.uuids().map(str), min_size=1, max_size=5, unique=True), number=st.integers(0, 2000))
def test_the_names_of_sessions_hang_on_their_ids_alone(ids, number):
    places = [SessionPlace(identity, "lab", "mouse", "2020-01-01", f"{number:03d}") for identity in ids]
    other = SessionPlace("other", "lab", "mouse", "2020-01-01", "other")
    named = folder_names([*places, other])
    assert named == folder_names([other, *reversed(places)])
    assert named.pop("other") is other
    assert set(named.values()) == set(places)
    assert named[f"{number:03d}"].identity == min(ids)
    assert all(name.endswith(place.identity) for name, place in named.items() if place.identity != min(ids))


FILE_NAMES = {
    "ephysData.raw.ap": "_spikeglx_ephysData_g0_t0.ap.cbin",
    "ephysData.raw.ch": "_spikeglx_ephysData_g0_t0.ap.ch",
}


def with_file(asking, repository, session, kind):
    """Give a session a dataset that a file server lists; return its file's name and its id."""
    name = FILE_NAMES.get(kind, f"{kind}.npy")
    place = f"{session['subject']}/{session['start_time'][:10]}/{session['number']:03d}/alf/{name}"
    fields = {"name": name, "dataset_type": kind, "collection": "alf", "session": session["url"]}
    made = asking.send("POST", "/datasets", {**fields, "file_size": 10})
    record = {"dataset": made["url"], "data_repository": repository, "relative_path": place, "exists": True}
    asking.send("POST", "/files", record)
    return name, made["url"].rsplit("/", 1)[-1]
