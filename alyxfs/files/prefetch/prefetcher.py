"""Fetching ahead, as far as it concerns more than one reader: is there room, and which other files will be wanted?

What one reader wants next of its own file is another matter, see window.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

import trio

from alyxfs import errors
from alyxfs.files.prefetch import formats, siblings
from alyxfs.tasks import nobody_waits

if TYPE_CHECKING:
    from alyxfs.files.memory.buffers import Bytes
    from alyxfs.files.memory.limiter import Memory
    from alyxfs.files.prefetch.formats import Parts
    from alyxfs.files.source import OpenFile, Source
    from alyxfs.net import Network
    from alyxfs.tasks import Tasks

log = logging.getLogger(__name__)

LOOK_AGAIN = 0.02
"""Seconds after which room for read-ahead is looked for again."""
MOST_WALKS = 8
"""Directories in which walks are noticed at a time."""


class File(Protocol):
    """What is needed of a file that somebody reads."""

    source: Source
    size: int | None
    parts: Parts | None
    """What its format tells of it."""

    def at_hand(self, start: int, end: int) -> Bytes:
        """These bytes where all of them are in memory or on disk, else nothing."""


class Cache(Protocol):
    """What is needed of the cache that the files belong to."""

    network: Network
    tasks: Tasks
    memory: Memory

    def may_write(self) -> bool:
        """Whether the disk takes more."""

    def known_size(self, source: Source) -> int | None:
        """Bytes, as far as they are known."""

    async def open(self, source: Source) -> OpenFile:
        """Open a data file."""

    async def fetch_unopened(self, source: Source, size: int) -> None:
        """Fetch all of a file of this size, which nobody has opened."""


class Prefetcher:
    """See the module. One for a cache.

    State: ``_walks`` has the directories that somebody began to read in last, the latest one at the end;
    ``_neighbours_coming`` counts the files that are being opened to be fetched, as they have no fetches yet.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._look_again_at = 0.0
        """Trio time."""
        self._walks: list[siblings.SiblingWalk] = []
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
        if source.neighbours is None or size is None or size > siblings.LARGEST:
            return
        walk = next((walk for walk in self._walks if walk.holds(source)), None)
        if walk is None:
            walk = siblings.SiblingWalk(source.neighbours())
            if not walk.holds(source):
                return
            self._walks = [*self._walks[1 - MOST_WALKS :], walk]
        for following in walk.read(source):
            size = self._cache.known_size(following)
            if size is not None and size <= siblings.LARGEST and self._may_ask(following):
                if not self.may_fetch_ahead(size):
                    return
                self._neighbours_coming += 1
                self._cache.tasks.start(
                    self._cache.fetch_unopened, following, size, failed=nobody_waits, ended=self._neighbour_came
                )
            walk.asked()

    def _neighbour_came(self) -> None:
        self._neighbours_coming -= 1

    def _may_ask(self, source: Source) -> bool:
        """Whether a program has opened a file of the same server: where it has not, a database alone named it."""
        return source.url is not None and self._cache.network.is_opened(source.url)

    def seek_parts(self, file: File) -> None:
        """Somebody reads more than the header of this file: learn of which parts it consists, if its format tells."""
        if file.parts is not None or file.size is None:
            return
        if file.source.name.endswith(formats.ARRAY):
            file.parts = formats.rows(bytes(file.at_hand(0, min(formats.ARRAY_HEADER, file.size))), file.size)
        elif file.source.neighbours is not None and file.source.name.endswith(formats.COMPRESSED):
            name = formats.chunk_table(file.source.name)
            table = next((source for source in file.source.neighbours() if source.name == name), None)
            if table is not None and self._may_ask(table) and (self._cache.known_size(table) or 0) <= siblings.LARGEST:
                self._cache.tasks.start(self._fetch_chunk_table, file, table, failed=nobody_waits)

    async def _fetch_chunk_table(self, file: File, table: Source) -> None:
        try:
            opened = await self._cache.open(table)
            try:
                # What the database did not say of its size, the server may have.
                text = await opened.read(0, opened.size) if opened.size <= siblings.LARGEST else b""
            finally:
                await opened.close()
        except errors.AlyxfsError as error:
            log.info("where the chunks of %s begin is not known: %s", file.source.name, error)
            return
        file.parts = await trio.to_thread.run_sync(formats.chunks, text)
