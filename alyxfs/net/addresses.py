"""Addresses of the web: which can be asked at all, whose they are, and how they may be shown.

What stands in a database may be anything. Python's own parsers differ in what they drop, fold or raise, so an address
is looked at here once, as it stands, before any of them sees it.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from typing import NamedTuple
from urllib.parse import quote, unquote, urljoin, urlsplit, urlunsplit

import idna

from alyxfs import errors

PORTS = {"http": 80, "https": 443}
LONGEST_HOST = 253
"""Characters (RFC 1035)."""

_ADDRESS = re.compile(r"(?P<scheme>https?)://(?P<authority>[^/?#]*)(?:[/?#].*)?", re.IGNORECASE | re.DOTALL)
_AUTHORITY = re.compile(r"(?:(?P<user>.*)@)?(?P<host>\[[^\[\]@]*\]|[^:\[\]@]*)(?::(?P<port>[0-9]*))?", re.DOTALL)
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


_SAFE = "/:@!$&'()*,;=~"
"""What stands unquoted in a path."""
_LONE_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")


class Server(NamedTuple):
    """Whom an address is of."""

    scheme: str
    host: str
    """A name in the letters of the domain name system, or an IP address; without brackets."""
    port: int

    @property
    def base(self) -> str:
        """Scheme, host and port, as an address begins."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if self.port == PORTS[self.scheme] else f":{self.port}")


def server_of(url: str) -> Server:
    """Whom an address is of, whatever user and password stand in it; raises BadAddress for what is no web address."""
    return _server_and_user(url)[0]


def checked(url: str) -> Server:
    """Whom an address is of that is to be asked; raises BadAddress, or AddressRefused where a user stands in it."""
    server, has_user = _server_and_user(url)
    if has_user:
        raise errors.AddressRefused(
            f"{shown(url)} is written with a user or password in it: such addresses are not asked. Who may read from "
            "there is said by --file-server, --file-user and --file-password.",
            url=shown(url),
        )
    return server


def origin_of(url: str) -> str:
    """Scheme, host and port of an address, without user and password; raises BadAddress for no web address."""
    return server_of(url).base


def redirected(url: str, location: str) -> str:
    """The address that an answer leads to; raises BadAddress."""
    try:
        return urljoin(url, location.strip())
    except ValueError as error:
        raise errors.BadAddress(f"{shown(url)} leads to what is no address.") from error


def quoted_address(url: str, *, is_raw: bool = False) -> str:
    """The address of a file as it is asked for: its path with what must be quoted in it; what is quoted already stays.

    ``is_raw``: nothing in it is quoted yet. ``+`` is then, too: S3 takes a raw one for a space.
    """
    scheme, separator, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    safe = _SAFE if is_raw else f"{_SAFE}%+?"
    path = path if is_raw else _LONE_PERCENT.sub("%25", path)
    return scheme + separator + host + slash + quote(path, safe=safe, errors="surrogatepass")


def is_below(folder: str, url: str) -> bool:
    """Whether the path of an address is below this one (no slash at its end), also for who decodes and folds it."""
    path = urlsplit(url).path
    if not folder:
        return True
    is_folded = ".." in re.split(r"[/\\]", unquote(unquote(path)))
    return path.startswith(f"{folder}/") and not is_folded


def shown(url: str) -> str:
    """The address as it may stand in a message or log: no user, no password, no signature."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "the address"
    secret = any(word in parts.query.lower() for word in ("signature", "token", "credential", "key="))
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="…" if secret else parts.query))


def _server_and_user(url: str) -> tuple[Server, bool]:
    found = _ADDRESS.fullmatch(url)
    if found is None:
        raise errors.BadAddress(f"{shown(url)!r} is not an http or https address.")
    return _parsed(found["scheme"].lower(), found["authority"])


@functools.lru_cache(maxsize=256)
def _parsed(scheme: str, authority: str) -> tuple[Server, bool]:
    found = _AUTHORITY.fullmatch(authority)
    port = int(found["port"] or PORTS[scheme]) if found is not None and len(found["port"] or "") <= len("65535") else 0
    host = _host(found["host"]) if found is not None else None
    if found is None or host is None or not 1 <= port <= 65535:  # noqa: PLR2004 - the largest port there is
        named = authority.rpartition("@")[2]
        raise errors.BadAddress(f"{named[:LONGEST_HOST]!r} is not the name of a server on the web.")
    return Server(scheme, host, port), found["user"] is not None


def _host(text: str) -> str | None:
    """The host as it is resolved; None where it is none."""
    if text.startswith("["):
        try:
            return str(ipaddress.IPv6Address(text[1:-1])) if "%" not in text else None
        except ValueError:
            return None
    name = text.lower()
    try:
        if not name.isascii():
            # Without its tables for folding: letters that only look or fold like others make no name.
            name = idna.encode(name).decode("ascii")
        labels = name.split(".")
        if _NUMBER.fullmatch(labels[-1]):
            # Resolvers also take 127.1 and 0x7f000001; nobody writes them who means well.
            return str(ipaddress.IPv4Address(name))
        for label in labels:
            if label.startswith("xn--"):
                idna.decode(label)
    except ValueError:
        return None
    return name if len(name) <= LONGEST_HOST and all(map(_LABEL.fullmatch, labels)) else None
