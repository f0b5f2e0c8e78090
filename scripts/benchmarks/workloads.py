"""What programs do with data files. A workload takes a mount with nothing in its cache and gives samples of measures.

Every byte that a workload reads is compared with what it must be, at least at both ends of each read of 1 MiB.
A place whose time is taken is opened by its path as a program would: what a peer asks to find it counts.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import mmap
import os
import subprocess
import threading
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import mtscomp
import numpy as np

from benchmarks import machine
from benchmarks.datafiles import (
    ARRAY,
    LARGE,
    MIB,
    OPENING,
    RECORDING,
    SAMPLE_RATE,
    SMALL,
    SMALL_SIZE,
    Sizes,
    counted,
    is_counted,
    rows,
    small_name,
)
from benchmarks.peers import (
    BARE,
    BARE_WEB,
    CURL,
    DRIVE,
    FSSPEC,
    HTTPDIRFS,
    LOCAL,
    LOCAL_PAGES,
    LONGEST_SAMPLE,
    RAISED,
    RCLONE_FULL,
    RCLONE_OFF,
    Mount,
    SampleError,
    Service,
    download,
    mount,
)
from benchmarks.server import round_trips

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from benchmarks.server import Request

PIECE = MIB
"""Bytes that a program reads at a time."""
READERS = 64
ROWS = 100


@dataclass
class Sample:
    """One run of one peer."""

    measure: str
    peer: str
    value: float
    """In the measure's unit."""
    seconds: float
    cpu: float = 0.0
    """Seconds of CPU of the peer."""
    size: int = 0
    """Bytes that the program read."""
    requests: int = 0
    """That the file server got."""
    fetched: int = 0
    """Bytes that the file server sent."""
    waits: int = 0
    """Round trips one after another, as the file server's log shows them."""
    memory: int = 0
    """The most bytes of memory that the peer has had."""
    useful: int = 0
    """The least bytes that had to be fetched, where that is known."""
    files: int = 0
    """How many files the program read, where that is told."""

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Bench:
    """What all workloads are given."""

    service: Service
    sizes: Sizes
    wanted: frozenset[str]
    """Names of the measures to take."""
    luck: random.Random
    """The same places in every peer: seeded with the number of the run."""


@dataclass
class Watched:
    """What a block cost, once it has ended."""

    peer: str
    seconds: float = 0.0
    cpu: float = 0.0
    memory: int = 0
    asked: tuple[Request, ...] = ()
    round_trip: float = 0.0

    def sample(self, measure: str, value: float, *, size: int, useful: int = 0, files: int = 0) -> Sample:
        """The sample of the block."""
        return Sample(
            measure=measure,
            peer=self.peer,
            value=value,
            seconds=self.seconds,
            cpu=self.cpu,
            size=size,
            requests=len(self.asked),
            fetched=sum(request.sent for request in self.asked),
            waits=round_trips(self.asked, self.round_trip),
            memory=self.memory,
            useful=useful,
            files=files,
        )


@contextlib.contextmanager
def watched(bench: Bench, mounted: Mount) -> Iterator[Watched]:
    """Take the time, CPU and requests of a block; ends when the server has nothing to send any more."""
    server = bench.service.server
    watch = Watched(mounted.peer, round_trip=server.round_trip)
    mark = server.mark()
    with machine.cost_of(mounted.process) as cost:
        started = time.monotonic()
        yield watch
        watch.seconds = time.monotonic() - started
    watch.cpu = cost.seconds
    watch.asked = tuple(server.since(mark))
    watch.memory = machine.peak_memory(mounted.process) if mounted.process else 0


def read_through(path: Path, start: int = 0, end: int | None = None) -> int:
    """Read a counted file in order, as programs do: open, read 1 MiB at a time, to the end. Return its bytes."""
    buffer = memoryview(bytearray(PIECE))
    descriptor = os.open(path, os.O_RDONLY)
    try:
        position = start
        while count := os.preadv(
            descriptor, [buffer[: PIECE if end is None else min(PIECE, end - position)]], position
        ):
            if not is_counted(position, buffer[:count]):
                raise SampleError(f"wrong bytes at {position} of {path.name}")
            position += count
        return position - start
    finally:
        os.close(descriptor)


def read_at(path: Path, offset: int, size: int) -> bytes:
    """Open, read a part, close."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.pread(descriptor, size, offset)
    finally:
        os.close(descriptor)


def expect(found: bytes, expected: bytes, what: str) -> None:
    """Raise SampleError where a program got other bytes."""
    if found != expected:
        raise SampleError(f"wrong bytes: {what} ({len(found)} of {len(expected)})")


def _open_connection(mounted: Mount) -> None:
    """Have the peer talk to the file server, so that a connection is open."""
    expect(read_at(mounted.root / OPENING, 0, SMALL_SIZE), counted(0, SMALL_SIZE), OPENING)


def sequential(bench: Bench, peer: str) -> Iterator[Sample]:
    """A large file in order: cold, again warm, and again from the disk alone. By curl: cold, written to disk."""
    size = bench.sizes.large
    if peer == CURL:
        yield _downloaded(bench, "near", LARGE, "sequential-cold")
        return
    with mount(peer, bench.service, "near") as mounted:
        path = mounted.root / LARGE
        for measure in ("sequential-cold", "sequential-warm", "sequential-disk"):
            if measure == "sequential-disk":
                if not machine.can_drop_page_cache():
                    return
                machine.drop_page_cache()
            with watched(bench, mounted) as watch:
                found = read_through(path)
            if found != size:
                raise SampleError(f"{found} of {size} bytes")
            is_said = {LOCAL: measure != "sequential-cold", LOCAL_PAGES: measure == "sequential-warm"}
            if is_said.get(peer, True):
                yield watch.sample(measure, size / watch.seconds / 1e6, size=size)
            if not bench.wanted & {"sequential-warm", "sequential-disk"}:
                return
            mounted.settle()


def _downloaded(bench: Bench, way: str, path: str, measure: str) -> Sample:
    """The sample of ``curl -o``."""
    seconds, cpu = download(bench.service, way, path)
    size = (bench.service.server.root / path).stat().st_size
    return Sample(measure, CURL, size / seconds / 1e6, seconds, cpu, size, requests=1, fetched=size)


def _whole_array(way: str, measure: str) -> Callable[[Bench, str], Iterator[Sample]]:
    """The array's file in order over another way to the server."""

    def workload(bench: Bench, peer: str) -> Iterator[Sample]:
        size = (bench.service.server.root / ARRAY).stat().st_size
        if peer == CURL:
            yield _downloaded(bench, way, ARRAY, measure)
            return
        with mount(peer, bench.service, way) as mounted:
            buffer = memoryview(bytearray(PIECE))
            _open_connection(mounted)
            with watched(bench, mounted) as watch:
                descriptor = os.open(mounted.root / ARRAY, os.O_RDONLY)
                try:
                    found = 0
                    while count := os.readv(descriptor, [buffer]):
                        found += count
                finally:
                    os.close(descriptor)
            if found != size:
                raise SampleError(f"{found} of {size} bytes")
            yield watch.sample(measure, size / watch.seconds / 1e6, size=size)
            last = np.load(mounted.root / ARRAY, mmap_mode="r")[-ROWS:]
            expect(last.tobytes(), rows(bench.sizes.rows - ROWS, ROWS).tobytes(), "the last rows")

    return workload


def many_readers(bench: Bench, peer: str) -> Iterator[Sample]:
    """64 readers of one large file at a time, each of its own part."""
    size = bench.sizes.large // READERS * READERS
    part = size // READERS
    with mount(peer, bench.service, "near") as mounted:
        path = mounted.root / LARGE
        with watched(bench, mounted) as watch:
            _at_once(lambda number: read_through(path, number * part, (number + 1) * part))
        yield watch.sample("many-readers", size / watch.seconds / 1e6, size=size)


def many_small_files(bench: Bench, peer: str) -> Iterator[Sample]:
    """64 readers at a time, each of its own small files, whose folder has been listed before."""
    count = bench.sizes.small_files
    with mount(peer, bench.service, "near") as mounted:
        for number in range(count):
            (mounted.root / small_name(number)).stat()

        def read(first: int) -> None:
            for number in range(first, count, READERS):
                found = (mounted.root / small_name(number)).read_bytes()
                expect(found, counted(number * SMALL_SIZE, SMALL_SIZE), small_name(number))

        with watched(bench, mounted) as watch:
            _at_once(read)
        size = count * SMALL_SIZE
        yield watch.sample("many-small-files", size / watch.seconds / 1e6, size=size, files=count)


def _at_once(read: Callable[[int], object]) -> None:
    """Have READERS threads read, each by its number; raise SampleError where one fails."""
    failures: list[BaseException] = []

    def reading(number: int) -> None:
        try:
            read(number)
        except (OSError, SampleError) as failure:
            failures.append(failure)

    readers = [threading.Thread(target=reading, args=(number,)) for number in range(READERS)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    if failures:
        raise SampleError(f"{len(failures)} readers failed: {failures[0]}")


def first_bytes(bench: Bench, peer: str) -> Iterator[Sample]:
    """The first 4 KiB of a file, and 4 KiB in its middle, far away, with a connection open."""
    middle = bench.luck.randrange(bench.sizes.large // 4, bench.sizes.large * 3 // 4) // 4096 * 4096
    for measure, offset in (("first-bytes", 0), ("first-bytes-middle", middle)):
        if measure not in bench.wanted:
            continue
        with mount(peer, bench.service, "far") as mounted:
            _open_connection(mounted)
            with watched(bench, mounted) as watch:
                found = read_at(mounted.root / LARGE, offset, 4096)
            expect(found, counted(offset, 4096), measure)
            yield watch.sample(measure, watch.seconds * 1e3, size=4096)


def mapped_rows(bench: Bench, peer: str) -> Iterator[Sample]:
    """100 rows of a large array by ``numpy.load(mmap_mode="r")``, far away."""
    first = bench.luck.randrange(bench.sizes.rows // 4, bench.sizes.rows * 3 // 4)
    with mount(peer, bench.service, "far") as mounted:
        _open_connection(mounted)
        with watched(bench, mounted) as watch:
            found = np.array(np.load(mounted.root / ARRAY, mmap_mode="r")[first : first + ROWS])
        expect(found.tobytes(), rows(first, ROWS).tobytes(), "rows")
        yield watch.sample("mapped-rows", watch.seconds * 1e3, size=found.nbytes)


def random_reads(way: str) -> Callable[[Bench, str], Iterator[Sample]]:
    """Reads of 4 KiB at random places of a large file."""

    def workload(bench: Bench, peer: str) -> Iterator[Sample]:
        count = bench.sizes.random_reads
        places = [bench.luck.randrange(bench.sizes.large // 4096) * 4096 for _ in range(count)]
        with mount(peer, bench.service, way) as mounted:
            _open_connection(mounted)
            descriptor = os.open(mounted.root / LARGE, os.O_RDONLY)
            try:
                with watched(bench, mounted) as watch:
                    for offset in places:
                        expect(os.pread(descriptor, 4096, offset), counted(offset, 4096), "a random read")
                yield watch.sample(f"random-reads-{way}", watch.seconds / count * 1e3, size=count * 4096)
            finally:
                os.close(descriptor)

    return workload


def small_files(bench: Bench, peer: str) -> Iterator[Sample]:
    """Small files of a directory one after another, far away; peers read fewer of them."""
    count = bench.sizes.small_files if peer == DRIVE else bench.sizes.peers_small_files
    with mount(peer, bench.service, "far") as mounted:
        (mounted.root / small_name(0)).stat()  # what the directory holds is a measure of its own
        with watched(bench, mounted) as watch:
            for number in range(count):
                found = (mounted.root / small_name(number)).read_bytes()
                expect(found, counted(number * SMALL_SIZE, SMALL_SIZE), small_name(number))
        yield watch.sample("small-files", watch.seconds / count * 1e3, size=count * SMALL_SIZE)


def listing(bench: Bench, peer: str) -> Iterator[Sample]:
    """``ls -l`` of the small files' directory, far away."""
    with mount(peer, bench.service, "far") as mounted:
        with watched(bench, mounted) as watch:
            done = subprocess.run(
                ["ls", "-l", str(mounted.root / SMALL)], capture_output=True, check=False, timeout=LONGEST_SAMPLE
            )
        lines = [line for line in done.stdout.splitlines() if line.endswith(b".bin")]
        if len(lines) != bench.sizes.small_files or any(line.split()[4] != b"%d" % SMALL_SIZE for line in lines):
            raise SampleError(f"ls -l shows {len(lines)} files: {done.stderr.decode(errors='replace')[:200]}")
        yield watch.sample("listing", watch.seconds, size=0)


def recording(bench: Bench, peer: str) -> Iterator[Sample]:
    """A second of a recording, decompressed by the drive, far away; not at the beginning of a chunk."""
    sizes = bench.sizes
    sample_bytes = 2 * sizes.channels
    first = int((sizes.seconds // 3 + 0.5) * SAMPLE_RATE)
    local = bench.service.server.root / RECORDING
    with mount(peer, bench.service, "far") as mounted:
        path = mounted.root / f"{RECORDING}.bin"
        if not path.exists():
            raise SampleError("the drive shows no .bin beside the .cbin")
        _open_connection(mounted)
        with watched(bench, mounted) as watch:
            found = _read_fully(path, first * sample_bytes, SAMPLE_RATE * sample_bytes)
        expect(found, _true_samples(local, first), "a second of the recording")
        yield watch.sample("recording", watch.seconds * 1e3, size=len(found), useful=_chunk_bytes(local, first))


def _read_fully(path: Path, offset: int, size: int) -> bytes:
    with path.open("rb", buffering=0) as file, mmap.mmap(-1, size) as buffer:
        file.seek(offset)
        view = memoryview(buffer)
        position = 0
        while position < size and (count := file.readinto(view[position:])):
            position += count
        found = bytes(view[:position])
        view.release()
        return found


def _true_samples(local: Path, first: int) -> bytes:
    """A second from this sample on, as mtscomp decompresses it."""
    reader = mtscomp.decompress(f"{local}.cbin", f"{local}.ch", cache_size=2)
    with contextlib.closing(reader):
        return np.ascontiguousarray(reader[first : first + SAMPLE_RATE]).tobytes()


def _chunk_bytes(local: Path, first: int) -> int:
    """Bytes of the chunks that hold a second from this sample on."""
    index = json.loads(local.with_name(local.name + ".ch").read_text(encoding="utf-8"))
    bounds, offsets = index["chunk_bounds"], index["chunk_offsets"]
    touched = [
        number
        for number, (start, end) in enumerate(itertools.pairwise(bounds))
        if start < first + SAMPLE_RATE and first < end
    ]
    return int(offsets[touched[-1] + 1] - offsets[touched[0]])


OTHERS = (RCLONE_FULL, RCLONE_OFF, HTTPDIRFS, FSSPEC)


@dataclass(frozen=True)
class Workload:
    """A function, the measures that it takes, and who is measured."""

    run: Callable[[Bench, str], Iterator[Sample]]
    measures: tuple[str, ...]
    peers: tuple[str, ...]


WORKLOADS = (
    Workload(
        sequential,
        ("sequential-cold", "sequential-warm", "sequential-disk"),
        (DRIVE, RAISED, *OTHERS, CURL, LOCAL, LOCAL_PAGES, BARE),
    ),
    Workload(_whole_array("tls", "sequential-tls"), ("sequential-tls",), (DRIVE, RCLONE_FULL, CURL)),
    Workload(_whole_array("link", "sequential-link"), ("sequential-link",), (DRIVE, RCLONE_FULL, CURL)),
    Workload(many_readers, ("many-readers",), (DRIVE, RCLONE_FULL, RCLONE_OFF)),
    Workload(many_small_files, ("many-small-files",), (DRIVE, RCLONE_FULL, RCLONE_OFF, BARE_WEB)),
    Workload(random_reads("near"), ("random-reads-near",), (DRIVE, *OTHERS)),
    Workload(random_reads("far"), ("random-reads-far",), (DRIVE, RCLONE_FULL, RCLONE_OFF)),
    Workload(first_bytes, ("first-bytes", "first-bytes-middle"), (DRIVE, *OTHERS)),
    Workload(mapped_rows, ("mapped-rows",), (DRIVE, *OTHERS)),
    Workload(small_files, ("small-files",), (DRIVE, *OTHERS)),
    Workload(listing, ("listing",), (DRIVE, *OTHERS)),
    Workload(recording, ("recording",), (DRIVE,)),
)
