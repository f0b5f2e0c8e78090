"""Many drives behind one caching proxy: what one has fetched, none fetches again from the file server."""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import threading
from dataclasses import dataclass

import pytest

from alyxfs.demo.server import running_demo
from alyxfs.net.file_proxy import SLICE
from caching_proxy import caching_proxy, needs_nginx
from mounted import mounted, run_alyxfs

pytestmark = needs_nginx
FOLDER = "data/cortexlab/Subjects"
READ = f"{FOLDER}/KS001/2023-01-02/001/alf/_ibl_wheel.position.npy"
RECORDING = "data/cortexlab/Subjects/KS001/2023-01-02/001/raw_ephys_data/probe00/_spikeglx_ephysData_g0_t0.imec.ap.bin"
"""Compressed on its server."""
FILES = 20
IDENTITY = re.compile(r"\.[0-9a-f-]{36}(?=\.[^./]*$)")
"""In the name of a file on its server."""
NOBODY = {"ALYXFS_USER": "", "ALYXFS_PASSWORD": ""}


@pytest.fixture(scope="module")
def snapshot(demo, tmp_path_factory):
    """What all drives show."""
    return snapshot_of(demo, tmp_path_factory.mktemp("maker") / "home")


def snapshot_of(demo, home):
    with mounted(demo.url, home) as drive:
        assert run_alyxfs(home, "snapshot", str(drive.path), str(home / "snapshot")).returncode == 0
    return home / "snapshot"


def largest_files(directory, megabytes):
    """The largest files that a demo has, by their paths in data/, with their sizes."""
    (folder,) = directory.glob(f"*-{megabytes}mb/files")
    sizes = {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    largest = sorted((path for path in sizes if IDENTITY.search(path)), key=sizes.__getitem__)[-FILES:]
    return {IDENTITY.sub("", path): sizes[path] for path in largest}


def read_sequentially(path, size):
    return path.read_bytes()


def read_rows(path, size):
    """Every fourth part of 64 KiB, as rows of an array that is mapped."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        return b"".join(mapped[start : start + 65536] for start in range(0, size, 4 * 65536))


def read_seconds(path, size):
    """Three pieces of a recording."""
    with path.open("rb") as file:
        return b"".join(
            os.pread(file.fileno(), 300_000, start) for start in (size // 5, size // 2, max(0, size - 300_000))
        )


WAYS = (read_sequentially, read_rows, read_seconds)


def all_read(drives, files):
    """What each of the drives reads at the same time: of each file in one of the ways."""
    found, failures = [{} for _ in drives], []

    def read(number):
        try:
            for position, (path, size) in enumerate(files.items()):
                found[number][path] = WAYS[position % 3](drives[number] / "data" / path, size)
            recording = drives[number] / RECORDING
            found[number][RECORDING] = read_seconds(recording, recording.stat().st_size)
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=read, args=(number,)) for number in range(len(drives))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert failures == []
    return found


@dataclass
class Outcome:
    """Of drives that read the same."""

    sent: int
    """Bytes that the file server sent."""
    touched: int
    """Bytes of different slices that it sent."""
    asked: set[str]
    """By the drives, of the proxy: ranges."""
    hits: list[str]
    """What the proxy had of each."""
    content: dict[str, bytes]


def behind_one_proxy(demo, snapshot, files, folder, count):
    """So many drives read the same files at the same time."""
    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(caching_proxy(folder / "proxy", demo.url))
        options = ("--snapshot", str(snapshot), "--file-proxy", proxy.url)
        demo.clear_requests()
        drives = [
            stack.enter_context(mounted(demo.url, folder / str(number), *options, **NOBODY)) for number in range(count)
        ]
        found = all_read(drives, files)
        assert all(one == found[0] for one in found)
        asked = demo.requests()
        assert proxy.errors() == ""
        log = proxy.log()
    assert [entry["path"] for entry in asked if not entry["path"].startswith("/data_files")] == []
    slices = {(entry["path"], entry["range"]): entry["bytes"] for entry in asked}
    sent = sum(entry["bytes"] for entry in asked)
    return Outcome(sent, sum(slices.values()), {line[4] for line in log}, [line[2] for line in log], found[0])


def test_three_drives_fetch_each_slice_once(demo, snapshot, demo_directory, tmp_path):
    files = largest_files(demo_directory, 2)
    outcome = behind_one_proxy(demo, snapshot, files, tmp_path, 3)
    assert outcome.touched > 10 * SLICE
    assert outcome.sent <= 1.1 * outcome.touched
    starts = [int(re.fullmatch(r'"bytes=(\d+)-\d+"', asked)[1]) for asked in outcome.asked]
    assert all(start % SLICE == 0 for start in starts), "whole slices are asked for"
    assert outcome.hits.count("HIT") > outcome.hits.count("MISS")
    with mounted(demo.url, tmp_path / "directly") as drive:
        for position, (path, size) in enumerate(files.items()):
            assert WAYS[position % 3](drive / "data" / path, size) == outcome.content[path]
        assert read_seconds(drive / RECORDING, (drive / RECORDING).stat().st_size) == outcome.content[RECORDING]


@pytest.mark.long
@pytest.mark.timeout(900)
def test_eight_drives_fetch_each_slice_once(tmp_path):
    with running_demo(tmp_path / "demo", largest_file_mb=40) as demo:
        snapshot = snapshot_of(demo, tmp_path / "maker")
        outcome = behind_one_proxy(demo, snapshot, largest_files(tmp_path / "demo", 40), tmp_path, 8)
    print(f"{outcome.sent:,} bytes sent, {outcome.touched:,} different ones")
    assert outcome.sent <= 1.1 * outcome.touched
