"""Requests with a deadline, retried where that is safe, with credentials only for the host they are for."""

from __future__ import annotations

import functools
import logging
import os
import random
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import trio

from alyxfs import counters, errors
from alyxfs.counters import counted
from alyxfs.net import answers, failures
from alyxfs.net.addresses import checked, redirected, server_of, shown
from alyxfs.net.answers import LARGEST_BODY
from alyxfs.net.connections import CONNECT_TIMEOUT, certificates, make_request
from alyxfs.net.http1 import SAFE_METHODS, Transport
from alyxfs.net.malloc import keep_freed
from alyxfs.net.proxies import proxies_of
from alyxfs.net.retrying import GATEWAY_STATUSES, OF_REQUESTS, TOO_MANY_REQUESTS, next_pause, requested_pause
from alyxfs.net.servers import Servers
from alyxfs.net.sockets import reason
from alyxfs.tasks import background_tasks, nobody_waits

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from alyxfs.net.addresses import Server
    from alyxfs.net.answers import Answer, StreamedAnswer
    from alyxfs.net.boundary import IpNetwork
    from alyxfs.net.origin import Origin

log = logging.getLogger(__name__)

MAXIMUM_REDIRECTS = 5
READ_TIMEOUT = 30.0
"""Seconds without a byte, where the caller does not say."""
QUICK_LOOK = 1.0
"""Seconds that an answer is waited for from a server that has been away for a whole deadline."""


class Network(Servers):
    """All HTTP of one drive. Make it with :func:`open_network`."""

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        files: Mapping[str, Any] | None = None,
        data: Mapping[str, str] | None = None,
        deadline: float | None = None,
        largest: int = LARGEST_BODY,
    ) -> Answer:
        """Send one request and read the whole answer, of at most ``largest`` bytes; of a refusal, what matters.

        Safe methods are tried again after connection failures and after 429, 502, 503 and 504, as long as the
        deadline (seconds) allows; all others are sent once. Every status is returned, except 429 past the deadline.
        Raises Unreachable, DeadlineExceeded, Throttled, AnswerTooLarge, ServerFault (a broken answer, or one that came
        compressed, which nobody asked for), BadAddress or AddressRefused (a redirect).
        """
        limit = self.deadline if deadline is None else deadline
        started = trio.current_time()
        body = {"content": content, "files": files, "data": data, "read_timeout": limit}
        send = functools.partial(self._once, method, url, headers, body, started + limit, largest)
        try:
            with trio.fail_after(limit):
                done = await (self._repeatedly(send, url, started, limit) if method in SAFE_METHODS else send())
        except trio.TooSlowError as error:
            self.origin(url).has_failed(self.tasks, started)
            raise failures.too_late(url, limit) from error
        return done.answer_or_failure()

    async def _once(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        body: Mapping[str, Any],
        ends: float,
        largest: int,
    ) -> _Try:
        try:
            async with self._send(method, url, headers, body, ends) as response:
                answer = await answers.whole(response, largest)
        except (errors.Unreachable, errors.ServerFault) as error:
            return _Try(None, error)
        return _Try(answer, _failure_of(answer))

    async def _repeatedly(self, send: Callable[[], Awaitable[_Try]], url: str, started: float, limit: float) -> _Try:
        """Send as often as makes sense."""
        count = 0
        while True:
            done = await send()
            failure = done.failure
            if failure is None:
                return done
            count += not isinstance(failure, errors.Throttled)
            left = started + limit - trio.current_time()
            pause = next_pause(OF_REQUESTS, failure, count, left, done.pause, random.random())  # noqa: S311 - no secret
            if pause is None or (isinstance(failure, errors.Unreachable) and self.is_down(url)):
                break
            log.info("trying again in %.1f s after: %s", pause, failure)
            await trio.sleep(pause)
        if isinstance(failure, errors.Throttled):
            await self.origin(url).wait_for_turn(started + limit, url)
        elif isinstance(failure, errors.Unreachable):
            self.gave_up(url, started)
        return done

    @asynccontextmanager
    async def stream(
        self, url: str, *, headers: Mapping[str, str] | None = None, deadline: float
    ) -> AsyncGenerator[StreamedAnswer, None]:
        """GET with the body as it comes, tried once; the deadline (seconds) holds for the whole body.

        Every status is given. Raises as :meth:`request` does; chunks raise ServerFault.
        """
        begins_by = trio.current_time() + min(deadline, self.deadline)
        longest_wait = min(deadline, READ_TIMEOUT)
        with trio.move_on_after(deadline) as scope:
            async with self._streamed(url, headers, begins_by, longest_wait) as answer:
                yield answer
        if scope.cancelled_caught:
            raise failures.too_late(url, deadline)

    @asynccontextmanager
    async def stream_file(
        self, url: str, *, headers: Mapping[str, str] | None = None, stall: float, is_guess: bool
    ) -> AsyncGenerator[StreamedAnswer, None]:
        """GET a data file with the body as it comes, tried once: only the caller knows how to resume.

        ``stall`` (seconds) holds for each wait for the next bytes. ``is_guess``: no program has opened the file yet, so
        only servers are asked of which one has opened another. A server that is down is asked all the same.
        """
        begins_by = trio.current_time() + (QUICK_LOOK if self.is_gone(url) else self.deadline)
        async with self._streamed(url, headers, begins_by, stall, of_file=True, is_guess=is_guess) as answer:
            yield answer

    def connect_ahead(self, url: str) -> None:
        """Have a second connection ready for a data file whose next piece will be asked for while the first comes.

        It costs the server no request, and saves the reader the round trips of connecting.
        """
        origin = self.origin(url)
        transport, _ = self.carrier(origin, url, of_file=True)
        may = origin.is_opened and origin.down_since is None and origin.limiter.available_tokens > 1
        if may and isinstance(transport, Transport):
            self.tasks.start(_connect_ahead, transport, shown(url), failed=nobody_waits)

    @asynccontextmanager
    async def _streamed(
        self,
        url: str,
        headers: Mapping[str, str] | None,
        begins_by: float,
        longest_wait: float,
        *,
        of_file: bool = False,
        is_guess: bool = False,
    ) -> AsyncGenerator[StreamedAnswer, None]:
        body = {"read_timeout": longest_wait}
        async with self._send("GET", url, headers, body, begins_by, of_file=of_file, is_guess=is_guess) as response:
            answer = answers.streamed(response)
            try:
                yield answer
            finally:
                await answers.end(response, answer)

    @asynccontextmanager
    async def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        body: Mapping[str, Any],
        ends: float,
        *,
        of_file: bool = False,
        is_guess: bool = False,
    ) -> AsyncGenerator[httpx.Response, None]:
        """Send and follow redirects; the answer begins before ``ends``.

        A server that is down is waited for by who asks for a file, not by who asks the API.
        """
        given = dict(headers or {})
        passed: set[str] = set()
        while len(passed) <= MAXIMUM_REDIRECTS and url not in passed:
            passed.add(url)
            server = checked(url)
            origin = self.origin(url)
            if origin.is_proxied or (of_file and self.file_proxy is not None):
                self.boundary.check_name(server)
            if is_guess and not origin.is_opened:
                raise errors.AddressRefused(f"No program has opened a file of {origin.base} yet.", url=shown(url))
            origin.is_opened |= of_file
            if not of_file:
                origin.refuse_if_down(url)
            async with origin.permission(ends, url):
                # No await may stand between taking the limiter and the request: see Origin.
                if not of_file:
                    origin.refuse_if_down(url)
                body_received = counters.Body(counted.files if of_file else counted.api)
                body_received.traffic.sent()
                began = trio.current_time()
                response = await self._begin(
                    origin, method, url, self.headers_for(origin, given, method, url, of_file), body, ends, of_file
                )
                response.extensions[answers.RECEIVED] = body_received
                try:
                    if response.status_code == TOO_MANY_REQUESTS:
                        origin.pause(requested_pause(response.status_code, response.headers) or 0.0)
                    location = response.headers.get("location")
                    if not (response.has_redirect_location and location and method in SAFE_METHODS):
                        yield response
                        return
                    target = redirected(url, location)
                finally:
                    await answers.close(response)
                    milliseconds, count = 1000 * (trio.current_time() - began), body_received.received
                    log.debug(
                        "%s %s: %d, %d bytes in %.1f ms", method, shown(url), response.status_code, count, milliseconds
                    )
            if checked(target) != server:
                _refuse_if_readable(server, target)
                given = {
                    name: value for name, value in given.items() if name.lower() not in {"authorization", "cookie"}
                }
            url = target
        how = "in a circle" if url in passed else f"more than {MAXIMUM_REDIRECTS} times"
        raise errors.ServerFault(f"{shown(url)} redirects {how}.", status=302, url=shown(url))

    def in_a_row(self, url: str) -> AbstractAsyncContextManager[None]:
        """The requests that this task sends to the server of ``url`` follow each other without waiting for others."""
        return self.origin(url).in_a_row(trio.current_time() + self.deadline, url)

    async def _begin(
        self,
        origin: Origin,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Mapping[str, Any],
        ends: float,
        of_file: bool,
    ) -> httpx.Response:
        """Send, and wait for the beginning of the answer."""
        started = trio.current_time()
        transport, base = self.carrier(origin, url, of_file=of_file)
        with trio.CancelScope(deadline=ends) as scope:
            origin.waiting.add(scope)
            try:
                request = make_request(method, url, headers, **body)
                response = await transport.handle_async_request(request)
            except failures.FAILURES as error:
                failure = failures.before_answer(error, base, url)
                if isinstance(failure, errors.Unreachable):
                    origin.refusal = reason(error) if isinstance(error, httpx.ConnectError) else None
                    origin.has_failed(self.tasks, started)
                raise failure from error
            finally:
                origin.waiting.discard(scope)
            response.request = request
            origin.link.answered(trio.current_time() - started)
            origin.has_answered(url if method == "GET" and response.is_success else None)
            return response
        if origin.down_since is not None:
            raise errors.Unreachable(origin.trouble, url=shown(url))
        origin.has_failed(self.tasks, started)
        raise failures.too_late(url, trio.current_time() - started)


@asynccontextmanager
async def open_network(
    *,
    deadline: float = 30.0,
    file_connections: int = 16,
    allowed_networks: Sequence[IpNetwork] = (),
    file_proxy: str = "",
) -> AsyncGenerator[Network, None]:
    """The network of a drive, for as long as the block lasts; ``deadline`` in seconds.

    ``file_proxy`` is the address of a caching proxy for data files, see there. Raises ConfigurationError where that, or
    what the environment names as proxies or certificates, cannot be used.
    """
    check_environment()
    keep_freed()
    # httpx tells every address it asks, signatures in it included.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    async with background_tasks() as tasks:
        network = Network(
            tasks,
            deadline=deadline,
            file_connections=file_connections,
            allowed_networks=allowed_networks,
            file_proxy=file_proxy,
        )
        try:
            yield network
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 2):
                await network.close()


def check_environment() -> None:
    """Raise ConfigurationError where the environment names proxies or certificates that cannot be used."""
    proxies_of(os.environ)
    certificates()


@dataclass(frozen=True)
class _Try:
    """What came of sending a request once."""

    answer: Answer | None
    failure: errors.AlyxfsError | None
    """Why it may be sent again."""

    @property
    def pause(self) -> float | None:
        """Seconds that the server asks to wait."""
        return None if self.answer is None else requested_pause(self.answer.status, self.answer.headers)

    def answer_or_failure(self) -> Answer:
        """The answer, a gateway's included; else raises the failure."""
        if self.answer is not None and (self.failure is None or self.answer.status in GATEWAY_STATUSES):
            return self.answer
        assert self.failure is not None
        raise self.failure


async def _connect_ahead(transport: Transport, url: str) -> None:
    try:
        await transport.connect_ahead(CONNECT_TIMEOUT)
    except (*failures.FAILURES, errors.AlyxfsError) as error:
        log.debug("no second connection for %s, whose next piece makes one: %s", url, error)


def _failure_of(answer: Answer) -> errors.AlyxfsError | None:
    """What an answer is that asks to come again later."""
    if answer.status == TOO_MANY_REQUESTS:
        pause = requested_pause(answer.status, answer.headers) or 0.0
        return failures.throttled(server_of(answer.url).base, pause, answer.url)
    if answer.status in GATEWAY_STATUSES:
        return errors.ServerFault(f"{shown(answer.url)} answered {answer.status}.", status=answer.status)
    return None


def _refuse_if_readable(server: Server, target: str) -> None:
    """Nobody on the way may read or change what was asked for over https."""
    if server.scheme == "https" and server_of(target).scheme == "http":
        raise errors.AddressRefused(f"{server.base} leads from https to {shown(target)}, which anybody can read.")
