"""A table as a file of the drive.

While its rows are still coming its size is not known. A program that opens it and reads on to its end gets it piece by
piece, past the kernel's pages, and sees a size of 0, as of a file in /proc. One that looks at the size first (cp, tar,
rsync) sees an estimate, as of a record, and opens the file when it is whole. What is whole is an ordinary file: with
its size, pages, and mmap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from alyxfs.tree.node import FOREVER, Attributes, File, Kind

if TYPE_CHECKING:
    from alyxfs.tree.tables.spool import Spool


ESTIMATED_SIZE = 4096
"""Bytes. Not 0: tar takes a file of 0 bytes for empty without opening it."""


class TableFile(File):
    """One version of a table: a newer one is another inode."""

    __slots__ = ("_identity", "_is_streamed", "_spool")

    def __init__(self, identity: str, spool: Spool, *, is_streamed: bool) -> None:
        """``is_streamed``: it can be opened before it is whole."""
        self._identity = identity
        self._spool = spool
        self._is_streamed = is_streamed

    @property
    def identity(self) -> str:
        """See Node."""
        return self._identity

    @property
    def content(self) -> str:
        """See Node."""
        return self._spool.version

    async def finish(self) -> None:
        """See File."""
        await self._spool.finish()

    def attributes(self) -> Attributes:
        """The name is looked up anew each time, as there may be a newer version."""
        if not self._spool.is_whole:
            return Attributes(Kind.FILE, ESTIMATED_SIZE, self._spool.begun_at, 0.0, 0.0, is_growing=True)
        return Attributes(Kind.FILE, self._spool.size, self._spool.begun_at, FOREVER, 0.0)

    async def open(self, process: int) -> _TableReader:  # noqa: ARG002 - the same for all
        """Wait for the first rows, where that will do, so that the errors of the list show here."""
        reader = _TableReader(self._spool)
        try:
            await (self._spool.begin() if self._is_streamed else self._spool.finish())
        except BaseException:
            await reader.close()
            raise
        return reader


class _TableReader:
    """An open table; it stays as it is when there is a newer one."""

    def __init__(self, spool: Spool) -> None:
        spool.hold()
        self._spool = spool

    @property
    def content_version(self) -> str:
        return self._spool.version

    @property
    def size(self) -> int:
        return self._spool.size if self._spool.is_whole else 0

    async def read(self, offset: int, size: int) -> bytes:
        return await self._spool.read(offset, size)

    async def close(self) -> None:
        self._spool.release()
