# ruff: noqa: ASYNC109 - a request has a time-out for each of its steps, not one for all
"""Connections, plain and over TLS, that take what has arrived: a large piece at a time, where the caller wants it.

The usual TLS stream decrypts one record (16 KiB) a call; a fast download then passes through Python that many times
more often. Failures are httpx's exceptions.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
from typing import TYPE_CHECKING, TypeVar

import httpx
import trio

from alyxfs.tasks import background_tasks, nobody_waits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

Received = TypeVar("Received")

RECEIVE = 1024 * 1024
"""Bytes taken from a socket at a time: 0.5 s of CPU a GiB, at 256 KiB 0.7, at 64 KiB 1.3 (nginx on loopback)."""
NEXT_ADDRESS = 0.25
"""Seconds after which a host's next address is tried, too (RFC 8305)."""
DEAD_PEER_OPTIONS = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 3),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 12_000),
)
"""Seconds, tries, and at last milliseconds: a connection whose other end is silent for some 12 s is at its end."""
WINDOW = 1024 * 1024
"""Bytes that a connection has room for from its beginning on."""
DECRYPT = 256 * 1024
"""Bytes decrypted at a time into a buffer that each TLS connection keeps."""


class PlainStream:
    """A TCP connection."""

    def __init__(self, stream: trio.SocketStream, peer: str) -> None:
        self._stream = stream
        self.peer = peer
        """The IP address at the other end."""

    def notice_dead_peers(self) -> None:
        """Have the kernel end the connection where nothing comes back from the other end's kernel any more.

        A server that only takes its time still acknowledges; a network that is gone does not.
        """
        for level, option, value in DEAD_PEER_OPTIONS:
            self._stream.socket.setsockopt(level, option, value)

    def open_window(self) -> None:
        """Let the server send much at once from the beginning on.

        By itself Linux has room for 64 KiB at first, and more as the connection goes on: the first 16 MiB then come in
        some 200 pieces, each of which costs a turn of the loop, and so in 25. To be woken for no less than so much
        makes room for it (tcp_set_rcvlowat in net/ipv4/tcp.c), which stays when every byte wakes again. SO_RCVBUF makes
        room, too, but for good, also where the network would bring more.
        """
        for lowest in (WINDOW, 1):
            with contextlib.suppress(OSError):  # it is no less a connection without
                self._stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, lowest)

    async def read(self, most: int, timeout: float | None = None) -> bytes:
        """What has arrived, or the next bytes; empty at the end."""
        return bytes(await self._received(self._stream.receive_some(most), timeout))

    async def read_into(self, buffer: memoryview, timeout: float | None = None) -> int:
        """Put what has arrived, or the next bytes, into the buffer; 0 at the end."""
        return await self._received(self._stream.socket.recv_into(buffer), timeout)

    async def _received(self, receiving: Awaitable[Received], timeout: float | None) -> Received:
        # trio.fail_after does the same at twice the cost, at each of the many pieces of a file.
        with trio.CancelScope(deadline=trio.current_time() + _seconds(timeout)):
            try:
                return await receiving
            except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise httpx.ReadError(reason(error)) from error
        raise httpx.ReadTimeout("no bytes for too long a time")

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all of it."""
        if not buffer:
            return
        with trio.CancelScope(deadline=trio.current_time() + _seconds(timeout)):
            try:
                await self._stream.send_all(buffer)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise httpx.WriteError(reason(error)) from error
            return
        raise httpx.WriteTimeout("the server takes no bytes")

    async def aclose(self) -> None:
        """Close at once."""
        await trio.aclose_forcefully(self._stream)

    async def start_tls(self, context: ssl.SSLContext, server_hostname: str, timeout: float | None = None) -> TlsStream:
        """Shake hands and encrypt from here on."""
        secured = TlsStream(self, context, server_hostname)
        try:
            with trio.fail_after(_seconds(timeout)):
                await secured.shake_hands()
        except trio.TooSlowError as error:
            await self.aclose()
            raise httpx.ConnectTimeout("the TLS handshake takes too long") from error
        except (ssl.SSLError, ssl.CertificateError, httpx.ReadError, httpx.WriteError) as error:
            await self.aclose()
            raise httpx.ConnectError(reason(error)) from error
        except BaseException:
            await self.aclose()
            raise
        return secured

    def has_ended(self) -> bool:
        """Whether the server has closed the connection, which is idle, or said something that nobody asked for.

        That would be read as the answer to the next request. To look takes some microseconds.
        """
        return _is_readable(self._stream.socket)


class TlsStream:
    """A TLS connection over a plain one; one read gives all records that have arrived."""

    def __init__(self, plain: PlainStream, context: ssl.SSLContext, server_hostname: str) -> None:
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

    async def read(self, most: int, timeout: float | None = None) -> bytes:
        """All that can be decrypted now, or the next bytes; empty at the end."""
        buffer = self._buffer[:most]
        return bytes(buffer[: await self.read_into(buffer, timeout)])

    async def read_into(self, buffer: memoryview, timeout: float | None = None) -> int:
        """Put all that can be decrypted now, or the next bytes, into the buffer; 0 at the end."""
        while (count := self._decrypt_into(buffer)) is None:
            await self._flush(timeout)
            await self._receive(timeout)
        await self._flush(timeout)
        return count

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Encrypt and send all of it."""
        try:
            rest = memoryview(buffer)
            while rest:
                rest = rest[self._tls.write(rest) :]
        except ssl.SSLError as error:
            raise httpx.WriteError(reason(error)) from error
        await self._flush(timeout)

    async def aclose(self) -> None:
        """Close at once: HTTP says itself where its answers end."""
        await self._plain.aclose()

    def has_ended(self) -> bool:
        """See PlainStream."""
        return bool(self._tls.pending() or self._incoming.pending) or self._plain.has_ended()

    def _decrypt_into(self, buffer: memoryview) -> int | None:
        """How many bytes the records received so far gave: None if more are needed, 0 at the end of the connection."""
        filled = 0
        try:
            while filled < len(buffer):
                count = int(self._tls.read(len(buffer) - filled, buffer[filled:]))
                if count == 0:
                    return filled
                filled += count
        except ssl.SSLWantReadError:
            return filled or None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return filled
        except ssl.SSLError as error:
            raise httpx.ReadError(reason(error)) from error
        return filled

    async def _receive(self, timeout: float | None) -> None:
        received = await self._plain.read(DECRYPT, timeout)
        if received:
            self._incoming.write(received)
        else:
            self._incoming.write_eof()

    async def _flush(self, timeout: float | None) -> None:
        if self._outgoing.pending:
            await self._plain.write(self._outgoing.read(), timeout)


async def resolve(host: str, port: int) -> list[str]:
    """The IP addresses of a host, best first."""
    try:
        found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpx.ConnectError(reason(error)) from error
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


async def connect(addresses: Sequence[str], port: int) -> PlainStream:
    """Connect to one of these IP addresses: the next one is tried where one refuses, or takes its time (RFC 8305)."""
    race = _Race(port)
    try:
        async with background_tasks() as tasks:
            for address in addresses:
                tasks.start(race.attempt, address, failed=nobody_waits)
                with trio.move_on_after(NEXT_ADDRESS):
                    await race.news.wait()
                if race.connected:
                    break
            while not race.connected and len(race.failures) < len(addresses):
                await race.news.wait()
        if not race.connected:
            raise httpx.ConnectError(reason(race.failures[-1])) from race.failures[-1]
        stream = race.connected.pop(0)
        stream.notice_dead_peers()
        stream.open_window()
        return stream
    finally:
        for late in race.connected:
            with trio.CancelScope(shield=True):
                await late.aclose()


class _Race:
    """Attempts to connect to the addresses of one host. State: changed by its attempts, between two awaits."""

    def __init__(self, port: int) -> None:
        self.connected: list[PlainStream] = []
        self.failures: list[OSError] = []
        self.news = trio.Event()
        """Set when an attempt has ended, and then another one takes its place."""
        self._port = port

    async def attempt(self, address: str) -> None:
        """Try one address."""
        try:
            stream = await trio.open_tcp_stream(address, self._port)
        except OSError as error:
            self.failures.append(error)
        else:
            self.connected.append(PlainStream(stream, address))
        finally:
            news, self.news = self.news, trio.Event()
            news.set()


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
