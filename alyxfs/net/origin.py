"""One server as we treat it: how many requests at a time, how often, with which credentials, and whether it answers."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from alyxfs import errors
from alyxfs.net.addresses import shown
from alyxfs.net.connections import make_request
from alyxfs.net.failures import FAILURES, no_turn, throttled
from alyxfs.net.link import Link

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import httpx

    from alyxfs.net.addresses import Server
    from alyxfs.net.rate_limit import RateLimit
    from alyxfs.tasks import Tasks

log = logging.getLogger(__name__)

SLOW_FAILURE = 1.0
"""Seconds: a single failure faster than this costs its callers nothing, so the breaker stays closed."""

KEPT_FREE = 4
"""Connections that are left to those who wait for an answer, where there are that many."""
PROBE_PAUSES = (0.5, 1.0, 2.0)
"""Seconds between the probes of a server that stopped answering; the last value repeats."""
PROBE_DEADLINE = 5.0
"""Seconds that a probe may take."""
LAST_WORDS = 0.05
"""Seconds before a deadline at which the reason for missing it is told."""
PROBE_HEADERS = {"Range": "bytes=0-0"}


class Origin:
    """A server (scheme, host, port), its connections and its state. Owned by one :class:`Network`.

    State: changes only between two awaits, in the methods here.
    """

    def __init__(
        self, server: Server, transport: httpx.AsyncBaseTransport, limit: RateLimit, *, is_proxied: bool = False
    ) -> None:
        self.server = server
        self.base = server.base
        self.transport = transport
        self.file_transport = self.probed_by = transport
        """What carries requests for data files, and those by which a server that does not answer is looked for."""
        self.is_proxied = is_proxied
        """A proxy resolves its name."""
        self.is_opened = False
        """A program has opened a file that is there."""
        # Taken before each request, and the only limit: each request under way has a connection of its own. Where a
        # proxy is between, it keeps httpx's pool from being contended, which loses connections for good when a
        # request that waits for one is cancelled.
        self.limiter = trio.CapacityLimiter(limit.connections)
        self.turns = trio.CapacityLimiter(max(1, limit.connections - KEPT_FREE))
        """See Network.turn."""
        self.rate = limit.rate()
        self.file_authorization: str | None = None
        """The ``Authorization`` with which its data files are asked for."""
        self.file_folder = ""
        """The path below which they are; without slash at its end."""
        self.paused_until = 0.0
        """Trio time before which the server asked not to be called (Retry-After)."""
        self.down_since: float | None = None
        """Trio time of the failure that opened the breaker; None while the server answers."""
        self.silent_since = 0.0
        """While it does not: trio time since when nothing that was asked has been answered."""
        self._back = trio.Event()
        """Set when it answers again."""
        self.refusal: str | None = None
        """Why the last connection was not made, where that came as an answer and not as a silence."""
        self.answered_at = 0.0
        """Trio time of the last answer."""
        self.answers_at = f"{self.base}/"
        """The address of the last GET that was answered well."""
        self.waiting: set[trio.CancelScope] = set()
        """Of the requests that wait for the beginning of an answer: an opening breaker ends them."""
        self.link = Link()
        self._in_a_row: set[trio.lowlevel.Task] = set()
        """Tasks that hold a connection for requests that follow each other."""

    def pause(self, seconds: float) -> None:
        """Keep quiet for so long, as the server asks."""
        self.paused_until = max(self.paused_until, trio.current_time() + seconds)

    def has_answered(self, url: str | None = None) -> None:
        """Note that the server is there, and gave what is at ``url``."""
        self.answered_at = trio.current_time()
        self.answers_at = url or self.answers_at
        self.down_since = self.refusal = None
        self._back.set()

    def has_failed(self, tasks: Tasks, since: float, *, tried_again: bool = False) -> None:
        """Open the breaker if this took long and nothing was answered meanwhile; ``since`` in trio time.

        Connections that were refused ``tried_again`` and again open it however soon that was.
        """
        now = trio.current_time()
        refused = tried_again and self.refusal is not None
        if self.down_since is not None or self.answered_at > since or not (refused or now - since >= SLOW_FAILURE):
            return
        self.down_since, self.silent_since = now, since
        self._back = trio.Event()
        log.info("%s does not answer; requests fail at once until it does", self.base)
        if not refused:  # else who waits on a connection that was made before may still be answered
            for scope in self.waiting:
                scope.cancel()
        tasks.keep(self._probe_until_up)

    @property
    def trouble(self) -> str:
        """What to tell who asks for something while it is down."""
        trouble = f"cannot be reached: {self.refusal}" if self.refusal else "does not answer"
        return f"{self.base} {trouble}; it is asked again in the background."

    def refuse_if_down(self, url: str) -> None:
        """Raise NotConnected while it does not answer."""
        if self.down_since is not None:
            raise errors.NotConnected(self.trouble, url=shown(url))

    async def wait_until_back(self) -> None:
        """Sleep while the breaker is open."""
        if self.down_since is not None:
            await self._back.wait()

    async def wait_for_turn(self, ends: float, url: str) -> None:
        """Sleep as long as the limit of requests and the server's own Retry-After ask for.

        Raises Throttled where that is past ``ends`` (trio time), and shortly before that time: programs that went on at
        once would only come to the same wall again.
        """
        if self.rate is not None:
            with trio.move_on_at(ends - LAST_WORDS) as scope:
                await self.rate.wait_for_turn()
            if scope.cancelled_caught:
                raise no_turn(self.base, url)
        while (pause := self.paused_until - trio.current_time()) > 0:
            if self.paused_until > ends:
                await trio.sleep(max(0.0, ends - LAST_WORDS - trio.current_time()))
                raise throttled(self.base, self.paused_until - trio.current_time(), url)
            await trio.sleep(pause)

    @asynccontextmanager
    async def permission(self, ends: float, url: str) -> AsyncGenerator[None, None]:
        """For one request, that begins before ``ends`` (trio time); one that follows another in a row is only counted.

        Raises Throttled.
        """
        if trio.lowlevel.current_task() in self._in_a_row:
            if self.rate is not None:
                self.rate.count()
            yield
            return
        await self.wait_for_turn(ends, url)
        async with self.limiter:
            yield

    @asynccontextmanager
    async def in_a_row(self, ends: float, url: str) -> AsyncGenerator[None, None]:
        """The requests that this task sends in the block follow each other without waiting for others.

        Raises Throttled where the first would have to wait past ``ends`` (trio time), NotConnected.
        """
        async with self.permission(ends, url):
            self.refuse_if_down(url)
            task = trio.lowlevel.current_task()
            self._in_a_row.add(task)
            try:
                yield
            finally:
                self._in_a_row.remove(task)

    async def _probe_until_up(self) -> None:
        """Ask until any answer comes, then close the breaker: no caller waits for a server that is down.

        What is asked has been answered before, in turns with the server's root: there are servers that refuse HEAD, or
        know no root. Of the answer only the beginning is read.
        """
        attempt = 0
        while self.down_since is not None:
            await trio.sleep(PROBE_PAUSES[min(attempt, len(PROBE_PAUSES) - 1)])
            url = f"{self.base}/" if attempt % 2 else self.answers_at
            attempt += 1
            try:
                with trio.fail_after(PROBE_DEADLINE):
                    async with self.limiter:
                        request = make_request("GET", url, PROBE_HEADERS, PROBE_DEADLINE)
                        await (await self.probed_by.handle_async_request(request)).aclose()
            except (*FAILURES, errors.AlyxfsError, trio.TooSlowError) as error:
                log.debug("%s still does not answer: %s", self.base, error)
                continue
            self.has_answered()
            log.info("%s answers again", self.base)
