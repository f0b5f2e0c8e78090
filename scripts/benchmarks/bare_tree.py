"""A drive that only answers, of directories: names and attributes that are all in memory, in their final form.

Usage: bare_tree.py PATHS MOUNT_POINT, where PATHS is a file with the path of a file on each line, below the drive. It
waits for requests as the drive does, so that ``find`` on it takes what the kernel and pyfuse3 alone cost.
"""

from __future__ import annotations

import errno
import itertools
import stat
import sys
from pathlib import Path

import pyfuse3
import trio

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from alyxfs.kernel.busy_poll import look_before_sleeping

FOREVER = 3600.0
"""Seconds that the kernel may keep what it was told."""


class BareTree(pyfuse3.Operations):  # type: ignore[misc]
    """Directories and files of these paths; the files are empty."""

    supports_dot_lookup = False

    def __init__(self, paths: list[bytes]) -> None:
        super().__init__()
        self._numbers = itertools.count(pyfuse3.ROOT_INODE)
        self._entries = {pyfuse3.ROOT_INODE: self._entry(stat.S_IFDIR | 0o755)}
        self._children: dict[int, dict[bytes, pyfuse3.EntryAttributes]] = {pyfuse3.ROOT_INODE: {}}
        for path in paths:
            directory = pyfuse3.ROOT_INODE
            *folders, name = path.split(b"/")
            for folder in folders:
                if folder not in self._children[directory]:
                    found = self._children[directory][folder] = self._entry(stat.S_IFDIR | 0o755)
                    self._children[found.st_ino] = {}
                directory = self._children[directory][folder].st_ino
            self._children[directory][name] = self._entry(stat.S_IFREG | 0o444)
        self._listed = {number: list(children.items()) for number, children in self._children.items()}

    def _entry(self, mode: int) -> pyfuse3.EntryAttributes:
        found = pyfuse3.EntryAttributes()
        found.st_ino = next(self._numbers)
        found.st_mode, found.st_nlink = mode, 1
        found.attr_timeout = found.entry_timeout = FOREVER
        if found.st_ino != pyfuse3.ROOT_INODE:
            self._entries[found.st_ino] = found
        return found

    async def getattr(self, inode: int, ctx: object) -> pyfuse3.EntryAttributes:  # noqa: ARG002 - pyfuse3's form
        """What was made."""
        return self._entries[inode]

    async def lookup(self, parent_inode: int, name: bytes, ctx: object) -> pyfuse3.EntryAttributes:  # noqa: ARG002
        """One of the names."""
        found = self._children[parent_inode].get(name)
        if found is None:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return found

    async def forget(self, inode_list: list[tuple[int, int]]) -> None:
        """Everything stays."""

    async def opendir(self, inode: int, ctx: object) -> int:  # noqa: ARG002
        """The directory's number serves."""
        return inode

    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """All names, and what they are."""
        listed = self._listed[fh]
        for position in range(start_id, len(listed)):
            if not pyfuse3.readdir_reply(token, *listed[position], position + 1):
                return

    async def releasedir(self, fh: int) -> None:
        """Nothing was opened."""


def main() -> None:
    """Mount and serve until unmounted or told to end."""
    paths, point = sys.argv[1:]
    look_before_sleeping()
    pyfuse3.init(
        BareTree(Path(paths).read_bytes().splitlines()), point, {*pyfuse3.default_options, "fsname=bare", "ro"}
    )
    try:
        trio.run(pyfuse3.main)
    finally:
        pyfuse3.close(unmount=True)


if __name__ == "__main__":
    main()
