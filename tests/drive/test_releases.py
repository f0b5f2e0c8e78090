"""``releases/<tag>/data``: what a paper was made from, and nothing newer, for ONE, numpy and everything else."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from collections import Counter
from types import SimpleNamespace

import pandas as pd
import pytest
import trio

from alyxfs import errors
from alyxfs.alyx.datasets.releases import Releases
from alyxfs.tasks import background_tasks
from asking import Asking
from mounted import mounted, run_alyxfs
from one_client import needs_one, run_one
from other_python import WITHOUT_PYARROW, python_with

ELSEWHERE = "2022_Q4_brainwide"
"""Its tables are at an address of their own, which the server tells."""
LISTED = "2021_Q1_behaviour"
"""The server tells no address of its tables, so that its lists serve; files of this one are on the file server."""
EMPTY = "2023%2Fwith slash"


def asked(demo):
    paths = [entry["path"] for entry in demo.requests()]
    demo.clear_requests()
    return paths


def files_below(directory):
    """The data files by their paths, with their datasets."""
    found = {}
    for folder, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(folder, name)
            if not name.endswith(".pqt") or folder != str(directory):
                found[os.path.relpath(path, directory)] = os.getxattr(path, "user.alyx.dataset").decode()
    return found


def tagged(demo, tag):
    """The server's own datasets of a tag that are files of sessions, by their places in ``data/``."""
    asking = Asking(demo.url)
    sessions = {row["id"]: row for row in asking.rows("/sessions")}
    found = {}
    for row in asking.rows(f"/datasets?tag={tag}"):
        session = sessions.get((row["session"] or "").rsplit("/", 1)[-1])
        if session is not None and any(one["exists"] and one["data_url"] for one in row["file_records"]):
            session = {**session, "number": session["number"] or 0}
            found[asking.place(session, row).removeprefix("data/")] = row["url"].rsplit("/", 1)[-1]
    return found


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp("releases") / "home"


@pytest.fixture(scope="module")
def drive(demo, kept):
    """Without what is shown inflated: these are files of the drive, and no datasets."""
    with mounted(demo.url, kept, "--hide-inflated") as drive:
        yield drive


def test_there_is_a_directory_for_each_tag(demo, drive):
    demo.clear_requests()
    assert sorted(os.listdir(drive / "releases")) == [LISTED, ELSEWHERE, EMPTY, "repeated_site"]
    assert [path.split("?")[0] for path in asked(demo)] == ["/tags"]
    assert os.listdir(drive / "releases" / LISTED) == ["data"]
    assert sorted(os.listdir(drive / "releases" / EMPTY / "data")) == ["datasets.pqt", "sessions.pqt"]
    assert "releases" not in os.listdir(drive.path), "a walk of the drive finds each file once"
    assert not (drive / "releases" / "2023").exists()


@pytest.mark.parametrize(("tag", "most"), [(ELSEWHERE, 3), (LISTED, 8)], ids=[ELSEWHERE, LISTED])
def test_a_release_holds_exactly_the_datasets_of_its_tag(demo, drive, kept, tag, most):
    os.listdir(drive / "releases")
    demo.clear_requests()
    data = drive / "releases" / tag / "data"
    assert "sessions.pqt" in os.listdir(data)
    requests = asked(demo)
    assert len(requests) <= most, requests
    shown = files_below(data)
    again = {path.split("?")[0] for path in asked(demo) if not path.startswith("/data_files")}
    assert again <= {"/labs"}, "none while it is fresh but for the addresses of files whose size nobody knows"
    assert shown == tagged(demo, tag)
    assert len(shown) > 80
    rows = (data / ".files.tsv").read_text().splitlines()[1:]
    assert sorted(row.split("\t")[0] for row in rows) == sorted(shown)
    assert set(Counter(row.rsplit("\t")[-1] for row in rows)) == {tag}
    assert set(pd.read_parquet(data / "datasets.pqt").reset_index()["id"]) == set(shown.values())


ONE_OF_RELEASE = """
from one.api import ONE
one = ONE(cache_dir=data, mode="local")
answers["sessions"] = sorted(map(str, one.search()))
answers["datasets"] = sorted(map(str, one.list_datasets(qc="CRITICAL", details=True).index.get_level_values("id")))
eids = one.search(subject="KS001", date_range=["2023-01-02", "2023-01-02"])
if eids:
    path = one.load_dataset(eids[0], "_ibl_trials.table.pqt", "alf", download_only=True)
    answers["path"], answers["rows"] = str(path), len(one.load_dataset(eids[0], "_ibl_trials.table.pqt", "alf"))
"""


@needs_one
@pytest.mark.parametrize("tag", [ELSEWHERE, LISTED])
def test_one_lists_exactly_the_datasets_of_the_tag(demo, drive, tmp_path, tag):
    answers = run_one(demo, tmp_path, ONE_OF_RELEASE, drive / "releases" / tag / "data")
    datasets = tagged(demo, tag)
    assert answers["datasets"] == sorted(datasets.values())
    sessions = {row["session"].rsplit("/", 1)[-1] for row in Asking(demo.url).rows(f"/datasets?tag={tag}")}
    assert set(answers["sessions"]) <= sessions
    if tag == LISTED:
        assert answers["rows"] == 400, "the table of the paper, not the revision that came later, which has 500"
        place = "cortexlab/Subjects/KS001/2023-01-02/001/alf/_ibl_trials.table.pqt"
        assert answers["path"] == f"{drive.path}/releases/{tag}/data/{place}"


def test_bytes_are_fetched_once_wherever_they_are_read(demo, drive):
    path = "cortexlab/Subjects/KS001/2023-01-03/001/alf/_ibl_trials.table.pqt"
    whole = (drive / "data" / path).read_bytes()
    demo.clear_requests()
    assert (drive / "releases" / LISTED / "data" / path).read_bytes() == whole
    assert (drive / "as-of" / "2023-12-31" / "data" / path).read_bytes() == whole
    assert asked(demo) == []


def test_another_mount_knows_what_one_has_seen(demo, home):
    path = "cortexlab/Subjects/KS001/2023-01-03/001/alf/_ibl_trials.table.pqt"
    with mounted(demo.url, home, "--hide-inflated") as drive:
        with pytest.raises(OSError, match="No data") as refusal:
            os.getxattr(drive / "data" / path, "user.alyx.tags")
        assert refusal.value.errno == errno.ENODATA
        before = files_below(drive / "releases" / LISTED / "data")
        assert os.getxattr(drive / "data" / path, "user.alyx.tags") == LISTED.encode()
    with mounted(demo.url, home, "--hide-inflated") as drive:
        demo.clear_requests()
        assert os.getxattr(drive / "data" / path, "user.alyx.tags") == LISTED.encode()
        rows = (drive / "data" / ".files.tsv").read_text().splitlines()
        assert rows[0].endswith("\ttags")
        assert {row.split("\t")[0] for row in rows if row.endswith(f"\t{LISTED}")} == set(before)
        assert files_below(drive / "releases" / LISTED / "data") == before
        assert not [one for one in asked(demo) if "tag" in one], "it is fresh"


def test_a_release_changes_when_datasets_get_or_lose_its_tag(fresh_demo, home):
    asking = Asking(fresh_demo.url)
    with mounted(fresh_demo.url, home, "--hide-inflated") as drive:
        data = drive / "releases" / LISTED / "data"
        before = files_below(data)
        assert run_alyxfs(home, "refresh", str(data)).returncode == 0
        fresh_demo.clear_requests()
        assert files_below(data) == before
        assert len([path for path in asked(fresh_demo) if path.startswith("/datasets?tag")]) <= 3, "no walk"
        place, gone = next(item for item in before.items() if "KS001/2023-01-02" in item[0])
        asking.send("PATCH", f"/datasets/{gone}", {"tags": []})
        other = asking.rows("/datasets?subject=KS003")[0]["url"].rsplit("/", 1)[-1]
        asking.send("PATCH", f"/datasets/{other}", {"tags": [LISTED]})
        assert run_alyxfs(home, "refresh", str(data)).returncode == 0
        after = files_below(data)
    assert set(after.values()) - set(before.values()) == {other}
    assert set(before.items()) - set(after.items()) == {(place, gone)}


def test_nothing_can_be_written_there(demo, home):
    with mounted(demo.url, home, "--rw") as drive:
        data = drive / "releases" / LISTED / "data"
        file = next(iter(files_below(data)))
        for deed in (
            lambda: (drive / "releases" / "mine").write_text(""),
            lambda: (drive / "releases" / LISTED / "mine").write_text(""),
            lambda: (data / file).unlink(),
            lambda: (data / file).write_bytes(b""),
            lambda: os.rename(data / file, data / "other"),
            lambda: (drive / "as-of" / "2024-01-01" / "mine").write_text(""),
            lambda: (drive / "as-of" / "2024-01-01" / ".alyx-notes").write_text(""),
            lambda: (drive / "as-of" / "2024-01-01" / "data" / "mine").symlink_to("x"),
        ):
            with pytest.raises(OSError, match="Read-only") as refusal:
                deed()
            assert refusal.value.errno == errno.EROFS
        log = (drive / ".alyxfs" / "errors.log").read_text()
        assert log.count("cannot be changed") > 5
        with pytest.raises(PermissionError):  # as everywhere in the drive
            (drive / "releases" / "mine").mkdir()


def test_a_release_can_be_fetched_into_a_directory_of_ones_own(demo, drive, kept, tmp_path):
    source = drive / "releases" / LISTED / "data" / "cortexlab" / "Subjects" / "KS001" / "2023-01-03"
    done = run_alyxfs(kept, "fetch", str(source), "--to", str(tmp_path / "mine"))
    assert done.returncode == 0, done.stderr
    copy = tmp_path / "mine/cortexlab/Subjects/KS001/2023-01-03/001/alf/_ibl_trials.table.pqt"
    assert copy.read_bytes() == (source / "001/alf/_ibl_trials.table.pqt").read_bytes()
    assert pd.read_parquet(tmp_path / "mine/datasets.pqt")["rel_path"].tolist() == ["alf/_ibl_trials.table.pqt"]
    assert subprocess.run(["cmp", copy, source / "001/alf/_ibl_trials.table.pqt"], check=True).returncode == 0


def test_what_is_known_of_a_release_serves_without_the_server(fresh_demo, home):
    with mounted(fresh_demo.url, home, "--hide-inflated", "--time-to-live", "0.1") as drive:
        data = drive / "releases" / LISTED / "data"
        before = files_below(data)
        assert json.loads((drive / ".alyxfs/status.json").read_bytes())["releases"][LISTED]["datasets"] == len(before)
        assert f"{LISTED}: {len(before)} datasets, made 20" in run_alyxfs(home, "status", str(drive.path)).stdout
        fresh_demo.control(fail={"status": 503, "count": 100_000})
        assert files_below(data) == before


def test_where_the_archive_of_a_tag_cannot_be_had_the_lists_serve(fresh_demo, home):
    fresh_demo.control(truncate={"bytes": 500, "count": 100, "path_prefix": "/data_files/caches"})
    with mounted(fresh_demo.url, home, "--hide-inflated") as drive:
        assert files_below(drive / "releases" / ELSEWHERE / "data") == tagged(fresh_demo, ELSEWHERE)
        assert "caches/2022_Q4_brainwide/cache.zip cannot be used" in (drive / ".alyxfs/errors.log").read_text()


def test_an_archive_that_is_of_another_tag_is_not_taken(archive_of):
    """By the word of the server: of its own it gives the archive of everything, whatever the tag."""
    assert archive_of({"database_tags": ["other"], "location": "/cache.zip", "date_created": "2024-06-01 12:00"}) == []
    assert archive_of({"database_tags": ["paper"], "date_created": "2024-06-01 12:00"}) == []
    assert archive_of({"database_tags": "paper", "location": 3, "date_created": None}) == []
    assert archive_of([]) == []
    address = "http://elsewhere.example/paper.zip"
    told = {"database_tags": ["paper"], "location": address, "date_created": "2024-06-01 12:00"}
    assert archive_of(told) == [address]


@pytest.fixture
def archive_of(tmp_path):
    """What is downloaded where the server says this of the tables of the tag "paper", and has no lists."""

    def asked_for(told):
        addresses = []

        class Server:
            clock_offset = 0.0

            async def get(self, path):
                assert path == "/cache/info/paper/"
                return told

            async def download(self, address, *_):
                addresses.append(address)
                raise errors.NotFound("It is not there.", status=404)

            async def page(self, *_):
                raise errors.Unreachable("It is away.")

        async def run():
            known = SimpleNamespace(
                is_fresh=lambda *_: False, omissions=SimpleNamespace(note=lambda *_: None), schema=offers_tags
            )
            async with background_tasks() as tasks:
                releases = Releases(Server(), known, tmp_path / "kept", tasks)
                for _ in range(2):  # the second is told the same, and nobody is asked
                    with pytest.raises(errors.Unreachable, match="away"):
                        await releases.contents("paper")
                with pytest.raises(errors.Unreachable):
                    await releases.folder("paper")

        trio.run(run)
        return addresses

    async def offers_tags():
        endpoint = SimpleNamespace(filters={"tag": None, "django": None})
        return SimpleNamespace(endpoints={"datasets": endpoint, "sessions": endpoint})

    return asked_for


@pytest.mark.trio
async def test_a_release_that_takes_long_goes_on_while_nobody_waits(tmp_path, autojump_clock):
    asked, answered = [], trio.Event()
    begun = trio.Event()

    class Server:
        async def get(self, path):
            asked.append(path)
            begun.set()
            await answered.wait()
            raise errors.AccessDenied("Never.", status=403)

    async with background_tasks() as tasks:
        releases = Releases(Server(), SimpleNamespace(is_fresh=lambda *_: False), tmp_path / "kept", tasks)
        for _ in range(2):
            with pytest.raises(errors.DeadlineExceeded, match="still coming: 0 of 0 are here"):
                await releases.contents("paper")
            await begun.wait()
        assert releases.status() == {"paper": {"listed": 0, "of": 0}}
        assert asked == ["/cache/info/paper/"], "by both"
        answered.set()
        with pytest.raises(errors.AccessDenied):
            await releases.contents("paper")


def test_without_pyarrow_dates_are_there_and_releases_say_what_is_lacking(demo, home, tmp_path):
    path = "cortexlab/Subjects/KS001/2023-01-02/001/alf"
    with mounted(demo.url, home, **python_with(tmp_path / "packages", WITHOUT_PYARROW)) as drive:
        assert "spikes.times.npy" not in os.listdir(drive / "as-of" / "2024-05-05" / "data" / path)
        assert "spikes.times.npy" in os.listdir(drive / "as-of" / "2024-05-06" / "data" / path)
        with pytest.raises(FileNotFoundError):
            os.listdir(drive / "releases" / LISTED / "data")
        assert "pip install 'alyxfs[tables]'" in (drive / ".alyxfs/errors.log").read_text()
