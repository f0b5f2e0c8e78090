"""The time of this process: Unix seconds that never go back.

What was asked for before the machine's clock was set back would seem fresh until the clock has caught up, and what was
declared out of date before would stay so. So ages are told by this clock, which begins with the machine's and goes on
by itself, also while the machine sleeps. Times that people read are the machine's.
"""

from __future__ import annotations

import contextlib
import math
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_OPERATION = 60.0
"""Seconds: a task that lives longer than those who wait for it does not go on believing what they could believe."""

_BEGAN = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


_operation_began = ContextVar("_operation_began", default=math.inf)


def now() -> float:
    """Unix seconds."""
    return _BEGAN + time.clock_gettime(time.CLOCK_BOOTTIME)


@contextlib.contextmanager
def one_operation() -> Iterator[None]:
    """What this task does in the block, and the tasks that it starts there, is one operation of the file system."""
    before = _operation_began.set(now())
    try:
        yield
    finally:
        _operation_began.reset(before)


def is_of_this_operation(asked_at: float) -> bool:
    """Whether something was asked for at this time (Unix seconds) since the operation under way began."""
    return _operation_began.get() <= asked_at and 0 <= now() - asked_at < LONGEST_OPERATION
