"""Fetching ahead, as far as it concerns more than one reader: is there room, and which other files will be wanted?

What one reader wants next of its own file is another matter, see readahead.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from alyxfs import errors
from alyxfs.files import formats, neighbours
from alyxfs.files.blocks import Extent
from alyxfs.files.localfile import open_local

if TYPE_CHECKING:
    from alyxfs.files.cache import FileCache
    from alyxfs.files.cachedfile import CachedFile
    from alyxfs.files.source import Source

log = logging.getLogger(__name__)

LOOK_AGAIN = 0.02
"""Seconds after which room for read-ahead is looked for again."""
MOST_WALKS = 8
"""Directories in which walks are noticed at a time."""


class Foresight:
    """See the module. One for a cache.

    State: ``_walks`` has the directories that somebody began to read in last, the latest one at the end;
    ``_neighbours_coming`` counts the files that are being opened to be fetched, as they have no fetches yet.
    """

    def __init__(self, cache: FileCache) -> None:
        self._cache = cache
        self._look_again_at = 0.0
        """Trio time."""
        self._walks: list[neighbours.Walk] = []
        self._neighbours_coming = 0

    def is_busy_ahead(self) -> bool:
        """Whether nothing could be fetched ahead a moment ago: with many readers, looking again costs more than it."""
        return trio.current_time() < self._look_again_at

    def may_fetch_ahead(self, length: int) -> bool:
        """Whether so many bytes may be fetched that nobody waits for, without harm to who waits."""
        connections = self._cache.network.connections_ahead - self._neighbours_coming
        may = self._cache.memory.has_room_ahead(length, connections, may_write=self._cache.may_write())
        if not may:
            self._look_again_at = trio.current_time() + LOOK_AGAIN
        return may

    def read_begins(self, source: Source) -> None:
        """Somebody reads this file for the first time since opening it: fetch its neighbours if that is a walk."""
        size = self._cache.known_size(source)
        if source.neighbours is None or size is None or size > neighbours.LARGEST:
            return
        walk = next((walk for walk in self._walks if walk.holds(source)), None)
        if walk is None:
            walk = neighbours.Walk(source.neighbours())
            if not walk.holds(source):
                return
            self._walks = [*self._walks[1 - MOST_WALKS :], walk]
        for following in walk.read(source):
            size = self._cache.known_size(following)
            if size is not None and size <= neighbours.LARGEST and following.url is not None:
                if not self.may_fetch_ahead(size):
                    return
                self._neighbours_coming += 1
                self._cache.nursery.start_soon(self._fetch_neighbour, following, size)
            walk.asked()

    async def _fetch_neighbour(self, source: Source, size: int) -> None:
        try:
            local = await open_local(source)
            if local is not None:
                await local.close()
                return
            file = self._cache.file(source)
            file.handles += 1
            try:
                await file.open_blocks()
                file.want([Extent(0, size)], background=True)
            finally:
                self._cache.closed(file)
        finally:
            self._neighbours_coming -= 1

    def seek_parts(self, file: CachedFile) -> None:
        """Somebody reads more than the header of this file: learn of which parts it consists, if its format tells."""
        if file.parts is not None or file.size is None:
            return
        if file.source.name.endswith(formats.ARRAY):
            file.parts = formats.rows(bytes(file.at_hand(0, min(formats.ARRAY_HEADER, file.size))), file.size)
        elif file.source.neighbours is not None and file.source.name.endswith(formats.COMPRESSED):
            name = formats.chunk_table(file.source.name)
            table = next((source for source in file.source.neighbours() if source.name == name), None)
            if table is not None and (self._cache.known_size(table) or 0) <= neighbours.LARGEST:
                self._cache.nursery.start_soon(self._fetch_chunk_table, file, table)

    async def _fetch_chunk_table(self, file: CachedFile, table: Source) -> None:
        try:
            opened = await self._cache.open(table)
            try:
                text = await opened.read(0, opened.size)
            finally:
                await opened.close()
        except errors.AlyxfsError as error:
            log.info("where the chunks of %s begin is not known: %s", file.source.name, error)
            return
        file.parts = await trio.to_thread.run_sync(formats.chunks, text)
