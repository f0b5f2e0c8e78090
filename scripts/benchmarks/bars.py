"""What the drive is held to. Bars against peers are ratios within one run: the median of the runs' ratios counts."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks import medium
from benchmarks.datafiles import GIB, KIB, MIB
from benchmarks.peers import BARE_WEB, CURL, DRIVE, FSSPEC, HTTPDIRFS, LOCAL, RAISED, RCLONE_FULL, RCLONE_OFF
from benchmarks.server import GBIT

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.workloads import Sample

Runs = "Mapping[str, Mapping[int, Sample]]"
"""The samples of one measure by peer and number of the run."""

MOST_RANGES = {1: 2, 4: 2, 16: 4, 64: 6}
"""For a file that is read whole, by its MiB."""
LEAST_FOR_CPU = 16
"""MiB of a file from which on its CPU is held to that of a large one: it is counted in ticks of 10 ms."""


@dataclass(frozen=True)
class Measure:
    """What is measured, in words, and its unit."""

    title: str
    unit: str
    more_is_better: bool = False


MEASURES = {
    "sequential-cold": Measure("a large file in order, cold", "MB/s", more_is_better=True),
    "sequential-warm": Measure("again, warm", "MB/s", more_is_better=True),
    "sequential-disk": Measure("again, page cache dropped", "MB/s", more_is_better=True),
    "sequential-tls": Measure("a 1 GiB file in order, TLS", "MB/s", more_is_better=True),
    "sequential-link": Measure("a 1 GiB file in order, far, 1 Gbit/s", "MB/s", more_is_better=True),
    "many-readers": Measure("64 readers at once", "MB/s", more_is_better=True),
    "many-small-files": Measure("64 readers of files of 64 KiB", "MB/s", more_is_better=True),
    "random-reads-near": Measure("random reads of 4 KiB, each", "ms"),
    "random-reads-far": Measure("random reads of 4 KiB, far, each", "ms"),
    "first-bytes": Measure("first 4 KiB of a file, far", "ms"),
    "first-bytes-middle": Measure("4 KiB in the middle, far", "ms"),
    "mapped-rows": Measure("100 rows of a 1 GiB .npy by mmap, far", "ms"),
    "small-files": Measure("files of 64 KiB one after another, far, each", "ms"),
    "listing": Measure("ls -l of their directory, far", "s"),
    "recording": Measure("1 s of a recording's .bin, far", "ms"),
} | {
    medium.measure(mib, way, is_fresh=is_fresh): Measure(
        f"cat of {mib} MiB files, {words}, {'the first of a fresh mount' if is_fresh else 'later ones'}",
        "MB/s",
        more_is_better=True,
    )
    for way, words in {"near": "near", "link": "far, 1 Gbit/s", "tls": "TLS"}.items()
    for mib in medium.SIZES
    for is_fresh in (True, False)
}


@dataclass(frozen=True)
class Verdict:
    """A bar, what was found, and whether it is met."""

    bar: str
    found: str
    met: bool


@dataclass(frozen=True)
class Bar:
    """A limit for a figure of the drive; ``figure`` gives None where it was not measured."""

    text: str
    figure: Callable[[Runs, float], float | None]
    limit: float
    at_least: bool = False
    form: str = "{:.2f}"

    def judge(self, runs: Runs, round_trip: float) -> Verdict | None:
        """The verdict on one measure's samples."""
        found = self.figure(runs, round_trip)
        if found is None:
            return None
        met = found >= self.limit if self.at_least else found <= self.limit
        return Verdict(self.text, self.form.format(found), met)


def _times(least: float, *peers: str, ours: str = DRIVE) -> Bar:
    """At least so many times as fast as a peer, or as the fastest one of several."""

    def figure(runs: Runs, _round_trip: float) -> float | None:
        mine, others = runs.get(ours, {}), [runs.get(peer, {}) for peer in peers]
        measured = [run for run in mine if all(run in other for other in others)]
        ratios = [mine[run].value / max(other[run].value for other in others) for run in measured]
        return statistics.median(ratios) if ratios else None

    who = "raised: " if ours == RAISED else ""
    return Bar(f"{who}>= {least:g} x {' or '.join(peers)}", figure, least, at_least=True, form="{:.2f} x")


def _limit(text: str, limit: float, figure: Callable[[Sample, float], float], *, at_least: bool = False) -> Bar:
    """A limit for a figure of the drive's samples."""

    def median(runs: Runs, round_trip: float) -> float | None:
        figures = [figure(sample, round_trip) for sample in runs.get(DRIVE, {}).values()]
        return statistics.median(figures) if figures else None

    return Bar(text, median, limit, at_least=at_least)


def _round_trips(most: float, each: str = "") -> Bar:
    """A limit for the value, which is in milliseconds, in round trips."""
    return _limit(f"<= {most:g} round trips{each}", most, lambda sample, trip: sample.value / 1e3 / trip)


def _fetched(most: int, reads: int = 1, each: str = "") -> Bar:
    return _limit(f"<= {most // KIB} KiB fetched{each}", most / KIB, lambda sample, _: sample.fetched / reads / KIB)


def _medium_bars(mib: int, way: str, *, is_fresh: bool) -> tuple[Bar, ...]:
    """The bars of files of so many MiB, each read whole."""
    ranges = MOST_RANGES[mib]
    held = {
        "near": (_times(1.2, RCLONE_FULL, RCLONE_OFF), _times(0.6, CURL)),
        "link": (_times(0.9, CURL),),
        "tls": (),
    }[way]
    held += (
        _limit("no byte fetched that was not read", 1, lambda sample, _: sample.fetched / sample.size),
        _limit(f"<= {ranges} ranges a file", ranges, lambda sample, _: sample.requests / sample.files),
    )
    if way == "near" and mib >= LEAST_FOR_CPU and not is_fresh:
        held += (_limit("<= 2.7 s of CPU a GiB", 2.7, lambda sample, _: sample.cpu / sample.size * GIB),)
    return held


def bars(random_reads: int) -> dict[str, tuple[Bar, ...]]:
    """The bars by measure."""
    return {
        "sequential-cold": (
            _times(1.4, RCLONE_FULL),
            _times(1, RCLONE_OFF),
            _times(1, FSSPEC),
            _times(0.5, CURL),
            _limit("<= 1.8 s of CPU a GiB", 1.8, lambda sample, _: sample.cpu / sample.size * GIB),
            _times(2, RCLONE_FULL, ours=RAISED),
            _times(0.75, CURL, ours=RAISED),
        ),
        "sequential-warm": (_times(0.9, LOCAL),),
        "sequential-disk": (_times(0.6, LOCAL), _times(0.8, HTTPDIRFS), _times(1, HTTPDIRFS, ours=RAISED)),
        "sequential-tls": (_times(0.85, CURL),),
        "sequential-link": (
            _limit(">= 0.9 of the link", 0.9, lambda sample, _: sample.value * 8 / 1e3 / GBIT, at_least=True),
        ),
        "many-readers": (_times(1, RCLONE_FULL), _times(1, RCLONE_OFF)),
        "many-small-files": (
            _times(1, RCLONE_OFF),
            _times(0.6, BARE_WEB),
            _limit("1 range a file", 1, lambda sample, _: sample.requests / sample.files),
        ),
        "random-reads-near": (_fetched(64 * KIB, random_reads, " each"),),
        "random-reads-far": (_round_trips(1.3, " each"), _fetched(64 * KIB, random_reads, " each")),
        "first-bytes": (_round_trips(1.3), _fetched(64 * KIB)),
        "first-bytes-middle": (_round_trips(1.3), _fetched(64 * KIB)),
        "mapped-rows": (_round_trips(4), _fetched(MIB // 2)),
        "small-files": (_limit("<= 15 ms each", 15, lambda sample, _: sample.value),),
        "listing": (_limit("no request to the file server", 0, lambda sample, _: sample.requests),),
        "recording": (
            _limit("<= 6 round trips, one after another", 6, lambda sample, _: sample.waits),
            _limit("<= 1.2 x its chunks fetched", 1.2, lambda sample, _: sample.fetched / sample.useful),
        ),
    } | {
        medium.measure(mib, way, is_fresh=is_fresh): _medium_bars(mib, way, is_fresh=is_fresh)
        for way in medium.WAYS
        for mib in medium.SIZES
        for is_fresh in (True, False)
    }
