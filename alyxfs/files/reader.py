"""One reader of a cached file: its reads, and what is fetched ahead of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import trio

from alyxfs.files.prefetch import formats
from alyxfs.files.prefetch.window import ReadAhead, first_piece

if TYPE_CHECKING:
    from alyxfs.files.cached_file import CachedFile
    from alyxfs.files.extents import Extent
    from alyxfs.files.memory.buffers import Bytes
    from alyxfs.files.prefetch.prefetcher import Prefetcher
    from alyxfs.files.source import Source
    from alyxfs.files.transfer.segment import Segment

ENOUGH_AHEAD = 1024 * 1024
"""Bytes that one reader may have under way ahead of it whatever the others have."""
SHORT_REST = 128 * 1024
"""Bytes of an answer that may come though nobody wants them any more: to break it off would cost a connection."""
IN_TURN = 8 * 1024 * 1024
"""Bytes of one request where many readers take turns: a long one for each costs the fewest."""


class Cache(Protocol):
    """What a reader needs of the cache that its file belongs to."""

    prefetcher: Prefetcher
    read_at: float
    """Trio time of the last read."""

    def closed(self, file: CachedFile) -> None:
        """A reader has left."""


class Reader:
    """One reader of a cached file."""

    def __init__(self, cache: Cache, file: CachedFile, source: Source) -> None:
        self._cache = cache
        self._file = file
        self._source = source
        self._generation = file.generation
        file.is_shown = True
        self.size = file.size or 0
        """Bytes; see OpenFile."""
        self.is_wanted_later = False
        """What is under way when it is closed comes to its end: all of the file will be read, if not now."""
        self._closed = False
        self._began = False
        self._sought_parts = False
        self._pattern = ReadAhead()
        self._ahead: list[Segment] = []
        """What was fetched for this reader alone, as far as it is still under way."""

    @property
    def file(self) -> CachedFile:
        """What is read."""
        return self._file

    @property
    def content(self) -> object:
        """See OpenFile."""
        return self._generation

    def check(self) -> None:
        """See OpenFile."""
        self._file.refuse_if_outdated(self._generation)

    async def read(self, offset: int, size: int, *, ahead: bool = True) -> bytes:
        """See OpenFile."""
        return bytes(await self.look(offset, size, ahead=ahead))

    def at_hand(self, offset: int, size: int) -> Bytes:
        """See OpenFile."""
        end = min(offset + size, self.size)
        if end <= offset or self._generation != self._file.generation:
            return b""
        found = self._file.at_hand(offset, end, self._ahead)
        if found:
            self._look_ahead(offset, size)
        return found

    async def look(self, offset: int, size: int, *, ahead: bool = True) -> Bytes:
        """See OpenFile. Where the bytes are on disk, this does not yield to other tasks."""
        self.check()
        if ahead:
            self._look_ahead(offset, size)
        return await self._file.look(offset, size, self._ahead)

    def skip(self, offset: int, size: int) -> None:
        """Go on as if these bytes, which are on disk, had been read."""
        self._look_ahead(offset, size)
        for item in self._file.fetches:
            item.passed(offset + size)

    def _look_ahead(self, offset: int, size: int) -> None:
        """Fetch what the reader will want next, as far as there is room."""
        end = min(offset + size, self.size)
        if end <= offset:
            return
        self._cache.read_at = trio.current_time()
        self._begin(offset)
        self._pattern.learn(self._file.parts)
        for item in self._ahead:
            if item.missing is not None:
                self._pattern.lost(item.missing)
                item.missing = None
        link = self._file.link
        extents = self._pattern.observe(offset, end, self.size, 0 if link is None else link.bytes_on_way)
        if self._ahead and not self._pattern.is_running:
            self._stop_ahead()
        if extents:
            self._fetch_ahead(extents)

    def _begin(self, offset: int) -> None:
        """Do what the first read asks for, and the first one behind the header."""
        if not self._began:
            self._began = True
            self._cache.prefetcher.read_begins(self._source)
            tail = formats.index_at_end(self._source.name, offset, self.size)
            if tail is not None and self._cache.prefetcher.may_fetch_ahead(tail.length):
                self._file.want([tail], background=True)
        if not self._sought_parts and offset >= formats.ARRAY_HEADER:
            self._sought_parts = True
            self._cache.prefetcher.seek_parts(self._file)

    def _fetch_ahead(self, extents: list[Extent]) -> None:
        for number, wanted in enumerate(extents):
            extent = wanted
            self._ahead = [item for item in self._ahead if item.is_unread]
            has_enough = sum(item.unread_length for item in self._ahead) >= ENOUGH_AHEAD
            if has_enough and self._cache.prefetcher.is_busy_ahead():
                break
            if not self._cache.prefetcher.may_fetch_ahead(extent.length):
                if has_enough:
                    break
                extent = first_piece(extents[number:], IN_TURN, backward=self._pattern.is_backward)
            self._ahead += self._file.want([extent], background=True)
            self._ahead += self._file.load(extent)
            self._pattern.asked(extent)
            if extent != wanted:
                break

    def _stop_ahead(self, *, is_cancelled: bool = True) -> None:
        for item in self._ahead:
            if is_cancelled and (item.arrived == item.start or item.end - item.arrived > SHORT_REST):
                self._file.cancel(item)
            item.disregard()
        self._ahead.clear()

    async def close(self) -> None:
        """See OpenFile."""
        if not self._closed:
            self._closed = True
            self._stop_ahead(is_cancelled=not self.is_wanted_later)
            self._cache.closed(self._file)
        await trio.lowlevel.checkpoint()
