"""The rows of a listing, in little memory: millions of them, where a record's id is its name, at some 60 bytes each."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

from alyxfs.alyx.identity_table import IdentityTable

if TYPE_CHECKING:
    from collections.abc import Iterable

_UNKNOWN = -1
"""Stands for a size that is not known."""
_LARGEST = (1 << 63) - 1
_MOST_SHARED = 1000
"""Different values of the kept fields of which each is in memory once."""
COMPACT_ROW, BARE_ROW = 60, 650
"""Bytes of memory that a row takes which is named by its id, and another one besides its texts, with the names that are
made of it (measured)."""


@dataclass(slots=True)
class Row:
    """What a listing remembers of a record; its content is in the store."""

    key: str
    """The value of the look-up; for endpoints without one, a name made unique in the listing."""
    identity: str
    """Unique in the endpoint: the row's id, or what stands in its address."""
    modified: float | None
    """Unix seconds: the server's field, else the first sight of the record's content; None before that."""
    size: int | None
    """Exact size of the record file in bytes where the row is the record, else None."""
    kept: tuple[object, ...]
    """The values of the fields that a listing keeps of this endpoint (see quirks)."""


class RowList(Sequence[Row]):
    """Grows by :meth:`extend` alone, which never awaits; rows are made of it as they are read.

    ``_plain`` has them all as soon as one came that is named by something else than a UUID of its own.
    """

    def __init__(self) -> None:
        self._identities = IdentityTable()
        self._modified = array("d")
        self._sizes = array("q")
        self._kept: list[tuple[object, ...]] = []
        self._shared: dict[tuple[object, ...], tuple[object, ...]] = {}
        """By themselves and the types of what is in them: 1 equals True."""
        self._plain: list[Row] | None = None
        self._weight = 0
        """Bytes of ``_plain``."""

    def __len__(self) -> int:
        return len(self._kept) if self._plain is None else len(self._plain)

    @property
    def are_named_by_id(self) -> bool:
        """Whether the key of each row is its identity, a UUID, and no other row has it."""
        return self._plain is None

    @property
    def weight(self) -> int:
        """Bytes of memory, some more or less."""
        return self._weight if self._plain is not None else COMPACT_ROW * len(self)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if self._plain is not None:
            return self._plain[index]
        if isinstance(index, slice):
            return [self._row(each) for each in range(*index.indices(len(self)))]
        return self._row(range(len(self))[index])

    def extend(self, rows: Iterable[Row]) -> None:
        """Put rows at the end."""
        for row in rows:
            if self._plain is None and not self._takes(row):
                self._plain = self[:]
                self._weight = sum(map(_weight, self._plain))
                self._identities, self._modified, self._sizes = IdentityTable(), array("d"), array("q")
                self._kept.clear()
            if self._plain is not None:
                self._plain.append(row)
                self._weight += _weight(row)

    def position(self, key: str) -> int | None:
        """Where the row of this key stands, of those that are named by their ids."""
        return self._identities.position(key)

    def _takes(self, row: Row) -> bool:
        """Put a row at the end, where it is named by its id, and no other one is."""
        size = _UNKNOWN if row.size is None else row.size
        if row.key != row.identity or size > _LARGEST or not self._identities.is_new_uuid(row.identity):
            return False
        self._identities.add(row.identity)
        self._modified.append(math.nan if row.modified is None else row.modified)
        self._sizes.append(size)
        self._kept.append(self._one_of(row.kept))
        return True

    def _one_of(self, kept: tuple[object, ...]) -> tuple[object, ...]:
        name = (*kept, *map(type, kept))
        try:
            if len(self._shared) < _MOST_SHARED:
                return self._shared.setdefault(name, kept)
            return self._shared.get(name, kept)
        except TypeError:  # of lists and objects
            return kept

    def _row(self, position: int) -> Row:
        identity, modified, size = self._identities[position], self._modified[position], self._sizes[position]
        return Row(
            identity,
            identity,
            None if math.isnan(modified) else modified,
            None if size == _UNKNOWN else size,
            self._kept[position],
        )


def _weight(row: Row) -> int:
    """Bytes of memory."""
    texts = len(row.key) + (0 if row.identity is row.key else len(row.identity))
    return BARE_ROW + texts + sum(map(_weight_of_value, row.kept))


def _weight_of_value(value: object) -> int:
    if isinstance(value, str):
        return len(value)
    return 8 * len(repr(value)) if isinstance(value, list | dict) else 0
