"""Sets: the writes that one command makes have one number in the journal, and are taken back together."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

AT_ONCE = 4
"""Writes of a set that are sent at a time: more requests at a time gain nothing."""

_current: ContextVar[int | None] = ContextVar("set of writes", default=None)


@contextmanager
def writing_in(number: int) -> Iterator[None]:
    """What this task enters in the journal within the block, and those that it starts there, belongs to this set."""
    token = _current.set(number)
    try:
        yield
    finally:
        _current.reset(token)


def current() -> int | None:
    """The set that a write of this task belongs to."""
    return _current.get()
