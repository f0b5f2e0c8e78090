"""Columns in a file that is mapped into memory: numbers, ids and texts by row, none of them an object until it is read.

The file holds the columns one after another, each at a multiple of 8 bytes, then a directory of them as JSON, and in
its last 8 bytes (little-endian) where that begins. Numbers are those of the machine: the file is part of its cache.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast, overload

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import BinaryIO

VERSION = 1
"""Of what a directory says; files of another one are made anew."""
ID_LENGTH = 36
"""Characters of a UUID."""
INT32, INT64, BYTE = "i", "q", "B"
"""Types of numbers, as in :mod:`struct`."""

_ALIGNMENT = 8
_END_SIZE = 8


def write_columns(file: BinaryIO, columns: Mapping[str, tuple[str, Any]], about: Mapping[str, Any]) -> None:
    """Write columns, each of a type and with the bytes of its rows, and what there is to say ``about`` them."""
    directory, position = {}, 0
    for name, (kind, rows) in columns.items():
        rows = memoryview(rows).cast("B")  # noqa: PLW2901 - the same as bytes
        directory[name] = (kind, position, rows.nbytes)
        file.write(rows)
        padding = -rows.nbytes % _ALIGNMENT
        file.write(bytes(padding))
        position += rows.nbytes + padding
    file.write(json.dumps({"version": VERSION, "columns": directory, "about": about}).encode())
    file.write(position.to_bytes(_END_SIZE, "little"))


class Columns:
    """A file of columns. Raises OSError, or ValueError for one that is damaged or of another version."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        start = int.from_bytes(self._mapped[-_END_SIZE:], "little")
        directory = json.loads(self._mapped[start:-_END_SIZE])
        if not isinstance(directory, dict) or directory.get("version") != VERSION:
            raise ValueError(f"{path.name} is of another version")
        self.about: dict[str, Any] = directory["about"]
        self._directory: dict[str, tuple[str, int, int]] = directory["columns"]
        self._all = memoryview(self._mapped)[:start]

    def numbers(self, name: str) -> memoryview[int]:
        """A column of numbers."""
        kind, start, size = self._directory[name]
        return cast("memoryview[int]", self._all[start : start + size].cast(cast("Any", kind)))

    def ids(self, name: str) -> Ids:
        """A column of ids."""
        return Ids(self.numbers(name))

    def texts(self, name: str) -> Texts:
        """A column of texts."""
        return Texts(self.numbers(f"{name}.ends"), self.numbers(name))

    def release(self) -> None:
        """Give back the memory of what was read: the next reader takes it from the page cache, or from the disk."""
        self._mapped.madvise(mmap.MADV_DONTNEED)


class Ids(Sequence[str]):
    """Texts of ID_LENGTH characters each."""

    def __init__(self, rows: memoryview) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows) // ID_LENGTH

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            first, end, _ = row.indices(len(self))
            text = str(self._rows[first * ID_LENGTH : end * ID_LENGTH], "ascii")
            return [text[start : start + ID_LENGTH] for start in range(0, len(text), ID_LENGTH)]
        return str(self._rows[row * ID_LENGTH : (row + 1) * ID_LENGTH], "ascii")


class Texts(Sequence[str]):
    """Texts of any length; ``ends`` has where each begins, and where the last one ends."""

    def __init__(self, ends: memoryview[int], rows: memoryview) -> None:
        self._ends = ends
        self._rows = rows

    def __len__(self) -> int:
        return max(0, len(self._ends) - 1)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self[each] for each in range(*row.indices(len(self)))]
        return str(self._rows[self._ends[row] : self._ends[row + 1]], "utf-8")
