"""A drive that only asks: one directory of small files, each fetched whole.

Usage: bare_web.py FOLDER ADDRESS MOUNT_POINT

What it reaches is what pyfuse3, trio and httpx allow on this machine: nothing is cached, checked, resumed or bounded.
FOLDER is where the server has the files; of these only names and sizes are looked at.
"""

from __future__ import annotations

import sys
from pathlib import Path

import httpx
import pyfuse3
import trio

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.bare import FILE, BareFolder

CONNECTIONS = 16


class BareWeb(BareFolder):
    """The files of ``folder``, at the address of the folder."""

    def __init__(self, folder: Path, address: str, client: httpx.AsyncClient) -> None:
        files = sorted(folder.iterdir())
        super().__init__(files)
        self._client = client
        self._at_once = trio.CapacityLimiter(CONNECTIONS)
        self._urls = {number: f"{address}{folder.name}/{file.name}" for number, file in enumerate(files, FILE)}
        self._contents: dict[int, bytes] = {}

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
