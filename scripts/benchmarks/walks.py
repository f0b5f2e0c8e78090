"""Walks of ``data/`` with ``find``: cold, warm, from a second mount, and on a drive that only answers."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mounted import mounted, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alyxfs.demo.server import Demo
    from mounted import Mounted

MIB = 1024 * 1024
WARM = 3
"""Walks, of which the quickest counts: others use the machine, too."""
OF_A_WALK = ("lookup", "getattr", "opendir", "readdir", "releasedir")
"""Requests of the kernel."""


class Walk(NamedTuple):
    """What one took."""

    listed: bytes
    """A path on each line."""
    seconds: float
    processor: float
    """Seconds of the process that serves the drive."""

    @property
    def files(self) -> int:
        """How many there are."""
        return self.listed.count(b"\n")


def walk(directory: Path, process: int) -> Walk:
    """Find all files below a directory, on a drive that this process serves."""
    before, started = processor_of(process), time.monotonic()
    listed = subprocess.run(["find", ".", "-type", "f"], cwd=directory, stdout=subprocess.PIPE, check=True).stdout
    return Walk(listed, time.monotonic() - started, processor_of(process) - before)


def figures(demo: Demo) -> Iterator[tuple[str, str, str, bool]]:
    """Rows of a table."""
    with tempfile.TemporaryDirectory() as home:
        with mounted(demo.url, Path(home)) as drive:
            process = drive.process.pid
            demo.clear_requests()
            cold = walk(drive / "data", process)
            asked = len(demo.requests())
            met = asked <= 10 and cold.seconds <= 15
            yield f"cold, {cold.files} files", f"{asked} requests, {_shown(cold)}", "<= 10 requests, <= 15 s", met
            demo.clear_requests()
            before = _asked_by_kernel(drive)
            warm = min((walk(drive / "data", process) for _ in range(WARM)), key=lambda one: one.seconds)
            by_kernel = (_asked_by_kernel(drive) - before) / WARM / cold.files
            asked = len(demo.requests())
            met = asked == 0 and warm.seconds <= 3 and warm.listed == cold.listed
            yield f"warm, the best of {WARM}", f"{asked} requests, {_shown(warm)}", "0 requests, <= 3 s", met
            yield "  requests of the kernel a file", f"{by_kernel:.2f}", "any", True
            with bare_tree(warm.listed, Path(home)) as (path, served_by):
                walk(path, served_by)
                bare = min((walk(path, served_by) for _ in range(WARM)), key=lambda one: one.seconds)
            assert bare.files == warm.files, "not the same tree"
            yield "  by the kernel and pyfuse3 alone", _shown(bare), "any", True
            yield "  ours, by those", f"{warm.seconds / bare.seconds:.1f}", "any", True
            yield "the daemon's memory", f"{drive.memory() / MIB:.0f} MiB", "<= 400 MiB", drive.memory() <= 400 * MIB
        with mounted(demo.url, Path(home)) as drive:
            demo.clear_requests()
            again = walk(drive / "data", drive.process.pid)
            asked = len(demo.requests())
            met = asked == 0 and again.seconds <= 15 and sorted(again.listed) == sorted(cold.listed)
            yield "mounted again", f"{asked} requests, {_shown(again)}", "0 requests, <= 15 s", met


@contextlib.contextmanager
def bare_tree(listed: bytes, folder: Path) -> Iterator[tuple[Path, int]]:
    """A drive that only answers, with the files of a walk: where it is, and the process that serves it."""
    paths, point = folder / "paths", folder / "bare"
    paths.write_bytes(listed.replace(b"./", b""))
    point.mkdir()
    process = subprocess.Popen([sys.executable, Path(__file__).with_name("bare_tree.py"), paths, point])
    try:
        until(lambda: point.is_mount() or process.poll() is not None, "the bare drive")
        assert process.poll() is None
        yield point, process.pid
    finally:
        subprocess.run(["umount", "-l", point], check=False)
        process.terminate()
        process.wait(30)


def _asked_by_kernel(drive: Mounted) -> int:
    """Requests of walks so far."""
    asked = json.loads((drive / ".alyxfs" / "status.json").read_text(encoding="utf-8"))["kernel_requests"]
    return sum(asked.get(name, 0) for name in OF_A_WALK)


def processor_of(process: int) -> float:
    """Seconds of user and system time that a process has taken."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _shown(one: Walk) -> str:
    return f"{one.seconds:.1f} s ({one.processor:.1f} s of processor)"
