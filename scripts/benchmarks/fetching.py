"""Copies of many files: `alyxfs fetch`, interrupted in the middle and continued, beside aria2c on the same server."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks import machine
from benchmarks.datafiles import DESCRIPTION
from benchmarks.library import TOKEN, place, running_library
from benchmarks.server import running_server
from mounted import mounted

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.server import FileServer

COUNT = 200
SMALLEST, LARGEST = 64 * 1024, 100_000_000
"""Bytes; sizes between them are as many of each magnitude."""
ARIA2 = "aria2c"
BAR = 0.8
PATIENCE = 600.0


@dataclass(frozen=True)
class Pair:
    """Both programs, one after the other."""

    aria2: float
    """Seconds."""
    fetch: float
    """Seconds of both calls."""
    sent: float
    """Bytes that the server sent to the drive, by those of the files: what was cut off by the interruption included."""

    @property
    def ratio(self) -> float:
        """How fast fetching was, by aria2c."""
        return self.aria2 / self.fetch


def make_files(directory: Path) -> Path:
    """Make the files in a directory below this one, unless they are there; return it."""
    root = directory / f"fetched-{COUNT}"
    if (root / DESCRIPTION).exists():
        return root
    shutil.rmtree(root, ignore_errors=True)
    (root / "alf").mkdir(parents=True)
    luck = random.Random(COUNT)
    digests = {}
    for number in range(COUNT):
        size = round(SMALLEST * (LARGEST / SMALLEST) ** luck.random())
        content = luck.randbytes(size)
        (root / "alf" / f"spikes.part{number:03}.npy").write_bytes(content)
        digests[f"alf/spikes.part{number:03}.npy"] = hashlib.md5(content, usedforsecurity=False).hexdigest()
    (root / DESCRIPTION).write_text(json.dumps({"md5": digests}), encoding="utf-8")
    return root


def pairs(root: Path, scratch: Path, runs: int) -> list[Pair]:
    """Measure both in turn."""
    found = []
    with running_server(root, scratch) as server, running_library(server) as library:
        for run in range(runs):
            if run % 2:
                seconds, sent = fetch(server, library, scratch)
                found.append(Pair(download(server, scratch), seconds, sent))
            else:
                aria2 = download(server, scratch)
                found.append(Pair(aria2, *fetch(server, library, scratch)))
            print(f"run {run + 1}: {found[-1]}", flush=True)
    return found


def download(server: FileServer, scratch: Path) -> float:
    """Have aria2c bring all files; return its seconds."""
    target, listed = scratch / "aria2", scratch / "list"
    files = sorted((server.root / "alf").iterdir())
    listed.write_text("".join(f"{server.addresses['near']}alf/{path.name}\n" for path in files))
    started = time.monotonic()
    command = [ARIA2, "-x4", "-j4", "-q", "-i", str(listed), "-d", str(target)]
    machine.run_timed(command, PATIENCE)
    seconds = time.monotonic() - started
    assert sum(path.stat().st_size for path in target.iterdir()) == sum(path.stat().st_size for path in files)
    shutil.rmtree(target)
    return seconds


def fetch(server: FileServer, library: str, scratch: Path) -> tuple[float, float]:
    """Fetch all files, interrupted once half of it is there; return the seconds and the share that was sent."""
    home, target = scratch / "home", scratch / "fetched"
    total = sum(path.stat().st_size for path in (server.root / "alf").iterdir())
    mark = server.mark()
    with mounted(library, home, ALYXFS_TOKEN=TOKEN) as drive:
        folder = drive / place("near") / "alf"
        command = [sys.executable, "-m", "alyxfs", "fetch", str(folder), "--to", str(target)]
        started = time.monotonic()
        with subprocess.Popen(command) as process:
            while _bytes_in(target) < total / 2:
                assert process.poll() is None, "it ended before it could be interrupted"
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
        machine.run_timed(command, PATIENCE)
        seconds = time.monotonic() - started
    for path in (server.root / "alf").iterdir():
        [copy] = target.rglob(path.name)
        assert copy.read_bytes() == path.read_bytes(), path.name
    sent = sum(request.sent for request in server.since(mark) if request.path.startswith("/alf/")) / total
    shutil.rmtree(home)
    shutil.rmtree(target)
    return seconds, sent


def _bytes_in(target: Path) -> int:
    found = 0
    for path in target.rglob("*"):
        try:
            found += path.stat().st_size
        except FileNotFoundError:  # it has its name by now
            continue
    return found
