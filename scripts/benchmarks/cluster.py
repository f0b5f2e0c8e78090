"""Drives that share a caching proxy, as the nodes of a cluster: what the file server sends, and how fast they read.

On one machine the drives, who reads them, the proxy and the file server share a few processors, which no cluster does.
So the same is also measured over a link of 1 Gbit/s, as a proxy has, and the processor time of each is told.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import re
import shutil
import statistics
import subprocess
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from alyxfs.net.file_proxy import SLICE
from benchmarks import machine
from benchmarks.datafiles import DESCRIPTION, FORMS, MIB, RECORDING, ROW, counted, make_recording, rows
from benchmarks.library import TOKEN, place, running_alyx
from benchmarks.link import on_the_other_side, running_link
from benchmarks.server import GBIT, running_server
from caching_proxy import CachingProxy, caching_proxy
from mounted import Mounted, mounted, run_alyxfs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.server import FileServer

FILES = 20
ROWS_READ, SECONDS_READ = 200, 3
BYTES_BAR, SPEED_BAR = 1.1, 0.9
PATIENCE = 900.0
"""Seconds for all drives, or all curls, to read all files."""
SETTLED = 1.0
"""Seconds without use of the processor after which drives have hashed what they fetched."""
_RANGE = re.compile(r'"bytes=(\d+)-(\d+)"')


class Figure(NamedTuple):
    """A row of the table."""

    what: str
    measured: str
    bar: str
    met: bool


@dataclass(frozen=True)
class Cluster:
    """What all nodes have in common."""

    server: FileServer
    proxy: CachingProxy
    alyx_url: str
    snapshot: Path
    scratch: Path
    drives: int

    @property
    def files(self) -> list[str]:
        """Paths of those that are read in order to their ends, whole."""
        return [path for path in sorted(_digests(self.server.root)) if not path.startswith("recording")]


@dataclass(frozen=True)
class Run:
    """All drives, or all curls, that read the same at the same time."""

    seconds: float
    size: int
    """Bytes that all of them read."""
    client: float
    """Processor seconds of the drives, or of the curls, while they read."""
    reader: float = 0.0
    """Of the programs that read the drives."""
    proxy: float = 0.0
    """Of the proxy."""
    afterwards: float = 0.0
    """Of the drives after that: they compare hashes."""

    @property
    def speed(self) -> float:
        """MiB a second of all together."""
        return self.size / MIB / self.seconds


def figures(directory: Path, scratch: Path, *, drives: int, mib: int, runs: int) -> Iterator[Figure]:
    """Measure so many drives on 20 files of so many MiB; speeds are medians of so many pairs of runs."""
    root = make_files(directory, mib)
    with (
        running_server(root, scratch) as server,
        running_alyx(server) as alyx,
        running_link(GBIT) as here,
        caching_proxy(scratch / "proxy", server.addresses["near"].rstrip("/"), also_at=here) as proxy,
    ):
        snapshot = _snapshot(alyx.url, scratch / "maker")
        cluster = Cluster(server, proxy, alyx.url, snapshot, scratch, drives)
        alyx.asked.clear()
        yield from _shared(cluster)
        yield Figure("requests of the API, of all drives", str(len(alyx.asked)), "0", not alyx.asked)
        curl(cluster, proxy.url, 1)  # the proxy has it all by now
        yield from _speeds(cluster, proxy.url, "on this machine alone", runs)
        with on_the_other_side(here, int(proxy.url.rpartition(":")[2]), GBIT) as url:
            yield from _speeds(cluster, url, f"over a link of {GBIT:g} Gbit/s", runs)


def make_files(directory: Path, mib: int) -> Path:
    """Make files of a directory below this one, unless they are there; return it."""
    root = directory / f"cluster-{FILES}-{mib}"
    if (root / DESCRIPTION).exists():
        return root
    shutil.rmtree(root, ignore_errors=True)
    for folder in ("order", "rows", "recording"):
        (root / folder).mkdir(parents=True)
    seconds = max(SECONDS_READ, mib // 4)
    make_recording(root, replace(FORMS["shortest"], channels=64, seconds=seconds))
    for number in range(FILES):
        if number % 3 == 0:
            (root / f"order/{number:02}.bin").write_bytes(counted(number * mib * MIB, mib * MIB))
        elif number % 3 == 1:
            count = mib * MIB // (4 * ROW)
            np.save(root / f"rows/{number:02}.npy", rows(number * count, count))
        else:
            for ending in (".cbin", ".ch"):
                shutil.copyfile(root / f"{RECORDING}{ending}", root / f"recording/{number:02}.ap{ending}")
    for ending in (".cbin", ".ch"):
        (root / f"{RECORDING}{ending}").unlink()
    files = {path.relative_to(root).as_posix(): _md5(path) for path in sorted(root.rglob("*")) if path.is_file()}
    (root / DESCRIPTION).write_text(json.dumps({"md5": files}), encoding="utf-8")
    return root


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def _digests(root: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((root / DESCRIPTION).read_text(encoding="utf-8"))["md5"]
    return found


def _snapshot(alyx_url: str, home: Path) -> Path:
    """What all drives show."""
    with mounted(alyx_url, home, ALYXFS_TOKEN=TOKEN) as drive:
        subprocess.run(["find", drive / place("near")], check=True, capture_output=True, timeout=60)
        done = run_alyxfs(home, "snapshot", str(drive.path), str(home / "snapshot"))
        assert done.returncode == 0, done.stderr
    return home / "snapshot"


@contextlib.contextmanager
def _drives(cluster: Cluster, proxy_url: str) -> Iterator[list[Mounted]]:
    """All drives, each with a cache of its own and nothing in it."""
    options = ("--snapshot", str(cluster.snapshot), "--file-proxy", proxy_url)
    homes = [cluster.scratch / f"node{number}" for number in range(cluster.drives)]
    try:
        with contextlib.ExitStack() as stack:
            yield [
                stack.enter_context(mounted(cluster.alyx_url, home, *options, ALYXFS_USER="", ALYXFS_PASSWORD=""))
                for home in homes
            ]
    finally:
        for home in homes:
            shutil.rmtree(home, ignore_errors=True)


def _shared(cluster: Cluster) -> Iterator[Figure]:
    """All drives read all files in three ways, with nothing in the proxy."""
    mark = cluster.server.mark()
    with (
        _drives(cluster, cluster.proxy.url) as drives,
        ProcessPoolExecutor(cluster.drives, mp_context=multiprocessing.get_context("spawn")) as readers,
    ):
        found = list(readers.map(read_in_three_ways, [drive / place("near") for drive in drives], timeout=PATIENCE))
    assert all(one == found[0] for one in found), "drives read different bytes"
    whole = {path: digest for path, digest in _digests(cluster.server.root).items() if path.startswith("order")}
    assert whole.items() <= found[0].items(), "drives read other bytes than there are"
    sent = sum(request.sent for request in cluster.server.since(mark))
    asked, slices, is_aligned = _slices(cluster)
    unique = sum(slices.values())
    words = f"{sent / unique:.3f} ({sent / MIB:.0f} MiB by {unique / MIB:.0f})"
    met = sent <= BYTES_BAR * unique
    yield Figure("file server's bytes, by those of different slices", words, f"<= {BYTES_BAR}", met)
    words = f"{asked / cluster.drives / len(_digests(cluster.server.root)):.1f}"
    yield Figure("requests of a drive to the proxy, by file", words, "any", met=True)
    yield Figure("all begin with a slice", "yes" if is_aligned else "no", "yes", is_aligned)


def _slices(cluster: Cluster) -> tuple[int, dict[tuple[str, int], int], bool]:
    """Requests that the proxy got; the slices they asked for, with their bytes; whether all began with one."""
    found: dict[tuple[str, int], int] = {}
    log, is_aligned = cluster.proxy.log(), True
    for *_, asked, address in log:
        first, last = map(int, _RANGE.fullmatch(asked).groups())
        path = address.removeprefix(cluster.server.addresses["near"])
        size = (cluster.server.root / path).stat().st_size
        is_aligned = is_aligned and first % SLICE == 0
        for start in range(first // SLICE * SLICE, min(last + 1, size), SLICE):
            found[path, start] = min(SLICE, size - start)
    return len(log), found, is_aligned


def read_in_three_ways(folder: Path) -> dict[str, str]:
    """What a node reads: files in order, rows of mapped arrays, seconds of recordings; a hash of each."""
    found = {}
    for path in sorted((folder / "order").iterdir()):
        found[f"order/{path.name}"] = _md5(path)
    for path in sorted((folder / "rows").iterdir()):
        array = np.load(path, mmap_mode="r")
        places = np.random.default_rng(FILES).integers(len(array), size=ROWS_READ)
        found[f"rows/{path.name}"] = _digest(array[places])
    for path in sorted((folder / "recording").glob("*.bin")):
        samples = np.memmap(path, dtype=np.int16, mode="r")
        starts = np.linspace(0, len(samples) - 30_000, SECONDS_READ).astype(int)
        found[f"recording/{path.name}"] = _digest(np.concatenate([samples[start : start + 30_000] for start in starts]))
    assert len(found) == FILES, sorted(found)
    return found


def _digest(numbers: np.ndarray) -> str:
    return hashlib.md5(numbers.tobytes(), usedforsecurity=False).hexdigest()


def _speeds(cluster: Cluster, url: str, where: str, runs: int) -> Iterator[Figure]:
    """Drives with nothing in their caches and curls, in turn; the proxy has all slices."""
    pairs = []
    for number in range(runs):
        both = [lambda: read(cluster, url), lambda: curl(cluster, url, cluster.drives)]
        taken = [one() for one in (both if number % 2 else both[::-1])]
        pairs.append(taken if number % 2 else taken[::-1])
        print(f"{where}: {pairs[-1]}", flush=True)
    drives, curls = ([pair[which] for pair in pairs] for which in (0, 1))
    ratio = statistics.median(drive.speed / curl.speed for drive, curl in pairs)
    speeds = [statistics.median(run.speed for run in each) for each in (drives, curls)]
    words = f"{ratio:.2f} ({speeds[0]:.0f} by {speeds[1]:.0f} MiB/s)"
    yield Figure(f"speed of {cluster.drives} drives, by curls, {where}", words, f">= {SPEED_BAR}", ratio >= SPEED_BAR)

    def a_gib(each: list[Run], which: str) -> str:
        return f"{statistics.median(getattr(run, which) / run.size * 1024 * MIB for run in each):.2f}"

    words = f"drive {a_gib(drives, 'client')}, hashing {a_gib(drives, 'afterwards')}, cat {a_gib(drives, 'reader')}, "
    words += f"proxy {a_gib(drives, 'proxy')}; curl {a_gib(curls, 'client')}, its proxy {a_gib(curls, 'proxy')}"
    yield Figure("  processor seconds a GiB", words, "any", met=True)


def read(cluster: Cluster, url: str) -> Run:
    """Have a program read all whole files of each drive, in order."""
    size = cluster.drives * sum((cluster.server.root / path).stat().st_size for path in cluster.files)
    with _drives(cluster, url) as drives:
        daemons = [drive.process.pid for drive in drives]
        commands = [["cat", *(str(drive / place("near") / path) for path in cluster.files)] for drive in drives]
        before, proxy = _seconds_of(daemons), _seconds_of(_workers(cluster.proxy))
        seconds, reader = _together(commands)
        client, proxy = _seconds_of(daemons) - before, _seconds_of(_workers(cluster.proxy)) - proxy
        _settle(daemons)
        return Run(seconds, size, client, reader, proxy, _seconds_of(daemons) - before - client)


def curl(cluster: Cluster, url: str, count: int) -> Run:
    """Have so many curls get the same files of the proxy."""
    size = count * sum((cluster.server.root / path).stat().st_size for path in cluster.files)
    base = f"{url}/{cluster.server.addresses['near'].replace('://', '/')}"
    command = ["curl", "-sSf"]
    for path in cluster.files:
        command += ["-o", "/dev/null", base + path]
    proxy = _seconds_of(_workers(cluster.proxy))
    seconds, client = _together([command] * count)
    return Run(seconds, size, client, proxy=_seconds_of(_workers(cluster.proxy)) - proxy)


def _together(commands: list[list[str]]) -> tuple[float, float]:
    """Run all at the same time; seconds until the last has ended, and processor seconds of all."""
    with machine.cost_of(None) as cost:
        started = time.monotonic()
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}  # a pipe, as in machine.run_timed
        processes = [subprocess.Popen(command, **quiet) for command in commands]
        try:
            for process in processes:
                process.communicate(timeout=PATIENCE)
        finally:
            for process in processes:
                process.kill()
        seconds = time.monotonic() - started
    ends = [process.returncode for process in processes]
    assert not any(ends), f"{commands[0][0]} ended with {ends}"
    return seconds, cost.seconds


def _workers(proxy: CachingProxy) -> list[int]:
    master = (proxy.folder / "nginx.pid").read_text().strip()
    return [int(word) for word in Path(f"/proc/{master}/task/{master}/children").read_text().split()]


def _seconds_of(processes: list[int]) -> float:
    return sum(machine.cpu_seconds(process) for process in processes)


def _settle(processes: list[int]) -> None:
    """Wait until none of them works any more."""
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        before = _seconds_of(processes)
        time.sleep(SETTLED)
        if _seconds_of(processes) - before <= SETTLED / 10:
            return
