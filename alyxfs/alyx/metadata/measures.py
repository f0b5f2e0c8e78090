"""Size and time of many records in little memory, for as long as the drive is mounted."""

from __future__ import annotations

import struct
from typing import NamedTuple

PLACES = 1 << 15
WAYS = 8
"""Places among which each record has its own: with half as many records as places one in 50 finds them all taken."""
_PLACE = struct.Struct("=qiqd")
"""Hash of the record's name, which is not 0, part of that of its identity, and its measure."""


class Measure(NamedTuple):
    """What a listing of files shows of a record."""

    size: int
    """Bytes of its content."""
    modified: float
    """Unix seconds."""


class Measures:
    """One piece of memory, 28 bytes a record, in which each has a place by its look-up, and may lose it to another.

    As objects of their own they would each keep a page of memory from going back, made as they are among many that go.
    """

    def __init__(self) -> None:
        self._places = bytearray()

    def put(self, endpoint: str, key: str, identity: str, measure: Measure) -> None:
        """Keep the measure of a record."""
        if not self._places:
            self._places = bytearray(PLACES * _PLACE.size)
        name = _name(endpoint, key)
        offsets = _offsets(name)
        own = self._first_with(name, offsets)
        free = self._first_with(0, offsets) if own is None else own
        offset = offsets[name // PLACES % WAYS] if free is None else free
        _PLACE.pack_into(self._places, offset, name, _part(identity), *measure)

    def get(self, endpoint: str, key: str, identity: str | None) -> Measure | None:
        """The measure of a record."""
        name = _name(endpoint, key)
        if not self._places or (offset := self._first_with(name, _offsets(name))) is None:
            return None
        _, part, size, modified = _PLACE.unpack_from(self._places, offset)
        return Measure(size, modified) if identity is not None and part == _part(identity) else None

    def forget(self, endpoint: str, key: str | None) -> None:
        """Drop the measure of a record; of all, where no record is named."""
        if key is None:
            self._places = bytearray()
            return
        name = _name(endpoint, key)
        if self._places and (offset := self._first_with(name, _offsets(name))) is not None:
            _PLACE.pack_into(self._places, offset, 0, 0, 0, 0.0)

    def _first_with(self, name: int, offsets: range) -> int | None:
        return next((offset for offset in offsets if _PLACE.unpack_from(self._places, offset)[0] == name), None)


def _name(endpoint: str, key: str) -> int:
    return hash((endpoint, key)) or 1


def _part(identity: str) -> int:
    return hash(identity) & 0x7FFF_FFFF


def _offsets(name: int) -> range:
    """The places that a record may have."""
    first = name % (PLACES // WAYS) * WAYS * _PLACE.size
    return range(first, first + WAYS * _PLACE.size, _PLACE.size)
