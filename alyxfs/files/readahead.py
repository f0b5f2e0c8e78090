"""What one reader will want next, guessed from what it read: pure decisions, without file or network.

- The first read of a run is served exactly: a program that looks at a header shall cost a header.
- Reads that follow each other, forward or backward, open a window twice as long as the run, up to MAXIMUM_WINDOW.
- Reads at a fixed distance (rows of an array) get the places they will come to, and no more.
- Where the format tells of rows or chunks, these are read ahead to their end first, and then as they come.
- Anything else gets nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from alyxfs.files.blocks import BLOCK, Extent, block_count, pieces, touched
from alyxfs.files.strides import Strides

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alyxfs.files.formats import Parts

KIB = 1024
MIB = 1024 * KIB

ESTABLISHED = 384 * KIB
"""Bytes that were read in a row before anything is read ahead: mmap asks for 128 KiB around a single fault, and the
kernel by itself reads 256 KiB in a row where a program wanted but a header."""
ESTABLISHED_READS = 4
"""Or so many reads in a row, where they are small."""
SLACK = 512 * KIB
"""Bytes that a read of an established run may lie off: the kernel sends several at a time, in any order."""
MAXIMUM_WINDOW = 32 * MIB
SHORTEST_PIECE = 256 * KIB
LONGEST_PIECE = 8 * MIB
"""Bytes of one request: several of them are in flight, and each is long enough to make its round trip cheap."""
REST = 512 * KIB
"""Bytes up to the foreseen end of what is being read, which are fetched at the second read of it."""
REST_PIECE = 2 * MIB
"""Bytes of one request for these."""


class ReadAhead:
    """The pattern of one reader."""

    def __init__(self) -> None:
        self._start = 0
        self._end = -1
        self._run = 0
        self._reads = 0
        self._direction = 0
        self._asked = 0
        """Up to where the window has been asked for, seen in the direction of the run."""
        self._parts: Parts | None = None
        self._strides = Strides()

    def learn(self, parts: Parts | None) -> None:
        """Take note of the parts that the file consists of, as soon as they are known."""
        if parts is not self._parts:
            self._parts = parts
            self._strides = Strides(parts)

    def observe(self, start: int, end: int, size: int) -> list[Extent]:
        """Take note of a read; return what to have ahead of the next ones, in the order in which it will be wanted.

        What is not fetched for want of room is offered again: :meth:`asked` tells what was.
        """
        direction = self._follows(start, end)
        if not direction:
            self._begin(start, end)
            return self._strides.ahead(size)
        self._continue(direction, start, end)
        stop = self._strides.end_of_visit(size) if direction > 0 else None
        if stop is not None and (stop - end <= REST or (self._parts is not None and self._parts.are_whole)):
            begin = block_count(max(self._asked, self._end)) * BLOCK
            return pieces(touched(begin, stop, size), REST_PIECE) if begin < stop else []
        if self._run < ESTABLISHED and self._reads < ESTABLISHED_READS:
            return []
        return self._window(size if stop is None else stop)

    def asked(self, extent: Extent) -> None:
        """Note that this extent of the last answer is under way."""
        if self._direction > 0:
            self._asked = extent.end
        elif self._direction < 0:
            self._asked = extent.start
        else:
            self._strides.asked()

    def lost(self, extent: Extent) -> None:
        """Note that this extent, under way until now, is not coming: it is offered again."""
        if self._direction > 0:
            self._asked = min(self._asked, extent.start)
        elif self._direction < 0:
            self._asked = max(self._asked, extent.end)

    @property
    def is_running(self) -> bool:
        """Whether the last read followed the one before, or came at the same distance."""
        return self._direction != 0 or self._strides.is_established

    @property
    def is_backward(self) -> bool:
        """Whether the run goes towards the beginning of the file."""
        return self._direction < 0

    def _follows(self, start: int, end: int) -> int:
        """1 if the read continues the run forward, -1 backward, 0 if it does neither."""
        if self._end < 0:
            return 0
        slack = SLACK if self._run >= ESTABLISHED and not self._strides.begins_at_another_part(start) else 0
        if self._direction >= 0 and abs(start - self._end) <= slack:
            return 1
        if self._direction <= 0 and abs(end - self._start) <= slack:
            return -1
        return 0

    def _begin(self, start: int, end: int) -> None:
        self._strides.begin(start, end)
        self._start, self._end = start, end
        self._run, self._reads, self._direction = end - start, 1, 0

    def _continue(self, direction: int, start: int, end: int) -> None:
        if self._direction == 0:
            self._asked = end if direction > 0 else start
        self._direction = direction
        self._strides.extend(end)
        self._run += end - start
        self._reads += 1
        if direction > 0:
            self._start, self._end = start, max(self._end, end)
        else:
            self._start, self._end = min(self._start, start), end

    def _window(self, size: int) -> list[Extent]:
        window = min(2 * max(self._run, SHORTEST_PIECE // 2), MAXIMUM_WINDOW)
        piece = min(max(_power_of_two(window // 4), SHORTEST_PIECE), LONGEST_PIECE)
        if self._direction > 0:
            begin = max(self._asked, self._end)
            stop = (self._end + window) // piece * piece
            if self._end + window >= size:
                stop = size
            return pieces(touched(begin, stop, size), piece) if begin < stop else []
        begin = max(0, -(-(self._start - window) // piece) * piece)
        stop = min(self._asked, self._start)
        return pieces(touched(begin, stop, size), piece)[::-1] if begin < stop else []


def first_piece(extents: Sequence[Extent], most: int, *, backward: bool) -> Extent:
    """Give what is wanted first of extents that follow each other, of at most so many bytes (a multiple of a block)."""
    start, end = extents[0]
    for following in extents[1:]:
        if backward and following.end == start:
            start = following.start
        elif not backward and following.start == end:
            end = following.end
        else:
            break
    if backward:
        return Extent(max(start, -(-end // BLOCK) * BLOCK - most), end)
    return Extent(start, min(end, start + most))


def _power_of_two(number: int) -> int:
    """The largest power of two up to the number, and at least a block."""
    return max(BLOCK, 1 << (number.bit_length() - 1)) if number > 0 else BLOCK
