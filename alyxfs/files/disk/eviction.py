"""Keeping the cache directory within its limit: what was not used for the longest time goes first.

A file of which no more than a region is on disk goes whole; of others the regions go one by one (see regions), unless
the file system knows no holes: then all files go whole.

Several processes may share the directory. Who has a file open holds a shared lock on it (see block_file), so only files
that nobody has open lose something, and one process at a time looks for them. All of this waits for the disk: call it
in a thread.

Pinned files stay (see pins). Their marks change under the lock of eviction only.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import time
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from alyxfs import file_locks, free_space
from alyxfs.files.disk import block_file, pins, regions
from alyxfs.private_files import make_folder, open_file

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Collection, Iterator, Mapping

log = logging.getLogger(__name__)

ROOM = 8 * 1024 * 1024
"""Bytes beyond what always stays free of the disk, so that what is written next finds room; a quarter of a disk that is
smaller than that."""
AIM = 0.9
"""Of the limit, down to which is evicted once it is exceeded."""
SCRATCH_SECONDS = 3600.0
"""After which a scratch file is a leftover of a process that died."""
REGIONS_AT_ONCE = 8
"""That are taken from a file under one lock: some tenths of a second, as a region takes about 10 ms on ext4."""
TURN = 0.03
"""Seconds between two locks of a file: who waits to open it tries again each 10 ms."""


class Use(NamedTuple):
    """A cache file on disk, or one of its regions."""

    last_used: float
    """Unix seconds."""
    occupied: int
    """Bytes on disk: the holes of a sparse file do not count."""
    path: pathlib.Path
    region: int | None = None
    """None: the whole file."""


class Room(NamedTuple):
    """What was found, and left, in the cache directory."""

    is_there: bool
    """Whether more may be written."""
    occupied: int
    """Bytes that data files take on disk, about."""


def evict(directory: pathlib.Path, limit_bytes: int) -> Room:
    """Remove what was least recently used where there is too much.

    Raises OSError where the directory cannot be read.
    """
    with _locked(directory) as lock:
        whole = list(files(directory))
        occupied = sum(use.occupied for use in whole)
        lacking = _lacking(directory)
        if occupied <= limit_bytes and lacking <= 0:
            return Room(is_there=True, occupied=occupied)
        to_free = max(occupied - int(limit_bytes * AIM), lacking)
        uses = itertools.chain.from_iterable(map(_parts, whole)) if _knows_holes(lock) else whole
        oldest_first = iter(sorted(uses, key=attrgetter("last_used")))
        while to_free > 0 and (chosen := _next(oldest_first, to_free)):
            for path, parts in chosen.items():
                if to_free > 0 and not is_pinned(path):
                    freed = _evict(path, parts)
                    to_free, occupied = to_free - freed, occupied - freed
        is_there = to_free <= max(0, int(limit_bytes * (1 - AIM))) and _lacking(directory) <= 0
        return Room(is_there, occupied)


def _next(uses: Iterator[Use], to_free: int) -> dict[pathlib.Path, list[Use]]:
    """Take as many from the iterator as free so many bytes, and sort them by file; none where it is at its end."""
    chosen: dict[pathlib.Path, list[Use]] = {}
    for use in uses:
        chosen.setdefault(use.path, []).append(use)
        to_free -= use.occupied
        if to_free <= 0:
            break
    return chosen


def pin(sizes: Mapping[pathlib.Path, int], directory: pathlib.Path) -> None:
    """Keep these cache files, there already or not; their sizes in bytes are noted. Raises OSError as the disk does."""
    with _locked(directory):  # an eviction under way may have found them unpinned
        for path, size in sizes.items():
            known = pins.read(path)
            if known is None or known.size != size:
                pins.write(path, known._replace(size=size) if known else pins.Pin(size, time.time()))


def name_pins(origins: Mapping[pathlib.Path, pins.Origin], directory: pathlib.Path) -> None:
    """Note where people find these cache files, as far as they are pinned. Raises OSError as the disk does."""
    with _locked(directory):
        for path, origin in origins.items():
            known = pins.read(path)
            if known is not None and known.origin != origin:
                pins.write(path, known._replace(origin=origin))


def unpin(paths: Collection[pathlib.Path]) -> int:
    """Let these cache files go with the others; return how many were pinned. Raises OSError as the disk does."""
    if not paths:
        return 0
    with _locked(next(iter(paths)).parents[2]):
        return sum(pins.remove(path) for path in paths)


def is_pinned(path: pathlib.Path) -> bool:
    """Whether the cache file at this path is kept, or would be if it were there."""
    return pins.is_pinned(path)


def remove(directory: pathlib.Path, path: pathlib.Path) -> bool:
    """Remove a cache file; false where it is pinned, open or gone. Raises OSError as the disk does."""
    with _locked(directory), _alone(path) as descriptor:
        if descriptor is None or is_pinned(path):
            return False
        path.unlink(missing_ok=True)
        return True


def pinned_bytes(directory: pathlib.Path) -> int:
    """What all pinned files take when they are whole."""
    return sum(pins.sizes(directory))


@contextlib.contextmanager
def _locked(directory: pathlib.Path) -> Iterator[int]:
    """Be the only one that evicts or pins; gives the descriptor of the file that tells the others."""
    make_folder(directory)  # somebody may have removed all of the cache
    path = directory / "eviction.lock"
    descriptor = open_file(path, os.O_RDWR)
    try:
        file_locks.lock(descriptor, path, alone=True, may_wait=True)
        yield descriptor
    finally:
        file_locks.close(descriptor)


def _lacking(directory: pathlib.Path) -> int:
    """Bytes by which the disk has less room for new files than it should have; negative where it has more."""
    disk = os.statvfs(directory)
    return free_space.lacking(disk) + min(ROOM, disk.f_blocks * disk.f_frsize // 4)


def files(directory: pathlib.Path) -> Iterator[Use]:
    """All cache files, in no order."""
    for folder, _, names in os.walk(directory / "blocks-1"):
        place = directory / folder
        for name in names:
            path = place / name
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                if name.startswith("new-"):
                    if abs(time.time() - status.st_mtime) > SCRATCH_SECONDS:  # a clock may have been set back since
                        path.unlink()
                    continue
                yield Use(status.st_mtime, status.st_blocks * 512, path)


def _knows_holes(descriptor: int) -> bool:
    """Whether the file system of this file takes parts of files away."""
    try:
        regions.punch(descriptor, 0, block_file.PAGE)
    except OSError:
        return False
    return True


def _parts(file: Use) -> list[Use]:
    """What of a file goes on its own: its regions, or all of it."""
    if file.occupied <= block_file.REGION:
        return [file]
    try:
        descriptor = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return [file]
    try:
        found = regions.regions_of(descriptor)
    except OSError:
        found = []
    finally:
        os.close(descriptor)
    return [Use(region.last_used, region.occupied, file.path, region.number) for region in found] or [file]


def _evict(path: pathlib.Path, parts: list[Use]) -> int:
    """Remove these parts of a cache file, or all of it, unless somebody has it open; return the bytes that are free."""
    freed = 0
    for first in range(0, len(parts), REGIONS_AT_ONCE):
        if first:
            time.sleep(TURN)
        with _alone(path) as descriptor:
            if descriptor is None:
                break
            freed += _evict_some(descriptor, path, parts[first:])
    return freed


def _evict_some(descriptor: int, path: pathlib.Path, parts: list[Use]) -> int:
    """Remove the first of these parts, all of the file if nothing else is in it; return the bytes that are free.

    What was used since it was chosen stays.
    """
    status = os.fstat(descriptor)
    occupied = status.st_blocks * 512
    if parts[0].region is None:
        if status.st_mtime > parts[0].last_used:
            return 0
    else:
        chosen = {part.region: part.last_used for part in parts}
        there = regions.regions_of(descriptor)
        cold = [region for region in there if region.last_used <= chosen.get(region.number, -1)]
        if len(cold) < len(there):
            first = {part.region for part in parts[:REGIONS_AT_ONCE]}
            now = [region for region in cold if region.number in first]
            try:
                regions.take_away(descriptor, [region.number for region in now])
                # Some file systems tell only later what is free: then what was marked must do.
                freed = occupied - os.fstat(descriptor).st_blocks * 512
                return max(freed, sum(region.occupied for region in now))
            except OSError as error:
                log.info("a cache file goes whole, as parts of it cannot: %s", error)
    path.unlink(missing_ok=True)
    return occupied


@contextlib.contextmanager
def _alone(path: pathlib.Path) -> Iterator[int | None]:
    """Give the descriptor of a cache file that nobody else opens meanwhile; None where it is in use, or gone."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        yield None
        return
    try:
        try:
            file_locks.lock(descriptor, path, alone=True)
            is_there = os.fstat(descriptor).st_nlink > 0
        except BlockingIOError:
            is_there = False
        yield descriptor if is_there else None
    finally:
        file_locks.close(descriptor)
