"""A drive that only answers: one directory, one file, read from the local disk. Usage: bare.py FILE MOUNT_POINT

What it reaches is what pyfuse3 and the kernel allow on this machine, whatever a daemon does with the bytes before.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pyfuse3
import trio

if TYPE_CHECKING:
    from collections.abc import Sequence

DIRECTORY, FILE = 2, 3
"""Inode numbers: of the directory, and of the first file."""
FOREVER = 3600.0
"""Seconds that the kernel may keep what it was told."""


class BareFolder(pyfuse3.Operations):  # type: ignore[misc]
    """These files of one directory, in a directory of its name; numbered from FILE on."""

    def __init__(self, files: Sequence[Path]) -> None:
        super().__init__()
        self._sizes = {number: file.stat().st_size for number, file in enumerate(files, FILE)}
        self._names = {(DIRECTORY, os.fsencode(file.name)): number for number, file in enumerate(files, FILE)}
        self._names[pyfuse3.ROOT_INODE, os.fsencode(files[0].parent.name)] = DIRECTORY

    async def getattr(self, inode: int, ctx: object = None) -> pyfuse3.EntryAttributes:  # noqa: ARG002 - pyfuse3's form
        """Size and kind."""
        found = pyfuse3.EntryAttributes()
        found.st_ino = inode
        found.st_size = self._sizes.get(inode, 0)
        found.st_mode = stat.S_IFREG | 0o444 if inode in self._sizes else stat.S_IFDIR | 0o555
        found.attr_timeout = found.entry_timeout = FOREVER
        return found

    async def lookup(self, parent_inode: int, name: bytes, ctx: object = None) -> pyfuse3.EntryAttributes:
        """The directory, and what is in it."""
        number = self._names.get((parent_inode, name))
        if number is None:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return await self.getattr(number, ctx)


class Bare(BareFolder):
    """The file ``path``, read from the local disk."""

    def __init__(self, path: Path) -> None:
        super().__init__([path])
        self._file = os.open(path, os.O_RDONLY)

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
