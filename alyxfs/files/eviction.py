"""Keeping the cache directory within its limit: the files that were not used for the longest time go first.

Several processes may share the directory. Who has a file open holds a shared lock on it (see blockfile), so only files
that nobody has open can be removed, and one process at a time looks for them. All of this waits for the disk: call it
in a thread.

Pinned files stay. The mark is a file of the same name in a directory of its own, not an attribute of the cache file:
that one may not be there yet, and is made anew when the content changes, while the dataset stays pinned. Any file
system can hold it, and every process sees it at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterable, Iterator, Mapping

FREE_SHARE = 0.05
"""Of the disk, which always stays free."""
AIM = 0.9
"""Of the limit, down to which is evicted once it is exceeded."""
PINNED = "pinned"
"""Directory of the marks, in that of the cache."""
SCRATCH_SECONDS = 3600.0
"""After which a scratch file is a leftover of a process that died."""


class Use(NamedTuple):
    """A cache file on disk."""

    last_used: float
    """Unix seconds."""
    occupied: int
    """Bytes on disk: the holes of a sparse file do not count."""
    path: pathlib.Path


def evict(directory: pathlib.Path, limit_bytes: int) -> bool:
    """Remove the least recently used files where there are too many; return whether there is room for more.

    Raises OSError where the directory cannot be read.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(directory):
        uses = sorted(_uses(directory))
        occupied = sum(use.occupied for use in uses)
        lacking = _lacking(directory)
        if occupied <= limit_bytes and lacking <= 0:
            return True
        to_free = max(occupied - int(limit_bytes * AIM), lacking)
        for use in uses:
            if to_free <= 0:
                break
            if not is_pinned(use.path) and _remove(use.path):
                to_free -= use.occupied
        return to_free <= max(0, int(limit_bytes * (1 - AIM))) and _lacking(directory) <= 0


def pin(sizes: Mapping[pathlib.Path, int], directory: pathlib.Path) -> None:
    """Keep these cache files, there already or not; their sizes in bytes are noted. Raises OSError as the disk does."""
    with _locked(directory):  # an eviction under way may have found them unpinned
        for path, size in sizes.items():
            mark = _mark(path)
            mark.parents[1].mkdir(mode=0o700, exist_ok=True)
            mark.parent.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with open(descriptor, "w", encoding="ascii") as file:  # noqa: PTH123 - a descriptor has no path
                file.write(str(size))


def unpin(paths: Iterable[pathlib.Path]) -> int:
    """Let these cache files go with the others; return how many were pinned. Raises OSError as the disk does."""
    count = 0
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            _mark(path).unlink()
            count += 1
    return count


def is_pinned(path: pathlib.Path) -> bool:
    """Whether the cache file at this path is kept, or would be if it were there."""
    return _mark(path).exists()


def pinned_bytes(directory: pathlib.Path) -> int:
    """What all pinned files take when they are whole."""
    found = 0
    for mark in (directory / PINNED).glob("*/*"):
        with contextlib.suppress(FileNotFoundError, ValueError):  # unpinned meanwhile, or written by half
            found += int(mark.read_text(encoding="ascii"))
    return found


def _mark(path: pathlib.Path) -> pathlib.Path:
    return path.parents[2] / PINNED / path.parent.name / path.name


@contextlib.contextmanager
def _locked(directory: pathlib.Path) -> Iterator[None]:
    """Be the only one that evicts or pins."""
    descriptor = os.open(directory / "eviction.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _lacking(directory: pathlib.Path) -> int:
    """Bytes by which the disk has less free than it always should have; negative where it has more."""
    disk = os.statvfs(directory)
    return int((disk.f_blocks * FREE_SHARE - disk.f_bavail) * disk.f_frsize)


def _uses(directory: pathlib.Path) -> Iterator[Use]:
    for folder, _, names in os.walk(directory / "blocks-1"):
        for name in names:
            path = directory / folder / name
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                if name.startswith("new-"):
                    if status.st_mtime < time.time() - SCRATCH_SECONDS:
                        path.unlink()
                    continue
                yield Use(status.st_mtime, status.st_blocks * 512, path)


def _remove(path: pathlib.Path) -> bool:
    """Remove a cache file unless somebody has it open."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
