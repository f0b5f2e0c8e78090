"""A drive that only answers: one directory, one file, read from the local disk. Usage: bare.py FILE MOUNT_POINT

What it reaches is what pyfuse3 and the kernel allow on this machine, whatever a daemon does with the bytes before.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path

import pyfuse3
import trio

DIRECTORY, FILE = 2, 3
"""Inode numbers."""
FOREVER = 3600.0
"""Seconds that the kernel may keep what it was told."""


class Bare(pyfuse3.Operations):  # type: ignore[misc]
    """The file ``path``, in a directory of the name that its own directory has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._names = {
            (pyfuse3.ROOT_INODE, os.fsencode(path.parent.name)): DIRECTORY,
            (DIRECTORY, os.fsencode(path.name)): FILE,
        }
        self._file = os.open(path, os.O_RDONLY)
        self._size = path.stat().st_size

    async def getattr(self, inode: int, ctx: object = None) -> pyfuse3.EntryAttributes:  # noqa: ARG002 - pyfuse3's form
        """Size and kind."""
        found = pyfuse3.EntryAttributes()
        found.st_ino = inode
        found.st_size = self._size if inode == FILE else 0
        found.st_mode = stat.S_IFREG | 0o444 if inode == FILE else stat.S_IFDIR | 0o555
        found.attr_timeout = found.entry_timeout = FOREVER
        return found

    async def lookup(self, parent_inode: int, name: bytes, ctx: object = None) -> pyfuse3.EntryAttributes:
        """The directory, and the file in it."""
        number = self._names.get((parent_inode, name))
        if number is None:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return await self.getattr(number, ctx)

    async def open(self, inode: int, flags: int, ctx: object) -> pyfuse3.FileInfo:  # noqa: ARG002 - pyfuse3's form
        """The kernel keeps what it has read."""
        return pyfuse3.FileInfo(fh=inode, keep_cache=True)

    async def read(self, fh: int, off: int, size: int) -> bytes:  # noqa: ARG002 - pyfuse3's form
        """From the local disk."""
        return os.pread(self._file, size, off)


def main() -> None:
    """Mount and serve until unmounted or told to end."""
    path, point = sys.argv[1:]
    pyfuse3.init(Bare(Path(path)), point, {*pyfuse3.default_options, "fsname=bare", "ro"})
    try:
        trio.run(pyfuse3.main)
    finally:
        pyfuse3.close(unmount=True)


if __name__ == "__main__":
    main()
