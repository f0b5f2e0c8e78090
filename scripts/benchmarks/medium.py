"""Files of 1 to 64 MiB, each read whole by ``cat``: the first one of a fresh mount, and those that follow in it.

Their folder has been listed before, so that their addresses are known; no byte of them has been read.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks import machine
from benchmarks.datafiles import MIB, counted, medium_name
from benchmarks.peers import CURL, DRIVE, LONGEST_SAMPLE, RCLONE_FULL, RCLONE_OFF, download, mount
from benchmarks.workloads import Bench, Sample, Workload, expect, read_at, watched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.peers import Mount

WAYS = ("near", "link", "tls")
SIZES = (1, 4, 16, 64)
"""MiB."""


def measure(mib: int, way: str, *, is_fresh: bool) -> str:
    """The name of the measure of files of this size."""
    return f"medium-files-{mib}-{way}{'-fresh' if is_fresh else ''}"


def _reading(mib: int, way: str) -> Callable[[Bench, str], Iterator[Sample]]:
    def workload(bench: Bench, peer: str) -> Iterator[Sample]:
        if mib not in bench.sizes.medium_mib:
            return
        names = [medium_name(mib, number) for number in range(bench.sizes.medium_files)]
        if peer == CURL:
            yield _downloaded(bench, mib, way, names[:1], is_fresh=True)
            yield _downloaded(bench, mib, way, names[1:], is_fresh=False)
            return
        with mount(peer, bench.service, way) as mounted:
            for name in names:
                (mounted.root / name).stat()
            yield _read(bench, mounted, mib, way, names[:1], is_fresh=True)
            yield _read(bench, mounted, mib, way, names[1:], is_fresh=False)

    return workload


def _read(bench: Bench, mounted: Mount, mib: int, way: str, names: Sequence[str], *, is_fresh: bool) -> Sample:
    size = mib * MIB
    with watched(bench, mounted) as watch:
        started = time.monotonic()
        for name in names:
            machine.run_timed(["cat", str(mounted.root / name)], LONGEST_SAMPLE)
        seconds = time.monotonic() - started
    for name in names:
        first = int(name.rpartition("/")[2].removesuffix(".bin")) * size
        for offset in (0, size // 2, size - 4096):
            expect(read_at(mounted.root / name, offset, 4096), counted(first + offset, 4096), name)
    total = size * len(names)
    return watch.sample(measure(mib, way, is_fresh=is_fresh), total / seconds / 1e6, size=total, files=len(names))


def _downloaded(bench: Bench, mib: int, way: str, names: Sequence[str], *, is_fresh: bool) -> Sample:
    found = [download(bench.service, way, name) for name in names]
    seconds, cpu = sum(seconds for seconds, _ in found), sum(cpu for _, cpu in found)
    total = mib * MIB * len(names)
    return Sample(
        measure(mib, way, is_fresh=is_fresh), CURL, total / seconds / 1e6, seconds, cpu, total,
        requests=len(names), fetched=total, files=len(names),
    )  # fmt: skip


MEDIUM_WORKLOADS = tuple(
    Workload(
        _reading(mib, way),
        (measure(mib, way, is_fresh=True), measure(mib, way, is_fresh=False)),
        (DRIVE, RCLONE_FULL, RCLONE_OFF, CURL),
    )
    for way in WAYS
    for mib in SIZES
)
