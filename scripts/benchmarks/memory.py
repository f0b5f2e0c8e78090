"""What memory a drive takes: after walks, idle, and at a size at which nothing may be kept for each session or file."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.walks import processor_of
from large_alyx import DATASETS_A_SESSION, large_alyx
from mounted import mounted, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alyxfs.demo.server import Demo
    from mounted import Mounted

MIB = 1024 * 1024
IDLE = 60.0
"""Seconds after which what nobody asks for any more has to be given back."""
ROUNDS = 20
READ = 200
"""Files and records that are read in a round."""
CREDENTIALS = {"ALYXFS_USER": "anna", "ALYXFS_PASSWORD": "right"}
"""Of the server that is made up."""


class Figure(NamedTuple):
    """A row of the table."""

    what: str
    measured: str
    bar: str
    met: bool


def rounds(demo: Demo) -> Iterator[Figure]:
    """Memory at the start, after a ``find``, idle, and after many rounds of everything."""
    with tempfile.TemporaryDirectory() as home, mounted(demo.url, Path(home), "--requests-per-minute", "6000") as drive:
        yield Figure("at the start", _mib(drive), "any", met=True)
        files = len(found(drive / "data"))
        yield Figure(f"after a find of {files} files", _mib(drive), "any", met=True)
        time.sleep(IDLE)
        yield Figure(f"{IDLE:g} s later", _mib(drive), "<= 120 MiB", drive.memory() <= 120 * MIB)
        everything(drive)
        time.sleep(IDLE)
        once = drive.memory()
        yield Figure(f"{IDLE:g} s after one round of everything", _mib(drive), "any", met=True)
        for _ in range(ROUNDS - 1):
            everything(drive)
        time.sleep(IDLE)
        more = (drive.memory() - once) / MIB
        yield Figure(f"after {ROUNDS} rounds", f"{more:+.0f} MiB", "<= 20 MiB more", more <= 20)


def everything(drive: Mounted) -> None:
    """List every directory, and read some files of each kind."""
    files = found(drive / "data")
    for path in files[:: max(1, len(files) // READ)]:
        _read_header(path)
    for endpoint in sorted(os.listdir(drive.path)):
        if endpoint == "data":
            continue
        records = found(drive / endpoint)
        for path in records[:: max(1, len(records) // READ)]:
            _read_header(path)


def found(directory: Path) -> list[str]:
    """The files that ``find`` finds."""
    listed = subprocess.run(["find", directory, "-type", "f"], stdout=subprocess.PIPE, check=True)
    return listed.stdout.decode().splitlines()


def _read_header(path: str) -> None:
    try:
        with open(path, "rb") as file:
            file.read(100)
    except OSError:  # not all of the demo's files are offered by a server
        pass


def scale(sizes: tuple[int, ...]) -> Iterator[Figure]:
    """The same drive at sizes that differ by far: so many sessions each."""
    speeds = []
    with tempfile.TemporaryDirectory() as scratch:
        for sessions in sizes:
            name = f"{sessions * DATASETS_A_SESSION:,} datasets: "
            with large_alyx(sessions, Path(scratch)) as alyx:
                home = Path(scratch, f"home{sessions}")
                with mounted(alyx.url, home, **CREDENTIALS) as drive:
                    seconds = _seconds_to_list(drive / "data")
                    yield Figure(f"{name}first ls data", f"{seconds:.1f} s", "<= 15 s", seconds <= 15)
                    more = time.monotonic()
                    until(lambda: _uses_tables(drive), "the tables", patience=300)
                    more = time.monotonic() - more
                    yield Figure(f"{name}until the tables are read", f"{more:.1f} s more", "any", met=True)
                with mounted(alyx.url, home, **CREDENTIALS) as drive:
                    seconds = _seconds_to_list(drive / "data")
                    yield Figure(f"{name}mounted again, ls data", f"{seconds:.2f} s", "<= 1 s", seconds <= 1)
                    time.sleep(IDLE)
                    before = drive.memory()
                    yield Figure(f"{name}idle", _mib(drive), "<= 200 MiB", before <= 200 * MIB)
                    taken = processor_of(drive.process.pid)
                    files, seconds = _walked(drive / "data")
                    taken = processor_of(drive.process.pid) - taken
                    speeds.append(files / taken)
                    assert files == sessions * DATASETS_A_SESSION + 2, files  # and the tables themselves
                    least = 0.8 * speeds[0]
                    yield Figure(f"{name}find", f"{files / seconds:,.0f} files a second", "any", met=True)
                    bar = f">= {least:,.0f}" if len(speeds) > 1 else "any"  # others use the machine, too
                    yield Figure(f"{name}  a second of processor", f"{speeds[-1]:,.0f} files", bar, speeds[-1] >= least)
                    yield Figure(f"{name}right after it", _mib(drive), "any", met=True)
                    inodes = _status(drive)["inodes"]
                    each = (drive.memory() - before) / inodes
                    yield Figure(f"{name}  bytes for each of {inodes:,} inodes", f"{each:.0f}", "any", met=True)
                    time.sleep(IDLE)
                    more = (drive.memory() - before) / MIB
                    yield Figure(f"{name}{IDLE:g} s later", f"{more:+.0f} MiB", "<= 50 MiB more", more <= 50)


def _status(drive: Mounted) -> dict[str, Any]:
    status: dict[str, Any] = json.loads((drive / ".alyxfs" / "status.json").read_text(encoding="utf-8"))
    return status


def _uses_tables(drive: Mounted) -> bool:
    # Labs are a list of their own: it is sessions that are looked for in the tables, as soon as somebody asks.
    os.listdir(next((drive / "data").glob("lab*")) / "Subjects")
    return bool(_status(drive)["cache_tables"]["used"])


def _seconds_to_list(directory: Path) -> float:
    started = time.monotonic()
    os.listdir(directory)
    return time.monotonic() - started


def _walked(directory: Path) -> tuple[int, float]:
    """How many files ``find`` finds, and in how many seconds; their names are more than anybody wants to hold."""
    started = time.monotonic()
    command = ["sh", "-c", 'find "$0" -type f -printf x | wc -c', directory]
    counted = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return int(counted.stdout), time.monotonic() - started


def _mib(drive: Mounted) -> str:
    return f"{drive.memory() / MIB:.0f} MiB"
