"""Data files from the server's cache tables: the same as from the API, with hardly a request."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
import urllib.request
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from alyxfs.alyx.changes import Changes, unpack_changes
from alyxfs.alyx.datafiles import file_of_dataset
from alyxfs.alyx.tables import TablesUnusableError, newest_folder, read_tables, unpack_tables
from alyxfs.demo.server import running_demo
from asking import Asking
from mounted import mounted, until

MADE = "2024-06-01 12:00"


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


@pytest.fixture
def own_demo(demo_directory):
    """A demo that a test may change."""
    with running_demo(demo_directory, largest_file_mb=2, control=True) as running:
        yield running


def test_with_tables_and_without_the_drive_is_the_same_but_for_the_requests(demo, tmp_path):
    nothing = tmp_path / "packages"
    nothing.mkdir()
    # A user whose Python has no pyarrow: the module is there for nobody.
    (nothing / "sitecustomize.py").write_text("import sys\nsys.modules['pyarrow'] = None\n")
    paths = os.pathsep.join([str(nothing), *filter(None, [os.environ.get("PYTHONPATH")])])
    with mounted(demo.url, tmp_path / "without", PYTHONPATH=paths) as drive:
        assert not json.loads((drive / ".alyxfs/status.json").read_bytes())["cache_tables"]["used"]
        without = walked(drive / "data")
    with mounted(demo.url, tmp_path / "with") as drive:
        demo.clear_requests()
        tables = walked(drive / "data")
        assert len(asked(demo)) <= 10
        status = json.loads((drive / ".alyxfs/status.json").read_bytes())["cache_tables"]
    assert status["used"]
    assert status["made"] == MADE
    assert {name: tables.pop(name)[0] for name in ("sessions.pqt", "datasets.pqt")} == dict.fromkeys(
        ("sessions.pqt", "datasets.pqt"), stat.S_IFREG
    )
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


def test_opening_files_of_a_session_costs_one_request_for_all(demo, drive):
    place = drive / "data/cortexlab/Subjects/KS001/2023-01-02/001/alf"
    names = [name for name in os.listdir(place) if name.startswith("_ibl_wheel")]
    assert len(names) == 2
    demo.clear_requests()
    for name in names:
        assert (place / name).read_bytes().startswith(b"\x93NUMPY")
    assert len(asked(demo)) == 1


def test_ones_tables_stand_at_the_root_byte_for_byte(drive, archive):
    with zipfile.ZipFile(BytesIO(archive)) as members:
        for name in ("sessions.pqt", "datasets.pqt"):
            assert (drive / "data" / name).read_bytes() == members.read(name)


def test_a_server_without_tables_is_no_trouble(own_demo, home):
    own_demo.control(fail={"status": 500, "count": 1000, "path_prefix": "/cache"})
    with mounted(own_demo.url, home) as drive:
        assert "cortexlab" in os.listdir(drive / "data")
        assert "sessions.pqt" not in os.listdir(drive / "data")
        place = drive / "data/cortexlab/Subjects/KS001/2023-01-02/001"
        assert len(os.listdir(place / "alf")) > 4
        own_demo.clear_requests()
        os.listdir(drive / "data/cortexlab/Subjects")
        os.listdir(drive / "data/harborlab/Subjects")
        assert not [path for path in asked(own_demo) if path.startswith("/cache")], "asked once in a time to live"


def test_a_broken_archive_is_no_trouble(own_demo, home):
    own_demo.control(truncate={"bytes": 2000, "count": 1000, "path_prefix": "/cache.zip"})
    with mounted(own_demo.url, home) as drive:
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


def test_a_session_made_after_the_tables_shows_up_with_its_files(own_demo, home):
    asking = Asking(own_demo.url)
    with mounted(own_demo.url, home, "--time-to-live", "0.5") as drive:
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
    with mounted(own_demo.url, home) as drive:
        assert (drive / "data/cortexlab/Subjects/KS001/2024-07-08/008/alf/spikes.new.npy").stat().st_size == 200


def test_what_the_tables_leave_out_comes_from_the_api(own_demo, home):
    asking = Asking(own_demo.url)
    # A server of another name, made before the tables as far as they can tell: only its name shows that they lack it.
    asking.send(
        "POST",
        "/data-repository",
        {"name": "other_server", "data_url": own_demo.files_url, "globus_is_personal": False},
    )
    asking.send("POST", "/data-repository", {"name": "my_desk", "globus_is_personal": True})
    numberless = next(row for row in asking.rows("/sessions?django=number__isnull,True") if row["lab"])
    session = new_session(asking)
    new_dataset(asking, session, "elsewhere.times.npy", "other_server")
    new_dataset(asking, session, "unshared.times.npy", "my_desk")
    with mounted(own_demo.url, home) as drive:
        assert os.listdir(drive / "data/cortexlab/Subjects/KS001/2024-07-08/007/alf") == ["elsewhere.times.npy"]
        subject = drive / "data" / numberless["lab"] / "Subjects" / numberless["subject"]
        assert os.listdir(subject / numberless["start_time"][:10]) == ["000"]
        assert os.listdir(subject / "2021-07-09") == ["001"], "two sessions of one number share its directory"


def test_a_dataset_that_is_gone_is_dropped_when_it_is_opened(own_demo, home):
    asking = Asking(own_demo.url)
    with mounted(own_demo.url, home) as drive:
        place = drive / "data/cortexlab/Subjects/KS003/2023-03-04/001/raw_ephys_data"
        gone = place / "signal.kb1.npy"
        identity = os.getxattr(gone, "user.alyx.dataset").decode()
        asking.send("DELETE", f"/datasets/{identity}")
        with pytest.raises(OSError, match="No such file") as caught:
            gone.read_bytes()
        assert caught.value.errno == errno.ENOENT
        assert "signal.kb1.npy" not in os.listdir(place)


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


def test_a_file_in_ones_directory_is_not_downloaded(demo, home, tmp_path):
    place = "cortexlab/Subjects/KS001/2023-01-02/001/alf/_ibl_wheel.position.npy"
    with mounted(demo.url, home) as drive:
        content = (drive / "data" / place).read_bytes()
    here = tmp_path / "ONE" / place
    here.parent.mkdir(parents=True)
    here.write_bytes(content)
    with mounted(demo.url, tmp_path / "other", "--one-directory", str(tmp_path / "ONE")) as drive:
        demo.clear_requests()
        assert (drive / "data" / place).read_bytes() == content
        here.write_bytes(content[:-8])  # of another size it is not the file that the database means
        demo.clear_requests()
    with mounted(demo.url, tmp_path / "third", "--one-directory", str(tmp_path / "ONE")) as drive:
        demo.clear_requests()
        assert (drive / "data" / place).read_bytes() == content
        assert [entry for entry in demo.requests() if entry["path"].startswith("/data_files")]


def test_what_is_kept_is_the_owners_alone(demo, home):
    with mounted(demo.url, home) as drive:
        os.listdir(drive / "data")
    kept = [path for path in (home / ".cache").rglob("*") if "tables" in path.parts]
    assert {path.name for path in kept if path.is_file()} == {"sessions.pqt", "datasets.pqt", "cache_info.json"}
    for path in kept:
        assert path.stat().st_mode & 0o077 == 0, path


# Without a drive


def test_an_archive_appears_whole_or_not_at_all(tmp_path, archive):
    with pytest.raises(TablesUnusableError):
        unpack_tables(archive[: len(archive) // 2], MADE, tmp_path)
    assert list(tmp_path.iterdir()) == []
    first = unpack_tables(archive, MADE, tmp_path)
    assert unpack_tables(archive, MADE, tmp_path) == first, "another drive may have been faster"
    later = unpack_tables(archive, "2024-06-02 12:00", tmp_path)
    assert newest_folder(tmp_path) == later
    assert list(tmp_path.iterdir()) == [later]


def test_a_table_of_another_form_is_refused(tmp_path, archive):
    folder = unpack_tables(archive, MADE, tmp_path)
    (folder / "datasets.pqt").write_bytes((folder / "sessions.pqt").read_bytes())
    with pytest.raises(TablesUnusableError, match="unknown form"):
        read_tables(folder)


def test_the_tables_hold_what_the_server_lists(tmp_path, archive, demo):
    tables = read_tables(unpack_tables(archive, MADE, tmp_path))
    rows = [
        row for row in Asking(demo.url).rows("/sessions") if None not in (row["lab"], row["number"], row["start_time"])
    ]
    assert sorted(place.identity for place in tables.places) == sorted(row["id"] for row in rows)
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
    assert tables.files("no such session") == []


def test_a_dataset_costs_few_bytes_of_memory(tmp_path):
    """In a process of its own: 600,000 datasets in 6,000 sessions."""
    script = f"""
import json, resource, uuid
from pathlib import Path
import pyarrow as pa, pyarrow.parquet as pq
from alyxfs.alyx.tables import read_tables
folder = Path({str(tmp_path)!r})
eids = [str(uuid.UUID(int=number)) for number in range(6000) for _ in range(100)]
ids = [str(uuid.UUID(int=number << 64)) for number in range(600_000)]
days = pa.array([number % 20000 for number in range(6000)], pa.date32())
pq.write_table(pa.table({{"id": eids[::100], "lab": ["lab"] * 6000, "subject": ["mouse"] * 6000, "date": days,
                         "number": pa.array([1] * 6000, pa.uint16())}}), folder / "sessions.pqt")
paths = [f"alf/probe{{number % 100:02}}/spikes.times.npy" for number in range(600_000)]
pq.write_table(pa.table({{"eid": eids, "id": ids, "rel_path": paths, "file_size": [1] * 600_000,
                         "hash": [one[:8] * 4 for one in ids], "default_revision": [True] * 600_000,
                         "qc": ["PASS"] * 600_000}}), folder / "datasets.pqt")
(folder / "cache_info.json").write_text(json.dumps({{"date_created": "2024-06-01 12:00"}}))
del eids, ids, paths
before = pa.total_allocated_bytes()
tables = read_tables(folder)
assert len(tables.files(tables.places[5].identity)) == 100
print(pa.total_allocated_bytes() - before + 8 * len(tables))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) < 150 * 600_000


def test_changes_survive_the_store_and_belong_to_their_tables():
    changes = Changes()
    changes.since = "2024-06-01T11:00:00"
    changes.add_sessions([{"id": "a", "lab": "l", "subject": "s", "start_time": "2024-01-02T03:04:05", "number": None}])
    changes.add_sessions([{"id": "b", "lab": None, "subject": "s", "start_time": None, "number": 1}])
    record = {"exists": True, "data_repository": "server", "data_url": "http://x/y.npy"}
    row = {"url": "http://x/datasets/d", "name": "y.npy", "session": "http://x/sessions/a", "file_records": [record]}
    changes.add_datasets([row, {**row, "url": "http://x/datasets/e"}], frozenset())
    changes.add_datasets([{**row, "url": "http://x/datasets/e"}], frozenset({"server"}))
    again = unpack_changes(changes.pack(MADE), MADE)
    assert again.places == changes.places
    assert again.places["a"].number == "000"
    assert again.places["b"] is None
    assert [file.identity for file in again.merged("a", [])] == ["d"]
    assert len(unpack_changes(changes.pack(MADE), "2024-06-02 12:00")) == 0


def test_a_dataset_that_moved_is_in_one_session_alone():
    changes = Changes()
    record = {"exists": True, "data_repository": "server", "data_url": "http://x/y.npy"}
    row = {"url": "http://x/datasets/d", "name": "y.npy", "file_records": [record]}
    changes.add_datasets([{**row, "session": "http://x/sessions/a"}], frozenset())
    before = changes.copy()
    changes.add_datasets([{**row, "session": "http://x/sessions/b"}], frozenset())
    assert changes.merged("a", before.merged("a", [])) == []
    assert len(changes.merged("b", [])) == 1
    assert len(before.merged("a", [])) == 1
