"""What carries requests to one server: connections, time-outs, certificates, a proxy where there is one."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import trio

from alyxfs import __version__, errors
from alyxfs.net.http1 import Transport
from alyxfs.net.sockets import connect, resolve

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from alyxfs.net.addresses import Server
    from alyxfs.net.boundary import Boundary
    from alyxfs.net.sockets import PlainStream, TlsStream

CONNECT_TIMEOUT = 10.0
"""Seconds."""
KEEPALIVE = 30.0
"""Seconds that an idle connection stays open."""
HEADERS = {"User-Agent": f"alyxfs/{__version__}", "Accept": "*/*", "Accept-Encoding": "identity"}


class Dialer:
    """Makes connections to one server, at those of its addresses that may be connected to.

    The name is resolved once for each connection, and what was looked at is what is connected to: a name that leads
    elsewhere a moment later (DNS rebinding) gains nothing.
    """

    def __init__(self, server: Server, boundary: Boundary) -> None:
        self._server = server
        self._boundary = boundary

    async def dial(self, timeout: float | None) -> PlainStream | TlsStream:  # noqa: ASYNC109 - a step of several
        """Connect, and shake hands; raises httpx.ConnectError, httpx.ConnectTimeout, or AddressRefused."""
        server = self._server
        try:
            with trio.fail_after(float("inf") if timeout is None else timeout):
                addresses = await resolve(server.host, server.port)
                plain = await connect(await self._passable(addresses), server.port)
                stream: PlainStream | TlsStream = plain
                if server.scheme == "https":
                    stream = await plain.start_tls(certificates(), server.host)
        except trio.TooSlowError as error:
            raise httpx.ConnectTimeout("no connection in time") from error
        if server == self._boundary.alyx:
            self._boundary.lives_at([plain.peer])
        return stream

    async def _passable(self, addresses: list[str]) -> list[str]:
        boundary = self._boundary
        if boundary.is_named(self._server):
            return addresses
        if boundary.home is None and boundary.alyx is not None:
            # Not connected to yet, as where all that was asked of it so far was known.
            boundary.lives_at(await resolve(boundary.alyx.host, boundary.alyx.port))
        return boundary.passable(self._server, addresses)


def make_transport(server: Server, connections: int, boundary: Boundary, proxy: str | None) -> httpx.AsyncBaseTransport:
    """Make what carries requests to a server, over at most so many connections.

    No client of httpx is above it: that looks where redirects lead before anybody asks, and keeps cookies.
    """
    if proxy is None:
        return Transport(Dialer(server, boundary).dial, KEEPALIVE)
    limits = httpx.Limits(
        max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=KEEPALIVE
    )
    through = httpx.Proxy(proxy, ssl_context=certificates() if proxy.startswith("https") else None)
    return httpx.AsyncHTTPTransport(proxy=through, limits=limits, verify=certificates(), trust_env=False)


def make_request(method: str, url: str, headers: Mapping[str, str], read_timeout: float, **body: Any) -> httpx.Request:
    """Build a request; raises httpx.InvalidURL or ValueError where address or headers cannot be sent."""
    extensions = {"timeout": timeouts(read_timeout).as_dict()}
    return httpx.Request(method, url, headers={**HEADERS, **headers}, extensions=extensions, **body)


def timeouts(read: float) -> httpx.Timeout:
    """Seconds between two pieces of an answer; the limiter sees to it that nobody waits for the pool."""
    return httpx.Timeout(read, connect=min(read, CONNECT_TIMEOUT), pool=None)


@functools.cache
def certificates() -> ssl.SSLContext:
    """Whom to trust; SSL_CERT_FILE and SSL_CERT_DIR are obeyed. Made once, as it takes some 30 ms.

    Raises ConfigurationError, which names the variable. The first call is before the drive goes to the background:
    from then on, relative paths would be meant from elsewhere.
    """
    for variable, exists, what in (("SSL_CERT_FILE", Path.is_file, "file"), ("SSL_CERT_DIR", Path.is_dir, "directory")):
        if (place := os.environ.get(variable)) and not exists(Path(place)):
            raise errors.ConfigurationError(f"The variable {variable} names {place}, where there is no {what}.")
    try:
        return httpx.create_ssl_context()
    except (OSError, ValueError) as error:  # of ssl, too
        raise errors.ConfigurationError(
            f"The variable SSL_CERT_FILE names {os.environ.get('SSL_CERT_FILE')}, which holds no certificates: {error}."
        ) from error
