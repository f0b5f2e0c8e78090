"""Data files by way of a caching proxy that the user named, shared by the drives of a cluster.

The proxy is asked for ``<proxy>/<scheme>/<host>/<path>``, and asks the server of that name itself. It keeps slices of a
fixed length, so whoever asks for whole ones leaves nothing half for the next drive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx

from alyxfs import errors
from alyxfs.net.addresses import checked
from alyxfs.net.connections import make_transport

if TYPE_CHECKING:
    from alyxfs.net.boundary import Boundary
    from alyxfs.net.proxies import Proxies

SLICE = 1024 * 1024
"""Bytes: ``slice`` in the configuration of the proxy. A smaller one costs the file server a request more often, a
larger one those who read single rows more bytes."""

OF_CACHE, KEPT = "x-cache-status", "HIT"
"""The header by which the proxy says whether it had the beginning of an answer."""


class FileProxy:
    """Where it is, and the connections to it; ``url`` is its address, of a folder where other things stand beside it.

    Raises ConfigurationError for what is no address.
    """

    def __init__(self, url: str, connections: int, boundary: Boundary, proxies: Proxies) -> None:
        try:
            server, parts = checked(url), urlsplit(url)
        except errors.AlyxfsError as error:
            raise errors.ConfigurationError(f"The option file_proxy: {error}") from error
        if parts.query or parts.fragment:
            raise errors.ConfigurationError(
                f"The option file_proxy takes an address as http://cache:8080, not {url!r}."
            )
        boundary.name(server)
        self.base = server.base
        self._folder = parts.path.rstrip("/").encode()
        self._transport = make_transport(server, connections, boundary, proxies.of(server))

    def transport(self) -> httpx.AsyncBaseTransport:
        """What carries requests for files of any server."""
        return _Forwarding(self.base, self._folder, self._transport)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()


class _Forwarding(httpx.AsyncBaseTransport):
    def __init__(self, base: str, folder: bytes, transport: httpx.AsyncBaseTransport) -> None:
        self._base = httpx.URL(base)
        self._folder = folder
        self._transport = transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx."""
        asked = request.url
        path = b"/".join([self._folder, asked.raw_scheme, asked.netloc]) + asked.raw_path
        headers = [(name, value) for name, value in request.headers.raw if name.lower() != b"host"]
        url = self._base.copy_with(raw_path=path)
        forwarded = httpx.Request(request.method, url, headers=headers, extensions=request.extensions)
        return await self._transport.handle_async_request(forwarded)
