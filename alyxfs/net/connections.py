"""The HTTP client of one server: its pool, its time-outs, its certificates, a proxy where the environment names one."""

from __future__ import annotations

import functools
import urllib.request
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx

from alyxfs import __version__
from alyxfs.net.http1 import Transport

if TYPE_CHECKING:
    import ssl

CONNECT_TIMEOUT = 10.0
"""Seconds."""
KEEPALIVE = 30.0
"""Seconds that an idle connection stays open."""


def make_client(base: str, connections: int) -> httpx.AsyncClient:
    """Make the client of the server at ``base``, with at most so many connections."""
    settings = {
        "timeout": timeouts(30),
        "follow_redirects": False,
        "headers": {"User-Agent": f"alyxfs/{__version__}", "Accept-Encoding": "identity"},
    }
    if _is_proxied(base):
        limits = httpx.Limits(
            max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=KEEPALIVE
        )
        return httpx.AsyncClient(limits=limits, verify=_certificates(), **settings)  # type: ignore[arg-type]
    transport = Transport(_certificates(), KEEPALIVE)
    return httpx.AsyncClient(transport=transport, trust_env=False, **settings)  # type: ignore[arg-type]


def timeouts(read: float) -> httpx.Timeout:
    """Seconds between two pieces of an answer; the limiter sees to it that nobody waits for the pool."""
    return httpx.Timeout(read, connect=min(read, CONNECT_TIMEOUT), pool=None)


def _is_proxied(base: str) -> bool:
    parts = urlsplit(base)
    proxies = urllib.request.getproxies()
    named = parts.scheme in proxies or "all" in proxies
    return named and not urllib.request.proxy_bypass(parts.hostname or "")


@functools.cache
def _certificates() -> ssl.SSLContext:
    """Whom to trust; SSL_CERT_FILE and SSL_CERT_DIR are obeyed. Made once, as it takes some 30 ms."""
    return httpx.create_ssl_context()
