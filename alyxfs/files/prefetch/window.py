"""What one reader will want next, guessed from what it read: pure decisions, without file or network.

- The first read of a run is served exactly: a program that looks at a header shall cost a header. But one that has told
  the kernel that it reads in order (cat, cp) is seen by its first read, and believed.
- Who goes on from the beginning of a file probably reads all of it: a small file comes whole at the second read, a
  larger one in few long pieces, each three times what was read before. What nobody wants any more is ended on its way.
- Who goes on from another place gets pieces twice as long as the run, forward or backward.
- The next piece is asked for while what the link brings in two round trips is still to be read.
- Reads at a fixed distance (rows of an array) get the places they will come to, and no more.
- Where the format tells of rows or chunks, these are read ahead to their end first, and then as they come.
- Anything else gets nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from alyxfs.files.extents import BLOCK, Extent, block_count, pieces, touched
from alyxfs.files.prefetch.strides import Strides

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alyxfs.files.prefetch.formats import Parts

KIB = 1024
MIB = 1024 * KIB

ESTABLISHED = 384 * KIB
"""Bytes that were read in a row before anything is read ahead: mmap asks for 128 KiB around a single fault, and the
kernel by itself reads 256 KiB in a row where a program wanted but a header."""
ESTABLISHED_READS = 4
"""So many reads in a row are a run however small they are."""
DECLARED = 256 * KIB
"""Bytes of a first read, at the beginning of a file, of who has told the kernel that it reads in order: it then reads
ahead twice as far as otherwise (posix_fadvise(2), POSIX_FADV_SEQUENTIAL; 128 KiB is what it does by itself)."""
SLACK = 512 * KIB
"""Bytes that a read of an established run may lie off: the kernel sends several at a time, in any order."""
WHOLE = 4 * MIB
"""Bytes: files up to this size are fetched to their end at the second read."""
OPENING = 8 * MIB
"""Bytes of the first piece from the beginning of a larger file."""
GROWTH, GROWTH_ELSEWHERE = 3, 2
"""How many times what was read in a row the next piece is long: from the beginning of a file, and from other places."""
LONGEST_PIECE = 16 * MIB
"""Bytes of one request, but for a rest of little more than half as much at the end of the file."""
LEAST_LEAD, MOST_LEAD = MIB, 8 * MIB
"""Bytes left to be read at which the next piece is asked for, however near the server is: a quarter of the run."""
ROUND = MIB
"""Bytes at whose multiples long pieces end, so that different readers ask for the same ones."""
MAXIMUM_WINDOW = 32 * MIB
SHORTEST_BACKWARD, LONGEST_BACKWARD = 256 * KIB, 8 * MIB
"""Bytes of one request of who reads backward: of each the end is wanted first, and comes last."""
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
        self._began_at = 0
        """Where the run did."""
        self._reads = 0
        self._direction = 0
        self._asked = 0
        """Up to where the window has been asked for, seen in the direction of the run."""
        self._last_piece = 0
        """Bytes of the last piece of this run."""
        self._parts: Parts | None = None
        self._strides = Strides()

    def learn(self, parts: Parts | None) -> None:
        """Take note of the parts that the file consists of, as soon as they are known."""
        if parts is not self._parts:
            self._parts = parts
            self._strides = Strides(parts)

    def observe(self, start: int, end: int, size: int, bytes_on_way: int = 0) -> list[Extent]:
        """Take note of a read; return what to have ahead of the next ones, in the order in which it will be wanted.

        ``bytes_on_way``: what the link brings in two round trips, as far as that is known. What is not fetched for want
        of room is offered again: :meth:`asked` tells what was.
        """
        direction = self._follows(start, end)
        if not direction:
            self._begin(start, end)
            if start == 0 and end >= DECLARED:
                self._direction, self._asked = 1, 0
                return self._ahead(start, size, bytes_on_way)
            return self._strides.ahead(size)
        self._continue(direction, start, end)
        stop = self._strides.end_of_visit(size) if direction > 0 else None
        if stop is not None and (stop - end <= REST or (self._parts is not None and self._parts.are_whole)):
            begin = block_count(max(self._asked, self._end)) * BLOCK
            return pieces(touched(begin, stop, size), REST_PIECE) if begin < stop else []
        is_small = stop is None and size <= WHOLE
        if self._run < ESTABLISHED and self._reads < ESTABLISHED_READS and not is_small:
            return []
        stop = size if stop is None else stop
        return self._ahead(start, stop, bytes_on_way) if direction > 0 else self._ahead_backward(size)

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
        self._began_at, self._last_piece = start, 0

    def _continue(self, direction: int, start: int, end: int) -> None:
        if self._direction == 0:
            self._asked = start if direction > 0 else end
        self._direction = direction
        self._strides.extend(end)
        self._run += end - start
        self._reads += 1
        if direction > 0:
            self._start, self._end = start, max(self._end, end)
        else:
            self._start, self._end = min(self._start, start), end

    def _ahead(self, start: int, stop: int, bytes_on_way: int) -> list[Extent]:
        """The next piece, unless enough is on its way; the first one begins with the read itself.

        A program that stops now has caused less to be fetched in vain than the lead, and once and a half of ``length``.
        """
        if self._began_at == 0:
            most_lead = min(max(OPENING, GROWTH * self._run, bytes_on_way), LONGEST_PIECE)
            length = min(max(most_lead, 2 * self._last_piece), LONGEST_PIECE)
        else:
            length = min(GROWTH_ELSEWHERE * self._run, LONGEST_PIECE)
            most_lead = length // 2
        lead = min(max(LEAST_LEAD, min(self._run // 4, MOST_LEAD), bytes_on_way), most_lead)
        begin = max(self._asked, start)
        if begin - self._end >= lead or begin >= stop:
            return []
        end = begin + length
        if stop - end <= length // 2 + ROUND:
            end = stop
        elif length > ROUND:
            end = end // ROUND * ROUND
        self._last_piece = length
        return [touched(begin, end, stop)]

    def _ahead_backward(self, size: int) -> list[Extent]:
        window = min(GROWTH_ELSEWHERE * max(self._run, SHORTEST_BACKWARD // 2), MAXIMUM_WINDOW)
        piece = min(max(_power_of_two(window // 4), SHORTEST_BACKWARD), LONGEST_BACKWARD)
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
