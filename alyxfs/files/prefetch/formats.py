"""What the formats of data files tell of how they will be read. Pure: bytes and numbers, no file and no network.

All of it is a hint for reading ahead: where it is wrong, something is fetched in vain, and every byte stays right.
"""

from __future__ import annotations

import bisect
import math
import re
from itertools import pairwise
from typing import TYPE_CHECKING

from alyxfs import json_text
from alyxfs.files.extents import BLOCK, Extent, touched

if TYPE_CHECKING:
    from collections.abc import Sequence

INDEX_AT_END = (".pqt", ".parquet", ".mp4")
"""Formats whose readers look at the beginning and then at the end."""
INDEX = 2 * BLOCK
"""Bytes: what Arrow reads first of a Parquet file."""
ARRAY_HEADER = 4096
"""Bytes in which the header of a .npy must end; NumPy pads most to 128."""
SHORTEST_ROW = 64 * 1024
"""Bytes: a page fault reads twice as much, so that shorter rows tell nothing of what is read next."""
MOST_TABLE_MEMORY = 32 * 1024 * 1024
"""Bytes that the table of chunks of a recording may take in memory."""
ARRAY, COMPRESSED, CHUNK_TABLE = ".npy", ".cbin", ".ch"

_MAGIC = b"\x93NUMPY"
_LENGTH_BYTES = {b"\1": 2, b"\2": 4, b"\3": 4}
"""By major version, bytes of the number behind the two bytes of the version that says how long the rest of the header
is: NumPy's format of .npy files (NEP 1)."""
_DESCRIPTION = re.compile(
    rb"""\{ *'descr': *[^\0]+, *'fortran_order': *(True|False), *"""
    rb"""'shape': *\(((?:\d{1,18}L?, *)*(?:\d{1,18}L?)?)\),? *\} *\n"""
)
"""As NumPy writes it, and others do; the data type may be any, as the file's size tells how long an item is."""


class Parts:
    """A file as a row of parts that are visited one by one: rows of an array, chunks of a recording.

    Parts need not be equally long. On a *levelled* scale they are, so that what has the same place in two parts is a
    multiple of ``length`` apart; places between two beginnings of parts keep their distance to the nearer one.
    """

    def __init__(self, edges: Sequence[int], *, are_whole: bool) -> None:
        self._edges = edges
        """Where each part begins, and the last one ends."""
        self.are_whole = are_whole
        """Whether nobody can use less than a part."""
        self.length = max(after - before for before, after in pairwise(edges)) if are_whole else edges[1] - edges[0]
        """Bytes of a part, on the levelled scale."""

    def levelled(self, place: int) -> int:
        """Give a place in the file on the levelled scale."""
        after = min(max(bisect.bisect_right(self._edges, place), 1), len(self._edges) - 1)
        nearest = after if self._edges[after] - place < place - self._edges[after - 1] else after - 1
        return nearest * self.length + place - self._edges[nearest]

    def place(self, levelled: int) -> int:
        """Give the place in the file, which may lie before its beginning or after its end."""
        nearest = min(max((levelled + self.length // 2) // self.length, 0), len(self._edges) - 1)
        return self._edges[nearest] + levelled - nearest * self.length


def rows(beginning: bytes, size: int) -> Parts | None:
    """Give the rows of a .npy file of ``size`` bytes that begins so, or what it has instead: it may be transposed.

    None where the file is no such array, or its rows are so short that they tell nothing.
    """
    length_bytes = _LENGTH_BYTES.get(beginning[len(_MAGIC) : len(_MAGIC) + 1])
    if not beginning.startswith(_MAGIC) or length_bytes is None:
        return None
    text = len(_MAGIC) + 2 + length_bytes
    start = text + int.from_bytes(beginning[text - length_bytes : text], "little")
    described = _DESCRIPTION.fullmatch(beginning[text:start]) if start <= len(beginning) else None
    if described is None:
        return None
    shape = [int(number.rstrip(b"L ")) for number in described[2].split(b",") if number.strip()]
    content, items = size - start, math.prod(shape)
    if not shape or items < 1 or content < items or content % items:
        return None
    count = shape[-1] if described[1] == b"True" else shape[0]
    length = content // count
    return Parts(range(start, size + 1, length), are_whole=False) if length >= SHORTEST_ROW else None


def chunks(table: bytes) -> Parts | None:
    """Give the chunks of a .cbin whose .ch holds this; None where it is none."""
    try:
        edges = json_text.decode(table, MOST_TABLE_MEMORY)["chunk_offsets"]
        return chunks_between(edges) if isinstance(edges, list) else None
    except (ValueError, KeyError, TypeError):
        return None


def chunks_between(edges: Sequence[int]) -> Parts | None:
    """Give the chunks of a .cbin that begin here, and the last of which ends at the last of these places."""
    rise = all(type(edge) is int for edge in edges) and all(before < after for before, after in pairwise(edges))
    return Parts(edges, are_whole=True) if rise and len(edges) > 1 and edges[0] >= 0 else None


def chunk_table(name: str) -> str:
    """Give the name of the file that tells where the chunks of the .cbin of this name begin."""
    return name.removesuffix(COMPRESSED) + CHUNK_TABLE


def index_at_end(name: str, start: int, size: int) -> Extent | None:
    """Give the end of a file whose format has its index there, for who begins at the beginning."""
    if start >= BLOCK or not name.lower().endswith(INDEX_AT_END) or size <= 2 * INDEX:
        return None
    return touched(size - INDEX, size, size)
