"""One data file with all its readers: what is on disk, what is under way (see delivery), and who waits for it.

Everything here changes only between two awaits of the event loop's tasks. The threads write bytes and marks; they
never touch this state.
"""

from __future__ import annotations

import itertools
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import trio

from alyxfs import errors
from alyxfs.files import answers, blockfile
from alyxfs.files.blockfile import Fingerprint, Verdict
from alyxfs.files.blocks import (
    BLOCK,
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
from alyxfs.files.delivery import Delivery
from alyxfs.files.fetch import Fetch
from alyxfs.net import shown

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterable, Iterator, Sequence

    from alyxfs.files.formats import Parts
    from alyxfs.files.held import Bytes
    from alyxfs.files.memory import Memory
    from alyxfs.files.source import Source
    from alyxfs.net import Network

log = logging.getLogger(__name__)

SMALL = 64 * 1024
"""Bytes: files up to this size are fetched whole, as one request costs more than they."""
MERGE_GAP = 2 * BLOCK
"""Bytes that may lie between two missing extents for one request to fetch both."""
DEMAND_PIECE = 2 * 1024 * 1024
"""Bytes of a long read that one request fetches; its parts come over several connections."""


class Household(Protocol):
    """What a file, and who delivers its bytes, need of the cache it belongs to."""

    network: Network
    nursery: trio.Nursery
    memory: Memory

    def path(self, source: Source) -> pathlib.Path:
        """The cache file's place."""

    def may_write(self) -> bool:
        """Whether the disk takes more."""

    def disk_refused(self, error: OSError) -> None:
        """The disk is full or broken."""

    def wrote(self, count: int) -> None:
        """So many bytes went to the disk."""

    def to_record(self, file: CachedFile) -> None:
        """The file has blocks on disk that its map does not mark yet."""

    def learned(self, file: CachedFile) -> None:
        """The file server told the true size, or the content changed."""

    def completed(self, file: CachedFile) -> None:
        """Every block is on disk."""


class CachedFile:
    """See the module. Made by the cache, one for an identity and version."""

    def __init__(self, household: Household, source: Source, size: int | None) -> None:
        self.source = source
        self.size = size
        self.fingerprint: Fingerprint | None = None
        self.generation = 0
        """Grows when the content on the server changes: readers of the one before get an error once."""
        self.blocks: blockfile.BlockFile | None = None
        self.written = bytearray(block_count(size or 0))
        """One byte a block: 1 where the block can be read from ``blocks`` (on disk, or on its way there)."""
        self.fetches: list[Fetch] = []
        """Under way, and those whose bytes are only in memory."""
        self.unrecorded: list[tuple[int, int]] = []
        """Runs of blocks that are written but not marked in the map on disk."""
        self.handles = 0
        self.parts: Parts | None = None
        """What its format tells of it, for reading ahead."""
        self._household = household
        self._making = trio.Lock()
        self._recording = False
        self._looked_for = False
        self._place_taken = False
        """A cache file of other content is in use by another process: this one goes without."""
        self.next_verdict = Verdict.UNKNOWN
        """What a new block file says of its content."""

    # What is known without asking

    @property
    def absent(self) -> int:
        """Blocks that are not on disk."""
        return self.written.count(0)

    @property
    def is_idle(self) -> bool:
        """Whether nobody reads, fetches or saves."""
        return self.handles == 0 and all(item.is_kept for item in self.fetches)

    @property
    def is_recorded(self) -> bool:
        """Whether the cache file says itself all that was written and used."""
        return not self.unrecorded and not self._recording and not self.is_used

    @property
    def is_used(self) -> bool:
        """Whether parts were used that the cache file does not know of."""
        return self.blocks is not None and self.blocks.has_uses

    async def open_blocks(self) -> None:
        """Take up what the cache directory holds of this file, the first time."""
        async with self._making:
            if self._looked_for:
                return
            self._looked_for = True
            try:
                found = await trio.to_thread.run_sync(
                    blockfile.open_existing, self._household.path(self.source), self.source.version
                )
            except OSError as error:
                self._household.disk_refused(error)
                return
            if found is not None:
                self._adopt(found)
        if found is not None and not self.absent:
            self._household.completed(self)

    # Reading

    async def look(self, offset: int, size: int, likely: Sequence[Fetch] = ()) -> Bytes:
        """Bytes from memory, disk or the server; does not yield to other tasks where they are at hand, nor at its end.

        ``likely`` are fetches to look at first: with many readers there are many others.
        """
        end = offset + size if self.size is None else min(offset + size, self.size)
        if end <= offset:
            return b""
        found = self.at_hand(offset, end, likely)
        if found:
            return found
        limit = self._household.network.deadline
        with trio.move_on_after(limit):
            return await self._read_slowly(offset, end, likely)
        url = self.source.url and shown(self.source.url)
        raise errors.DeadlineExceeded(f"{self.source.name} could not be read within {limit:g} s.", url=url)

    def at_hand(self, start: int, end: int, likely: Sequence[Fetch] = ()) -> Bytes:
        """These bytes where all of them are in memory or on disk, else nothing; see :meth:`look`."""
        for item in itertools.chain(likely, self.fetches):
            if item.holds(start, end):
                return item.take(start, end)
        if self.blocks is not None and is_present(self.written, start, end) and self._loading(start) is None:
            return self._from_disk(start, end)
        return b""

    def want(self, extents: Iterable[Extent], *, background: bool) -> list[Fetch]:
        """Start the fetches that are needed to have these extents; return the new ones."""
        started = []
        for extent in extents:
            for hole in merged(self._holes(extent), MERGE_GAP):
                for piece in pieces(hole, DEMAND_PIECE) if not background else [hole]:
                    item = Fetch(piece, self._household.memory.buffers, background=background)
                    self.fetches.append(item)
                    self._household.nursery.start_soon(Delivery(self._household, self, item).from_server)
                    started.append(item)
        return started

    def load(self, extent: Extent) -> list[Fetch]:
        """Start to read from disk into memory what is there of this extent; return what was started."""
        if self.blocks is None:
            return []
        in_memory = [item.reach for item in self.fetches]
        started = []
        for piece in without(without([extent], missing(self.written, extent)), in_memory):
            if piece.length >= blockfile.DIRECT_LEAST:
                item = Fetch(piece, self._household.memory.buffers, background=True, from_disk=True)
                self.fetches.append(item)
                self._household.nursery.start_soon(Delivery(self._household, self, item).from_disk, self.blocks)
                started.append(item)
        return started

    def abandon(self, item: Fetch) -> None:
        """Stop a fetch that nobody waits for; what it has brought is kept."""
        if not item.done and item.readers == 0 and item.arrived < item.end:
            item.end = item.arrived
            item.scope.cancel()

    def drop(self, item: Fetch) -> None:
        """Let go of a fetch that has ended."""
        if item in self.fetches:
            self.fetches.remove(item)
        item.release()

    async def learn_size(self) -> None:
        """Ask the server for the beginning of the file, and with it for its size."""
        with trio.move_on_after(self._household.network.deadline):
            while self.size is None:
                first = [*self.fetches, *self.want([Extent(0, BLOCK)], background=False)][:1]
                with self._reading(first):
                    while self.size is None and not first[0].done:
                        await first[0].news()
                    _raise_failure(first[0])
                await trio.lowlevel.checkpoint()
            return
        raise errors.DeadlineExceeded(f"The size of {self.source.name} could not be learned in time.")

    async def _read_slowly(self, offset: int, end: int, likely: Sequence[Fetch]) -> Bytes:
        generation = self.generation
        parts: list[Bytes] = []
        position = offset
        coming = [item for item in likely if item.covers(offset) and item.covers(end - 1)][:1]
        if not coming:
            self.want([self._demand(offset, end)], background=False)
            coming = [item for item in self.fetches if item.start < end and offset < item.end]
        with self._reading(coming):
            while position < end:
                part = await self._next_part(position, end)
                if self.generation != generation:
                    raise answers.changed(self.source.url or self.source.name)
                if self.size is not None and end > self.size:
                    end = max(position, self.size)
                    part = part[: end - position]
                position += len(part)
                # What follows is waited for: only the last part may be a view.
                parts.append(part if position == end else bytes(part))
                if not part:
                    await trio.lowlevel.checkpoint()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _next_part(self, position: int, end: int) -> Bytes:
        """Some of the bytes from ``position`` on; empty where one has to look again."""
        held = next((item for item in self.fetches if item.holds(position, position + 1)), None)
        if held is not None:
            return held.take(position, end)
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
            while item.arrived <= position and not item.done:
                await item.news()
        if item.holds(position, position + 1):
            return item.take(position, end)
        if position < item.saved_to and item.saved_in is self.blocks:
            return self._from_disk(position, min(end, item.saved_to))
        _raise_failure(item)
        return b""

    def _loading(self, position: int) -> Fetch | None:
        """What brings this byte from disk into memory at the moment."""
        return next((one for one in self.fetches if one.from_disk and not one.done and one.covers(position)), None)

    def _coming(self, position: int) -> Fetch | None:
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
    def _reading(self, items: list[Fetch]) -> Iterator[None]:
        """Keep these fetches going; a reader that is called off stops what only it wanted."""
        for item in items:
            item.join()
        try:
            yield
        except BaseException:
            for item in items:
                item.readers -= 1
                if not item.background:
                    self.abandon(item)
            raise
        for item in items:
            item.readers -= 1

    def _demand(self, start: int, end: int) -> Extent:
        if self.size is None:
            return Extent(start // BLOCK * BLOCK, block_count(end) * BLOCK)
        if self.size <= SMALL:
            return Extent(0, self.size)
        return touched(start, end, self.size)

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

    # Recording

    def mark(self, item: Fetch, before: int) -> None:
        """The fetch is in the block file up to ``saved_to``: mark the blocks that are whole by that."""
        first = max(block_count(item.start), before // BLOCK)
        last = block_count(item.saved_to) if item.saved_to == self.size else item.saved_to // BLOCK
        if last <= first:
            return
        self.written[first:last] = b"\x01" * (last - first)
        self.unrecorded.append((first, last))
        self._household.to_record(self)

    async def record(self) -> None:
        """Note in the cache file what has been written and used since the last time."""
        runs, self.unrecorded = self.unrecorded, []
        blocks = self.blocks
        if blocks is None or not (runs or self.is_used):
            return
        self._recording = True
        try:
            await blocks.in_thread(blocks.record, runs)
        except OSError as error:
            self._household.disk_refused(error)
            return
        finally:
            self._recording = False
        if runs and blocks is self.blocks and not self.absent:
            self._household.completed(self)

    # Content

    def pin(self, found: Fingerprint) -> None:
        """An answer is of this content: from the first one on all must be. Raises FileChanged."""
        if self.fingerprint is None:
            self.fingerprint = found
            self.resize(found.size)
        elif not answers.is_same(found, self.fingerprint):
            raise answers.changed(self.source.url or self.source.name)

    async def make_blocks(self) -> None:
        """Make the cache file, once it is known of which content; without one the file is served from memory."""
        async with self._making:
            fingerprint = self.fingerprint
            if self.blocks is not None or self._place_taken or fingerprint is None or not self._household.may_write():
                return
            try:
                made = await trio.to_thread.run_sync(
                    blockfile.create,
                    self._household.path(self.source),
                    self.source.identity,
                    self.source.version,
                    fingerprint,
                    self.next_verdict,
                )
            except OSError as error:
                self._household.disk_refused(error)
                return
            if made is None:
                self._place_taken = True
            elif fingerprint is self.fingerprint:
                self._adopt(made)
            else:
                made.close()

    def _adopt(self, found: blockfile.BlockFile) -> None:
        self.blocks = found
        self.fingerprint = found.fingerprint
        self.resize(found.fingerprint.size)
        self._take_up(0, len(self.written))

    def _take_up(self, first: int, last: int) -> None:
        """Learn from the map on disk which of these blocks, absent so far, another process or mount has fetched."""
        try:
            marks = self.blocks.recorded(first, last) if self.blocks is not None else b""
        except OSError as error:
            log.info("reading the map of %s: %s", self.source.name, error)
            marks = b""
        self.written[first:last] = marks.ljust(last - first, b"\0")

    def resize(self, size: int) -> None:
        """The true size is another than was thought: fetches end there, and no block counts as written yet."""
        if size == self.size:
            return
        self.size = size
        self.written = bytearray(block_count(size))
        for item in self.fetches:
            if item.arrived <= size:
                item.end = min(item.end, size)
        self._household.learned(self)

    def start_anew(self) -> None:
        """The content on the server is another one: forget all there is of the old one."""
        self.generation += 1
        self._drop_blocks()
        self.fingerprint = None
        self.parts = None
        self._place_taken = False
        for item in self.fetches:
            if not item.done:
                item.finish(answers.changed(self.source.url or self.source.name))
                item.scope.cancel()
            item.release()
        self.fetches.clear()
        self._household.learned(self)

    def damaged(self) -> None:
        """Somebody cut the cache file, or the disk cannot read it: what it held is fetched again."""
        self._drop_blocks()
        for item in self.fetches:
            item.saved_to = item.start
            item.never_save()

    def begin_second_try(self) -> None:
        """Forget the content, which is not what the database says, so that it is fetched again."""
        self.next_verdict = Verdict.SECOND_TRY
        self.damaged()
        for item in [one for one in self.fetches if one.is_kept]:
            self.drop(item)

    def _drop_blocks(self) -> None:
        if self.blocks is not None:
            self.blocks.remove()
            self.blocks.close()
        self.blocks = None
        self.unrecorded.clear()
        self.written = bytearray(block_count(self.size or 0))

    def close(self) -> None:
        """Let go of the cache file."""
        if self.blocks is not None:
            self.blocks.close()
        self.blocks = None
        for item in self.fetches:
            item.release()


def _raise_failure(item: Fetch) -> Any:
    """Each reader gets an exception of its own: a shared one would collect all their tracebacks."""
    if item.error is not None:
        raise type(item.error)(str(item.error), status=item.error.status, url=item.error.url) from item.error
