"""Visits at a fixed distance: rows of an array. Pure decisions, without file or network.

A visit is a row of reads that follow each other, as the kernel cuts a long read into pieces of 128 KiB, and a page
fault of a memory map reads 128 KiB around it. The kernel also rounds the beginning of a read to pages, so that places
at one distance come to it at distances that differ by a page.
"""

from __future__ import annotations

from alyxfs.files.blocks import BLOCK, Extent, block_count, touched

PAGE = 4096
"""Bytes to which the kernel rounds where a read begins: distances that differ by it may be the same."""
ESTABLISHED_STEPS = 2
"""So often a distance comes before the next places are fetched."""
FEW = 8
"""Visits ahead to which their number grows with each that came true; from there on it is half as many as came true."""
MOST = 64
MOST_BYTES = 16 * 1024 * 1024
"""Bytes of all visits ahead together, if they are more than one."""
LONGEST = 8 * 1024 * 1024
"""Bytes of a visit that are fetched ahead; a longer one is a sequential read of its own."""


class Strides:
    """The visits of one reader. They are numbered from 0, the first one at the present distance."""

    def __init__(self) -> None:
        self._first = self._start = self._end = -1
        """Where the first visit at this distance and the present one begin, and how far that one has come."""
        self._number = 0
        """Of the present visit, hence the steps that were alike."""
        self._shortest = self._longest = 0
        """Bytes of these steps, negative towards the beginning of the file."""
        self._length_before = self._expected = 0
        """Bytes of the visit before, and what the present one will probably have."""
        self._asked = 0
        """Number of the last visit that has been asked for."""

    @property
    def is_established(self) -> bool:
        """Whether the next places are known."""
        return self._number >= ESTABLISHED_STEPS and min(abs(self._shortest), abs(self._longest)) >= self._expected

    def begin(self, start: int, end: int) -> None:
        """Note the first read of a visit."""
        if self._start >= 0:
            self._step(start)
        self._start, self._end = start, end

    def extend(self, end: int) -> None:
        """Note a further read of the visit."""
        self._end = max(self._end, end)

    def ahead(self, size: int) -> list[Extent]:
        """Give the present visit, unless it has been asked for, and the next ones, in order; see :meth:`asked`."""
        if not self.is_established:
            return []
        self._asked = max(self._asked, self._number - 1)
        count = min(max(min(self._number + 1, FEW), self._number // 2), MOST, max(1, MOST_BYTES // self._expected))
        places = (self._place(number, size) for number in range(self._asked + 1, self._number + count + 1))
        return [place for place in places if place.length]

    def asked(self) -> None:
        """Note that the next one of the visits that :meth:`ahead` gave is under way."""
        self._asked += 1

    def limit(self, size: int) -> int:
        """Give the place behind which this visit needs nothing: its expected end, or that of the file."""
        expected = block_count(self._start + self._expected + PAGE) * BLOCK
        return min(expected, size) if self.is_established and self._end <= expected else size

    def _step(self, start: int) -> None:
        step = start - self._start
        shortest, longest = min(self._shortest, step), max(self._longest, step)
        if self._number and longest - shortest in (0, PAGE):
            self._number += 1
        else:
            self._number, self._asked, self._first = 1, 0, self._start
            shortest = longest = step
        self._shortest, self._longest = shortest, longest
        length = self._end - self._start
        self._expected, self._length_before = max(length, self._length_before), length

    def _place(self, number: int, size: int) -> Extent:
        """The blocks of a visit. The distance is known up to a page over all steps made, the length up to a page."""
        steps = number - self._number
        start = self._start + round(steps * (self._start - self._first) / self._number)
        if not 0 <= start < size:
            return Extent(0, 0)
        doubt = PAGE * max(1, -(-steps // self._number))
        return touched(start - doubt, start + min(self._expected, LONGEST) + doubt + PAGE, size)
