"""One server as we treat it: how many requests at a time, how often, with which credentials, and whether it answers."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
import trio

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

SLOW_FAILURE = 1.0
"""Seconds: a single failure faster than this costs its callers nothing, so the breaker stays closed."""

KEPT_FREE = 4
"""Connections that are left to those who wait for an answer, where there are that many."""
PROBE_PAUSES = (0.5, 1.0, 2.0)
"""Seconds between the probes of a server that stopped answering; the last value repeats."""
PROBE_DEADLINE = 5.0
"""Seconds that a probe may take."""


@dataclass(frozen=True)
class Politeness:
    """What one server is asked to bear."""

    connections: int = 4
    """Requests at a time: more than four gain nothing on Alyx (measured on 3.6.1)."""
    requests_per_minute: float | None = None
    """None: no limit. Alyx throttles at 550 a minute a user."""


class TokenBucket:
    """At most ``requests_per_minute`` in any minute: half of them as a burst, the rest spread evenly."""

    def __init__(self, requests_per_minute: float) -> None:
        self._burst = max(1.0, requests_per_minute / 2)
        self._refill = requests_per_minute / 2 / 60
        self._tokens = self._burst
        self._filled_at = trio.current_time()

    def take(self) -> float:
        """Take a token and return the seconds to wait before using it."""
        self._fill()
        self._tokens -= 1
        return max(0.0, -self._tokens / self._refill)

    def put_back(self) -> None:
        """Return a token that was not used."""
        self._tokens = min(self._burst, self._tokens + 1)

    def _fill(self) -> None:
        now = trio.current_time()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._refill)
        self._filled_at = now


class Origin:
    """A server (scheme, host, port), its connections and its state. Owned by one :class:`Network`.

    State: changes only between two awaits, in the methods here.
    """

    def __init__(self, base: str, client: httpx.AsyncClient, politeness: Politeness) -> None:
        self.base = base
        self.client = client
        # Taken before each request, and the only limit: each request under way has a connection of its own. Where a
        # proxy is between, it keeps httpx's pool from being contended, which loses connections for good when a
        # request that waits for one is cancelled.
        self.limiter = trio.CapacityLimiter(politeness.connections)
        self.turns = trio.CapacityLimiter(max(1, politeness.connections - KEPT_FREE))
        """See Network.turn."""
        self.bucket = TokenBucket(politeness.requests_per_minute) if politeness.requests_per_minute else None
        self.authorization: Callable[[], str | None] | None = None
        self.paused_until = 0.0
        """Trio time before which the server asked not to be called (Retry-After)."""
        self.down_since: float | None = None
        """Trio time of the failure that opened the breaker; None while the server answers."""
        self.refusal: str | None = None
        """Why the last connection was not made, where that came as an answer and not as a silence."""
        self.answered_at = 0.0
        """Trio time of the last answer."""
        self.waiting: set[trio.CancelScope] = set()
        """Of the requests that wait for the beginning of an answer: an opening breaker ends them."""

    def pause(self, seconds: float) -> None:
        """Keep quiet for so long, as the server asks."""
        self.paused_until = max(self.paused_until, trio.current_time() + seconds)

    def has_answered(self) -> None:
        """Note that the server is there."""
        self.answered_at = trio.current_time()
        self.down_since = self.refusal = None

    def has_failed(self, nursery: trio.Nursery, since: float, *, tried_again: bool = False) -> None:
        """Open the breaker if this took long and nothing was answered meanwhile; ``since`` in trio time.

        Connections that were refused ``tried_again`` and again open it however soon that was.
        """
        now = trio.current_time()
        refused = tried_again and self.refusal is not None
        if self.down_since is not None or self.answered_at > since or not (refused or now - since >= SLOW_FAILURE):
            return
        self.down_since = now
        log.info("%s does not answer; requests fail at once until it does", self.base)
        if not refused:  # else who waits on a connection that was made before may still be answered
            for scope in self.waiting:
                scope.cancel()
        nursery.start_soon(self._probe_until_up)

    async def wait_for_turn(self) -> None:
        """Sleep as long as the bucket and the server's own Retry-After ask for."""
        if self.bucket is not None:
            try:
                await trio.sleep(self.bucket.take())
            except trio.Cancelled:
                self.bucket.put_back()
                raise
        while (pause := self.paused_until - trio.current_time()) > 0:  # noqa: ASYNC110 - it may grow meanwhile
            await trio.sleep(pause)

    async def _probe_until_up(self) -> None:
        """Ask until any answer comes, then close the breaker: no caller waits for a server that is down."""
        attempt = 0
        while self.down_since is not None:
            await trio.sleep(PROBE_PAUSES[min(attempt, len(PROBE_PAUSES) - 1)])
            attempt += 1
            try:
                with trio.fail_after(PROBE_DEADLINE):
                    async with self.limiter:
                        await self.client.head(self.base + "/", headers={"Accept": "*/*"})
            except (httpx.HTTPError, trio.TooSlowError) as error:
                log.debug("%s still does not answer: %s", self.base, error)
                continue
            self.has_answered()
            log.info("%s answers again", self.base)
