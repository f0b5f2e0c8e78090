"""Size and time of many records in little memory, for as long as the drive is mounted."""

from __future__ import annotations

import struct
from typing import NamedTuple

PLACES = 1 << 15
_PLACE = struct.Struct("=qqd")
"""Hash of the record's name, and its measure."""


class Measure(NamedTuple):
    """What a listing of files shows of a record."""

    size: int
    """Bytes of its content."""
    modified: float
    """Unix seconds."""


class Measures:
    """One piece of memory, 24 bytes a record, in which each has its place by its look-up, and may lose it to another.

    As objects of their own they would each keep a page of memory from going back, made as they are among many that go.
    """

    def __init__(self) -> None:
        self._places = bytearray()

    def put(self, endpoint: str, key: str, identity: str, measure: Measure) -> None:
        """Keep the measure of a record."""
        if not self._places:
            self._places = bytearray(PLACES * _PLACE.size)
        name = hash((endpoint, key, identity))
        _PLACE.pack_into(self._places, _offset(endpoint, key), name, *measure)

    def get(self, endpoint: str, key: str, identity: str | None) -> Measure | None:
        """The measure of a record."""
        if not self._places:
            return None
        name, size, modified = _PLACE.unpack_from(self._places, _offset(endpoint, key))
        return Measure(size, modified) if name == hash((endpoint, key, identity)) else None

    def forget(self, endpoint: str, key: str | None) -> None:
        """Drop the measure of a record; of all, where no record is named."""
        if key is None:
            self._places = bytearray()
        elif self._places:
            _PLACE.pack_into(self._places, _offset(endpoint, key), 0, 0, 0.0)


def _offset(endpoint: str, key: str) -> int:
    return hash((endpoint, key)) % PLACES * _PLACE.size
