"""Requests with a deadline, retried where that is safe, with credentials only for the host they are for."""

from __future__ import annotations

import logging
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import httpx
import stamina
import stamina.instrumentation
import trio

from alyxfs import errors
from alyxfs.net.addresses import origin_of, shown
from alyxfs.net.connections import make_client, timeouts
from alyxfs.net.http1 import Body
from alyxfs.net.memory import keep_freed
from alyxfs.net.origin import KEPT_FREE, Origin, Politeness
from alyxfs.net.sockets import reason
from alyxfs.nursery import background_tasks

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping

    from alyxfs.net.signing import Signature

log = logging.getLogger(__name__)

MAXIMUM_REDIRECTS = 5
RETRIED_STATUSES = frozenset({502, 503, 504})
"""A gateway's answers: the server itself did not see the request, or asks for a pause."""
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
TRIES = 3
"""Of a safe request, where it fails; those that the server only wants to have later (429) do not count."""
SHORTEST_PAUSE = 0.1
"""Seconds, where the server asks for none."""
READ_TIMEOUT = 30.0
"""Seconds without a byte, where the caller does not say."""
LARGEST_BODY = 1 << 30
"""Bytes of an answer that is read whole."""


@dataclass(frozen=True)
class Answer:
    """One whole HTTP answer."""

    status: int
    headers: Mapping[str, str]
    """Names are case-insensitive."""
    body: bytes
    url: str


@dataclass(frozen=True)
class StreamedAnswer:
    """An answer whose body is still under way."""

    status: int
    headers: Mapping[str, str]
    url: str
    chunks: AsyncIterator[bytes]
    """The body as sent, without content decoding; raises a domain error where the connection breaks."""
    read_into: Callable[[memoryview], Awaitable[int]] | None
    """Puts the next bytes of the body into a buffer, with no copy between, and says how many; 0 at its end. None where
    the answer does not tell its length. Use this or ``chunks``; it raises the same."""


class _Again(Exception):
    """An answer or failure that is worth another try, and what comes of it when there is none."""

    def __init__(self, final: errors.AlyxfsError, *, pause: float | None = None, answer: Answer | None = None) -> None:
        super().__init__(str(final))
        self.final = final
        self.pause = pause
        self.answer = answer


class Network:
    """All HTTP of one drive. Make it with :func:`open_network`.

    State: ``_origins`` changes only in :meth:`origin`, ``_signatures`` in :meth:`sign`, which never await.
    """

    def __init__(self, nursery: trio.Nursery, *, deadline: float, file_connections: int = 16) -> None:
        self._nursery = nursery
        self._origins: dict[str, Origin] = {}
        self._signatures: dict[str, Signature] = {}
        self._file_politeness = Politeness(connections=file_connections)
        self.deadline = deadline
        """Seconds that a request may take in all, retries included, unless the caller says otherwise."""
        self.file_connections = file_connections
        """Requests at a time that a file server is asked to bear."""
        self.connections_ahead = max(1, file_connections - KEPT_FREE)
        """Of these, the ones for answers that nobody waits for yet."""

    def origin(self, url: str, politeness: Politeness | None = None) -> Origin:
        """The server of this address; the first call decides how politely it is treated."""
        base = origin_of(url)
        if base not in self._origins:
            politeness = politeness or self._file_politeness
            self._origins[base] = Origin(base, make_client(base, politeness.connections), politeness)
        return self._origins[base]

    def turn(self, url: str) -> trio.CapacityLimiter:
        """To be taken for a request whose answer nobody waits for yet: it leaves connections to those who wait."""
        return self.origin(url).turns

    def trust(self, url: str, authorization: Callable[[], str | None]) -> None:
        """Send the ``Authorization`` that this function gives to the server of ``url``, and to no other."""
        self.origin(url).authorization = authorization

    def sign(self, beginning: str, signature: Signature) -> None:
        """Add the headers that this function makes to requests of addresses that begin so, and to no others.

        ``beginning`` ends with the slash behind a host or a folder, so that no other host can begin with it.
        """
        assert beginning.endswith("/"), beginning
        self._signatures[beginning] = signature

    def is_down(self, url: str) -> bool:
        """Whether the server of this address does not answer at the moment: requests fail at once."""
        return self.origin(url).down_since is not None

    def down_origins(self) -> list[str]:
        """The servers that do not answer at the moment."""
        return [base for base, origin in self._origins.items() if origin.down_since is not None]

    def gave_up(self, url: str, since: float) -> None:
        """Note that nothing answered at this address since that moment (trio time), whatever was tried."""
        self.origin(url).has_failed(self._nursery, since, tried_again=True)

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
    ) -> Answer:
        """Send one request and read the whole answer.

        Safe methods are tried again after connection failures and after 429, 502, 503 and 504, as long as the
        deadline (seconds) allows; all others are sent once. Every status is returned, except 429 past the deadline.
        Raises Unreachable, DeadlineExceeded, Throttled, TooLarge or ServerFault (a broken answer).
        """
        limit = self.deadline if deadline is None else deadline
        started = trio.current_time()
        ends = started + limit
        body = {"content": content, "files": files, "data": data, "timeout": timeouts(limit)}

        async def attempt() -> Answer:
            async with self._send(method, url, headers, body, ends) as response:
                answer = Answer(response.status_code, response.headers, await _whole(response), str(response.url))
            self._ask_for_retry(answer)
            return answer

        try:
            with trio.fail_after(limit):
                return await (_retrying(attempt, limit) if method in SAFE_METHODS else attempt())
        except trio.TooSlowError as error:
            self.origin(url).has_failed(self._nursery, started)
            raise _too_late(url, limit) from error
        except _Again as again:
            if again.answer is not None and again.answer.status in RETRIED_STATUSES:
                return again.answer
            if isinstance(again.final, errors.Unreachable) and method in SAFE_METHODS:
                self.gave_up(url, started)
            raise again.final from again

    @asynccontextmanager
    async def stream(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        deadline: float | None = None,
        stall: float | None = None,
    ) -> AsyncGenerator[StreamedAnswer, None]:
        """GET with the body as it comes, tried once: only the caller knows how to resume.

        The deadline (seconds) holds for the whole body, ``stall`` for each wait for the next bytes. Every status is
        given. Raises as :meth:`request` does; chunks raise ServerFault.
        """
        limit = self.deadline if deadline is None else deadline
        longest_wait = min(limit, READ_TIMEOUT if stall is None else stall)
        with trio.move_on_after(limit) as scope:
            begins_by = trio.current_time() + min(limit, self.deadline)
            try:
                async with self._send("GET", url, headers, {"timeout": timeouts(longest_wait)}, begins_by) as response:
                    chunks = _chunks(response)
                    try:
                        yield StreamedAnswer(
                            response.status_code, response.headers, str(response.url), chunks, _read_into(response)
                        )
                    finally:
                        await _end(response, chunks)
            except _Again as again:
                raise again.final from again
        if scope.cancelled_caught:
            raise _too_late(url, limit)

    @asynccontextmanager
    async def _send(
        self, method: str, url: str, headers: Mapping[str, str] | None, body: Mapping[str, Any], ends: float
    ) -> AsyncGenerator[httpx.Response, None]:
        """Send and follow redirects, each with the credentials of its own origin; the answer begins before ``ends``."""
        first = origin_of(url)
        for _ in range(MAXIMUM_REDIRECTS + 1):
            origin = self.origin(url)
            _refuse_if_down(origin, url)
            if origin.paused_until > ends:
                raise _throttled(origin.base, origin.paused_until - trio.current_time(), url)
            await origin.wait_for_turn()
            # No await may stand between taking the limiter and the request: see Origin.
            async with origin.limiter:
                _refuse_if_down(origin, url)
                fitting = _headers(origin, headers, foreign=origin.base != first)
                for beginning, signature in self._signatures.items():
                    if url.startswith(beginning):
                        fitting |= signature(method, url)
                request = origin.client.build_request(method, url, headers=fitting, **body)
                response = await self._begin(origin, request, ends)
                try:
                    if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
                        origin.pause(retry_after(response.headers))
                    location = response.headers.get("location")
                    if not (response.has_redirect_location and location and method in SAFE_METHODS):
                        yield response
                        return
                    url = urljoin(url, location)
                finally:
                    with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                        await response.aclose()
        raise errors.ServerFault(f"{shown(url)} redirects more than {MAXIMUM_REDIRECTS} times.", url=shown(url))

    async def _begin(self, origin: Origin, request: httpx.Request, ends: float) -> httpx.Response:
        """Send, and wait for the beginning of the answer."""
        url = str(request.url)
        started = trio.current_time()
        with trio.CancelScope(deadline=ends) as scope:
            origin.waiting.add(scope)
            try:
                response = await origin.client.send(request, stream=True)
            except (httpx.ConnectError, httpx.TimeoutException) as error:
                origin.refusal = reason(error) if isinstance(error, httpx.ConnectError) else None
                origin.has_failed(self._nursery, started)
                words = origin.refusal or _words(error)
                unsent = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout))
                kind = errors.NotConnected if unsent else errors.Unreachable
                raise _Again(kind(f"{origin.base} cannot be reached: {words}.", url=shown(url))) from error
            except httpx.HTTPError as error:
                raise _Again(_broken(url, error)) from error
            finally:
                origin.waiting.discard(scope)
            origin.has_answered()
            return response
        if origin.down_since is not None:
            raise errors.Unreachable(_down(origin), url=shown(url))
        origin.has_failed(self._nursery, started)
        raise _too_late(url, trio.current_time() - started)

    def _ask_for_retry(self, answer: Answer) -> None:
        if answer.status == httpx.codes.TOO_MANY_REQUESTS:
            seconds = retry_after(answer.headers)
            raise _Again(_throttled(origin_of(answer.url), seconds, answer.url), pause=seconds, answer=answer)
        if answer.status in RETRIED_STATUSES:
            fault = errors.ServerFault(f"{shown(answer.url)} answered {answer.status}.", status=answer.status)
            pause = retry_after(answer.headers) if "retry-after" in answer.headers else None
            raise _Again(fault, pause=pause, answer=answer)


@asynccontextmanager
async def open_network(*, deadline: float = 30.0, file_connections: int = 16) -> AsyncGenerator[Network, None]:
    """The network of a drive, for as long as the block lasts; ``deadline`` in seconds."""
    stamina.instrumentation.set_on_retry_hooks([_log_retry])
    keep_freed()
    # httpx tells every address it asks, signatures in it included.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    async with background_tasks() as nursery:
        network = Network(nursery, deadline=deadline, file_connections=file_connections)
        try:
            yield network
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 2):
                for origin in network._origins.values():  # noqa: SLF001 - the same module owns both
                    await origin.client.aclose()


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that an answer asks to wait: a number or a date (RFC 9110); 1 where it does not say."""
    value = headers.get("retry-after", "")
    if value.strip().isdecimal():
        return max(SHORTEST_PAUSE, float(value))
    try:
        return max(SHORTEST_PAUSE, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return 1.0


async def _retrying(attempt: Callable[[], Awaitable[Answer]], limit: float) -> Answer:
    """Try as often as makes sense within so many seconds."""
    ends = trio.current_time() + limit
    failures = 0

    def backoff(error: Exception) -> bool | float:
        nonlocal failures
        if not isinstance(error, _Again):
            return False
        if not isinstance(error.final, errors.Throttled):
            failures += 1
        if failures >= TRIES:
            return False
        if error.pause is None:
            return True
        return error.pause if trio.current_time() + error.pause < ends else False

    tries = stamina.retry_context(
        on=backoff, attempts=None, timeout=limit, wait_initial=0.2, wait_jitter=0.2, wait_max=5
    )
    async for trial in tries:
        with trial:
            return await attempt()
    raise AssertionError("stamina ends its loop by an answer or an exception")


async def _whole(response: httpx.Response) -> bytes:
    parts, length = [], 0
    try:
        async for part in response.aiter_bytes():
            parts.append(part)
            length += len(part)
            if length > LARGEST_BODY:
                raise errors.TooLarge(f"{shown(str(response.url))} sends more than {LARGEST_BODY} bytes.")
    except httpx.HTTPError as error:
        raise _Again(_broken(str(response.url), error)) from error
    return b"".join(parts)


async def _chunks(response: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.aiter_raw():
            yield chunk
    except httpx.HTTPError as error:
        raise _broken(str(response.url), error) from error


def _read_into(response: httpx.Response) -> Callable[[memoryview], Awaitable[int]] | None:
    body = response.extensions.get("body")
    if not isinstance(body, Body) or not body.is_announced:
        return None

    async def read_into(buffer: memoryview) -> int:
        try:
            return await body.read_into(buffer)
        except httpx.HTTPError as error:
            raise _broken(str(response.url), error) from error

    return read_into


async def _end(response: httpx.Response, chunks: AsyncIterator[bytes]) -> None:
    """Leave no generator suspended where the reader left before the end: httpx nests six of them, and closes none.

    With the connection closed the next read fails, which unwinds them all.
    """
    with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
        if not response.is_stream_consumed or response.is_closed:
            return
        body = response.extensions.get("body")
        await (body.break_off() if isinstance(body, Body) else response.extensions["network_stream"].aclose())
        try:
            async for _ in chunks:
                pass
        except errors.ServerFault as error:
            log.debug("left before its end: %s", error)


def _headers(origin: Origin, headers: Mapping[str, str] | None, *, foreign: bool) -> dict[str, str]:
    """Fit the headers to the origin: a redirect to another one must not take the first one's credentials along."""
    merged = {
        name: value
        for name, value in (headers or {}).items()
        if not (foreign and name.lower() in {"authorization", "cookie"})
    }
    authorization = origin.authorization() if origin.authorization else None
    if authorization is not None and not any(name.lower() == "authorization" for name in merged):
        merged["Authorization"] = authorization
    return merged


def _refuse_if_down(origin: Origin, url: str) -> None:
    if origin.down_since is not None:
        raise errors.NotConnected(_down(origin), url=shown(url))


def _down(origin: Origin) -> str:
    trouble = f"cannot be reached: {origin.refusal}" if origin.refusal else "does not answer"
    return f"{origin.base} {trouble}; it is asked again in the background."


def _throttled(base: str, pause: float, url: str) -> errors.Throttled:
    return errors.Throttled(
        f"{base} asks for a pause of {pause:.0f} s (too many requests). Try again then.", status=429, url=shown(url)
    )


def _too_late(url: str, limit: float) -> errors.DeadlineExceeded:
    return errors.DeadlineExceeded(f"{shown(url)} did not answer within {limit:.3g} s.", url=shown(url))


def _broken(url: str, error: Exception) -> errors.ServerFault:
    return errors.ServerFault(f"The answer of {shown(url)} broke off: {_words(error)}.", url=shown(url))


def _words(error: Exception) -> str:
    return str(error).rstrip(".") or type(error).__name__


def _log_retry(details: stamina.instrumentation.RetryDetails) -> None:
    log.info("trying again in %.1f s after: %s", details.wait_for, details.caused_by)
