"""How much one server is asked: requests at a time, and in a minute."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from alyxfs.net.shared_rate import MINUTE, MOST, SharedRate, halves

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class RateLimit:
    """What one server is asked to bear."""

    connections: int = 4
    """Requests at a time: more than four gain nothing on Alyx (measured on 3.6.1)."""
    requests_per_minute: float | None = None
    """None: no limit. Alyx throttles at 550 a minute a user."""
    shared_in: Path | None = None
    """The file in which all drives of the user count what they ask this server. None: there are no others."""

    def rate(self) -> RequestRate | None:
        """What sees to it that no more is asked in a minute; None where there is no limit."""
        if self.requests_per_minute is None:
            return None
        if self.shared_in is None or self.requests_per_minute > MOST:
            return RequestRate(self.requests_per_minute)
        return RequestRate(self.requests_per_minute, SharedRate(self.shared_in, self.requests_per_minute))


class RequestRate:
    """At most ``requests_per_minute`` in any minute, and as many as that in each where there is enough to ask.

    Half of them may come at any moment; each of these may be used again a minute later. The other half are spread
    evenly: beside a long walk, which has used up the first half, somebody else waits for a fraction of a second, and
    not until the minute is over. Who waits is served in turn.

    With ``shared``, other drives of the user take their turns of the same server, and each request has to be one of
    these, too.

    State: ``_burst``, ``_oldest`` and ``_next`` change in :meth:`count` and :meth:`_count_here`, which never await.
    """

    def __init__(self, requests_per_minute: float, shared: SharedRate | None = None) -> None:
        at_once, self._interval = halves(requests_per_minute)
        self._burst = array("d", [-math.inf] * at_once)
        """When each of the first half was used last (trio time): the oldest at ``_oldest``, then round and round."""
        self._oldest = 0
        self._next = math.inf if math.isinf(self._interval) else -math.inf
        """Trio time from which on the next of the second half may be used."""
        self._queue = trio.Lock()
        self._shared = shared

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""
        is_looking = self._shared is not None and not self._shared.is_waiting and self._free_at() <= trio.current_time()
        return 0 if is_looking else self._queue.statistics().tasks_waiting + self._queue.locked()

    @property
    def trouble(self) -> str:
        """Why other drives do not count, as a sentence; empty where they do, or where there is no need."""
        return "" if self._shared is None else self._shared.trouble

    async def wait_for_turn(self) -> None:
        """Sleep until one more request may be sent, after all that came earlier."""
        if self._shared is not None or self._queue.locked() or self._free_at() > trio.current_time():
            async with self._queue:
                await trio.sleep_until(self._free_at())
                if self._shared is not None:
                    await self._shared.wait_for_turn()
                self._count_here()
        else:
            self._count_here()

    def count(self) -> None:
        """Count a request, whether or not it is its turn: as one of the second half where one is free."""
        self._count_here()
        if self._shared is not None:
            self._shared.count()

    def _count_here(self) -> None:
        now = trio.current_time()
        if self._next <= now:
            self._next = now + self._interval
        else:
            self._burst[self._oldest] = now
            self._oldest = (self._oldest + 1) % len(self._burst)

    def _free_at(self) -> float:
        """Trio time from which on one may be sent."""
        return min(self._next, self._burst[self._oldest] + MINUTE)
