# ruff: noqa: ASYNC109 - the time-outs are part of the interface that httpcore defines
"""Large reads: a network backend for httpcore that takes what has arrived, not 64 KiB of it, plain and over TLS.

httpcore asks its sockets for 64 KiB at a time, and the usual TLS stream decrypts one record (16 KiB) a call, so a
fast download passes through several layers of Python that many times more often. HTTP/1.1 does not mind larger pieces.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
from typing import TYPE_CHECKING, Any

import httpcore
import httpx
import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

RECEIVE = 1024 * 1024
"""Bytes taken from a socket at a time: 0.5 s of CPU a GiB, at 256 KiB 0.7, at 64 KiB 1.3 (nginx on loopback)."""
FRESH = 0.5
"""Seconds after a read in which no server closes an idle connection: httpcore asks for each one at each request."""
DECRYPT = 256 * 1024
"""Bytes decrypted at a time into a buffer that each TLS connection keeps."""


class PlainStream(httpcore.AsyncNetworkStream):
    """A TCP connection."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._read_at = 0.0

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - see the module
        """What has arrived, or the next bytes; empty at the end."""
        try:
            with trio.fail_after(_seconds(timeout)):
                received = bytes(await self._stream.receive_some(RECEIVE))
        except trio.TooSlowError as error:
            raise httpcore.ReadTimeout("no bytes for too long a time") from error
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise httpcore.ReadError(reason(error)) from error
        self._read_at = trio.current_time()
        return received

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all of it."""
        if not buffer:
            return
        try:
            with trio.fail_after(_seconds(timeout)):
                await self._stream.send_all(buffer)
        except trio.TooSlowError as error:
            raise httpcore.WriteTimeout("the server takes no bytes") from error
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise httpcore.WriteError(reason(error)) from error

    async def aclose(self) -> None:
        """Close at once."""
        await trio.aclose_forcefully(self._stream)

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Shake hands and encrypt from here on."""
        secured = TlsStream(self, ssl_context, server_hostname)
        try:
            with trio.fail_after(_seconds(timeout)):
                await secured.shake_hands()
        except trio.TooSlowError as error:
            await self.aclose()
            raise httpcore.ConnectTimeout("the TLS handshake takes too long") from error
        except (ssl.SSLError, ssl.CertificateError, httpcore.ReadError, httpcore.WriteError) as error:
            await self.aclose()
            raise httpcore.ConnectError(reason(error)) from error
        except BaseException:
            await self.aclose()
            raise
        return secured

    def get_extra_info(self, info: str) -> Any:
        """Answer what httpcore asks of a connection."""
        if info == "is_readable":  # of an idle connection: the server has closed it
            fresh = trio.current_time() < self._read_at + FRESH and self._stream.socket.fileno() >= 0
            return not fresh and _is_readable(self._stream.socket)
        if info == "socket":
            return self._stream.socket
        if info == "client_addr":
            return self._stream.socket.getsockname()
        if info == "server_addr":
            return self._stream.socket.getpeername()
        return None


class TlsStream(httpcore.AsyncNetworkStream):
    """A TLS connection over a plain one; one read gives all records that have arrived."""

    def __init__(self, plain: PlainStream, context: ssl.SSLContext, server_hostname: str | None) -> None:
        self._plain = plain
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)
        self._buffer = memoryview(bytearray(DECRYPT))

    async def shake_hands(self) -> None:
        """Agree on keys; raises ssl.SSLError where the certificate is not trusted."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush(None)
                await self._receive(None)
            else:
                break
        await self._flush(None)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - see the module
        """All that can be decrypted now, or the next bytes; empty at the end."""
        while not (found := self._decrypted()):
            if found is None:
                return b""
            await self._flush(timeout)
            await self._receive(timeout)
        await self._flush(timeout)
        return found

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Encrypt and send all of it."""
        try:
            rest = memoryview(buffer)
            while rest:
                rest = rest[self._tls.write(rest) :]
        except ssl.SSLError as error:
            raise httpcore.WriteError(reason(error)) from error
        await self._flush(timeout)

    async def aclose(self) -> None:
        """Close at once: HTTP says itself where its answers end."""
        await self._plain.aclose()

    def get_extra_info(self, info: str) -> Any:
        """Answer what httpcore asks of a connection."""
        return self._tls if info == "ssl_object" else self._plain.get_extra_info(info)

    def _decrypted(self) -> bytes | None:
        """What the records received so far hold: empty if more are needed, None at the end of the connection."""
        filled = 0
        ended = False
        try:
            while filled < len(self._buffer) and not ended:
                count = int(self._tls.read(len(self._buffer) - filled, self._buffer[filled:]))
                filled += count
                ended = count == 0
        except ssl.SSLWantReadError:
            pass
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            ended = True
        except ssl.SSLError as error:
            raise httpcore.ReadError(reason(error)) from error
        return None if ended and not filled else bytes(self._buffer[:filled])

    async def _receive(self, timeout: float | None) -> None:
        received = await self._plain.read(DECRYPT, timeout)
        if received:
            self._incoming.write(received)
        else:
            self._incoming.write_eof()

    async def _flush(self, timeout: float | None) -> None:
        if self._outgoing.pending:
            await self._plain.write(self._outgoing.read(), timeout)


class Backend(httpcore.AsyncNetworkBackend):
    """Makes the connections."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect; the fastest of the host's addresses is taken."""
        try:
            with trio.fail_after(_seconds(timeout)):
                stream = await trio.open_tcp_stream(host, port, local_address=local_address)
        except trio.TooSlowError as error:
            raise httpcore.ConnectTimeout("no connection in time") from error
        except (OSError, trio.BrokenResourceError) as error:
            raise httpcore.ConnectError(reason(error)) from error
        for option in socket_options or ():
            stream.setsockopt(*option)
        return PlainStream(stream)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await trio.sleep(seconds)


class Transport(httpx.AsyncBaseTransport):
    """httpx over connections of httpcore with this backend, a pool of its own for each.

    One pool for all gives requests that begin together the same idle connection, has all but one of them ask again,
    and looks at every pair of connections each time: with 16 that took a quarter of the CPU of 64 readers.
    """

    def __init__(self, context: ssl.SSLContext, keepalive_seconds: float) -> None:
        self._context = context
        self._keepalive = keepalive_seconds
        self._pools: set[httpcore.AsyncConnectionPool] = set()
        self._free: list[httpcore.AsyncConnectionPool] = []
        """The last one used is used next: its connection is the least likely to have been closed."""

    def _take(self) -> httpcore.AsyncConnectionPool:
        """Give a pool that nobody uses; who asks sees to it that there are not too many (see Origin)."""
        if self._free:
            return self._free.pop()
        pool = httpcore.AsyncConnectionPool(
            ssl_context=self._context,
            max_connections=1,
            keepalive_expiry=self._keepalive,
            network_backend=Backend(),
        )
        self._pools.add(pool)
        return pool

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; see httpx."""
        asked = httpcore.Request(
            method=request.method,
            url=httpcore.URL(
                scheme=request.url.raw_scheme,
                host=request.url.raw_host,
                port=request.url.port,
                target=request.url.raw_path,
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        pool = self._take()
        try:
            answer = await pool.handle_async_request(asked)
        except BaseException as error:
            # Its connection is of no use any more, and a cancelled request may leave it in no state at all.
            self._pools.discard(pool)
            with trio.CancelScope(shield=True):
                await pool.aclose()
            if isinstance(error, _HTTPCORE_ERRORS):
                raise _translated(error) from error
            raise
        return httpx.Response(
            status_code=answer.status,
            headers=answer.headers,
            stream=_Body(answer.stream, lambda: self._free.append(pool)),
            extensions=answer.extensions,
        )

    async def aclose(self) -> None:
        """Close every connection."""
        for pool in self._pools:
            await pool.aclose()


class _Body(httpx.AsyncByteStream):
    def __init__(self, stream: Any, give_back: Callable[[], None]) -> None:
        self._stream = stream
        self._give_back = give_back
        self._closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._stream:
                yield part
        except _HTTPCORE_ERRORS as error:
            raise _translated(error) from error

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            await self._stream.aclose()
        finally:
            self._give_back()


_HTTPCORE_ERRORS = (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError)


def _translated(error: Exception) -> httpx.HTTPError:
    """Give the exception of httpx that has the same name as httpcore's."""
    translated = getattr(httpx, type(error).__name__)(str(error))
    if not isinstance(translated, httpx.HTTPError):
        raise TypeError(f"httpx has no {type(error).__name__}")
    return translated


def reason(error: BaseException) -> str:
    """Say what failed, in the words of the failure below where there is one."""
    below = [error.__cause__, *getattr(error.__cause__, "exceptions", ())][-1]
    if isinstance(below, Exception):
        return reason(below)
    if isinstance(error, (ssl.SSLError, socket.gaierror)):
        return error.strerror or str(error)  # their numbers are not the system's
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()  # its own words may repeat the address
    return str(error) or type(error).__name__


def _seconds(timeout: float | None) -> float:
    return float("inf") if timeout is None else timeout


def _is_readable(socket: trio.socket.SocketType) -> bool:
    """Whether bytes or an end wait to be read; a closed socket is at its end."""
    if socket.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(socket.fileno(), select.POLLIN)
    return bool(poll.poll(0))
