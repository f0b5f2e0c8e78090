"""What this process, which serves one drive, has done so far: in numbers, for its status."""

from __future__ import annotations

import time
from array import array
from collections import Counter
from dataclasses import dataclass, field

MINUTE = 60
"""Seconds."""


@dataclass
class Traffic:
    """Requests to servers of one kind, and what they brought."""

    requests: int = 0
    received: int = 0
    """Bytes of bodies."""
    _sent: array[int] = field(default_factory=lambda: array("L", [0] * MINUTE))
    """Requests of each second of the last minute. Not their times: each number would be an object on the heap."""
    _second: int = 0
    """The one up to which they are counted (monotonic)."""

    def sent(self) -> None:
        """One more request leaves."""
        self.requests += 1
        self._sent[self._now()] += 1

    def last_minute(self) -> int:
        """How many have left within it, to the second."""
        self._now()
        return sum(self._sent)

    def _now(self) -> int:
        second = int(time.monotonic())
        for passed in range(max(self._second, second - MINUTE) + 1, second + 1):
            self._sent[passed % MINUTE] = 0
        self._second = second
        return second % MINUTE


@dataclass
class Body:
    """How much has come of the body of one answer."""

    traffic: Traffic
    received: int = 0

    def came(self, count: int) -> None:
        """So many bytes more."""
        self.received += count
        self.traffic.received += count


@dataclass
class Counters:
    """State: each value changes only where what it counts is done, and never goes down."""

    api: Traffic = field(default_factory=Traffic)
    """All that is no data file, log-ins included."""
    files: Traffic = field(default_factory=Traffic)
    served: int = 0
    """Bytes of data files that programs were given."""
    kernel: Counter[str] = field(default_factory=Counter)
    """Requests of the kernel, by operation."""


counted = Counters()
