"""Identities in the order in which they came, and where each stands: of millions of UUIDs at some 28 bytes each.

A set of as many texts takes six times that. The UUIDs lie one after another, 16 bytes each, and are found by a hash
table of positions; it has parts, each of which grows by itself, so that no growth holds others up for long.
"""

from __future__ import annotations

import uuid
from array import array

from alyxfs.alyx.identities import UUID

_SIZE = 16
"""Bytes of a UUID."""
_PARTS = 256
"""Of a million UUIDs each has 4,000, which are put into a larger table in some milliseconds."""
_FREE = -1
_EMPTY = array("i", [_FREE])
"""A part in which nothing stands, of all tables: most lists are short, and there may be hundreds."""


class IdentityTable:
    """Grows by :meth:`add` alone, which never awaits."""

    def __init__(self) -> None:
        self._packed = bytearray()
        self._texts: dict[str, int] = {}
        """Positions of those that are no UUIDs."""
        self._text_at: dict[int, str] = {}
        self._parts = [_EMPTY] * _PARTS
        self._counts = [0] * _PARTS

    def __len__(self) -> int:
        return len(self._packed) // _SIZE

    def __contains__(self, identity: str) -> bool:
        return self.position(identity) is not None

    def __getitem__(self, position: int) -> str:
        if (text := self._text_at.get(position)) is not None:
            return text
        return _text(self._packed[position * _SIZE : (position + 1) * _SIZE])

    @property
    def are_uuids(self) -> bool:
        """Whether there is nothing else."""
        return not self._texts

    def numbers(self) -> list[int]:
        """The UUIDs as numbers, sorted."""
        packed = memoryview(self._packed)
        found = [
            int.from_bytes(packed[position * _SIZE : (position + 1) * _SIZE], "big")
            for position in range(len(self))
            if position not in self._text_at
        ]
        return sorted(found)

    def position(self, identity: str) -> int | None:
        """Where an identity stands; None where it has not come."""
        if not UUID.fullmatch(identity):
            return self._texts.get(identity)
        packed = _pack(identity)
        part, place = self._place(packed, hash(packed))
        found = part[place]
        return None if found == _FREE else found

    def is_new_uuid(self, identity: str) -> bool:
        """Whether it is a UUID, and has not come."""
        return UUID.fullmatch(identity) is not None and self.position(identity) is None

    def add(self, identity: str) -> bool:
        """Put an identity at the end; False where it is there already."""
        position = len(self)
        if not UUID.fullmatch(identity):
            if identity in self._texts:
                return False
            self._texts[identity], self._text_at[position] = position, identity
            self._packed += bytes(_SIZE)
            return True
        packed = _pack(identity)
        key = hash(packed)
        part, place = self._place(packed, key)
        if part[place] != _FREE:
            return False
        number = key % _PARTS
        if part is _EMPTY:
            part = self._parts[number] = _EMPTY[:]
        part[place] = position
        self._packed += packed
        self._counts[number] += 1
        if 3 * self._counts[number] > 2 * len(part):
            self._grow(number)
        return True

    def _place(self, packed: bytes, key: int) -> tuple[array[int], int]:
        """The part for a UUID of this hash, and where in it that is, or would be."""
        part, all_packed = self._parts[key % _PARTS], self._packed
        last = len(part) - 1
        place = key // _PARTS & last
        while (position := part[place]) != _FREE:
            if all_packed[position * _SIZE : (position + 1) * _SIZE] == packed:
                break
            place = place + 1 & last
        return part, place

    def _grow(self, number: int) -> None:
        former = self._parts[number]
        part = array("i", [_FREE]) * (2 * len(former))
        last = len(part) - 1
        for position in former:
            if position != _FREE:
                place = hash(bytes(self._packed[position * _SIZE : (position + 1) * _SIZE])) // _PARTS & last
                while part[place] != _FREE:
                    place = place + 1 & last
                part[place] = position
        self._parts[number] = part


def _pack(identity: str) -> bytes:
    return bytes.fromhex(identity.replace("-", ""))


def _text(packed: bytearray) -> str:
    return str(uuid.UUID(bytes=bytes(packed)))
