"""Where the servers may be that a database names: not on this machine or in its networks, unless the Alyx is there too.

Whoever may write one record decides which address every other member's drive asks. What answers only in a laboratory's
own network, on this machine, or at the metadata address of a cloud, must not be reached that way.
"""

from __future__ import annotations

import enum
import ipaddress
from typing import TYPE_CHECKING, TypeAlias

from alyxfs import errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from alyxfs.net.addresses import Server

Ip: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"
IpNetwork: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"


class Kind(enum.Enum):
    """What an IP address is for; the value is how people call it."""

    PUBLIC = "a public address"
    LOOPBACK = "an address of this machine itself (loopback)"
    PRIVATE = "a private address"
    LINK_LOCAL = "a link-local address"
    SHARED = "an address of the network's provider (shared)"
    RESERVED = "a reserved address"
    METADATA = "the address at which a cloud gives keys to its machines"
    NOBODY = "no address of a server"


_KINDS: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    # Amazon, Google, Microsoft; Amazon's containers; Alibaba; Oracle; Amazon over IPv6.
    (
        Kind.METADATA,
        ("169.254.169.254/32", "169.254.170.2/32", "100.100.100.200/32", "192.0.0.192/32", "fd00:ec2::254/128"),
    ),
    (Kind.LOOPBACK, ("127.0.0.0/8", "::1/128")),
    (Kind.NOBODY, ("0.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32", "::/128", "ff00::/8")),
    (Kind.PRIVATE, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fec0::/10")),
    (Kind.LINK_LOCAL, ("169.254.0.0/16", "fe80::/10")),
    (Kind.SHARED, ("100.64.0.0/10",)),
)
_NETWORKS = tuple((kind, tuple(ipaddress.ip_network(text) for text in texts)) for kind, texts in _KINDS)

_WITH_IPV4_AT_THE_END = tuple(
    ipaddress.IPv6Network(text) for text in ("::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "::/96")
)
"""Mapped, translated, by NAT64 (RFC 6052), compatible."""
_SIX_TO_FOUR = ipaddress.IPv6Network("2002::/16")
_ALONE = frozenset({ipaddress.IPv6Address("::"), ipaddress.IPv6Address("::1")})
"""They look like compatible ones, and are themselves."""


def ip_of(text: str) -> Ip:
    """An IP address; where an IPv4 address is embedded in it, that one, as it is the one that is reached."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address not in _ALONE:
        if any(address in network for network in _WITH_IPV4_AT_THE_END):
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if address in _SIX_TO_FOUR:
            return ipaddress.IPv4Address(int(address) >> 80 & 0xFFFFFFFF)
    return address


def kind_of(address: Ip) -> Kind:
    """What an address is for."""
    for kind, networks in _NETWORKS:
        if any(address in network for network in networks if network.version == address.version):
            return kind
    return Kind.PUBLIC if address.is_global else Kind.RESERVED


def networks_of(text: str) -> tuple[IpNetwork, ...]:
    """Networks as users write them, ``10.0.0.0/8,fd00::/8``; raises ConfigurationError."""
    try:
        return tuple(ipaddress.ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise errors.ConfigurationError(
            f"The option allow_networks takes networks as 10.0.0.0/8,192.168.7.5, not {text!r}: {error}."
        ) from error


class Boundary:
    """Which servers, and which of a name's addresses, may be connected to.

    State: ``home`` is set by who connects to the Alyx, between two awaits.
    """

    def __init__(self, allowed: Sequence[IpNetwork] = ()) -> None:
        self._allowed = allowed
        self._named: set[Server] = set()
        self.alyx: Server | None = None
        self.home: frozenset[Kind] | None = None
        """The kind of the address at which the Alyx is; None where that is not known yet."""

    def name(self, server: Server) -> None:
        """The user named this server: it may be anywhere."""
        self._named.add(server)

    def is_named(self, server: Server) -> bool:
        """Whether the user, and not a database, named this server."""
        return server in self._named

    def name_alyx(self, server: Server) -> None:
        """The Alyx is this server."""
        self.name(server)
        self.alyx = server
        if literal := _literal(server.host):
            self.lives_at([literal])

    def forget_alyx(self) -> None:
        """The address of the Alyx is not the user's word: it may be only where anybody may."""
        self._named -= {self.alyx}
        self.alyx = self.home = None

    def lives_at(self, addresses: Iterable[str]) -> None:
        """Learn where the Alyx is. Where its name leads to addresses of different kinds, only public ones count."""
        kinds = {kind_of(ip_of(address)) for address in addresses}
        self.home = frozenset(kinds) if len(kinds) == 1 else frozenset()

    def passable(self, server: Server, addresses: Iterable[str]) -> list[str]:
        """Those of a server's addresses that may be connected to; raises AddressRefused where there is none."""
        found = list(addresses)
        passable = [address for address in found if self._may_pass(ip_of(address))]
        if not passable:
            raise self._refusal(server, ip_of(found[0]))
        return passable

    def check_name(self, server: Server) -> None:
        """As much as can be told of a server whose name a proxy resolves; raises AddressRefused."""
        literal = _literal(server.host)
        if literal is not None and not self.is_named(server):
            self.passable(server, [literal])

    def _may_pass(self, address: Ip) -> bool:
        if any(address in network for network in self._allowed if network.version == address.version):
            return True
        kind = kind_of(address)
        is_at_home = self.home is not None and kind in self.home
        return kind is Kind.PUBLIC or (is_at_home and kind not in {Kind.METADATA, Kind.NOBODY})

    def _refusal(self, server: Server, address: Ip) -> errors.AddressRefused:
        kind = kind_of(address)
        leads = f"is {kind.value}" if str(address) == server.host else f"leads to {address}, {kind.value}"
        remedy = "" if kind in {Kind.NOBODY, Kind.METADATA} else f" If it may: mount with --allow-networks {address}."
        return errors.AddressRefused(
            f"{server.base}, which the database names, {leads}. The drive does not ask there, as the Alyx itself is "
            f"elsewhere.{remedy}",
            url=server.base,
        )


def _literal(host: str) -> str | None:
    """The IP address that a host is without being resolved."""
    if host == "localhost" or host.endswith(".localhost"):
        return "127.0.0.1"
    return host if ":" in host or host.rpartition(".")[2].isdigit() else None
