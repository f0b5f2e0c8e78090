"""The network's promises: deadlines, retries, the breaker, credentials, pauses, and a pool that loses nothing."""

from __future__ import annotations

import logging
import random
import ssl
import threading
import tracemalloc
from contextlib import asynccontextmanager

import pytest
import trio

from alyxfs import errors
from alyxfs.net import RateLimit, sockets
from alyxfs.net import open_network as open_any_network
from certificates import TlsServer, write_certificate
from fault_server import FaultServer, File
from reading import until

pytestmark = pytest.mark.trio

CONTENT = random.Random(1).randbytes(2_000_000)


@pytest.fixture
def server():
    with FaultServer({"a": File(CONTENT)}, most_repeats=None) as server:  # the tests ask it themselves
        yield server


@asynccontextmanager
async def open_network(**options):
    """The network of a drive whose Alyx is on this machine, as the servers of the tests are."""
    async with open_any_network(**options) as network:
        network.alyx_at("http://127.0.0.1")
        yield network


async def get(network, server, **options):
    return await network.request("GET", server.url("a"), **options)


async def drain(network, server, **options):
    options = {"deadline": 30} | options
    async with network.stream(server.url("a"), headers={"Range": "bytes=0-999999"}, **options) as answer:
        async for _ in answer.chunks:
            pass


async def test_an_answer_is_whole(server):
    async with open_network() as network:
        answer = await get(network, server)
        assert (answer.status, answer.body) == (200, CONTENT)
        assert answer.headers["ETAG"] == '"v1"'
        async with network.stream(server.url("a"), deadline=5) as streamed:
            assert b"".join([chunk async for chunk in streamed.chunks]) == CONTENT


async def test_an_error_that_is_kept_holds_no_body(server):
    async with open_network() as network:
        await get(network, server)
        tracemalloc.start()
        try:
            with pytest.raises(errors.AnswerTooLarge) as caught:
                await get(network, server, largest=len(CONTENT) - 1)
            assert caught.value.__traceback__ is not None
            # The server, in a thread of this process, lets go of its own a moment later.
            await until(lambda: tracemalloc.get_traced_memory()[0] < len(CONTENT) / 2)
        finally:
            tracemalloc.stop()


async def cancelled_together(send, number):
    """Start so many requests, and call all of them off while some are under way and some wait for a connection."""
    with trio.move_on_after(0.15):
        async with trio.open_nursery() as nursery:
            for _ in range(number):
                nursery.start_soon(send)


async def test_cancelled_requests_cost_no_connection(server):
    server.delay, server.bytes_per_second = 0.02, 2_000_000
    async with open_network(file_connections=4) as network:
        for _ in range(5):
            await cancelled_together(lambda: drain(network, server), 30)
        assert network.origin(server.url("a")).limiter.borrowed_tokens == 0
        server.bytes_per_second = None
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                for _ in range(8):
                    nursery.start_soon(get, network, server)
        await until(lambda: server.open_connections <= 4)
    await until(lambda: server.open_connections == 0)


@pytest.mark.parametrize("fault", ["drop", "drop_headers", "garbage", "status_503", "status_429"])
async def test_a_safe_request_is_tried_again(server, fault):
    server.script = [fault, fault]
    async with open_network() as network:
        # The server draws a place to break off from a range's body only, so ask for one.
        answer = await get(network, server, headers={"Range": "bytes=0-999999"})
        assert answer.body == CONTENT[:1_000_000]
    assert len(server.requests) == 3


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT", "DELETE"])
@pytest.mark.parametrize(
    ("fault", "error"), [("drop_headers", errors.ServerFault), ("status_429", errors.Throttled), ("status_503", None)]
)
async def test_a_write_is_sent_once(server, method, fault, error):
    server.script = [fault]
    async with open_network() as network:
        if error is None:
            assert (await network.request(method, server.url("a"), content=b"{}")).status == 503
        else:
            with pytest.raises(error):
                await network.request(method, server.url("a"), content=b"{}")
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [500, 502, 503, 404, 403, 400])
async def test_every_status_is_an_answer(server, status):
    server.status = status
    async with open_network() as network:
        assert (await get(network, server)).status == status
    assert len(server.requests) == (3 if status in {502, 503} else 1)


async def test_a_pause_asked_for_holds_for_all_requests(server):
    server.script, server.retry_after = ["status_429"], "1"
    async with open_network() as network, trio.open_nursery() as nursery:
        started = trio.current_time()
        nursery.start_soon(get, network, server)
        await until(lambda: network.origin(server.url("a")).paused_until)
        await get(network, server)
        assert trio.current_time() - started >= 1


async def test_pauses_are_obeyed_as_often_as_the_deadline_allows(server):
    server.script = ["status_429"] * 8
    async with open_network() as network:
        assert (await get(network, server)).status == 200
    assert len(server.requests) == 9


async def test_a_pause_past_the_deadline_is_waited_for_until_then_and_told(server):
    server.script, server.retry_after = ["status_429"], "60"
    async with open_network(deadline=1) as network:
        for _ in range(2):
            started = trio.current_time()
            with trio.fail_after(1.5), pytest.raises(errors.Throttled, match=r"5\d s.*--requests-per-minute"):
                await get(network, server)
            assert trio.current_time() - started > 0.8, "a program that went on at once would only fail faster"
    assert len(server.requests) == 1


async def test_requests_are_spread_over_the_minute(server):
    async with open_network() as network:
        network.origin(server.url("a"), RateLimit(connections=4, requests_per_minute=1200))
        rate = network.origin(server.url("a")).rate
        for _ in range(600):
            rate.count()
        started = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(13):
                nursery.start_soon(get, network, server)
        assert trio.current_time() - started >= 10 / (1200 / 2 / 60) * 0.9


async def test_the_deadline_holds_and_then_everything_fails_at_once_until_the_server_is_back(server):
    server.frozen.set()
    async with open_network(deadline=1.5) as network:
        with trio.fail_after(2.5), pytest.raises(errors.DeadlineExceeded):
            await get(network, server)
        assert network.is_down(server.url("a"))
        with trio.fail_after(0.5), pytest.raises(errors.Unreachable, match=r"asked again in the background"):
            await get(network, server)
        server.frozen.clear()
        await until(lambda: not network.is_down(server.url("a")))
        assert (await get(network, server)).status == 200


async def test_what_was_sent_before_the_breaker_opened_may_have_arrived(server):
    server.frozen.set()
    failed = []
    async with open_network(deadline=20) as network, trio.open_nursery() as nursery:

        async def write():
            with pytest.raises(errors.Unreachable) as failure:
                await network.request("POST", server.url("a"), content=b"{}")
            failed.append(failure.type)

        nursery.start_soon(write)
        await until(lambda: server.requests)
        with pytest.raises(errors.DeadlineExceeded):
            await get(network, server, deadline=1.2)
        await write()
        await until(lambda: len(failed) == 2)
    assert set(failed) == {errors.NotConnected, errors.Unreachable}
    assert sum(request.method == "POST" for request in server.requests) == 1


async def test_an_opening_breaker_ends_what_waits(server):
    server.frozen.set()
    failed = []
    async with open_network(deadline=20) as network:

        async def one(deadline):
            try:
                await get(network, server, deadline=deadline)
            except errors.AlyxfsError as error:
                failed.append(error)

        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                for deadline in [1.2] + [20] * 30:
                    nursery.start_soon(one, deadline)
    assert len(failed) == 31
    assert sum(isinstance(error, errors.Unreachable) for error in failed) == 30


async def test_one_slow_answer_among_good_ones_opens_no_breaker(server):
    server.script = ["stall_headers"]
    async with open_network(deadline=5) as network, trio.open_nursery() as nursery:

        async def slow():
            with pytest.raises(errors.DeadlineExceeded):
                await get(network, server, deadline=1.5)
            assert not network.is_down(server.url("a"))

        nursery.start_soon(slow)
        await until(lambda: server.requests)
        assert (await get(network, server)).status == 200


async def test_a_refused_connection_is_unreachable_soon_and_then_at_once_until_the_server_is_back(server):
    server.stop()
    async with open_network() as network:
        with trio.fail_after(3), pytest.raises(errors.Unreachable, match=r"cannot be reached: connection refused\.$"):
            await get(network, server)
        with trio.fail_after(0.3):
            for _ in range(20):
                with pytest.raises(errors.Unreachable, match=r"connection refused; it is asked again in the backgr"):
                    await get(network, server)
        server.start_again()
        with trio.fail_after(2.5):
            await until(lambda: not network.is_down(server.url("a")))
        assert (await get(network, server)).status == 200


async def test_a_write_that_is_refused_once_opens_no_breaker(server):
    server.stop()
    async with open_network() as network:
        with pytest.raises(errors.NotConnected, match="connection refused"):
            await network.request("POST", server.url("a"), content=b"{}")
        assert not network.is_down(server.url("a"))
        server.start_again()
        assert (await get(network, server)).status == 200


async def test_a_refused_connection_ends_no_request_that_is_under_way(server):
    """A server that is going down takes no more connections and still answers on those it has."""
    server.script = ["stall_headers"]
    async with open_network() as network, trio.open_nursery() as nursery:
        failed = []

        async def waiting():
            try:
                await get(network, server, deadline=2)
            except errors.AlyxfsError as error:
                failed.append(type(error))

        nursery.start_soon(waiting)
        await until(lambda: server.requests)
        server.stop_listening()
        with pytest.raises(errors.Unreachable):
            await get(network, server)
        assert network.is_down(server.url("a"))
        assert failed == []


async def test_a_host_that_does_not_exist_is_unreachable():
    async with open_network(deadline=10) as network:
        with pytest.raises(errors.Unreachable):
            await network.request("GET", "http://no-such-host.invalid/")


async def read_file(network, server, stall=5):
    request = network.stream_file(server.url("a"), headers={"Range": "bytes=0-"}, stall=stall, is_guess=False)
    async with request as answer:
        return answer.status, b"".join([part async for part in answer.chunks])


def authorizations(server):
    return [request.headers.get("authorization") for request in server.requests]


async def test_credentials_go_only_to_their_host(server):
    with FaultServer({"a": File(CONTENT)}) as other:
        server.redirect = other.url("a")
        async with open_network() as network:
            answer = await get(network, server, headers={"Cookie": "secret", "authorization": "Token secret"})
            assert answer.body == CONTENT
            assert answer.url == other.url("a")
            network.trust_with_files(server.url(""), "Basic secret")
            assert await read_file(network, server) == (206, CONTENT)
            network.trust_with_files(other.url(""), "Basic other")
            assert await read_file(network, server) == (206, CONTENT)
            await network.request("GET", other.url("a"))
        assert authorizations(server) == ["Token secret", "Basic secret", "Basic secret"]
        assert authorizations(other) == [None, None, "Basic other", None], "the API is not asked with those of files"
        assert not any("secret" in str(request.headers) for request in other.requests)


async def test_who_was_led_elsewhere_does_not_bring_credentials_back(server):
    with FaultServer({"a": File(CONTENT)}) as other:
        server.files["back"] = File(b"back")
        other.redirect = server.url("back")
        server.redirects = {"a": other.url("a")}
        async with open_network() as network:
            assert (await get(network, server, headers={"Authorization": "Token secret"})).body == b"back"
        assert authorizations(server) == ["Token secret", None]


async def test_redirects_end(server):
    server.redirect = server.url("a")
    async with open_network() as network:
        with pytest.raises(errors.ServerFault, match="redirects in a circle"):
            await get(network, server)
        assert (await network.request("POST", server.url("a"), content=b"")).status == 302


@pytest.mark.parametrize(
    "path",
    [
        "/subjects/%2E%2E",
        "/subjects/a%23b",
        "/subjects/a%2Fb",
        "/subjects/50%25",
        "/subjects/Zo%C3%AB",
        "/s/a%3Fb?q=%2C",
    ],
)
async def test_a_quoted_path_is_sent_as_it_is(server, path):
    server.status = 404
    async with open_network() as network:
        await network.request("GET", server.url("").rstrip("/") + path)
    assert server.requests[0].path == path


async def test_a_streamed_body_that_stalls_breaks_off_in_time(server):
    server.script = ["stall"]
    async with open_network() as network:
        with trio.fail_after(5), pytest.raises(errors.ServerFault, match="broke off"):
            await read_file(network, server, stall=0.5)
        assert (await get(network, server)).status == 200


async def test_a_streamed_body_ends_within_its_deadline(server):
    server.bytes_per_second = 200_000
    async with open_network() as network:
        with trio.fail_after(4), pytest.raises(errors.DeadlineExceeded):
            await drain(network, server, deadline=1)


async def test_retries_are_told_quietly_and_secrets_never(server, caplog):
    caplog.set_level(logging.DEBUG, "alyxfs")
    server.script = ["status_503", "drop_headers"]
    async with open_network() as network:
        url = server.url("a") + "?X-Signature=secret1"
        await network.request("GET", url, headers={"Authorization": "Token secret2"})
        with pytest.raises(errors.AddressRefused) as refusal:
            await network.request("GET", url.replace("http://", "http://user:secret3@"))
        server.stop()
        with pytest.raises(errors.Unreachable) as failure:
            await network.request("GET", url)
    told = [record for record in caplog.records if record.name.startswith("alyxfs")]
    assert told
    assert all(record.levelno <= logging.INFO for record in told)
    assert (
        "secret"
        not in str([record.getMessage() for record in told])
        + f"{failure.value} {failure.value.url} {refusal.value} {refusal.value.url}"
    )


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    write_certificate(path, "localhost")
    return path


async def test_tls_gives_the_same_bytes_and_checks_the_certificate(certificate, monkeypatch):
    from alyxfs.net import connections

    with TlsServer(certificate, {"a": File(CONTENT), "empty": File(b"")}) as server:
        async with open_network() as network:
            with pytest.raises(errors.Unreachable, match="certificate"):
                await get(network, server)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        connections.certificates.cache_clear()
        async with open_network() as network:
            for _ in range(3):
                assert (await get(network, server)).body == CONTENT
            assert (await network.request("GET", server.url("empty"))).body == b""
            assert (await network.request("POST", server.url("a"), content=CONTENT)).status == 200
            server.script = ["drop"] * 2
            answer = await get(network, server, headers={"Range": "bytes=0-999999"})
            assert answer.body == CONTENT[:1_000_000]
        connections.certificates.cache_clear()


async def test_tls_cut_off_without_goodbye_is_an_end(certificate):
    """What is left of a record when the connection ends is no data, and no error of another kind."""
    context = ssl.create_default_context(cafile=str(certificate))
    with TlsServer(certificate, {"a": File(CONTENT)}) as server:
        plain = await sockets.connect(["127.0.0.1"], server.port)
        stream = await plain.start_tls(context, "localhost", timeout=5)
        await stream.write(b"GET /a HTTP/1.1\r\n\r\n", timeout=5)
        head = await stream.read(65536, timeout=5)
        threading.Thread(target=server.break_connections).start()
        received = len(head)
        while part := await stream.read(65536, timeout=5):
            received += len(part)
        assert received < len(CONTENT) + 1000
        await stream.aclose()


async def test_a_proxy_of_the_environment_is_used(server, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url("").rstrip("/"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    async with open_network() as network:
        assert (await get(network, server)).status == 200
        assert (await network.request("GET", "http://alyx.example.org/a")).status == 404
    assert server.requests[-1].path == "http://alyx.example.org/a"
