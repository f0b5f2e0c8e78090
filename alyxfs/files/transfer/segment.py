"""One extent of a file on its way from the server: from the moment it is asked for until its bytes are let go."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import trio

from alyxfs.files.disk.block_file import PAGE, BlockFile
from alyxfs.files.extents import Extent
from alyxfs.files.memory.buffers import Buffered

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from alyxfs import errors
    from alyxfs.files.memory.buffers import Buffers, Bytes

KEPT_BEHIND = 1024 * 1024
"""Bytes before the furthest read that stay in memory: the kernel sends several reads at a time, in any order."""


class State(enum.Enum):
    """Of a segment, see there."""

    COMING = enum.auto()
    """Bytes come, or are waited for."""
    ENDED = enum.auto()
    """No byte will follow; what came is being saved."""
    KEPT = enum.auto()
    """What came stays in memory for a while, for readers that come soon."""
    RELEASED = enum.auto()
    """Nothing of it is in memory any more."""


class Segment:
    """The bytes ``start`` to ``end`` of a file, from the moment they are asked for.

    ::

        COMING ──finish──▶ ENDED ──keep──▶ KEPT
           │                 │              │
           └─────────────────┴──release─────┴──▶ RELEASED

    State: changed by the methods here alone, none of which but ``fill`` awaits, called by the one task that brings the
    bytes, by the one that saves them and by readers (``join``, ``leave``, ``take``).

    - Bytes from ``buffered_from`` to ``arrived`` are in memory, those from ``start`` to ``saved_to`` in the block file.
    - ``end`` only ever comes nearer, but for :meth:`restart`.
    - ``error`` is set once, by ``finish``, when the segment has failed for good.
    - Whether it may be saved (``unsavable``), and who is at work on its memory (``saving``, a socket), are no part of
      this: a segment may end, or be released, while a thread still writes.
    """

    def __init__(self, extent: Extent, buffers: Buffers, *, background: bool, from_disk: bool = False) -> None:
        self.start, self.end = extent
        self.saved_to = self.start
        self.saved_in: BlockFile | None = None
        """The block file that holds the bytes up to ``saved_to``."""
        self.read_to = self.start
        """Up to where somebody has read."""
        self.readers = 0
        """Readers that wait for bytes of this fetch."""
        self.background = background
        """Goes on without readers: read-ahead, and files that come whole."""
        self.from_disk = from_disk
        """The bytes come from the block file, not from the server."""
        self.error: errors.AlyxfsError | None = None
        self._state = State.COMING
        self.saving = False
        """A thread is writing the first parts to the block file, or reading the next ones from it."""
        self.unsavable = from_disk
        """Need not be saved; or the disk refused a part, and what follows stays in memory."""
        self.whole = False
        """The server sends the file from its beginning, as it knows no ranges."""
        self.missing: Extent | None = None
        """What was asked for and is not coming, as nobody read what came before it."""
        self.scope = trio.CancelScope()
        self._filling = False
        """A socket is being read into the buffers."""
        self._buffers = buffers
        self._buffered = Buffered(buffers, self.start, extent.length)
        self._news = trio.lowlevel.ParkingLot()
        self._awaited = self.end
        """The nearest place up to which somebody waits for the bytes: what comes before it wakes nobody."""
        self._wanted = trio.lowlevel.ParkingLot()
        self._counted_unread = self._counted_unsaved = 0
        """Bytes for which this fetch is in ``Buffers.unread`` and ``Buffers.unsaved``."""

    @property
    def done(self) -> bool:
        """Whether no byte will follow."""
        return self._state is not State.COMING

    @property
    def is_kept(self) -> bool:
        """Whether it has ended, and its bytes stay in memory for a while."""
        return self._state is State.KEPT

    @property
    def is_released(self) -> bool:
        """Whether its memory was let go."""
        return self._state is State.RELEASED

    @property
    def arrived(self) -> int:
        """The end of the bytes that came."""
        return self._buffered.end

    @property
    def buffered_from(self) -> int:
        """The first byte that is in memory."""
        return self._buffered.start

    @property
    def buffered(self) -> int:
        """Bytes in memory."""
        return self._buffered.end - self._buffered.start

    @property
    def unsaved_length(self) -> int:
        """Bytes in memory that the block file still lacks and will get."""
        return 0 if self.unsavable else self._buffered.end - max(self._buffered.start, self.saved_to)

    @property
    def is_saved(self) -> bool:
        """Whether all that came is in the block file."""
        return self.from_disk or self.saved_to >= self._buffered.end

    @property
    def is_unread(self) -> bool:
        """Whether it has or will have bytes in memory that nobody has read yet."""
        return not self.done or self.buffered_from < self.arrived > self.read_to

    @property
    def unread_length(self) -> int:
        """Bytes in memory, or on their way there, that nobody has read yet."""
        return self.end - max(self.buffered_from, self.read_to) if self.is_unread else 0

    @property
    def unread_arrived(self) -> int:
        """Bytes in memory that nobody has read yet."""
        return max(0, self._buffered.end - max(self._buffered.start, self.read_to))

    @property
    def reach(self) -> Extent:
        """The bytes that are in memory or will come there."""
        return Extent(self.buffered_from, self.arrived if self.done else self.end)

    def covers(self, position: int) -> bool:
        """Whether the byte is in memory, will come there, or is in the block file through this fetch."""
        if position < self.saved_to:
            return position >= self.start
        return self.buffered_from <= position < (self.arrived if self.done else self.end)

    def holds(self, start: int, end: int) -> bool:
        """Whether all of these bytes are in memory."""
        return self._buffered.start <= start and end <= self._buffered.end

    def restart(self, end: int) -> None:
        """Begin at the beginning of the file, before the first byte came: the server sends it whole."""
        self.start = self.saved_to = self.read_to = 0
        self.end = end
        self._buffered = Buffered(self._buffers, 0, end)
        self.whole = self.background = True

    def append(self, part: bytes) -> None:
        """Take the next bytes and wake who waits for them."""
        if self.is_released:
            return
        self._buffered.append(part)
        self._tell_arrived()

    async def fill(self, read_into: Callable[[memoryview], Awaitable[int]], most: int) -> int:
        """Have the next bytes put into memory, and wake who waits for them; return how many came."""
        self._filling = True
        try:
            count = await read_into(self._buffered.room(1)[0][:most])
        finally:
            self._filling = False
        if not self.done:
            self.filled(count)
        return count

    def room(self, most: int) -> list[memoryview]:
        """Memory for the next bytes, of at least so many."""
        return self._buffered.room(most)

    def filled(self, count: int) -> None:
        """So many bytes were put into the memory that :meth:`room` gave: wake who waits for them.

        That memory may have been let go meanwhile: then they are lost.
        """
        if self.is_released:
            return
        self._buffered.grow(count)
        self._tell_arrived()

    def _tell_arrived(self) -> None:
        self._count()
        if self.arrived >= self._awaited:
            self._awaited = self.end
            self._news.unpark_all()

    def take(self, position: int, end: int) -> Bytes:
        """The bytes in memory from ``position`` on, at most to ``end``; ``position`` must be held and have arrived."""
        end = min(end, self._buffered.end)
        self.read_to = max(self.read_to, end)
        self._wanted.unpark_all()
        found = self._buffered.look(position, end)
        self._drop_read()
        self._count()
        return found

    def _drop_read(self) -> None:
        """Let go of what lies behind the furthest read, and can be had from disk."""
        done_with = self.read_to - KEPT_BEHIND
        self._buffered.drop(done_with if self.is_saved else min(done_with, self.saved_to))

    def passed(self, end: int) -> None:
        """Nobody needs what comes before this place from memory."""
        self.read_to = max(self.read_to, min(end, self.arrived))
        self._wanted.unpark_all()
        self._count()

    def unsaved(self) -> tuple[list[memoryview], int]:
        """What is not in the block file yet, from ``saved_to`` on, and where it ends: at a page, until all came."""
        end = self.arrived if self.done else self.arrived // PAGE * PAGE
        return self._buffered.views(self.saved_to, end), max(self.saved_to, end)

    def saved(self, end: int, blocks: BlockFile) -> None:
        """The block file has the bytes up to ``end``."""
        self.saved_to = end
        self.saved_in = blocks
        self._drop_read()
        self._count()

    def never_save(self) -> None:
        """The block file does not take it: what it has of it stays there, the rest only in memory."""
        self.unsavable = True
        self._count()

    def lose_saved(self) -> None:
        """The block file is damaged: what was saved there has to come again, and the rest stays in memory alone."""
        self.saved_to = self.start
        self.never_save()

    def release_read(self, bytes_kept: int) -> None:
        """Let the oldest bytes go, about all but the last ``bytes_kept``, which never will be saved."""
        if not self.saving:
            self._buffered.drop(self.arrived - bytes_kept)
        if self.buffered_from > self.saved_to:
            self.unsavable = True
        self._count()

    def release_saved(self, bytes_kept: int) -> None:
        """Let the oldest bytes go that are saved, about all but the last ``bytes_kept``."""
        self._buffered.drop(min(self.saved_to, self.arrived - bytes_kept))
        self._count()

    def release(self) -> None:
        """Let go of all memory: who looks here finds nothing any more."""
        is_unused = self.done and not self.saving and not self._filling
        self._state = State.RELEASED
        self._buffered.clear(is_unused=is_unused)
        self._count()
        self._news.unpark_all()

    def disregard(self) -> None:
        """Nobody will read what is left of it."""
        self.read_to = self.end
        self._count()

    def cut(self) -> None:
        """Leave the rest at the server."""
        self.missing = Extent(self.arrived, self.end)
        self.shorten(self.arrived)

    def shorten(self, end: int) -> None:
        """Nothing behind this place is wanted, or there."""
        self.end = min(self.end, end)

    def finish(self, error: errors.AlyxfsError | None = None) -> None:
        """No byte will follow; with an error, what is missing will not come."""
        self.error = error
        if self._state is State.COMING:
            self._state = State.ENDED
        self._news.unpark_all()

    def keep(self) -> None:
        """Stay in memory for a while, having ended."""
        if self._state is State.ENDED:
            self._state = State.KEPT

    def _count(self) -> None:
        unread, unsaved = self.unread_arrived, self.unsaved_length
        self._buffers.unread += unread - self._counted_unread
        self._buffers.unsaved += unsaved - self._counted_unsaved
        self._counted_unread, self._counted_unsaved = unread, unsaved

    def join(self) -> None:
        """One reader more waits for bytes of this fetch."""
        self.readers += 1
        self._wanted.unpark_all()

    def leave(self) -> None:
        """One reader less."""
        self.readers -= 1

    async def wanted(self) -> None:
        """Sleep until somebody reads, or waits for more."""
        await self._wanted.park()

    async def news(self, place: int = 0) -> None:
        """Sleep until the bytes up to ``place`` have arrived, or the fetch ends; or, for others, a little less long."""
        self._awaited = min(self._awaited, place)
        await self._news.park()
