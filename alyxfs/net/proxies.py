"""The proxies that the environment names, as curl reads it: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY."""

from __future__ import annotations

import importlib.util
import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alyxfs import errors
from alyxfs.net.addresses import server_of, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alyxfs.net.addresses import Server

_SOCKS = ("socks5", "socks5h")
_SCHEMES = ("http", "https", *_SOCKS)


@dataclass(frozen=True)
class Proxies:
    """Which proxy to ask for which server."""

    by_scheme: Mapping[str, str]
    """Addresses of proxies by the scheme of what is asked through them."""
    exceptions: tuple[str, ...] = ()
    """The parts of NO_PROXY."""

    def of(self, server: Server) -> str | None:
        """The address of the proxy for a server; None where it is asked directly."""
        proxy = self.by_scheme.get(server.scheme)
        return None if proxy is None or any(_is_meant(part, server) for part in self.exceptions) else proxy


def proxies_of(environment: Mapping[str, str]) -> Proxies:
    """Read the variables; raises ConfigurationError, which names the one that is not understood."""
    found = {}
    for scheme in ("http", "https"):
        for name in (f"{scheme}_proxy", f"{scheme}_proxy".upper(), "all_proxy", "ALL_PROXY"):
            if value := environment.get(name, "").strip():
                found[scheme] = _address(name, value)
                break
    exceptions = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    return Proxies(found, tuple(exceptions.replace(",", " ").lower().split()))


def _address(variable: str, value: str) -> str:
    scheme, separator, rest = value.partition("://")
    scheme, rest = (scheme.lower(), rest) if separator else ("http", value)
    try:
        server_of(f"http://{rest}")
    except errors.BadAddress as error:
        raise errors.ConfigurationError(
            f"The variable {variable} holds {shown(value)!r}, which is no address of a proxy, as http://proxy:3128."
        ) from error
    if scheme not in _SCHEMES:
        raise errors.ConfigurationError(
            f"The variable {variable} names a proxy of the kind {scheme}; possible are {', '.join(_SCHEMES)}."
        )
    if scheme in _SOCKS and importlib.util.find_spec("socksio") is None:
        raise errors.ConfigurationError(
            f'The variable {variable} names a SOCKS proxy: pip install "alyxfs[socks]" to use it.'
        )
    return f"{scheme}://{rest}"


def _is_meant(part: str, server: Server) -> bool:
    """Whether a part of NO_PROXY is about this server: a name and what is below it, an address, a network, or ``*``."""
    if part == "*":
        return True
    try:
        network = ipaddress.ip_network(part.replace("[", "").replace("]", ""), strict=False)
    except ValueError:
        name, _, port = part.rpartition(":") if ":" in part else (part, "", str(server.port))
        name = name.strip("[]").strip(".")
        return port == str(server.port) and bool(name) and f".{server.host}".endswith(f".{name}")
    try:
        address = ipaddress.ip_address(server.host)
    except ValueError:
        return False
    return address.version == network.version and address in network
