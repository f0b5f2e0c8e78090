"""What this process, which serves one drive, has done so far: in numbers, for its status."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass, field

MINUTE = 60.0
"""Seconds."""
MOST_REMEMBERED = 100_000
"""Requests of the last minute: more are not counted one by one."""


@dataclass
class Traffic:
    """Requests to servers of one kind, and what they brought."""

    requests: int = 0
    received: int = 0
    """Bytes of bodies."""
    _sent_at: deque[float] = field(default_factory=lambda: deque(maxlen=MOST_REMEMBERED))

    def sent(self) -> None:
        """One more request leaves."""
        self.requests += 1
        self._sent_at.append(time.monotonic())

    def last_minute(self) -> int:
        """How many have left within it."""
        since = time.monotonic() - MINUTE
        while self._sent_at and self._sent_at[0] < since:
            self._sent_at.popleft()
        return len(self._sent_at)


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
