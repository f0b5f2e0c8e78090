"""Locks of open files: between processes where the disk can, else among the threads of the one that has the folder.

The second kind is for folders that this process has claimed (see claims), and for no others.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
from typing import TYPE_CHECKING

from alyxfs import claims

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

ALONE = -1


class _OwnLocks:
    """Of this process, for disks without. Changes under ``changed`` only."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.holders: dict[tuple[int, int], int] = {}
        """By device and inode: how many share it, or ALONE."""
        self.held: dict[int, tuple[int, int]] = {}
        """By descriptor."""

    def take(self, descriptor: int, *, alone: bool, may_wait: bool) -> None:
        status = os.fstat(descriptor)
        key = status.st_dev, status.st_ino
        with self.changed:
            while holders := self.holders.get(key, 0):
                if holders != ALONE and not alone:
                    break
                if not may_wait:
                    raise BlockingIOError
                self.changed.wait()
            self.holders[key] = ALONE if alone else holders + 1
            self.held[descriptor] = key

    def release(self, descriptor: int) -> None:
        with self.changed:
            key = self.held.pop(descriptor, None)
            if key is not None:
                left = max(0, self.holders.pop(key) - 1)
                if left:
                    self.holders[key] = left
                self.changed.notify_all()


_own = _OwnLocks()


def lock(descriptor: int, path: Path, *, alone: bool, may_wait: bool = False) -> None:
    """Share the open file at this path with others that do, or have it alone. Once for a descriptor.

    Raises BlockingIOError where somebody is in the way and ``may_wait`` is not said; OSError as the disk does.
    """
    operation = (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | (0 if may_wait else fcntl.LOCK_NB)
    try:
        fcntl.flock(descriptor, operation)
    except OSError as error:
        if error.errno not in claims.NO_LOCKS or not claims.is_mine(path):
            raise
        _own.take(descriptor, alone=alone, may_wait=may_wait)


def close(descriptor: int) -> None:
    """Close a file that was locked here, and give the lock back; what the disk says to that is logged."""
    _own.release(descriptor)
    try:
        os.close(descriptor)  # which closes it in any case (see close(2))
    except OSError as error:
        log.info("closing a file of the cache: %s", error)
