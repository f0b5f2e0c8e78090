"""A disk that can stop to answer, as a file server that is away: a directory passed through by a mount of its own.

Run as a program (``python stopping_disk.py SOURCE MOUNT_POINT``) it serves until it is unmounted.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pyfuse3
import trio

from mounted import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class StoppingDisk:
    """The disk under test."""

    def __init__(self, path: Path, process: subprocess.Popen[bytes]) -> None:
        self.path = path
        self._process = process

    def stop(self) -> None:
        """Whatever is asked of it from now on waits."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def stopping_disk(source: Path, mount_point: Path) -> Iterator[StoppingDisk]:
    """``source`` shows at ``mount_point``, read-only."""
    mount_point.mkdir()
    process = subprocess.Popen([sys.executable, __file__, str(source), str(mount_point)])
    try:
        until(lambda: os.path.ismount(mount_point), "the disk")
        yield StoppingDisk(mount_point, process)
    finally:
        process.send_signal(signal.SIGCONT)
        subprocess.run(["umount", "-l", str(mount_point)], check=True, timeout=30)
        process.wait(30)


class PassedThrough(pyfuse3.Operations):
    """Nodes are paths; nothing is kept by the kernel, so that each look goes to the disk."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self._source = source
        self._paths = {pyfuse3.ROOT_INODE: source}

    def _entry(self, path: str) -> pyfuse3.EntryAttributes:
        try:
            found = os.lstat(path)
        except OSError as error:
            raise pyfuse3.FUSEError(error.errno) from error
        entry = pyfuse3.EntryAttributes()
        for name in ("mode", "nlink", "uid", "gid", "size", "atime_ns", "mtime_ns", "ctime_ns"):
            setattr(entry, f"st_{name}", getattr(found, f"st_{name}"))
        entry.st_ino = pyfuse3.ROOT_INODE if path == self._source else found.st_ino
        entry.attr_timeout = entry.entry_timeout = 0
        self._paths[entry.st_ino] = path
        return entry

    async def lookup(self, parent_inode, name, ctx):
        return self._entry(os.path.join(self._paths[parent_inode], os.fsdecode(name)))

    async def getattr(self, inode, ctx):
        return self._entry(self._paths[inode])

    async def opendir(self, inode, ctx):
        return inode

    async def readdir(self, fh, start_id, token):
        for position, name in enumerate(sorted(os.listdir(self._paths[fh]))[start_id:], start_id + 1):
            entry = self._entry(os.path.join(self._paths[fh], name))
            if not pyfuse3.readdir_reply(token, name.encode(), entry, position):
                return

    async def open(self, inode, flags, ctx):
        return pyfuse3.FileInfo(fh=os.open(self._paths[inode], os.O_RDONLY))

    async def read(self, fh, off, size):
        return os.pread(fh, size, off)

    async def release(self, fh):
        os.close(fh)

    async def statfs(self, ctx):
        data = pyfuse3.StatvfsData()
        found = os.statvfs(self._source)
        for name in ("bsize", "frsize", "blocks", "bfree", "bavail", "files", "ffree", "favail"):
            setattr(data, f"f_{name}", getattr(found, f"f_{name}"))
        return data


def serve(source: str, mount_point: str) -> None:
    pyfuse3.init(PassedThrough(source), mount_point, {*pyfuse3.default_options, "fsname=stopping"})
    try:
        trio.run(pyfuse3.main)
    finally:
        pyfuse3.close()


if __name__ == "__main__":
    serve(*sys.argv[1:])
