"""Addresses and networks: what can be asked at all, and what a database may lead to. Pure."""

from __future__ import annotations

import contextlib
import ipaddress

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from alyxfs import errors
from alyxfs.net import origin_of, shown
from alyxfs.net.addresses import checked, redirected, server_of
from alyxfs.net.boundary import Boundary, Kind, ip_of, kind_of, networks_of

LETTERS = "ab.-_:/@[]%#?\\ \t\r\n\0x0189\u24d4\ufb01\u00df\u3002\u017f\uff18\u200b\u202e"
PIECES = [*LETTERS, "xn--", "http", "https", "://", "127.0.0.1", "host.example"]
HOSTILE = st.lists(st.sampled_from(PIECES)).map("".join)


def test_whose_an_address_is():
    assert origin_of("HTTP://user:pw@Host:80/x") == "http://host"
    assert origin_of("https://[::0:1]:8443/x") == "https://[::1]:8443"
    assert origin_of("https://MÜNCHEN.example") == "https://xn--mnchen-3ya.example"
    assert origin_of("https://a_b.example:0443#x") == "https://a_b.example"
    assert shown("https://user:pw@host/a?b=1") == "https://host/a?b=1"


@given(st.one_of(HOSTILE, HOSTILE.map("http://{}".format), HOSTILE.map("https://a/{}".format), st.text()))
@example("http://[::1")
@example("http://xn--a/")
@example(f"http://{'a' * 300}/")
@example("http://a:99999999999999999999/")
@example("http://[v1.x]/")
def test_any_text_is_an_address_or_told_to_be_none(text):
    shown(text)
    try:
        server = checked(text)
    except (errors.BadAddress, errors.AddressRefused):
        return
    assert server == server_of(server.base), "what was understood is understood in the same way again"
    assert server.host.isascii()
    assert not set(server.host) & set("/@#?%\\ \t\r\n\0")
    try:
        asked = httpx.URL(text)
    except httpx.InvalidURL:
        return  # what comes behind the host
    assert (asked.scheme, asked.raw_host.decode()) == (server.scheme, server.host), "what is sent goes where was looked"
    assert (asked.port or {"http": 80, "https": 443}[asked.scheme]) == server.port


@given(HOSTILE)
def test_any_text_leads_to_an_address_or_is_told_to_lead_to_none(text):
    with contextlib.suppress(errors.BadAddress, errors.AddressRefused):
        checked(redirected("https://host/a/b", text))


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("8.8.8.8", Kind.PUBLIC),
        ("2001:4860:4860::8888", Kind.PUBLIC),
        ("127.3.2.1", Kind.LOOPBACK),
        ("::1", Kind.LOOPBACK),
        ("172.31.255.255", Kind.PRIVATE),
        ("172.32.0.0", Kind.PUBLIC),
        ("fd12::1", Kind.PRIVATE),
        ("169.254.7.7", Kind.LINK_LOCAL),
        ("fe80::1%eth0", Kind.LINK_LOCAL),
        ("169.254.169.254", Kind.METADATA),
        ("fd00:ec2::254", Kind.METADATA),
        ("100.127.0.1", Kind.SHARED),
        ("0.0.0.0", Kind.NOBODY),
        ("::", Kind.NOBODY),
        ("255.255.255.255", Kind.NOBODY),
        ("239.1.1.1", Kind.NOBODY),
        ("ff0e::1", Kind.NOBODY),
        ("198.18.0.1", Kind.RESERVED),
        ("192.0.2.1", Kind.RESERVED),
        ("2001::1", Kind.RESERVED),
        ("2001:db8::1", Kind.RESERVED),
    ],
)
def test_what_an_address_is_for(address, kind):
    assert kind_of(ip_of(address)) is kind


@given(st.ip_addresses(v=4))
def test_an_embedded_address_is_what_it_embeds(address):
    number = int(address)
    forms = [0xFFFF << 32 | number, 0xFFFF << 48 | number, 0x64FF9B << 96 | number, 0x2002 << 112 | number << 80]
    forms += [number] if number > 1 else []  # these two are not of IPv4
    for form in forms:
        assert ip_of(str(ipaddress.IPv6Address(form))) == address


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str))
def test_where_the_alyx_is_public_only_public_addresses_are_passed(address):
    boundary = Boundary()
    boundary.name_alyx(server_of("https://8.8.8.8"))
    server = server_of("http://named-by-a-record.example")
    if kind_of(ip_of(address)) is Kind.PUBLIC:
        assert boundary.passable(server, [address, "127.0.0.1"]) == [address]
    else:
        with pytest.raises(errors.AddressRefused):
            boundary.passable(server, [address])
        everything = Boundary(networks_of("0.0.0.0/0, ::/0"))
        assert everything.passable(server, [address]) == [address]


def test_an_alyx_whose_name_leads_both_ways_opens_nothing_and_metadata_is_never_at_home():
    server = server_of("http://named-by-a-record.example")
    boundary = Boundary()
    boundary.lives_at(["8.8.8.8", "127.0.0.1"])
    with pytest.raises(errors.AddressRefused):
        boundary.passable(server, ["127.0.0.1"])
    boundary.lives_at(["169.254.1.1"])
    assert boundary.passable(server, ["169.254.1.2", "169.254.169.254"]) == ["169.254.1.2"]


@pytest.mark.parametrize("host", ["localhost", "x.localhost", "127.0.0.1", "[::1]", "[::ffff:10.0.0.1]"])
def test_what_a_proxy_is_asked_for_is_looked_at_by_its_name(host):
    boundary = Boundary()
    boundary.name_alyx(server_of("https://8.8.8.8"))
    with pytest.raises(errors.AddressRefused):
        boundary.check_name(server_of(f"http://{host}/"))
    boundary.check_name(server_of("http://name.example/"))
    boundary.name(server_of(f"http://{host}"))
    boundary.check_name(server_of(f"http://{host}/x"))


@pytest.mark.parametrize("text", ["10.0.0.0/40", "lab", "10.0.0.0/8;::1"])
def test_networks_that_are_none(text):
    with pytest.raises(errors.ConfigurationError, match="allow_networks"):
        networks_of(text)
