"""Requests with a deadline, retried where that is safe, with credentials only for the host they are for."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import httpx
import stamina
import stamina.instrumentation
import trio

from alyxfs import __version__, errors
from alyxfs.net.origin import SLOW_FAILURE, Origin, Politeness

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping

log = logging.getLogger(__name__)

MAXIMUM_REDIRECTS = 5
READ_TIMEOUT = 30.0
"""Seconds without a byte, where the caller does not say."""
CONNECT_TIMEOUT = 10.0
"""Seconds."""
RETRIED_STATUSES = frozenset({429, 502, 503, 504})
"""A gateway's answers: the server itself did not see the request, or asks for a pause."""
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


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


class _Again(Exception):
    """A retried answer or failure, with what to raise when the tries are used up."""

    def __init__(self, final: errors.AlyxfsError, pause: float | None = None) -> None:
        super().__init__(str(final))
        self.final = final
        self.pause = pause


class Network:
    """All HTTP of one drive. Make it with :func:`open_network`.

    State: ``_origins`` changes only in :meth:`origin`, which never awaits.
    """

    def __init__(self, nursery: trio.Nursery, *, deadline: float, file_connections: int = 16) -> None:
        self._nursery = nursery
        self._origins: dict[str, Origin] = {}
        self._file_politeness = Politeness(connections=file_connections)
        self.deadline = deadline
        """Seconds that a request may take in all, retries included, unless the caller says otherwise."""

    def origin(self, url: str, politeness: Politeness | None = None) -> Origin:
        """The server of this address; the first call decides how politely it is treated."""
        base = origin_of(url)
        if base not in self._origins:
            politeness = politeness or self._file_politeness
            self._origins[base] = Origin(base, _make_client(politeness.connections), politeness)
        return self._origins[base]

    def trust(self, url: str, authorization: Callable[[], str | None]) -> None:
        """Send the ``Authorization`` that this function gives to the server of ``url``, and to no other."""
        self.origin(url).authorization = authorization

    def down_origins(self) -> list[str]:
        """The servers that do not answer at the moment."""
        return [base for base, origin in self._origins.items() if origin.down_since is not None]

    def is_down(self, url: str) -> bool:
        """Whether the server of this address does not answer at the moment: requests fail at once."""
        return self.origin(url).down_since is not None

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
        Raises Unreachable, DeadlineExceeded, Throttled or ServerFault (a broken answer).
        """
        body = {"content": content, "files": files, "data": data}

        async def attempt() -> Answer:
            async with self._send(method, url, headers, body) as response:
                try:
                    payload = await response.aread()
                except httpx.HTTPError as error:
                    raise _Again(_broken(url, error)) from error
                return Answer(response.status_code, response.headers, payload, str(response.url))

        return await self._within_deadline(attempt, method, url, deadline)

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

        The deadline (seconds) holds for the whole body, ``stall`` for each wait for the next bytes.
        Raises as :meth:`request` does; chunks raise ServerFault.
        """
        limit = self.deadline if deadline is None else deadline
        timeout = min(limit, READ_TIMEOUT if stall is None else stall)
        with trio.move_on_after(limit) as scope:
            try:
                async with self._send("GET", url, headers, {"timeout": _timeout(timeout)}) as response:
                    yield StreamedAnswer(
                        response.status_code, response.headers, str(response.url), _chunks(response, url)
                    )
            except _Again as again:
                raise again.final from again
        if scope.cancelled_caught:
            raise errors.DeadlineExceeded(f"{url} did not answer within {limit:g} s.", url=url)

    async def _within_deadline(
        self, attempt: Callable[[], Any], method: str, url: str, deadline: float | None
    ) -> Answer:
        limit = self.deadline if deadline is None else deadline
        started = trio.current_time()
        try:
            with trio.fail_after(limit):
                return await self._retrying(attempt, method, limit)
        except trio.TooSlowError as error:
            self._note_failure(self.origin(url), started)
            raise errors.DeadlineExceeded(f"{url} did not answer within {limit:g} s.", url=url) from error
        except _Again as again:
            raise again.final from again

    async def _retrying(self, attempt: Callable[[], Any], method: str, limit: float) -> Answer:
        if method not in SAFE_METHODS:
            answer: Answer = await attempt()
            return answer
        ends = trio.current_time() + limit

        def backoff(error: Exception) -> bool | float:
            if not isinstance(error, _Again):
                return False
            if error.pause is None:
                return True
            return error.pause if trio.current_time() + error.pause < ends else False

        async for trial in stamina.retry_context(on=backoff, attempts=3, timeout=limit, wait_initial=0.2, wait_max=5):
            with trial:
                answer = await attempt()
                if answer.status in RETRIED_STATUSES:
                    self._raise_retried(answer, last=trial.num == 3)  # noqa: PLR2004 - as many as attempts
                return answer
        raise AssertionError("stamina ends its loop by an answer or an exception")

    def _raise_retried(self, answer: Answer, *, last: bool) -> None:
        if answer.status != 429:  # noqa: PLR2004
            if last:
                return
            raise _Again(errors.ServerFault(f"{answer.url} answered {answer.status}.", status=answer.status))
        pause = retry_after(answer.headers)
        origin = self.origin(answer.url)
        origin.paused_until = max(origin.paused_until, trio.current_time() + pause)
        raise _Again(
            errors.Throttled(
                f"{origin.base} asks for a pause of {pause:g} s (too many requests). Try again then.",
                status=429,
                url=answer.url,
            ),
            pause,
        )

    @asynccontextmanager
    async def _send(
        self, method: str, url: str, headers: Mapping[str, str] | None, body: Mapping[str, Any]
    ) -> AsyncGenerator[httpx.Response, None]:
        """Send, follow redirects (each to its own origin, with that origin's credentials), map failures."""
        for _ in range(MAXIMUM_REDIRECTS):
            origin = self.origin(url)
            if origin.down_since is not None:
                raise errors.Unreachable(
                    f"{origin.base} does not answer; it is asked again in the background.", url=url
                )
            started = trio.current_time()
            await origin.wait_for_turn()
            async with origin.limiter:
                request = origin.client.build_request(method, url, headers=_headers(origin, headers), **body)
                try:
                    response = await origin.client.send(request, stream=True)
                except (httpx.ConnectError, httpx.TimeoutException) as error:
                    self._note_failure(origin, started)
                    raise _Again(
                        errors.Unreachable(f"{origin.base} cannot be reached: {_words(error)}.", url=url)
                    ) from error
                except httpx.HTTPError as error:
                    raise _Again(_broken(url, error)) from error
                try:
                    location = response.headers.get("location")
                    if not (response.has_redirect_location and location and method in SAFE_METHODS):
                        yield response
                        return
                    url = urljoin(url, location)
                finally:
                    with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                        await response.aclose()
        raise errors.ServerFault(f"{url} redirects more than {MAXIMUM_REDIRECTS} times.", url=url)

    def _note_failure(self, origin: Origin, started: float) -> None:
        if origin.down_since is None and trio.current_time() - started > SLOW_FAILURE:
            origin.down_since = trio.current_time()
            log.info("%s does not answer; requests fail at once until it does", origin.base)
            self._nursery.start_soon(origin.probe_until_up)


@asynccontextmanager
async def open_network(*, deadline: float = 30.0, file_connections: int = 16) -> AsyncGenerator[Network, None]:
    """The network of a drive, for as long as the block lasts; ``deadline`` in seconds."""
    stamina.instrumentation.set_on_retry_hooks([_log_retry])
    async with trio.open_nursery() as nursery:
        network = Network(nursery, deadline=deadline, file_connections=file_connections)
        try:
            yield network
        finally:
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 2):
                for origin in network._origins.values():  # noqa: SLF001 - the same module owns both
                    await origin.client.aclose()


def origin_of(url: str) -> str:
    """Scheme, host and port of an address, without user and password."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise errors.ConfigurationError(f"{url!r} is not an http or https address.")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that an answer asks to wait: a number or a date (RFC 9110); 1 where it does not say."""
    value = headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - _now())
    except (TypeError, ValueError):
        return 1.0


def _now() -> float:
    import time  # noqa: PLC0415

    return time.time()


def _timeout(read: float) -> httpx.Timeout:
    """Seconds between two pieces of an answer; the limiter sees to it that nobody waits for the pool."""
    return httpx.Timeout(read, connect=min(read, CONNECT_TIMEOUT), pool=None)


def _make_client(connections: int) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=30),
        timeout=_timeout(READ_TIMEOUT),
        follow_redirects=False,
        headers={"User-Agent": f"alyxfs/{__version__}", "Accept-Encoding": "identity"},
    )


def _headers(origin: Origin, headers: Mapping[str, str] | None) -> dict[str, str]:
    merged = dict(headers or {})
    authorization = origin.authorization() if origin.authorization else None
    if authorization is not None:
        merged.setdefault("Authorization", authorization)
    return merged


async def _chunks(response: httpx.Response, url: str) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.aiter_raw():
            yield chunk
    except httpx.HTTPError as error:
        raise _broken(url, error) from error


def _broken(url: str, error: Exception) -> errors.ServerFault:
    return errors.ServerFault(f"The answer of {url} broke off: {_words(error)}.", url=url)


def _words(error: Exception) -> str:
    return str(error).rstrip(".") or type(error).__name__


def _log_retry(details: stamina.instrumentation.RetryDetails) -> None:
    log.info("trying again in %.1f s after: %s", details.wait_for, details.caused_by)
