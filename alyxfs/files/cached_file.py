"""One data file with all its readers: what they want is taken from memory or disk, or asked for, and waited for.

Everything here changes only between two awaits of the event loop's tasks. The threads write bytes and marks; they
never touch this state.
"""

from __future__ import annotations

import itertools
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

from alyxfs import errors
from alyxfs.files.disk import direct_io
from alyxfs.files.extents import (
    BLOCK,
    LARGEST,
    Extent,
    block_count,
    is_present,
    merged,
    missing,
    pieces,
    present_until,
    touched,
    without,
)
from alyxfs.files.transfer.content import FileContent
from alyxfs.files.transfer.segment import Segment
from alyxfs.files.transfer.task import DownloadTask
from alyxfs.net import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from alyxfs.files.memory.buffers import Bytes
    from alyxfs.files.prefetch.formats import Parts
    from alyxfs.files.seen import Seen
    from alyxfs.files.source import Source
    from alyxfs.files.transfer.owner import Owner

log = logging.getLogger(__name__)

SMALL = 64 * 1024
"""Bytes: files up to this size are fetched whole, as one request costs more than they."""
MERGE_GAP = 2 * BLOCK
"""Bytes that may lie between two missing extents for one request to fetch both."""
DEMAND_PIECE = 2 * 1024 * 1024
"""Bytes of a long read that one request fetches; its parts come over several connections."""
AHEAD_PIECE = 4 * 1024 * 1024
"""Bytes of one request ahead of a reader while a caching proxy has to fetch what it is asked for: it does so slice by
slice, a round trip each, and for several requests at the same time."""
LONGEST_PART = 1024 * 1024
"""Bytes of a read that are waited for before its reader is woken: what has come need not stay until all has."""

LOOKS_AT_ONCE, MOST_LOOKS = 3, 8
"""How often bytes are looked for again without a pause, and at all, while none come."""


class CachedFile(FileContent):
    """See the module. Made by the cache, one for an identity and version."""

    def __init__(self, owner: Owner[CachedFile], source: Source, size: int | None, seen: Seen) -> None:
        super().__init__(owner, source, size, seen)
        self.parts: Parts | None = None
        """What its format tells of it, for reading ahead."""

    # What is known without asking

    @property
    def is_idle(self) -> bool:
        """Whether nobody reads, fetches or saves."""
        return self.handles == 0 and all(item.is_kept for item in self.fetches)

    # Reading

    async def look(self, offset: int, size: int, likely: Sequence[Segment] = ()) -> Bytes:
        """Bytes from memory, disk or the server; does not yield to other tasks where they are at hand, nor at its end.

        ``likely`` are fetches to look at first: with many readers there are many others.
        """
        end = offset + size if self.size is None else min(offset + size, self.size)
        if end <= offset:
            return b""
        found = self.at_hand(offset, end, likely)
        if found:
            return found
        limit = self._owner.network.deadline
        with trio.move_on_after(limit):
            return await self._read_slowly(offset, end, likely)
        raise self._too_late()

    def at_hand(self, start: int, end: int, likely: Sequence[Segment] = ()) -> Bytes:
        """These bytes where all of them are in memory or on disk, else nothing; see :meth:`look`."""
        for item in itertools.chain(likely, self.fetches):
            if item.holds(start, end):
                return item.take(start, end)
        if self.blocks is not None and is_present(self.written, start, end) and self._loading(start) is None:
            return self._from_disk(start, end)
        return b""

    def want(self, extents: Iterable[Extent], *, background: bool) -> list[Segment]:
        """Start the fetches that are needed to have these extents; return the new ones."""
        started = []
        for extent in extents:
            for hole in merged(self._holes(self._sliced(extent)), MERGE_GAP):
                for piece in pieces(hole, self._longest_request(background)):
                    item = Segment(piece, self._owner.memory.buffers, background=background)
                    self.fetches.append(item)
                    DownloadTask(self._owner, self, item).begin()
                    started.append(item)
        return started

    def _longest_request(self, background: bool) -> int:
        """Bytes."""
        if not background:
            return DEMAND_PIECE
        return AHEAD_PIECE if self.link is not None and self.link.is_filling_proxy else LARGEST

    def load(self, extent: Extent) -> list[Segment]:
        """Start to read from disk into memory what is there of this extent; return what was started."""
        if self.blocks is None:
            return []
        in_memory = [item.reach for item in self.fetches]
        started = []
        for piece in without(without([extent], missing(self.written, extent)), in_memory):
            if piece.length >= direct_io.LEAST:
                item = Segment(piece, self._owner.memory.buffers, background=True, from_disk=True)
                self.fetches.append(item)
                DownloadTask(self._owner, self, item).begin(self.blocks)
                started.append(item)
        return started

    def cancel(self, item: Segment) -> None:
        """Stop a fetch that nobody waits for; what it has brought is kept."""
        if not item.done and item.readers == 0 and item.arrived < item.end:
            item.shorten(item.arrived)
            item.scope.cancel()

    async def ask(self) -> None:
        """Have the server say what it has: ask for the beginning, of a small file for all of it.

        Raises what a read raises; returns once the size is known, and the server has answered.
        """
        with trio.move_on_after(self._owner.network.deadline):
            for looks in itertools.count():
                await self._look_again(looks)
                beginning = Extent(0, BLOCK if self.size is None or self.size > SMALL else max(self.size, 1))
                coming = [item for item in self.fetches if item.covers(0)]
                item = (coming or self.want([beginning], background=False))[0]
                with self._reading([item]):
                    while not (item.done or self._has_answered(item)):
                        await item.news()
                    if self._has_answered(item):
                        return
                    _raise_failure(item)
        raise self._too_late()

    async def _look_again(self, looks: int) -> None:
        """Before looking again for what did not come, though nothing failed: its size was learned, or it was let go.

        A server whose answers contradict each other can do so for ever; it is asked ever slower, and not for ever.
        """
        if looks >= MOST_LOOKS:
            url = self.copies.url and shown(self.copies.url)
            raise errors.ServerFault(
                f"{url or self.source.name}: the answers of the server contradict each other.", url=url
            )
        await trio.sleep(0.0 if looks < LOOKS_AT_ONCE else 0.1 * 2 ** (looks - LOOKS_AT_ONCE))

    def _too_late(self) -> errors.AlyxfsError:
        """Why nothing was read in time: what the server did, or did not do, all the while."""
        limit = self._owner.network.deadline
        if self.trouble is not None:
            return self.trouble.again(f"{self.trouble} It was tried for {limit:g} s.")
        url = self.copies.url and shown(self.copies.url)
        return errors.DeadlineExceeded(f"{self.source.name} could not be read within {limit:g} s.", url=url)

    def _has_answered(self, item: Segment) -> bool:
        """Whether it is known what the server has, or at least that it has something."""
        return self.fingerprint is not None or (self.size is not None and item.arrived > item.start)

    async def _read_slowly(self, offset: int, end: int, likely: Sequence[Segment]) -> Bytes:
        generation = self.generation
        parts: list[Bytes] = []
        position = offset
        coming = [item for item in likely if item.covers(offset) and item.covers(end - 1)][:1]
        if not coming:
            self.want([self._demand(offset, end)], background=False)
            coming = [item for item in self.fetches if item.start < end and offset < item.end]
        looks = 0
        with self._reading(coming):
            while position < end:
                part = await self._next_part(position, end)
                self.refuse_if_outdated(generation)
                position += len(part)
                # What follows is waited for: only the last part may be a view.
                parts.append(part if position == end else bytes(part))
                looks = 0 if part else looks + 1
                if not part:
                    await self._look_again(looks)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _next_part(self, position: int, end: int) -> Bytes:
        """Some of the bytes from ``position`` on; empty where one has to look again."""
        buffered = next((item for item in self.fetches if item.holds(position, position + 1)), None)
        if buffered is not None:
            return buffered.take(position, end)
        item = self._loading(position)
        if item is None:
            if self.blocks is not None and (stop := present_until(self.written, position, end)) > position:
                return self._from_disk(position, stop)
            item = self._coming(position)
            if item is None:
                self.want([self._demand(position, end)], background=False)
                item = self._coming(position)
                if item is None:
                    return b""
        with self._reading([item]):
            while (place := min(end, position + LONGEST_PART, item.end)) > item.arrived and not item.done:
                await item.news(place)
        if item.holds(position, position + 1):
            return item.take(position, end)
        if position < item.saved_to and item.saved_in is self.blocks:
            return self._from_disk(position, min(end, item.saved_to))
        _raise_failure(item)
        return b""

    def _loading(self, position: int) -> Segment | None:
        """What brings this byte from disk into memory at the moment."""
        return next((one for one in self.fetches if one.from_disk and not one.done and one.covers(position)), None)

    def _coming(self, position: int) -> Segment | None:
        """What brings this byte from the server, or has saved it."""
        return next((one for one in self.fetches if one.covers(position)), None)

    def _from_disk(self, start: int, end: int) -> bytes:
        """Bytes that were written; empty where they are not there any more."""
        try:
            found = self.blocks.read(start, end - start) if self.blocks is not None else b""
        except OSError as error:
            log.info("reading the cache file of %s: %s", self.source.name, error)
            found = b""
        if len(found) == end - start:
            return found
        log.info("the cache file of %s is damaged and is made anew", self.source.name)
        self.damaged()
        return b""

    @contextmanager
    def _reading(self, items: list[Segment]) -> Iterator[None]:
        """Keep these fetches going; a reader that is called off stops what only it wanted."""
        for item in items:
            item.join()
        try:
            yield
        except BaseException:
            for item in items:
                item.leave()
                if not item.background:
                    self.cancel(item)
            raise
        for item in items:
            item.leave()

    def _demand(self, start: int, end: int) -> Extent:
        if self.size is None:
            return Extent(start // BLOCK * BLOCK, block_count(end) * BLOCK)
        if self.size <= SMALL:
            return Extent(0, self.size)
        return touched(start, end, self.size)

    def _sliced(self, extent: Extent) -> Extent:
        """The extent with what a caching proxy fetches together with it."""
        length = self._owner.network.slice_length
        if length == 1 or not extent.length:
            return extent
        end = -(-extent.end // length) * length
        end = end if self.size is None else max(min(end, self.size), extent.end)
        return Extent(extent.start // length * length, end)

    def _holes(self, extent: Extent) -> list[Extent]:
        """What of the extent is neither on disk nor under way."""
        if self.blocks is None:
            holes = [extent] if extent.length else []
        else:
            holes = missing(self.written, extent)
            for hole in holes:
                self._take_up(hole.start // BLOCK, block_count(hole.end))
            holes = missing(self.written, extent) if holes else holes
        if not holes:
            return holes
        near = [item for item in self.fetches if item.start < extent.end and extent.start < item.end]
        # The last block that a fetch has begun to write is not marked yet, and yet there.
        begun = [Extent(item.start, item.saved_to) for item in near if item.saved_to > item.start]
        return without(holes, [*begun, *(item.reach for item in near)])

    def _outdate(self, reason: errors.FileChanged) -> None:
        self.parts = None
        super()._outdate(reason)


def _raise_failure(item: Segment) -> None:
    if item.error is not None:
        raise item.error.again() from item.error
