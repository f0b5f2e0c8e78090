"""A file that a program copies out of the cache, past the kernel: brought to the disk whole, and told how far it is.

A read through the mount costs a copy into the kernel's pages and a request for each of them; for whole files that is
more than all else. What comes is fetched as for any reader (see reader), and the drive has the file open all the while,
so no region of it goes for want of space.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Protocol

import trio

from alyxfs.files.extents import present_until
from alyxfs.files.reader import Reader
from alyxfs.files.state import is_saving

if TYPE_CHECKING:
    import pathlib
    from collections.abc import AsyncGenerator, Iterator

    from alyxfs.files.cached_file import CachedFile
    from alyxfs.files.disk.block_file import BlockFile
    from alyxfs.files.disk_use import DiskUse
    from alyxfs.files.source import OpenFile, Source
    from alyxfs.files.transfer.lull import Lull
    from alyxfs.files.verifier import Verifier

PIECE = 2 * 1024 * 1024
"""Bytes that are asked for at a time."""
FEW = 16
"""Only a file that takes at most such a part of the cache is delivered: of eight at a time none is to drive another one
out, and what was there before is to stay."""


class Cache(Protocol):
    """What a delivery needs of the cache."""

    disk: DiskUse
    verifier: Verifier
    lull: Lull

    async def open(self, source: Source) -> OpenFile:
        """See FileCache."""

    def may_write(self) -> bool:
        """Whether the disk takes more."""


class Delivery:
    """One file that is being delivered; see the module."""

    def __init__(self, cache: Cache, reader: Reader, blocks: BlockFile) -> None:
        self._cache = cache
        self._reader = reader
        self._file: CachedFile = reader.file
        self._blocks = blocks
        self._read_to = 0
        self.reached = 0
        """Bytes from the beginning on that can be read from the cache file."""

    @property
    def path(self) -> pathlib.Path:
        """Of the cache file."""
        return self._blocks.path

    @property
    def inode(self) -> int:
        """Of the cache file: another one may have taken its place."""
        return self._blocks.inode

    @property
    def is_whole(self) -> bool:
        """Whether all of it can be read there."""
        return self.reached >= self._reader.size

    async def advance(self) -> bool:
        """Have more of it come to the disk; false where the cache does not take it: read it as any other file then.

        Raises what a read raises.
        """
        size, written = self._reader.size, self._file.written
        while self._file.blocks is self._blocks and self._cache.may_write():
            self._reader.check()
            reached = present_until(written, self.reached, size)
            if reached > self.reached or self.is_whole:
                self.reached = reached
                return True
            if self._read_to < size:
                await self._read_on(min(self._read_to + PIECE, size))
            elif is_saving(self._file):
                await trio.sleep(0.01)
            else:
                break
            written = self._file.written
        return False

    async def _read_on(self, end: int) -> None:
        """Have the bytes up to this place come, without a look at those that are on disk."""
        await trio.lowlevel.checkpoint()  # what is at hand comes without one
        start, written = self._read_to, self._file.written
        there = present_until(written, start, end)
        if there > start:
            self._reader.skip(start, there - start)
            self._read_to = there
        else:
            self._read_to += len(await self._reader.look(start, end - start))

    async def take_hash(self, found: str) -> None:
        """The program found this MD5 of all its bytes."""
        if self.is_whole and self._file.blocks is self._blocks:
            await self._cache.verifier.take_hash(self._file, found)


@asynccontextmanager
async def delivery_of(cache: Cache, source: Source) -> AsyncGenerator[Delivery | None, None]:
    """A file to be copied out of the cache while the block lasts; None where it must be read as any other is.

    Raises what opening and reading raise.
    """
    opened = await cache.open(source)
    try:
        if not isinstance(opened, Reader) or not 0 < opened.size <= cache.disk.limit_bytes // FEW:
            yield None
            return
        with _delivered(opened.file), cache.verifier.left_to_reader(opened.file):
            opened.is_wanted_later = True
            if opened.file.blocks is None:
                await opened.look(0, PIECE)  # the first answer says of which content a cache file is to be
                await opened.file.make_blocks()
            cache.lull.end()  # what came before may wait for one
            blocks = opened.file.blocks
            yield None if blocks is None else Delivery(cache, opened, blocks)
    finally:
        with trio.CancelScope(shield=True):
            await opened.close()


@contextmanager
def _delivered(file: CachedFile) -> Iterator[None]:
    file.deliveries += 1
    try:
        yield
    finally:
        file.deliveries -= 1
