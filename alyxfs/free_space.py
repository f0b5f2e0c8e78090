"""The part of the disk that always stays free: looked at before anything is written, not after."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from alyxfs.private_files import open_file

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

FREE_SHARE = 0.05
"""Of the disk, which always stays free."""
DISK_REFUSES = frozenset({errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO})
"""Errors of a disk that may take nothing, and yet be read."""
TRIAL = 4096
"""Bytes."""


@dataclass
class _Writes:
    """Those of this process that are under way: the disk does not count them yet. Changes under the lock only."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    coming: int = 0
    """Bytes."""


_writes = _Writes()


@contextlib.contextmanager
def taking(descriptor: int, count: int) -> Iterator[None]:
    """Write so many bytes to the disk of this file in the block; raises OSError where too little would stay free."""
    with _writes.lock:
        if count + _writes.coming > -lacking(os.fstatvfs(descriptor)):
            raise OSError(errno.ENOSPC, f"{FREE_SHARE:.0%} of the disk stay free")
        _writes.coming += count
    try:
        yield
    finally:
        with _writes.lock:
            _writes.coming -= count


def refusal(directory: pathlib.Path) -> OSError | None:
    """Why the disk of this directory takes nothing; None where it does."""
    trial = directory / f"trial-{secrets.token_hex(8)}"
    try:
        descriptor = open_file(trial, os.O_WRONLY | os.O_EXCL)
        try:
            with taking(descriptor, TRIAL):
                os.write(descriptor, bytes(TRIAL))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
            trial.unlink(missing_ok=True)
    except OSError as error:
        return error
    return None


def lacking(disk: os.statvfs_result) -> int:
    """Bytes by which the disk has less free than it always should have; negative where it has more."""
    return int((disk.f_blocks * FREE_SHARE - disk.f_bavail) * disk.f_frsize)
