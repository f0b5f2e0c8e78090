"""Visits at a fixed distance: rows of an array. Pure decisions, without file or network.

A visit is a row of reads that follow each other, as the kernel cuts a long read into pieces of 128 KiB, and a page
fault of a memory map reads 128 KiB around it. The kernel also rounds the beginning of a read to pages, so that places
at one distance come to it at distances that differ by a page.

Where the format tells of which parts the file consists, places are counted on their levelled scale: parts of different
length come at one distance, a visit may end with its part, and one step from part to part is enough for a first guess.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from alyxfs.files.extents import BLOCK, Extent, block_count, touched

if TYPE_CHECKING:
    from alyxfs.files.prefetch.formats import Parts

PAGE = 4096
"""Bytes to which the kernel rounds where a read begins: distances that differ by it may be the same."""
AROUND = 64 * 1024
"""Bytes that a page fault reads before the page."""
BEYOND = 256 * 1024
"""Bytes that the kernel may read after what a program wanted, as it reads ahead by itself."""
ESTABLISHED_STEPS = 2
"""So often a distance comes before the next places are fetched."""
ESTABLISHED_PARTS = 3
"""Parts read one after the other, after which a visit has no end that could be foreseen."""
FEW = 16
"""Visits ahead to which their number grows with each that came true; from there on it is a quarter of those."""
MOST = 64
MOST_BYTES = 16 * 1024 * 1024
"""Bytes of all visits ahead together, if they are more than one."""
LONGEST = 8 * 1024 * 1024
"""Bytes of a visit that are fetched ahead; a longer one is a sequential read of its own."""
LONGEST_GUESS = 1024 * 1024
"""Bytes of a visit that is fetched on a guess after one step."""


class Strides:
    """The visits of one reader. They are numbered from 0, the first one at the present distance."""

    def __init__(self, parts: Parts | None = None) -> None:
        self._parts = parts
        self._began = False
        self._first = self._start = self._end = 0
        """Where the first visit at this distance and the present one begin, and how far that one has come."""
        self._read_at_once = 0
        """Bytes of the first read of the present visit."""
        self._number = 0
        """Of the present visit, hence the steps that were alike."""
        self._shortest = self._longest = 0
        """Bytes of these steps, negative towards the beginning of the file."""
        self._length_before = self._expected = 0
        """Bytes of the visit before, and what the present one will probably have."""
        self._asked = 0
        """Number of the last visit that has been asked for."""
        self._steps_needed = ESTABLISHED_STEPS if parts is None else 1
        """Steps until the next visits are fetched: a guess after the first one may go wrong once."""

    @property
    def is_established(self) -> bool:
        """Whether the next places are known."""
        if min(abs(self._shortest), abs(self._longest)) < self._expected:
            return False
        is_guess = self._number >= self._steps_needed and self._is_from_part and self._expected <= LONGEST_GUESS
        return is_guess or self._number >= ESTABLISHED_STEPS

    def begin(self, start: int, end: int) -> None:
        """Note the first read of a visit."""
        place = self._levelled(start)
        if self._began:
            self._step(place)
        self._began = True
        self._start, self._end = place, self._levelled(end)
        self._read_at_once = self._end - place

    def extend(self, end: int) -> None:
        """Note a further read of the visit."""
        self._end = max(self._end, self._levelled(end))

    def begins_at_another_part(self, start: int) -> bool:
        """Whether a read from here is a new visit, though it lies near: the format says so."""
        if self._parts is None or not self._began:
            return False
        place = self._levelled(start)
        has_ended = self._end < place or place < self._start
        is_short = self._end - self._start < ESTABLISHED_PARTS * self._parts.length + BEYOND
        return has_ended and is_short and self._is_part_to_part(self._step_to(place))

    def ahead(self, size: int) -> list[Extent]:
        """Give the present visit, unless it has been asked for, and the next ones, in order; see :meth:`asked`."""
        count = 0
        if self.is_established:
            most = min(MOST, max(1, MOST_BYTES // self._expected))
            count = min(max(min(self._number + 1, FEW), self._number // 4), most)
        elif not self._is_from_part or self._expected <= self._read_at_once:
            return []
        self._asked = max(self._asked, self._number - 1)
        places = (self._place(number, size) for number in range(self._asked + 1, self._number + count + 1))
        return [place for place in places if place.length]

    def asked(self) -> None:
        """Note that the next one of the visits that :meth:`ahead` gave is under way."""
        self._asked += 1

    def end_of_visit(self, size: int) -> int | None:
        """Give the place behind which this visit probably needs nothing, at most the end of the file."""
        end = self._expected_end()
        if end is None:
            end = self._end_of_parts()
        return None if end is None else min(block_count(self._place_of(end)) * BLOCK, size)

    def _expected_end(self) -> int | None:
        """Where the visit ends if it is as long as the last ones."""
        if not (self.is_established or self._is_from_part):
            return None
        end = self._start + self._expected + PAGE
        return end if self._end <= end + (0 if self._parts is None else BEYOND) else None

    @property
    def _is_from_part(self) -> bool:
        """Whether the last step led from a part to the same place of another one."""
        return self._number > 0 and self._is_part_to_part(self._shortest) and self._is_part_to_part(self._longest)

    def _is_part_to_part(self, step: int) -> bool:
        length = self._parts.length if self._parts is not None else 0
        return bool(length and abs(step) > length // 2 and abs(step - round(step / length) * length) < PAGE)

    def _part_begun(self, place: int) -> int | None:
        """The part with whose beginning a visit from here begins: a page fault reads something before it."""
        if self._parts is None:
            return None
        length = self._parts.length
        wholes = (place, place + AROUND)
        return next((-(-whole // length) for whole in wholes if -whole % length < PAGE), None)

    def _end_of_parts(self) -> int | None:
        """The end of the part that is being read, if the visit began with the beginning of a part."""
        part = self._part_begun(self._start) if self._began else None
        # Who begins with the first row of an array probably reads all of it.
        if self._parts is None or part is None or (part == 0 and not self._parts.are_whole):
            return None
        length = self._parts.length
        count = max(1, -(-(self._end - BEYOND) // length) - part)
        return (part + count) * length if count <= ESTABLISHED_PARTS else None

    def _step_to(self, place: int) -> int:
        """The distance of this place from the present visit.

        The first pages of an array are known with its header, and what reads its first row seems to begin behind them.
        """
        part = self._part_begun(place)
        if part and self._parts is not None and self._number == 0 and self._start < self._parts.length // 2:
            return part * self._parts.length
        return place - self._start

    def _step(self, start: int) -> None:
        step = self._step_to(start)
        self._start = start - step
        shortest, longest = min(self._shortest, step), max(self._longest, step)
        are_parts = self._is_from_part and self._is_part_to_part(step) and longest - shortest < 2 * PAGE
        if self._number and (longest - shortest in (0, PAGE) or are_parts):
            self._number += 1
        else:
            if self._is_from_part and self._number == 1:
                self._steps_needed = ESTABLISHED_STEPS
            self._number, self._asked, self._first = 1, 0, self._start
            shortest = longest = step
        self._shortest, self._longest = shortest, longest
        length = self._end - self._start
        self._expected, self._length_before = max(length, self._length_before), length

    def _place(self, number: int, size: int) -> Extent:
        """The blocks of a visit. The distance is known up to a page over all steps made, the length up to a page."""
        steps = number - self._number
        distance = (self._start - self._first) / self._number
        doubt = PAGE * max(min(steps, 1), -(-steps // self._number))
        if self._is_from_part and self._parts is not None:
            distance = round(distance / self._parts.length) * self._parts.length
            doubt = PAGE * min(steps, 1)
        start = self._start + round(steps * distance)
        end = start + min(self._expected, LONGEST) + doubt + PAGE
        if not 0 <= self._place_of(start) < size:
            return Extent(0, 0)
        return touched(self._place_of(start - doubt), self._place_of(end), size)

    def _levelled(self, place: int) -> int:
        return place if self._parts is None else self._parts.levelled(place)

    def _place_of(self, levelled: int) -> int:
        return levelled if self._parts is None else self._parts.place(levelled)
