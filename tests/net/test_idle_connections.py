"""Connections that a network lost in silence while they lay idle, and servers that come back but refuse HEAD.

``ALYXFS_OUTAGES=1``: with the times of the drive; else they are shorter.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager

import pytest
import trio

from alyxfs import errors
from alyxfs.net import http1
from alyxfs.net import open_network as open_any_network
from fault_server import FaultServer, File
from outage_front import OutageFront
from reading import until

pytestmark = pytest.mark.trio

DEADLINE = 30.0


@pytest.fixture
def server():
    with FaultServer({"a": File(b"content")}, most_repeats=None) as server:
        yield server


@pytest.fixture(autouse=True)
def shorter_times(monkeypatch):
    if not os.environ.get("ALYXFS_OUTAGES"):
        monkeypatch.setattr(http1, "DOUBTED_AFTER", 0.4)
        monkeypatch.setattr(http1, "DOUBTFUL_WAIT", 0.5)
        monkeypatch.setattr(http1, "WRITES_WITHIN", 0.2)


@asynccontextmanager
async def open_network():
    async with open_any_network(deadline=DEADLINE) as network:
        network.alyx_at("http://127.0.0.1")
        yield network


async def connect(network, url, number):
    """Make so many connections, and let them lie idle."""
    async with trio.open_nursery() as nursery:
        for _ in range(number):
            nursery.start_soon(network.request, "GET", url)
    await trio.sleep(http1.DOUBTED_AFTER + 0.1)


@pytest.mark.parametrize("of_file", [False, True])
async def test_a_safe_request_goes_over_a_new_connection_after_a_short_wait(server, of_file):
    server.delay = 0.05
    with OutageFront(server.port) as front:
        async with open_network() as network:
            await connect(network, f"{front.url}/a", 4)
            front.lose_connections()
            began, before = trio.current_time(), len(front.passages)
            for _ in range(3):
                if of_file:
                    async with network.stream_file(f"{front.url}/a", stall=DEADLINE, is_guess=False) as answer:
                        assert b"".join([part async for part in answer.chunks]) == b"content"
                else:
                    assert (await network.request("GET", f"{front.url}/a")).body == b"content"
            assert trio.current_time() - began < http1.DOUBTFUL_WAIT + 2, "of all that were lost one is waited for"
            assert len(front.passages) == before + 1


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT", "DELETE"])
async def test_a_write_is_never_sent_into_the_void(server, method):
    with OutageFront(server.port) as front:
        async with open_network() as network:
            await connect(network, f"{front.url}/a", 2)
            front.lose_connections()
            began = trio.current_time()
            assert (await network.request(method, f"{front.url}/a", content=b"{}")).status == 200
            assert trio.current_time() - began < 2
        assert not any(passage.swallowed for passage in front.passages)
    assert [request.method for request in server.requests].count(method) == 1


@pytest.mark.parametrize("refusal", [405, None])
async def test_a_server_that_refuses_head_is_found_again(server, refusal):
    """``None``: it never answers such a request."""
    server.refuses_head = True
    server.head_status = refusal
    async with open_network() as network:
        assert (await network.request("GET", server.url("a"))).status == 200
        server.stop()
        with pytest.raises(errors.Unreachable):
            await network.request("GET", server.url("a"))
        assert network.is_down(server.url("a"))
        server.start_again()
        await until(lambda: not network.is_down(server.url("a")), 4)
        assert (await network.request("GET", server.url("a"))).body == b"content"


@pytest.mark.parametrize("root", [404, 500, "hangs"])
async def test_a_server_without_a_root_is_found_again(server, root):
    server.root = root
    async with open_network() as network:
        assert (await network.request("GET", server.url("a"))).status == 200
        server.stop()
        with pytest.raises(errors.Unreachable):
            await network.request("GET", server.url("a"))
        server.start_again()
        await until(lambda: not network.is_down(server.url("a")), 4)
