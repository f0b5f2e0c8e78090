"""Keeping the cache directory within its limit: the files that were not used for the longest time go first.

Several processes may share the directory. Who has a file open holds a shared lock on it (see blockfile), so only files
that nobody has open can be removed, and one process at a time looks for them. All of this waits for the disk: call it
in a thread.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

FREE_SHARE = 0.05
"""Of the disk, which always stays free."""
AIM = 0.9
"""Of the limit, down to which is evicted once it is exceeded."""
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
    with (directory / "eviction.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        uses = sorted(_uses(directory))
        occupied = sum(use.occupied for use in uses)
        lacking = _lacking(directory)
        if occupied <= limit_bytes and lacking <= 0:
            return True
        to_free = max(occupied - int(limit_bytes * AIM), lacking)
        for use in uses:
            if to_free <= 0:
                break
            if _remove(use.path):
                to_free -= use.occupied
        return to_free <= max(0, int(limit_bytes * (1 - AIM))) and _lacking(directory) <= 0


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
