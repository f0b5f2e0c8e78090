"""Files that ONE has downloaded are read from there, unless they are stale, or their directory does not answer."""

from __future__ import annotations

import os
import subprocess
import threading
import time

import pytest

from mounted import mounted, run_alyxfs, until
from stopping_disk import stopping_disk

FOLDER = "cortexlab/Subjects/KS001/2023-01-02/001/alf"
FILE = f"{FOLDER}/_ibl_wheel.position.npy"
OTHER = f"{FOLDER}/_ibl_wheel.timestamps.npy"


@pytest.fixture(scope="module")
def contents(demo, tmp_path_factory):
    with mounted(demo.url, tmp_path_factory.mktemp("contents") / "home") as drive:
        return {place: (drive / "data" / place).read_bytes() for place in (FILE, OTHER)}


@pytest.fixture
def here(tmp_path, contents):
    """The file as ONE has downloaded it."""
    path = tmp_path / "ONE" / FILE
    path.parent.mkdir(parents=True)
    path.write_bytes(contents[FILE])
    return path


def fetched(demo):
    return [entry["path"] for entry in demo.requests() if entry["path"].startswith("/data_files")]


@pytest.mark.parametrize("relative", [False, True])
def test_a_file_in_ones_directory_is_not_downloaded(demo, home, contents, here, relative, monkeypatch):
    """A relative path is meant from where the user stands."""
    monkeypatch.chdir(here.parents[7])
    where = "ONE" if relative else str(here.parents[6])
    with mounted(demo.url, home, "--one-directory", where) as drive:
        demo.clear_requests()
        assert (drive / "data" / FILE).read_bytes() == contents[FILE]
        assert fetched(demo) == []


def test_a_pinned_file_that_one_has_downloaded_counts_as_here(demo, home, here):
    with mounted(demo.url, home, "--one-directory", str(here.parents[6])) as drive:
        assert run_alyxfs(home, "pin", str(drive / "data" / FILE)).returncode == 0
        assert "100%" in run_alyxfs(home, "pin", "--list", str(drive.path)).stdout
        here.write_bytes(b"another")
        assert "  0%" in run_alyxfs(home, "pin", "--list", str(drive.path)).stdout


@pytest.mark.parametrize("change", [lambda content: content[:-8], lambda content: content[:-8] + b"anothers"])
def test_a_stale_file_is_fetched_from_the_server(demo, home, contents, here, change):
    here.write_bytes(change(contents[FILE]))
    for _ in range(2):
        with mounted(demo.url, home, "--one-directory", str(here.parents[6])) as drive:
            assert (drive / "data" / FILE).read_bytes() == contents[FILE]


def test_a_directory_that_hangs_costs_its_files_a_short_wait_and_the_others_nothing(
    demo, home, tmp_path, contents, here
):
    def looks(drive, number):
        """What others do meanwhile, each for the first time."""
        lab = sorted(name for name in os.listdir(drive / "labs") if name.endswith(".json"))[number]
        (drive / "labs" / lab).read_bytes()
        os.listdir(drive / "data" / FOLDER)
        os.listdir(drive / "sessions" / f"number={number + 1}")
        (drive / ".alyxfs/status.json").read_bytes()

    def slowest(drive, number, moment):
        """Seconds of the slowest of these looks, repeated for so long."""
        took, ends = [], time.monotonic() + moment
        while time.monotonic() < ends:
            began = time.monotonic()
            looks(drive, number)
            took.append(time.monotonic() - began)
        return max(took)

    with (
        stopping_disk(here.parents[6], tmp_path / "disk") as disk,
        mounted(demo.url, home, "--one-directory", str(disk.path)) as drive,
    ):
        before = slowest(drive, 0, 1)
        with open(drive / "data" / FILE, "rb") as opened:
            assert opened.read(4096) == contents[FILE][:4096]
            demo.clear_requests()
            disk.stop()
            results: dict[str, bytes] = {}
            reads = [
                threading.Thread(target=lambda: results.update(new=(drive / "data" / FILE).read_bytes())),
                threading.Thread(target=lambda: results.update(old=opened.read())),
            ]
            for read in reads:
                read.start()
            assert slowest(drive, 1, 3) < max(0.1, 4 * before)
            for read in reads:
                read.join(10)
            assert not any(read.is_alive() for read in reads)
            assert results == {"new": contents[FILE], "old": contents[FILE][4096:]}
        began = time.monotonic()
        assert (drive / "data" / OTHER).read_bytes() == contents[OTHER]
        assert os.getxattr(drive / "data" / FILE, "user.alyx.pinned") == b"no"
        assert time.monotonic() - began < 1.5, "once it is known, nobody waits for it"
        listed = run_alyxfs(home, "pin", "--list", str(drive.path))
        assert listed.returncode == 0, listed.stderr
        assert fetched(demo)
        disk.go_on()
        drive.wait_for_log("answers again")
        assert run_alyxfs(home, "refresh", str(drive / "data" / FOLDER)).returncode == 0
        until(lambda: (drive / "data" / FILE).read_bytes() == contents[FILE], "the file")
        subprocess.run(["df", drive.path], check=True, timeout=30, capture_output=True)
