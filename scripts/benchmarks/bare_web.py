"""A drive that only asks: one directory of small files, each fetched whole.

Usage: bare_web.py FOLDER ADDRESS MOUNT_POINT

What it reaches is what pyfuse3, trio and httpx allow on this machine: nothing is cached, checked, resumed or bounded.
FOLDER is where the server has the files; of these only names and sizes are looked at.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path

import httpx
import pyfuse3
import trio

DIRECTORY, FIRST = 2, 3
"""Inode numbers of the directory, and of the first file."""
FOREVER = 3600.0
"""Seconds that the kernel may keep what it was told."""
CONNECTIONS = 16


class BareWeb(pyfuse3.Operations):  # type: ignore[misc]
    """The files of ``folder``, at the address of the folder."""

    def __init__(self, folder: Path, address: str, client: httpx.AsyncClient) -> None:
        super().__init__()
        self._client = client
        self._at_once = trio.CapacityLimiter(CONNECTIONS)
        names = sorted(path.name for path in folder.iterdir())
        self._urls = {FIRST + number: f"{address}{folder.name}/{name}" for number, name in enumerate(names)}
        self._sizes = {FIRST + number: (folder / name).stat().st_size for number, name in enumerate(names)}
        self._names = {(DIRECTORY, os.fsencode(name)): FIRST + number for number, name in enumerate(names)}
        self._names[pyfuse3.ROOT_INODE, os.fsencode(folder.name)] = DIRECTORY
        self._contents: dict[int, bytes] = {}

    async def getattr(self, inode: int, ctx: object = None) -> pyfuse3.EntryAttributes:  # noqa: ARG002 - pyfuse3's form
        """Size and kind."""
        found = pyfuse3.EntryAttributes()
        found.st_ino = inode
        found.st_size = self._sizes.get(inode, 0)
        found.st_mode = stat.S_IFREG | 0o444 if inode in self._sizes else stat.S_IFDIR | 0o555
        found.attr_timeout = found.entry_timeout = FOREVER
        return found

    async def lookup(self, parent_inode: int, name: bytes, ctx: object = None) -> pyfuse3.EntryAttributes:
        """The directory, and the files in it."""
        number = self._names.get((parent_inode, name))
        if number is None:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return await self.getattr(number, ctx)

    async def open(self, inode: int, flags: int, ctx: object) -> pyfuse3.FileInfo:  # noqa: ARG002 - pyfuse3's form
        """Fetch all of it."""
        async with self._at_once:
            self._contents[inode] = (await self._client.get(self._urls[inode])).content
        return pyfuse3.FileInfo(fh=inode, keep_cache=True)

    async def read(self, fh: int, off: int, size: int) -> bytes:
        """From memory."""
        return self._contents[fh][off : off + size]

    async def release(self, fh: int) -> None:
        """Forget it."""
        self._contents.pop(fh, None)


async def serve(folder: Path, address: str, point: str) -> None:
    """Mount and serve until unmounted or told to end."""
    async with httpx.AsyncClient(timeout=60) as client:
        pyfuse3.init(BareWeb(folder, address, client), point, {*pyfuse3.default_options, "fsname=bare", "ro"})
        try:
            await pyfuse3.main()
        finally:
            pyfuse3.close(unmount=True)


if __name__ == "__main__":
    trio.run(serve, Path(sys.argv[1]), *sys.argv[2:])
