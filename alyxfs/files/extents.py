"""Arithmetic of blocks and extents. Pure: no file, no network."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

BLOCK = 32 * 1024
"""Bytes: what is fetched and remembered as one. A random read of 4 KiB touches at most two, 64 KiB."""
LARGEST = 1 << 40
"""Bytes of a file: its map, one byte a block, takes 32 MiB of memory."""


class Extent(NamedTuple):
    """The bytes ``start`` up to, not including, ``end``."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """Bytes."""
        return self.end - self.start


def block_count(size: int) -> int:
    """How many blocks a file of ``size`` bytes has; the last one may be short."""
    return -(-size // BLOCK)


def touched(start: int, end: int, file_size: int) -> Extent:
    """The whole blocks that hold the bytes ``start`` to ``end``, clipped at the end of the file."""
    start = max(0, min(start, file_size))
    end = max(start, min(end, file_size))
    if start == end:
        return Extent(start, start)
    return Extent(start // BLOCK * BLOCK, min(block_count(end) * BLOCK, file_size))


def is_present(present: bytes | bytearray, start: int, end: int) -> bool:
    """Whether every block of the bytes ``start`` to ``end`` is marked in the map (one byte a block)."""
    return present.find(0, start // BLOCK, block_count(end)) < 0


def present_until(present: bytes | bytearray, start: int, end: int) -> int:
    """The end of the marked blocks that begin with the block of ``start``; ``start`` itself if that is not marked."""
    gap = present.find(0, start // BLOCK, block_count(end))
    return end if gap < 0 else max(start, min(end, gap * BLOCK))


def missing(present: bytes | bytearray, extent: Extent) -> list[Extent]:
    """The parts of a block-aligned extent that the map does not mark, in order."""
    holes: list[Extent] = []
    if not extent.length:
        return holes
    block, last = extent.start // BLOCK, block_count(extent.end)
    while (hole := present.find(0, block, last)) >= 0:
        block = present.find(1, hole, last)
        if block < 0:
            block = last
        holes.append(Extent(max(extent.start, hole * BLOCK), min(extent.end, block * BLOCK)))
    return holes


def without(extents: Iterable[Extent], taken: Sequence[Extent]) -> list[Extent]:
    """What remains of the extents outside of all of ``taken``, in order."""
    rest = list(extents)
    for start, end in taken:
        remaining = []
        for extent in rest:
            if end <= extent.start or extent.end <= start:
                remaining.append(extent)
                continue
            if extent.start < start:
                remaining.append(Extent(extent.start, start))
            if end < extent.end:
                remaining.append(Extent(end, extent.end))
        rest = remaining
    return rest


def merged(extents: Iterable[Extent], gap: int) -> list[Extent]:
    """Neighbouring extents (in order) as one, where at most ``gap`` bytes lie between: a request costs more."""
    result: list[Extent] = []
    for extent in extents:
        if result and extent.start - result[-1].end <= gap:
            result[-1] = Extent(result[-1].start, max(result[-1].end, extent.end))
        else:
            result.append(extent)
    return result


def pieces(extent: Extent, most: int) -> list[Extent]:
    """The extent cut at the multiples of ``most`` bytes: the same cuts whoever asks, so that an HTTP cache can help."""
    cuts = range((extent.start // most + 1) * most, extent.end, most)
    edges = [extent.start, *cuts, extent.end]
    return [Extent(*pair) for pair in pairwise(edges)] if extent.length else []
