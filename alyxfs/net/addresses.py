"""Addresses: whose they are, and how they may be shown."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from alyxfs import errors


def origin_of(url: str) -> str:
    """Scheme, host and port of an address, without user and password; raises ConfigurationError for no web address."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or parts.scheme not in {"http", "https"}:
        raise errors.ConfigurationError(f"{shown(url)!r} is not an http or https address.")
    if ":" in host:
        host = f"[{host}]"
    default = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{host}" + (f":{port}" if port not in {None, default} else "")


def shown(url: str) -> str:
    """The address as it may stand in a message or log: no user, no password, no signature."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "the address"
    secret = any(word in parts.query.lower() for word in ("signature", "token", "credential", "key="))
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="…" if secret else parts.query))
