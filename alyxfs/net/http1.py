"""HTTP/1.1 for httpx, over connections whose bodies need not pass through Python's layers.

h11 reads the heads of answers, and bodies without announced length. The usual body, of a length that the head tells,
is received from the socket straight into the caller's memory: through httpcore and h11 it is copied three times more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import h11
import httpx
import trio

from alyxfs.net.sockets import RECEIVE, PlainStream, TlsStream, connect

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Mapping

HEAD = 64 * 1024
"""Bytes read at a time until the head of an answer has come; what of the body comes along is copied once more."""
LONGEST_HEAD = 256 * 1024
"""Bytes."""
PORTS = {"http": 80, "https": 443}
Timeouts: TypeAlias = "Mapping[str, float | None]"
"""Seconds for ``connect``, ``read`` and ``write``; None: for ever."""


class Transport(httpx.AsyncBaseTransport):
    """The connections to one server. Who asks sees to it that there are not too many (see Origin).

    State: ``_idle`` changes only between two awaits.
    """

    def __init__(self, context: ssl.SSLContext, keepalive_seconds: float) -> None:
        self._context = context
        self._keepalive = keepalive_seconds
        self._idle: list[tuple[PlainStream | TlsStream, float]] = []
        """With the trio time until which each may be used. The last one used is used next: it is the least likely to
        have been closed."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; see httpx."""
        timeouts = request.extensions.get("timeout", {})
        stream = await self._take() or await self._connect(request.url, timeouts)
        try:
            return await self._ask(stream, request, timeouts)
        except BaseException:
            # It is of no use any more: nobody knows how far request and answer have come.
            with trio.CancelScope(shield=True):
                await stream.aclose()
            raise

    def give_back(self, stream: PlainStream | TlsStream) -> None:
        """Take a connection for the next request, whose last answer has been read."""
        self._idle.append((stream, trio.current_time() + self._keepalive))

    async def aclose(self) -> None:
        """Close every idle connection; each of the others closes with its answer."""
        while self._idle:
            await self._idle.pop()[0].aclose()

    async def _take(self) -> PlainStream | TlsStream | None:
        """An idle connection that is still good."""
        while self._idle:
            stream, usable_until = self._idle.pop()
            if trio.current_time() < usable_until and not stream.has_ended():
                return stream
            with trio.CancelScope(shield=True):
                await stream.aclose()
        return None

    async def _connect(self, url: httpx.URL, timeouts: Timeouts) -> PlainStream | TlsStream:
        host = url.raw_host.decode("ascii")
        plain = await connect(host, url.port or PORTS[url.scheme], timeouts.get("connect"))
        if url.scheme == "http":
            return plain
        return await plain.start_tls(self._context, host, timeouts.get("connect"))

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
        self._begun = memoryview(protocol.trailing_data[0] if length is not None else b"")[:length]
        """What came with the head."""
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

    async def aclose(self) -> None:
        """Keep the connection where all was read, else close it."""
        if self._ended:
            return
        self._ended = True
        if self._missing is None:
            is_reusable = self._protocol.our_state is h11.DONE and self._protocol.their_state is h11.DONE
        else:
            is_reusable = self._protocol.our_state is h11.DONE and self._missing == 0
        if is_reusable:
            self._transport.give_back(self._stream)
        else:
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
    while True:
        event = protocol.next_event()
        if event is h11.NEED_DATA:
            received = await stream.read(HEAD, timeouts.get("read"))
            if not received and protocol.their_state is h11.SEND_RESPONSE:
                raise h11.RemoteProtocolError("Server disconnected without sending a response.")
            protocol.receive_data(received)
        elif isinstance(event, h11.Response):
            return event


def _announced(request: httpx.Request, head: h11.Response) -> int | None:
    """The length of the body, in bytes, where the head tells it and nothing else decides."""
    headers = dict(head.headers)
    length = headers.get(b"content-length", b"")
    if request.method != "GET" or head.status_code not in {200, 206} or b"transfer-encoding" in headers:
        return None
    return int(length) if length.isdigit() else None
