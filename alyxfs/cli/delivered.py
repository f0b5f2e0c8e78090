"""The bytes of one data file for a copy of it: out of the drive's cache where that takes it, else through the mount.

The drive brings the file into its cache and tells how far it is (see `control/delivering.py`); what is there is read
from its disk here, past the kernel's pages and past the drive.
"""

from __future__ import annotations

import mmap
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from alyxfs.cli.transfers import pieces
from alyxfs.control.client import talking
from alyxfs.errors import ServerFault
from alyxfs.files.disk.kept_file import open_kept

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alyxfs.control.client import Talk
    from alyxfs.files.disk.block_file import BlockFile

PIECE = 1024 * 1024
"""Bytes that are read at once: they stay in the processor's cache until they are hashed and written."""
PAGE = 4096
"""Bytes at whose multiples a cache file is read."""


class DeliveredFile:
    """See the module. Made with :func:`delivered`."""

    def __init__(self, path: Path, talk: Talk) -> None:
        self._path = path
        self._talk = talk
        self._kept: BlockFile | None = None

    def pieces(self, start: int) -> Iterator[memoryview]:
        """The bytes from a place on. A piece holds until the next one is asked for.

        Raises what the drive says, or OSError as a read through the mount does.
        """
        for news in self._talk.news():
            if self._kept is None:
                self._kept = open_kept(Path(news["file"]), news["inode"])
                if self._kept is None:
                    break
            else:
                for piece in _read(self._kept, start, news["reached"]):
                    yield piece
                    start += len(piece)
            if start >= self._kept.fingerprint.size:
                return
        self._close()
        yield from pieces(self._path, start)

    def tell_hash(self, md5: str) -> None:
        """All bytes that the drive has of it have this MD5: it need not hash them once more."""
        if self._kept is not None:
            self._talk.say(md5=md5)

    def _close(self) -> None:
        if self._kept is not None:
            self._kept.close()
        self._kept = None


@contextmanager
def delivered(root: Path, name: str, socket: Path) -> Iterator[DeliveredFile]:
    """The file of this name of a drive that takes commands at this socket; kept in its cache until the block ends.

    Raises what the drive says, or OSError as opening it through the mount does.
    """
    path = root / name
    # As any program that reads it: for traces of what this one reads.
    with path.open("rb", buffering=0), talking(socket, "bring", path=name) as talk:
        file = DeliveredFile(path, talk)
        try:
            yield file
        finally:
            file._close()  # noqa: SLF001 - it is ours


def _read(kept: BlockFile, start: int, end: int) -> Iterator[memoryview]:
    buffer = memoryview(mmap.mmap(-1, PIECE))
    while start < end:
        first = start // PAGE * PAGE
        wanted = min(PIECE, -(-(end - first) // PAGE) * PAGE)
        count = min(kept.read_into([buffer[:wanted]], first, is_use=False), end - first)
        if first + count <= start:
            raise ServerFault(f"The cache file {kept.path} was cut by somebody. Fetch again.")
        yield buffer[start - first : count]
        start = first + count
