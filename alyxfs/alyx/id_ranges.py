"""Ranges of ids, in which a walk asks for rows that come in no order, and where such a walk is."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from alyxfs import json_text
from alyxfs.alyx.identities import UUID

ALL_IDS = 1 << 128


@dataclass(frozen=True)
class Run:
    """A page of rows in the order of their ids: the first ones from ``low`` on, if the rest has ``left`` rows."""

    low: int
    left: int


@dataclass
class IdRange:
    """Ids from ``low`` to below ``high``; ``count`` rows where that is known without asking."""

    low: int
    high: int
    count: int | None = None
    faults: int = 0
    goes_on: Run | None = None
    """The page in front of it, where this is the rest of a range whose rows come in the order of their ids."""

    def conditions(self, field: str) -> list[str]:
        """The range as ``django`` conditions on the field that holds the id: at least one, as that sorts the rows."""
        is_open = self.high == ALL_IDS
        conditions = [f"{field}__gte,{uuid.UUID(int=self.low)}"] if self.low or is_open else []
        return conditions + ([f"{field}__lt,{uuid.UUID(int=self.high)}"] if self.high < ALL_IDS else [])

    def may_hold(self, identity: str) -> bool:
        """Whether a record of this identity can be in the range; of what is no UUID nobody knows."""
        return not UUID.fullmatch(identity) or self.low <= uuid.UUID(identity).int < self.high

    def halves(self) -> tuple[IdRange, IdRange]:
        """The range as two."""
        middle = (self.low + self.high) // 2
        return IdRange(self.low, middle, faults=self.faults), IdRange(middle, self.high, faults=self.faults)


@dataclass(frozen=True)
class WalkState:
    """Where a walk is; see ``alyxfs.alyx.pagination.PageWalk``, which knows these by the same names."""

    next: int
    overlap: bool
    skipped: int
    last: str | None
    count: int
    parts: int
    ranges: tuple[IdRange, ...] | None
    remarks: tuple[str, ...]

    def pack(self) -> bytes:
        """As the store keeps it."""
        return json_text.compact({**vars(self), "ranges": self.ranges and [_packed(one) for one in self.ranges]})


def unpack_state(body: bytes) -> WalkState | None:
    """What was packed; None where this is nothing of the kind."""
    try:
        told = json_text.decode(body)
        ranges = None if told["ranges"] is None else tuple(_unpacked(one) for one in told["ranges"])
        numbers = [told[name] for name in ("next", "skipped", "count", "parts")]
        if any(type(number) is not int or number < 0 for number in numbers):
            return None
        return WalkState(**{**told, "ranges": ranges, "remarks": tuple(map(str, told["remarks"]))})
    except (KeyError, TypeError, ValueError):
        return None


def _packed(one: IdRange) -> list[Any]:
    goes_on = None if one.goes_on is None else [f"{one.goes_on.low:x}", one.goes_on.left]
    return [f"{one.low:x}", f"{one.high:x}", one.count, one.faults, goes_on]


def _unpacked(told: list[Any]) -> IdRange:
    low, high, count, faults, goes_on = told
    run = None if goes_on is None else Run(int(goes_on[0], 16), goes_on[1])
    return IdRange(int(low, 16), int(high, 16), count, faults, run)
