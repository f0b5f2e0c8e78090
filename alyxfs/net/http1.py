"""HTTP/1.1 for httpx, over connections whose bodies need not pass through Python's layers.

h11 reads the heads of answers, and bodies without announced length. The usual body, of a length that the head tells,
is received from the socket straight into the caller's memory: through httpcore and h11 it is copied three times more.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, TypeAlias

import h11
import httpx
import trio

from alyxfs.net.sockets import RECEIVE, PlainStream, TlsStream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

HEAD = 64 * 1024
"""Bytes read at a time until the head of an answer has come; what of the body comes along is copied once more."""
LONGEST_HEAD = 256 * 1024
"""Bytes."""
MOST_INTERIM_ANSWERS = 10
"""Of the statuses 100 to 199, before the answer itself."""
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""They may be sent again."""
DOUBTED_AFTER = 3.0
"""Seconds that a connection lay idle, after which it is not waited for long: networks lose connections in silence."""
DOUBTFUL_WAIT = 3.0
"""Seconds that a connection in doubt may take to begin an answer; then the request goes over a new one."""
WRITES_WITHIN = 1.0
"""Seconds that a connection may have lain idle to be used for what must not be sent twice."""
Timeouts: TypeAlias = "Mapping[str, float | None]"
"""Seconds for ``connect``, ``read`` and ``write``; None: for ever."""


class Transport(httpx.AsyncBaseTransport):
    """The connections to one server. Who asks sees to it that there are not too many (see Origin).

    State: ``_idle`` changes only between two awaits.
    """

    def __init__(self, dial: Callable[[float | None], Awaitable[PlainStream | TlsStream]], keepalive: float) -> None:
        self._dial = dial
        """Makes a connection, in so many seconds."""
        self._keepalive = keepalive
        """Seconds that an idle connection is used again."""
        self._idle: list[tuple[PlainStream | TlsStream, float]] = []
        """With the time since when each is idle, see :func:`_now`. The last one used is used next: it is the least
        likely to have been closed."""
        self._is_dialing_ahead = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; see httpx. A connection that turns out to be dead costs a safe request a short wait."""
        timeouts: Timeouts = request.extensions.get("timeout", {})
        is_safe = request.method in SAFE_METHODS
        stream, idle_for = await self._take(is_safe=is_safe)
        if stream is not None and is_safe:
            is_doubtful = idle_for >= DOUBTED_AFTER
            try:
                with trio.fail_after(DOUBTFUL_WAIT) if is_doubtful else nullcontext():
                    return await self._ask_and_close(stream, request, timeouts)
            except (httpx.NetworkError, httpx.RemoteProtocolError):
                pass  # it was closed while nobody looked
            except trio.TooSlowError:
                await self._close_idle()  # what was idle for as long is as dead
        elif stream is not None:
            return await self._ask_and_close(stream, request, timeouts)
        return await self._ask_and_close(await self._dial(timeouts.get("connect")), request, timeouts)

    async def connect_ahead(self, timeout: float) -> None:  # noqa: ASYNC109 - a step of several
        """Make a connection for the request after the next one, unless that will find one; raises what dialing does."""
        if self._is_dialing_ahead or len(self._idle) > 1:
            return
        self._is_dialing_ahead = True
        try:
            self.release(await self._dial(timeout))
        finally:
            self._is_dialing_ahead = False

    def release(self, stream: PlainStream | TlsStream) -> None:
        """Take a connection for the next request, whose last answer has been read."""
        self._idle.append((stream, _now()))

    async def aclose(self) -> None:
        """Close every idle connection; each of the others closes with its answer."""
        await self._close_idle()

    async def _close_idle(self) -> None:
        while self._idle:
            await self._idle.pop()[0].aclose()

    async def _take(self, *, is_safe: bool) -> tuple[PlainStream | TlsStream | None, float]:
        """A connection that is still good, as far as can be seen, and for how many seconds it lay idle."""
        while self._idle:
            stream, since = self._idle[-1]
            idle_for = _now() - since
            if not is_safe and WRITES_WITHIN < idle_for < self._keepalive:
                break  # the others are idle for longer still
            self._idle.pop()
            if idle_for < self._keepalive and not stream.has_ended():
                return stream, idle_for
            with trio.CancelScope(shield=True):
                await stream.aclose()
        return None, 0.0

    async def _ask_and_close(
        self, stream: PlainStream | TlsStream, request: httpx.Request, timeouts: Timeouts
    ) -> httpx.Response:
        try:
            return await self._ask(stream, request, timeouts)
        except BaseException:
            # It is of no use any more: nobody knows how far request and answer have come.
            with trio.CancelScope(shield=True):
                await stream.aclose()
            raise

    async def _ask(self, stream: PlainStream | TlsStream, request: httpx.Request, timeouts: Timeouts) -> httpx.Response:
        protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=LONGEST_HEAD)
        try:
            failure = await _send(protocol, stream, request, timeouts)
            head = await _head(protocol, stream, timeouts)
        except h11.LocalProtocolError as error:
            raise httpx.LocalProtocolError(str(error)) from error
        except h11.RemoteProtocolError as error:
            raise failure or httpx.RemoteProtocolError(str(error)) from error
        body = Body(self, stream, protocol, _announced(request, head), timeouts.get("read"))
        return httpx.Response(
            status_code=head.status_code,
            headers=head.headers.raw_items(),
            stream=body,
            extensions={"http_version": b"HTTP/" + head.http_version, "reason_phrase": head.reason, "body": body},
        )


class Body(httpx.AsyncByteStream):
    """The body of an answer; its connection is used again once it has been read to its end."""

    def __init__(
        self,
        transport: Transport,
        stream: PlainStream | TlsStream,
        protocol: h11.Connection,
        length: int | None,
        timeout: float | None,
    ) -> None:
        self._transport = transport
        self._stream = stream
        self._protocol = protocol
        self._timeout = timeout
        self._missing = length
        """Bytes that are still to come; None where h11 has to tell."""
        came = memoryview(protocol.trailing_data[0])
        self._begun = came[: length or 0]
        """What came with the head."""
        self._has_surplus = length is not None and len(came) > length
        """Whether more came than was asked for: what follows would be read as the answer to the next request."""
        self._ended = False

    @property
    def is_announced(self) -> bool:
        """Whether the head told the body's length, and :meth:`read_into` may be used."""
        return self._missing is not None

    async def read_into(self, buffer: memoryview) -> int:
        """Put the next bytes of a body of announced length into the buffer; 0 at its end."""
        assert self._missing is not None
        buffer = buffer[: self._missing]
        if self._begun:
            count = min(len(buffer), len(self._begun))
            buffer[:count] = self._begun[:count]
            self._begun = self._begun[count:]
        elif not buffer:
            return 0
        else:
            count = await self._stream.read_into(buffer, self._timeout)
            if not count:
                raise httpx.RemoteProtocolError(f"the connection was closed {self._missing} bytes before its end")
        self._missing -= count
        return count

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._missing is None:
            async for part in self._by_protocol():
                yield part
            return
        if self._begun:
            part, self._begun = bytes(self._begun), self._begun[:0]
            self._missing -= len(part)
            yield part
        while self._missing:
            part = await self._stream.read(min(RECEIVE, self._missing), self._timeout)
            if not part:
                raise httpx.RemoteProtocolError(f"the connection was closed {self._missing} bytes before its end")
            self._missing -= len(part)
            yield part

    def was_given_back(self) -> bool:
        """Give the connection to the next request where all was read; False where it has to be closed."""
        if self._ended:
            return True
        if self._missing is None:
            is_reusable = self._protocol.our_state is h11.DONE and self._protocol.their_state is h11.DONE
        else:
            is_reusable = self._protocol.our_state is h11.DONE and self._missing == 0 and not self._has_surplus
        if is_reusable:
            self._ended = True
            self._transport.release(self._stream)
        return is_reusable

    async def aclose(self) -> None:
        """Keep the connection where all was read, else close it."""
        if not self.was_given_back():
            self._ended = True
            await self._stream.aclose()

    async def break_off(self) -> None:
        """Close the connection: who reads the body fails."""
        await self._stream.aclose()

    async def _by_protocol(self) -> AsyncIterator[bytes]:
        try:
            while True:
                event = self._protocol.next_event()
                if event is h11.NEED_DATA:
                    self._protocol.receive_data(await self._stream.read(RECEIVE, self._timeout))
                elif isinstance(event, h11.Data):
                    yield bytes(event.data)
                else:
                    return
        except h11.RemoteProtocolError as error:
            raise httpx.RemoteProtocolError(str(error)) from error


async def _send(
    protocol: h11.Connection, stream: PlainStream | TlsStream, request: httpx.Request, timeouts: Timeouts
) -> httpx.WriteError | None:
    """Send; where the server does not take all, it may still say why: that comes as its answer."""
    head = h11.Request(method=request.method, target=request.url.raw_path, headers=request.headers.raw)
    parts = [protocol.send(head)]
    assert isinstance(request.stream, httpx.AsyncByteStream)
    parts += [protocol.send(h11.Data(data=part)) async for part in request.stream]
    parts.append(protocol.send(h11.EndOfMessage()))
    try:
        await stream.write(b"".join(part for part in parts if part), timeouts.get("write"))
    except httpx.WriteError as error:
        return error
    return None


async def _head(protocol: h11.Connection, stream: PlainStream | TlsStream, timeouts: Timeouts) -> h11.Response:
    interim = 0
    while True:
        event = protocol.next_event()
        if event is h11.NEED_DATA:
            received = await stream.read(HEAD, timeouts.get("read"))
            if not received and protocol.their_state is h11.SEND_RESPONSE:
                raise h11.RemoteProtocolError("Server disconnected without sending a response.")
            protocol.receive_data(received)
        elif isinstance(event, h11.Response):
            return event
        else:
            interim += 1
            if interim > MOST_INTERIM_ANSWERS:
                raise h11.RemoteProtocolError("more interim answers than make sense")


def _announced(request: httpx.Request, head: h11.Response) -> int | None:
    """The length of the body, in bytes, where the head tells it and nothing else decides."""
    headers = dict(head.headers)
    length = headers.get(b"content-length", b"")
    if request.method != "GET" or head.status_code not in {200, 206} or b"transfer-encoding" in headers:
        return None
    return int(length) if length.isdigit() else None


def _now() -> float:
    """Seconds on a clock that goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
