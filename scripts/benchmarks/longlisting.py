"""A listing of millions of rows: how long, in what memory, and what an interruption in the middle costs."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.memory import CREDENTIALS, IDLE, MIB, Figure
from benchmarks.walks import processor_of
from long_list import long_list, offsets
from mounted import environment, mounted, run_alyxfs, started, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mounted import Mounted
    from small_alyx import SmallAlyx

OPTIONS = ("--requests-per-minute", "600000")
PAGE = 1000
LARGEST_ROW = 150
"""Bytes that a row may take while nobody reads the listing."""


def figures(rows: int) -> Iterator[Figure]:
    """Read half of the list, kill the drive, read all of it, and once more at the next mount."""
    with tempfile.TemporaryDirectory() as home, long_list(rows) as alyx:
        yield from _to_the_middle(alyx, Path(home), rows)
        alyx.asked.clear()
        with mounted(alyx.url, Path(home), *OPTIONS, **CREDENTIALS) as drive:
            before, taken, began = drive.memory(), processor_of(drive.process.pid), time.monotonic()
            names, most = _listed(drive)
            seconds, taken = time.monotonic() - began, processor_of(drive.process.pid) - taken
            assert names == rows, names
            again = sum(PAGE < offset < rows // 2 - 2 * PAGE for offset in offsets(alyx.asked))
            yield Figure("after a kill in the middle, pages asked for again", f"{again}", "<= 20", again <= 20)
            yield Figure("its second half", f"{seconds:.0f} s ({taken:.0f} s of processor)", "any", met=True)
            yield Figure("  the most memory meanwhile", f"{most / MIB:.0f} MiB", "<= 1 GiB", most <= 1024 * MIB)
            time.sleep(IDLE)
            row = (drive.memory() - before) / rows
            yield Figure(f"  {IDLE:g} s later, bytes a row", f"{row:.0f}", f"<= {LARGEST_ROW}", row <= LARGEST_ROW)
        alyx.asked.clear()
        with mounted(alyx.url, Path(home), *OPTIONS, **CREDENTIALS) as drive:
            began = time.monotonic()
            with os.scandir(drive / "datasets") as entries:
                next(entries)
            seconds, asked = time.monotonic() - began, len(offsets(alyx.asked))
            yield Figure("mounted again, the first name", f"{asked} requests, {seconds:.1f} s", "0", asked == 0)


def _to_the_middle(alyx: SmallAlyx, home: Path, rows: int) -> Iterator[Figure]:
    """Kills the drive there, as it is told by nobody that it will be."""
    point = home / "drive"
    process = started(["mount", "-f", *OPTIONS, alyx.url, str(point)], environment(home, **CREDENTIALS))
    try:
        until(point.is_mount, "the mount")
        began = time.monotonic()
        with os.scandir(point / "datasets") as entries:
            read = sum(1 for _ in itertools.islice(entries, rows // 2))
        seconds = time.monotonic() - began
        walks = json.loads((point / ".alyxfs" / "status.json").read_text(encoding="utf-8"))["walks"]
        told = f"{walks[0]['rows']} of {walks[0]['of']}" if walks else "nothing"
        yield Figure(f"{read} rows", f"{seconds:.0f} s", "any", met=True)
        yield Figure("  the status tells", told, "its rows", met=bool(walks) and walks[0]["rows"] >= read)
        run_alyxfs(home, "refresh", str(point / "labs"))  # by then what has come is in the store
    finally:
        process.kill()
        process.wait(30)
        subprocess.run(["umount", "-l", point], check=False)
        process.stdout.close()


def _listed(drive: Mounted) -> tuple[int, int]:
    """How many names ``ls`` lists, and the most bytes of memory that the drive had meanwhile."""
    most = 0
    listing = subprocess.Popen(["sh", "-c", 'ls -U "$0" | wc -l', drive / "datasets"], stdout=subprocess.PIPE)
    while listing.poll() is None:
        most = max(most, drive.memory())
        time.sleep(0.2)
    return int(listing.communicate()[0]), most
