"""Data files from the server's cache tables: the same as from the API, with hardly a request."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections import Counter
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio

from alyxfs.alyx.datasets.cache_archive import convert_tables, publish_tables, unpack_tables
from alyxfs.alyx.datasets.cache_tables import COLUMNS, TablesUnusableError, newest_folder, read_tables
from alyxfs.alyx.datasets.delta import Delta, unpack_delta
from alyxfs.alyx.datasets.index import PATIENCE, DatasetIndex
from alyxfs.alyx.datasets.layout import SessionPlace, file_of_dataset
from alyxfs.alyx.datasets.snapshot import Snapshot
from alyxfs.tasks import background_tasks
from asking import Asking
from mounted import mounted, run_alyxfs, until
from other_python import WITHOUT_PYARROW, python_with

MADE = "2024-06-01 12:00"
PLAIN = ("sessions.pqt", "datasets.pqt")


def about(path, state):
    """What tells a data file from another; directories may have the time of the mount."""
    if stat.S_ISDIR(state.st_mode) or path.parent.name == "data":
        return ()
    return state.st_size, state.st_mtime, os.getxattr(path, "user.alyx.dataset")


def walked(directory):
    """Every file and directory below, with what tells them apart."""
    found = {}
    for folder, folders, files in os.walk(directory):
        for path in (Path(folder, name) for name in [*folders, *files]):
            state = path.stat()
            found[str(path.relative_to(directory))] = (stat.S_IFMT(state.st_mode), *about(path, state))
    return found


def asked(demo):
    return [entry["path"] for entry in demo.requests() if not entry["path"].startswith("/data_files")]


@pytest.fixture(scope="module")
def archive(demo):
    """The server's own ``/cache.zip``."""
    return cache_zip(demo)


def cache_zip(demo):
    request = urllib.request.Request(
        f"{demo.url}/cache.zip", headers={"Authorization": f"Token {Asking(demo.url).token}"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read()


def test_with_tables_and_without_the_drive_is_the_same_but_for_the_requests(demo, tmp_path):
    without_pyarrow = python_with(tmp_path / "packages", WITHOUT_PYARROW)
    # Recordings shown as raw files, too, cost a look into the header of each.
    with mounted(demo.url, tmp_path / "without", "--hide-inflated", **without_pyarrow) as drive:
        assert not json.loads((drive / ".alyxfs/status.json").read_bytes())["cache_tables"]["used"]
        assert sorted(name for name in os.listdir(drive / "data") if name.endswith(".pqt")) == sorted(PLAIN)
        assert (drive / "data/sessions.pqt").read_bytes().startswith(b"PAR1")
        without = walked(drive / "data")
    with mounted(demo.url, tmp_path / "with", "--hide-inflated") as drive:
        demo.clear_requests()
        tables = walked(drive / "data")
        sessions = [path for path in asked(demo) if path.startswith("/sessions/")]
        assert sessions == [], "the addresses of files whose size the database does not know follow from the tables"
        assert len(asked(demo)) <= 11
        status = json.loads((drive / ".alyxfs/status.json").read_bytes())["cache_tables"]
    assert status["used"]
    assert status["made"] == MADE
    for found in (tables, without):
        assert {name: found.pop(name)[0] for name in PLAIN} == dict.fromkeys(PLAIN, stat.S_IFREG)
    assert tables == without


def test_find_asks_nothing_for_each_session_and_nothing_at_all_the_second_time(demo, home):
    with mounted(demo.url, home) as drive:
        demo.clear_requests()
        found = subprocess.run(["find", drive / "data", "-type", "f"], capture_output=True, check=True, timeout=60)
        assert len(asked(demo)) <= 10
        assert not [path for path in asked(demo) if path.startswith("/sessions/")]
        demo.clear_requests()
        again = subprocess.run(["find", drive / "data", "-type", "f"], capture_output=True, check=True, timeout=60)
        assert asked(demo) == []
    assert again.stdout == found.stdout
    with mounted(demo.url, home) as drive:
        demo.clear_requests()
        again = subprocess.run(["find", drive / "data", "-type", "f"], capture_output=True, check=True, timeout=60)
        assert again.stdout == found.stdout
        assert asked(demo) == [], "a second mount within the time to live asks nothing"


def test_each_step_into_data_asks_for_what_it_shows(demo, home):
    with mounted(demo.url, home) as drive:
        demo.clear_requests()
        assert "sessions.pqt" in os.listdir(drive / "data")
        assert sorted(path.split("?")[0] for path in asked(demo)) == ["/cache.zip", "/datasets", "/labs"]
        demo.clear_requests()
        os.listdir(drive / "data/cortexlab/Subjects")
        first = asked(demo)
        assert len(first) <= 6, "repositories, what changed, how many there are, and sessions without a number"
        demo.clear_requests()
        os.listdir(drive / "data")
        os.listdir(drive / "data/harborlab/Subjects")
        assert asked(demo) == []
        assert run_alyxfs(home, "refresh", str(drive / "data")).returncode == 0
        assert len(asked(demo)) > 3, "the tables are the same, so what the server has is compared"


def test_tables_that_the_server_made_anew_need_no_comparison(demo, home):
    with mounted(demo.url, home) as drive:
        demo.clear_requests()
        assert run_alyxfs(home, "refresh", str(drive / "data")).returncode == 0
        assert len(asked(demo)) <= 10
        assert not [path for path in asked(demo) if path.startswith("/datasets?limit=25")], "no walk of all datasets"
        demo.clear_requests()
        os.listdir(drive / "data/cortexlab/Subjects")
        assert len(asked(demo)) <= 1, "of the labs"


def test_opening_files_of_a_session_costs_no_request_of_the_api(demo, drive):
    place = drive / "data/cortexlab/Subjects/KS001/2023-01-02/001/alf"
    names = [name for name in os.listdir(place) if name.startswith("_ibl_wheel")]
    assert len(names) == 2
    demo.clear_requests()
    for name in names:
        assert (place / name).read_bytes().startswith(b"\x93NUMPY")
    assert asked(demo) == []


@pytest.mark.trio
async def test_readers_wait_for_tables_that_come_slowly_once_together(tmp_path, autojump_clock):
    """Those of a large database take longer than anybody waits: each look after that would wait as long."""

    class Slow:
        async def load(self):
            await trio.sleep_forever()

    metadata = SimpleNamespace(is_fresh=lambda *_: False, on_outdated=None)
    async with background_tasks() as tasks:
        index = DatasetIndex(None, None, metadata, tmp_path, tasks)
        index._can_read, index._kept = True, Slow()
        began = trio.current_time()
        assert await index.current() is None
        assert trio.current_time() - began == PATIENCE
        assert await index.current() is None
        assert trio.current_time() - began == PATIENCE


def test_ones_tables_stand_at_the_root_byte_for_byte(drive, archive):
    with zipfile.ZipFile(BytesIO(archive)) as members:
        for name in ("sessions.pqt", "datasets.pqt"):
            assert (drive / "data" / name).read_bytes() == members.read(name)


def test_a_server_without_tables_is_no_trouble(fresh_demo, home):
    fresh_demo.control(fail={"status": 500, "count": 1000, "path_prefix": "/cache"})
    with mounted(fresh_demo.url, home) as drive:
        assert "cortexlab" in os.listdir(drive / "data")
        assert "sessions.pqt" not in os.listdir(drive / "data")
        place = drive / "data/cortexlab/Subjects/KS001/2023-01-02/001"
        assert len(os.listdir(place / "alf")) > 4
        fresh_demo.clear_requests()
        os.listdir(drive / "data/cortexlab/Subjects")
        os.listdir(drive / "data/harborlab/Subjects")
        assert not [path for path in asked(fresh_demo) if path.startswith("/cache")], "asked once in a time to live"


def test_a_broken_archive_is_no_trouble(fresh_demo, home):
    fresh_demo.control(truncate={"bytes": 2000, "count": 1000, "path_prefix": "/cache.zip"})
    with mounted(fresh_demo.url, home) as drive:
        place = drive / "data/cortexlab/Subjects/KS001/2023-01-02/001"
        assert len(os.listdir(place / "alf")) > 4
        assert not json.loads((drive / ".alyxfs/status.json").read_bytes())["cache_tables"]["used"]


def new_session(asking, number=7, **fields):
    session = {
        "subject": "KS001",
        "lab": "cortexlab",
        "start_time": "2024-07-08T10:00:00",
        "number": number,
        "users": ["demo"],
    }
    return asking.send("POST", "/sessions", {**session, **fields})["url"].rsplit("/", 1)[-1]


def new_dataset(asking, session, name, repository="flatiron_cortexlab", collection="alf", **fields):
    """A dataset with a file record; returns its id."""
    values = {"name": name, "dataset_type": "odd", "data_format": "npy", "collection": collection, "file_size": 100}
    if session is not None:
        values["session"] = f"{asking.url}/sessions/{session}"
    dataset = asking.send("POST", "/datasets", {**values, **fields})
    record = {
        "dataset": dataset["url"],
        "data_repository": repository,
        "relative_path": f"KS001/2024-07-08/007/{collection}/{name}",
        "exists": True,
    }
    asking.send("POST", "/files", record)
    return dataset["url"].rsplit("/", 1)[-1]


def test_a_session_made_after_the_tables_shows_up_with_its_files(fresh_demo, home):
    asking = Asking(fresh_demo.url)
    with mounted(fresh_demo.url, home, "--time-to-live", "0.5") as drive:
        dates = drive / "data/cortexlab/Subjects/KS001"
        assert "2024-07-08" not in os.listdir(dates)
        session = new_session(asking)
        new_dataset(asking, session, "spikes.new.npy")
        found = dates / "2024-07-08/007/alf/spikes.new.npy"
        until(lambda: "2024-07-08" in os.listdir(dates), "the new session")
        until(lambda: found.exists(), "its file")
        assert found.stat().st_size == 100
        # A dataset that changes is shown as it is now, and a session that moves is only where it is now.
        dataset = os.getxattr(found, "user.alyx.dataset").decode()
        asking.send("PATCH", f"/datasets/{dataset}", {"file_size": 200})
        until(lambda: os.listdir(found.parent) and found.stat().st_size == 200, "its new size")
        asking.send("PATCH", f"/sessions/{session}", {"number": 8})
        until(lambda: os.listdir(dates / "2024-07-08") == ["008"], "the session under its new number")
    with mounted(fresh_demo.url, home) as drive:
        assert (drive / "data/cortexlab/Subjects/KS001/2024-07-08/008/alf/spikes.new.npy").stat().st_size == 200


def test_what_the_tables_leave_out_comes_from_the_api(fresh_demo, home):
    asking = Asking(fresh_demo.url)
    # A server of another name, made before the tables as far as they can tell: only its name shows that they lack it.
    asking.send(
        "POST",
        "/data-repository",
        {"name": "other_server", "data_url": fresh_demo.files_url, "globus_is_personal": False},
    )
    asking.send("POST", "/data-repository", {"name": "my_desk", "globus_is_personal": True})
    numberless = next(row for row in asking.rows("/sessions?django=number__isnull,True") if row["lab"])
    session = new_session(asking)
    new_dataset(asking, session, "elsewhere.times.npy", "other_server")
    new_dataset(asking, session, "unshared.times.npy", "my_desk")
    with mounted(fresh_demo.url, home) as drive:
        assert os.listdir(drive / "data/cortexlab/Subjects/KS001/2024-07-08/007/alf") == ["elsewhere.times.npy"]
        subject = drive / "data" / numberless["lab"] / "Subjects" / numberless["subject"]
        assert os.listdir(subject / numberless["start_time"][:10]) == ["000"]
        first, second = sorted(os.listdir(subject / "2021-07-09"))
        assert first == "001"
        assert second.startswith("001~"), "the other session of this number has a folder of its own"


def test_a_dataset_that_is_gone_is_dropped_when_it_is_opened(fresh_demo, home):
    asking = Asking(fresh_demo.url)
    with mounted(fresh_demo.url, home) as drive:
        place = drive / "data/cortexlab/Subjects/KS004/2023-04-05/001/alf/tiles"
        gone = place / "tile.n0500.npy"  # whose file has gone, too
        identity = os.getxattr(gone, "user.alyx.dataset").decode()
        asking.send("DELETE", f"/datasets/{identity}")
        with pytest.raises(OSError, match="No data available"):
            gone.read_bytes()
        assert gone.name not in os.listdir(place)


def test_aggregates_stand_where_one_puts_them(demo, drive):
    datasets = Asking(demo.url).rows("/datasets?django=session__isnull,True")
    served = [dataset for dataset in datasets if Asking(demo.url).serves(dataset["file_records"][0]["data_url"])]
    assert served
    for dataset in datasets:
        path = drive / "data/aggregates" / dataset["file_records"][0]["relative_path"]
        identity = dataset["url"].rsplit("/", 1)[-1]
        assert path.stat().st_size == dataset["file_size"]
        assert os.getxattr(path, "user.alyx.dataset").decode() == identity
        assert os.path.realpath(drive / "datasets" / identity) == str(path)
        if dataset in served:
            assert path.read_bytes() == Asking.bytes_of(dataset["file_records"][0]["data_url"])


@pytest.mark.parametrize(("preferred", "expected"), [("aws,flatiron", "/aws/"), ("flatiron", None), ("", None)])
def test_the_preferred_repository_is_the_one_that_is_read(demo, home, preferred, expected):
    place = "data/cortexlab/Subjects/KS001/2023-01-02/001/alf/_ibl_wheel.position.npy"
    with mounted(demo.url, home, *(["--preferred-repositories", preferred] if preferred else [])) as drive:
        demo.clear_requests()
        content = (drive / place).read_bytes()
        read = {entry["path"] for entry in demo.requests() if entry["path"].startswith("/data_files")}
    assert len(content) > 1000
    assert {"/aws/" in path for path in read} == {expected is not None}


def test_what_is_kept_is_the_owners_alone(demo, home):
    with mounted(demo.url, home) as drive:
        os.listdir(drive / "data")
    kept = [path for path in (home / ".cache").rglob("*") if "tables" in path.parts]
    assert {path.name for path in kept if path.is_file()} == {
        *("sessions.pqt", "datasets.pqt", "cache_info.json"),
        "tables.columns",
    }
    for path in kept:
        assert path.stat().st_mode & 0o077 == 0, path


# Without a drive


def unpacked(archive, made, directory):
    """The folder in which tables stand after they were fetched."""
    scratch = Path(tempfile.mkdtemp())
    (scratch / "cache.zip").write_bytes(archive)
    unpack_tables(scratch / "cache.zip", scratch)
    trio.run(convert_tables, scratch)
    return publish_tables(scratch, made, directory)


def test_the_tables_that_were_put_last_are_those_that_count(tmp_path, archive):
    first = unpacked(archive, MADE, tmp_path)
    assert unpacked(archive, MADE, tmp_path) == first, "another drive may have been faster"
    os.utime(first, (1, 1))
    later = unpacked(archive, "2024-05-02 12:00", tmp_path)
    assert newest_folder(tmp_path) == later
    assert list(tmp_path.iterdir()) == [later]


def test_a_table_of_another_form_is_refused(tmp_path, archive):
    folder = unpacked(archive, MADE, tmp_path)
    (folder / "datasets.pqt").write_bytes((folder / "sessions.pqt").read_bytes())
    with pytest.raises(TablesUnusableError, match="unknown form"):
        trio.run(convert_tables, folder)


def test_the_tables_hold_what_the_server_lists(tmp_path, archive, demo):
    tables = read_tables(unpacked(archive, MADE, tmp_path))
    rows = [
        row for row in Asking(demo.url).rows("/sessions") if None not in (row["lab"], row["number"], row["start_time"])
    ]
    places = [tables.place(row) for row in range(tables.number_of_sessions)]
    assert sorted(place.identity for place in places) == sorted(row["id"] for row in rows)
    assert places == [tables.place(tables.row(place.identity)) for place in places]
    assert tables.row("no such session") is None
    subjects = {(lab, subject): len(rows) for lab, names in tables.subjects.items() for subject, rows in names.items()}
    assert subjects == Counter((place.lab, place.subject) for place in places)
    listed = Asking(demo.url).rows("/datasets?subject=KS001&lab=cortexlab")
    for row in listed:
        session = row["session"].rsplit("/", 1)[-1]
        files = {file.identity: file for file in tables.files(session)}
        file = files[row["url"].rsplit("/", 1)[-1]]
        expected = file_of_dataset(row)
        assert (file.folders, file.name, file.size, file.digest, file.qc, file.is_default) == (
            expected.folders,
            expected.name,
            expected.size,
            expected.digest,
            expected.qc,
            expected.is_default,
        )
        assert tables.holds([file.identity, "no such dataset"]) == {file.identity}
    assert tables.files("no such session") == []
    assert tables.count("no such session") == 0


def test_a_dataset_costs_few_bytes_of_memory(tmp_path):
    """In a process of its own: 600,000 datasets in 6,000 sessions."""
    script = f"""
import json, random, tracemalloc, uuid
from pathlib import Path
import pyarrow as pa, pyarrow.parquet as pq
import trio
from alyxfs.alyx.datasets.cache_archive import convert_tables
from alyxfs.alyx.datasets.cache_tables import read_tables
folder = Path({str(tmp_path)!r})
source = random.Random(1)
eids = [eid for eid in (str(uuid.UUID(int=source.getrandbits(128))) for _ in range(6000)) for _ in range(100)]
ids = [str(uuid.UUID(int=source.getrandbits(128))) for _ in range(600_000)]
days = pa.array([number % 20000 for number in range(6000)], pa.date32())
pq.write_table(pa.table({{"id": eids[::100], "lab": ["lab"] * 6000, "subject": ["mouse"] * 6000, "date": days,
                         "number": pa.array([1] * 6000, pa.uint16())}}), folder / "sessions.pqt")
paths = [f"alf/probe{{number % 100:02}}/spikes.times.npy" for number in range(600_000)]
pq.write_table(pa.table({{"eid": eids, "id": ids, "rel_path": paths, "file_size": [1] * 600_000,
                         "hash": [one[:8] * 4 for one in ids], "default_revision": [True] * 600_000,
                         "qc": ["PASS"] * 600_000}}), folder / "datasets.pqt")
(folder / "cache_info.json").write_text(json.dumps({{"date_created": "2024-06-01 12:00"}}))
del eids, ids, paths
trio.run(convert_tables, folder)
tracemalloc.start()
tables = read_tables(folder)
assert len(tables.files(tables.place(5).identity)) == 100
print(tracemalloc.get_traced_memory()[0], (folder / "tables.columns").stat().st_size)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    objects, mapped = map(int, done.stdout.split())
    assert objects < 200_000, "no object for a session or a dataset until somebody looks at it"
    assert mapped < 100 * 600_000


def test_changes_survive_the_store_and_belong_to_their_tables():
    changes = Delta()
    changes.since = "2024-06-01T11:00:00"
    changes.add_sessions([{"id": "a", "lab": "l", "subject": "s", "start_time": "2024-01-02T03:04:05", "number": None}])
    changes.add_sessions([{"id": "b", "lab": None, "subject": "s", "start_time": None, "number": 1}])
    record = {"exists": True, "data_repository": "server", "data_url": "http://x/y.npy"}
    row = {"url": "http://x/datasets/d", "name": "y.npy", "session": "http://x/sessions/a", "file_records": [record]}
    changes.add_datasets([row, {**row, "url": "http://x/datasets/e"}], frozenset())
    changes.add_datasets([{**row, "url": "http://x/datasets/e"}], frozenset({"server"}))
    again = unpack_delta(changes.pack(MADE), MADE)
    assert again.places == changes.places
    assert again.places["a"].number == "000"
    assert again.places["b"] is None
    assert [file.identity for file in again.merged("a", [])] == ["d"]
    assert len(unpack_delta(changes.pack(MADE), "2024-06-02 12:00")) == 0


def test_a_dataset_that_moved_is_in_one_session_alone():
    changes = Delta()
    record = {"exists": True, "data_repository": "server", "data_url": "http://x/y.npy"}
    row = {"url": "http://x/datasets/d", "name": "y.npy", "file_records": [record]}
    changes.add_datasets([{**row, "session": "http://x/sessions/a"}], frozenset())
    before = changes.copy()
    changes.add_datasets([{**row, "session": "http://x/sessions/b"}], frozenset())
    assert changes.merged("a", before.merged("a", [])) == []
    assert len(changes.merged("b", [])) == 1
    assert len(before.merged("a", [])) == 1


@pytest.mark.parametrize("damage", [b"", b"\0" * 8, b"{}", b"\xff" * 100, "cut", "other version", "short column"])
def test_columns_that_are_damaged_are_refused(tmp_path, archive, damage):
    folder = unpacked(archive, MADE, tmp_path)
    path = folder / COLUMNS
    content = path.read_bytes()
    if damage == "cut":
        damage = content[: len(content) // 2]
    elif damage == "other version":
        damage = content.replace(b'{"version": 1,', b'{"version": 0,')
    elif damage == "short column":
        found = re.search(rb'"dataset.size": \["q", \d+, (\d+)\]', content)
        start, end = found.span(1)
        damage = content[:start] + str(int(found[1]) - 8).encode().rjust(end - start) + content[end:]
    path.write_bytes(damage)
    with pytest.raises(TablesUnusableError, match="cannot be read"):
        read_tables(folder)


def test_sessions_that_came_moved_or_went_replace_those_of_the_tables(tmp_path, archive):
    tables, changes = read_tables(unpacked(archive, MADE, tmp_path)), Delta()
    expected = {place.identity: place for place in map(tables.place, range(tables.number_of_sessions))}
    first, second, third, *_ = expected.values()
    lonely = SessionPlace("a", "new lab", "new subject", "2024-01-02", "001")
    changes.places = {first.identity: None, second.identity: replace(second, subject="other"), "a": lonely, "b": None}
    expected |= changes.places
    contents = Snapshot(tables, changes)

    def compare():
        there = {identity: place for identity, place in expected.items() if place is not None}
        by_subject = {}
        for place in there.values():
            by_subject.setdefault((place.lab, place.subject), set()).add(place)
        assert {identity: contents.place(identity) for identity in expected} == expected
        assert {identity for identity in expected if identity in contents} == set(there)
        assert len(contents) == len(there)
        found = {(lab, name): contents.sessions(lab, name) for lab in contents.labs for name in contents.subjects(lab)}
        assert {key: set(places) for key, places in found.items()} == by_subject
        assert sorted(map(str, contents.places(None, None))) == sorted(map(str, there.values()))
        assert contents.labs_of("new subject") == [lab for lab, name in by_subject if name == "new subject"]

    compare()
    whole_subject = [place.identity for place in tables_of_subject(tables, third)]
    for session, place in [("a", None), (first.identity, first), *((identity, None) for identity in whole_subject)]:
        contents.move(session, place)
        expected[session] = place
        compare()


def tables_of_subject(tables, place):
    return [tables.place(row) for row in tables.subjects[place.lab][place.subject]]
