"""A caching proxy configured as in ``scripts/cluster``: what it does with requests of drives, they with its answers."""

from __future__ import annotations

import random
import re
import socket

import pytest
import trio

from alyxfs import errors
from alyxfs.files.cached_file import AHEAD_PIECE
from alyxfs.net.file_proxy import SLICE
from caching_proxy import caching_proxy, needs_nginx
from certificates import TlsServer, write_certificate
from fault_server import FaultServer, File
from reading import opened, read_whole, source

CONTENT = random.Random(7).randbytes(3 * SLICE + 12_345)
PLACE = "lab/#2024-05-06#/spikes times+é.npy"

pytestmark = [pytest.mark.trio, needs_nginx]


@pytest.fixture
def server():
    with FaultServer({PLACE: File(CONTENT)}, most_repeats=None) as server:
        yield server


@pytest.fixture
def base(server):
    return server.url("").rstrip("/")


async def read(folder, proxy, wanted, *, trusts=None):
    """The whole file, by a drive with a cache of its own."""
    async with opened(folder, file_proxy=proxy.url, deadline=3) as cache:
        if trusts is not None:
            cache.network.trust_with_files(*trusts)
        return await read_whole(cache, wanted)


async def test_what_one_has_read_another_gets_from_the_proxy(server, base, tmp_path):
    with caching_proxy(tmp_path / "proxy", base) as proxy:
        for number in range(3):
            assert await read(tmp_path / str(number), proxy, source(server, PLACE)) == CONTENT
        assert proxy.errors() == ""
    assert sorted(server.ranges()) == [
        f"bytes={start}-{start + SLICE - 1}" for start in range(0, len(CONTENT), SLICE)
    ], "each slice once"


async def test_what_the_proxy_has_to_fetch_is_asked_for_in_several_pieces_at_a_time(server, base, tmp_path):
    """For one request it fetches slice by slice, a round trip each; what it has it gives in few long answers."""
    content = random.Random(8).randbytes(32 * SLICE)
    server.files["long.npy"] = File(content)
    with caching_proxy(tmp_path / "proxy", base) as proxy:
        for name in ("first", "second"):
            assert await read(tmp_path / name, proxy, source(server, "long.npy")) == content
        lengths = {"MISS": [], "HIT": []}
        for line in proxy.log():
            first, last = map(int, re.fullmatch(r'"bytes=(\d+)-(\d+)"', line[4]).groups())
            lengths[line[2]].append(last + 1 - first)
    assert len(server.requests) == 32, "each slice once"
    assert sum(lengths["MISS"]) == len(content)
    assert max(lengths["MISS"]) == AHEAD_PIECE
    assert max(lengths["HIT"]) > 2 * AHEAD_PIECE
    assert sum(lengths["HIT"]) == len(content), "no byte twice"
    assert len(lengths["HIT"]) <= 3


async def test_a_small_read_costs_its_slice_alone(server, base, tmp_path):
    with caching_proxy(tmp_path / "proxy", base) as proxy:
        async with opened(tmp_path / "cache", file_proxy=proxy.url) as cache:
            file = await cache.open(source(server, PLACE))
            assert await file.read(SLICE + 500_000, 4096) == CONTENT[SLICE + 500_000 : SLICE + 504_096]
            assert await file.read(SLICE + 900_000, 4096) == CONTENT[SLICE + 900_000 : SLICE + 904_096]
            assert await file.read(2 * SLICE + 900_000, 4096) == CONTENT[2 * SLICE + 900_000 : 2 * SLICE + 904_096]
            await file.close()
    assert server.ranges() == [f"bytes={start}-{start + SLICE - 1}" for start in (SLICE, 2 * SLICE)], "not the first"


async def test_no_two_users_share(server, base, tmp_path):
    server.password = "Basic YW5uYTpzZWNyZXQ="
    wanted = source(server, PLACE)
    with caching_proxy(tmp_path / "proxy", base) as proxy:
        assert await read(tmp_path / "anna", proxy, wanted, trusts=(base, server.password)) == CONTENT
        for name, trusts in (("nobody", None), ("bert", (base, "Basic YmVydDpndWVzcw=="))):
            with pytest.raises(errors.AccessDenied):
                await read(tmp_path / name, proxy, wanted, trusts=trusts)
        assert await read(tmp_path / "anna again", proxy, wanted, trusts=(base, server.password)) == CONTENT
    answered = [request for request in server.requests if request.headers.get("authorization") == server.password]
    assert len(answered) == 4, "each slice once"


async def test_what_the_proxy_holds_is_for_all_and_for_its_server_alone(server, base, tmp_path):
    server.password = "Basic cHJveHk6c2VjcmV0"
    with (
        FaultServer({"a.npy": File(CONTENT)}) as other,
        caching_proxy(tmp_path / "proxy", base, other.url("").rstrip("/"), held=server.password) as proxy,
    ):
        text = (proxy.folder / "origins.conf").read_text()
        assert await read(tmp_path / "one", proxy, source(server, PLACE)) == CONTENT
        assert await read(tmp_path / "two", proxy, source(server, PLACE)) == CONTENT
    assert len(server.requests) == 4
    assert text.count(server.password) == 2


async def test_servers_that_it_was_not_told_are_not_asked(server, tmp_path):
    with (
        FaultServer({PLACE: File(CONTENT)}) as told,
        caching_proxy(tmp_path / "proxy", told.url("").rstrip("/")) as proxy,
    ):
        with pytest.raises(errors.ServerFault, match=r"421.*file proxy"):
            await read(tmp_path / "cache", proxy, source(server, PLACE))
        assert server.requests == []


async def test_private_addresses_of_a_database_are_refused_before_the_proxy_is_asked(server, base, tmp_path):
    with caching_proxy(tmp_path / "proxy", base) as proxy:
        async with opened(tmp_path / "cache", file_proxy=proxy.url) as cache:
            cache.network.boundary.forget_alyx()
            with pytest.raises(errors.AddressRefused, match="loopback"):
                await read_whole(cache, source(server, PLACE))
        assert not (proxy.folder / "access.log").read_text()


async def test_after_its_time_the_same_is_not_sent_again(server, base, tmp_path):
    with caching_proxy(tmp_path / "proxy", base, valid="1s") as proxy:
        assert await read(tmp_path / "one", proxy, source(server, PLACE)) == CONTENT
        sent = server.sent
        await trio.sleep(2.1)  # what nginx keeps has a time in whole seconds
        assert await read(tmp_path / "two", proxy, source(server, PLACE)) == CONTENT
        assert server.sent == sent
        assert "REVALIDATED" in {line[2] for line in proxy.log()}


async def test_a_file_that_changed_is_never_mixed_and_soon_whole_again(server, base, tmp_path):
    """Some slices are kept of the old content: whoever meets both asks past the cache, and all get the new one."""
    changed = CONTENT[::-1]
    with caching_proxy(tmp_path / "proxy", base) as proxy:
        async with opened(tmp_path / "one", file_proxy=proxy.url) as cache:
            file = await cache.open(source(server, PLACE))
            assert await file.read(0, 4096) == CONTENT[:4096]
            server.files[PLACE] = File(changed, etag='"v2"')
            with pytest.raises(errors.FileChanged):
                await file.read(2 * SLICE, 4096)
            await file.close()
            assert await read_whole(cache, source(server, PLACE, digest=None)) == changed
        now = source(server, PLACE, version="2")
        assert await read(tmp_path / "two", proxy, now) == changed


async def test_a_redirect_of_a_server_goes_through_the_proxy_too(server, base, tmp_path):
    with FaultServer({"b.npy": File(CONTENT)}) as target:
        server.redirects[PLACE] = target.url("b.npy")
        with caching_proxy(tmp_path / "proxy", base, target.url("").rstrip("/")) as proxy:
            assert await read(tmp_path / "cache", proxy, source(server, PLACE)) == CONTENT
            assert len(proxy.log()) >= 2
        assert set(target.ranges()) == {f"bytes={start}-{start + SLICE - 1}" for start in range(0, len(CONTENT), SLICE)}


async def test_to_the_server_it_goes_over_tls_with_its_name_checked(tmp_path):
    certificate, other = tmp_path / "server.pem", tmp_path / "other.pem"
    write_certificate(certificate, "localhost")
    write_certificate(other, "localhost")
    with TlsServer(certificate, {"a.npy": File(CONTENT)}) as server:
        base = server.url("").rstrip("/")
        with caching_proxy(tmp_path / "proxy", base, certificates=certificate) as proxy:
            assert await read(tmp_path / "one", proxy, source(server)) == CONTENT
            assert await read(tmp_path / "two", proxy, source(server)) == CONTENT
        assert len(server.requests) == 4
        with caching_proxy(tmp_path / "strict", base, certificates=other) as proxy:
            with pytest.raises(errors.AlyxfsError):
                await read(tmp_path / "three", proxy, source(server))
            assert "certificate verify" in proxy.errors()


async def test_a_proxy_that_is_away_is_named(server, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    async with opened(tmp_path, file_proxy=url, deadline=1) as cache:
        with pytest.raises(errors.Unreachable, match=f"{url} cannot be reached"):
            await read_whole(cache, source(server, PLACE))
    assert server.requests == []


@pytest.mark.parametrize("url", ["cache:8080", "http://a:b@cache", "http://cache/?x=1", "ftp://cache"])
async def test_what_is_no_address_of_a_proxy_is_refused(tmp_path, url):
    with pytest.raises(errors.ConfigurationError, match="file_proxy"):
        async with opened(tmp_path, file_proxy=url):
            pass
