"""Inodes of which nothing is kept but how to find them again: millions of them in little memory.

Hash tables of open addressing, in arrays of numbers. Objects, as a dict would have them, take four times as much, and
stand between those that were just dropped, so that these give no memory back.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_LOOKUPS = (1 << 32) - 1

_TABLES = 64
"""So that one grows in a few milliseconds where there are millions of inodes."""
_LEAST_SLOTS = 256
_FREE, _TAKEN_OUT = 0, 1
"""No inode has these numbers. Behind a slot that never held one nothing is looked for."""


class DroppedInode(NamedTuple):
    """What is kept of one."""

    parent: int
    """The number of the directory that it was found in."""
    lookups: int
    """How often the kernel was given it, less what it has forgotten: up to MOST_LOOKUPS."""


class DroppedInodes:
    """By number, which is a hash (see ``alyxfs.kernel.inodes``) and serves as one here."""

    def __init__(self) -> None:
        self._tables = [_Table(_LEAST_SLOTS) for _ in range(_TABLES)]

    def __len__(self) -> int:
        return sum(table.count for table in self._tables)

    def __contains__(self, number: int) -> bool:
        return self._table(number).slot(number) is not None

    def with_parents(self) -> Iterator[tuple[int, int]]:
        """The number of each, and of its directory."""
        for table in self._tables:
            for number, parent in zip(table.numbers, table.parents, strict=True):
                if number > _TAKEN_OUT:
                    yield number, parent

    def __getitem__(self, number: int) -> DroppedInode:
        table = self._table(number)
        if (slot := table.slot(number)) is None:
            raise KeyError(number)
        return DroppedInode(table.parents[slot], table.lookups[slot])

    def add(self, number: int, inode: DroppedInode) -> None:
        """Keep one that is not there yet."""
        table = self._table(number)
        if 2 * table.used >= len(table.numbers):
            table = self._tables[number % _TABLES] = table.with_room()
        table.add(number, *inode)

    def take(self, number: int) -> DroppedInode | None:
        """Take one out; None where it is not there."""
        table = self._table(number)
        if not table.count or (slot := table.slot(number)) is None:
            return None
        table.numbers[slot] = _TAKEN_OUT
        table.count -= 1
        inode = DroppedInode(table.parents[slot], table.lookups[slot])
        if not table.count:
            self._tables[number % _TABLES] = _Table(_LEAST_SLOTS)
        return inode

    def _table(self, number: int) -> _Table:
        return self._tables[number % _TABLES]


class _Table:
    """The number of slots is a power of two, and half of them are free."""

    def __init__(self, slots: int) -> None:
        self.numbers = array("Q", bytes(8 * slots))
        self.parents = array("Q", bytes(8 * slots))
        self.lookups = array("I", bytes(4 * slots))
        self.count = 0
        self.used = 0
        """Slots that are not free: with those whose inode was taken out."""

    def slot(self, number: int) -> int | None:
        """Where it is."""
        mask = len(self.numbers) - 1
        slot = number // _TABLES & mask
        while (found := self.numbers[slot]) != number:
            if found == _FREE:
                return None
            slot = slot + 1 & mask
        return slot

    def add(self, number: int, parent: int, lookups: int) -> None:
        mask = len(self.numbers) - 1
        slot = number // _TABLES & mask
        while self.numbers[slot] != _FREE:
            slot = slot + 1 & mask
        self.numbers[slot], self.parents[slot], self.lookups[slot] = number, parent, lookups
        self.count += 1
        self.used += 1

    def with_room(self) -> _Table:
        """The same in a table of which a sixth to a third is used."""
        slots = _LEAST_SLOTS
        while slots < 3 * self.count:
            slots *= 2
        table = _Table(slots)
        for number, parent, lookups in zip(self.numbers, self.parents, self.lookups, strict=True):
            if number > _TAKEN_OUT:
                table.add(number, parent, lookups)
        return table
