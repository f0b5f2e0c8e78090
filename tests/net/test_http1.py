"""Answers of every shape: what is read of them is what httpx' own transport reads, however the network cuts them."""

from __future__ import annotations

import contextlib
import functools
import itertools
import socket
import ssl
import threading

import httpx
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alyxfs.net.http1 import Transport
from alyxfs.net.sockets import connect
from reading import until

OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = b"Content-Length: 10\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
TEN = b"0123456789"

ANSWERS = {
    "a length": OK + LENGTH + b"\r\n" + TEN,
    "no body": OK + b"Content-Length: 0\r\n\r\n",
    "to the end of the connection": OK + b"\r\n" + TEN,
    "closed with a length": OK + b"Connection: close\r\n" + LENGTH + b"\r\n" + TEN,
    "of HTTP/1.0": b"HTTP/1.0 200 OK\r\n" + LENGTH + b"\r\n" + TEN,
    "of HTTP/1.0, kept": b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + LENGTH + b"\r\n" + TEN,
    "of HTTP/3.7": b"HTTP/3.7 200 OK\r\n" + LENGTH + b"\r\n" + TEN,
    "no reason": b"HTTP/1.1 200\r\n" + LENGTH + b"\r\n" + TEN,
    "an empty reason": b"HTTP/1.1 200 \r\n" + LENGTH + b"\r\n" + TEN,
    "a reason that is not ASCII": b"HTTP/1.1 200 \xe9t\xe9\r\n" + LENGTH + b"\r\n" + TEN,
    "lines that end in \\n": b"HTTP/1.1 200 OK\nContent-Length: 10\n\n" + TEN,
    "a header of several lines": OK + b"X: one\r\n  two\r\n\tthree\r\n" + LENGTH + b"\r\n" + TEN,
    "a first line that goes on": OK + b" folded\r\n" + LENGTH + b"\r\n" + TEN,
    "a header without colon": OK + b"nothing\r\n" + LENGTH + b"\r\n" + TEN,
    "a header without name": OK + b": value\r\n" + LENGTH + b"\r\n" + TEN,
    "a blank before the colon": OK + b"Content-Length : 10\r\n\r\n" + TEN,
    "blanks around a value": OK + b"Content-Length: \t 10 \t \r\n\r\n" + TEN,
    "an empty value": OK + b"X:\r\n" + LENGTH + b"\r\n" + TEN,
    "a NUL in a value": OK + b"X: a\x00b\r\n" + LENGTH + b"\r\n" + TEN,
    "a return in a value": OK + b"X: a\rb\r\n" + LENGTH + b"\r\n" + TEN,
    "bytes in a value": OK + b"X: \xc3\xa9\xff\r\n" + LENGTH + b"\r\n" + TEN,
    "the same length twice": OK + LENGTH * 2 + b"\r\n" + TEN,
    "the same length in one line": OK + b"Content-Length: 10, 10\r\n\r\n" + TEN,
    "two lengths": OK + LENGTH + b"Content-Length: 5\r\n\r\n" + TEN,
    "two lengths in one line": OK + b"Content-Length: 10, 5\r\n\r\n" + TEN,
    "a negative length": OK + b"Content-Length: -10\r\n\r\n" + TEN,
    "a length with a sign": OK + b"Content-Length: +10\r\n\r\n" + TEN,
    "a length in hexadecimal": OK + b"Content-Length: 0xa\r\n\r\n" + TEN,
    "a length in other digits": OK + b"Content-Length: \xd9\xa1\xd9\xa0\r\n\r\n" + TEN,
    "a length with zeros": OK + b"Content-Length: 0010\r\n\r\n" + TEN,
    "a length that no body has": OK + b"Content-Length: " + b"9" * 21 + b"\r\n\r\n" + TEN,
    "an empty length": OK + b"Content-Length:\r\n\r\n" + TEN,
    "more than its length": OK + LENGTH + b"\r\n" + TEN + b"surplus",
    "a second answer behind it": OK + LENGTH + b"\r\n" + TEN + OK + LENGTH + b"\r\n" + b"not asked!",
    "less than its length": OK + LENGTH + b"\r\n" + TEN[:-1],
    "chunks": OK + CHUNKED + b"\r\n4\r\n0123\r\n006\r\n456789\r\n0\r\n\r\n",
    "chunks in capitals": OK + CHUNKED + b"\r\nA\r\n" + TEN + b"\r\n0\r\n\r\n",
    "chunks with extensions": OK + CHUNKED + b'\r\na;x=1;y="2"\r\n' + TEN + b"\r\n0;z\r\n\r\n",
    "chunks with blanks": OK + CHUNKED + b"\r\na  \r\n" + TEN + b"\r\n0 \r\n\r\n",
    "chunks with trailers": OK + CHUNKED + b"\r\na\r\n" + TEN + b"\r\n0\r\nX: 1\r\nY: 2\r\n\r\n",
    "no chunk": OK + CHUNKED + b"\r\n0\r\n\r\n",
    "chunks and a length": OK + CHUNKED + b"Content-Length: 3\r\n\r\na\r\n" + TEN + b"\r\n0\r\n\r\n",
    "a length and chunks": OK + b"Content-Length: 3\r\n" + CHUNKED + b"\r\na\r\n" + TEN + b"\r\n0\r\n\r\n",
    "chunks without end": OK + CHUNKED + b"\r\na\r\n" + TEN + b"\r\n",
    "a chunk that is cut": OK + CHUNKED + b"\r\na\r\n01234",
    "a chunk longer than it says": OK + CHUNKED + b"\r\n9\r\n" + TEN + b"\r\n0\r\n\r\n",
    "a chunk that is no number": OK + CHUNKED + b"\r\nten\r\n" + TEN + b"\r\n0\r\n\r\n",
    "a chunk of 21 digits": OK + CHUNKED + b"\r\n" + b"0" * 20 + b"a\r\n" + TEN + b"\r\n0\r\n\r\n",
    "an empty line for a chunk": OK + CHUNKED + b"\r\n\r\n",
    "another coding": OK + b"Transfer-Encoding: gzip\r\n\r\n" + TEN,
    "chunks in another coding": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked in capitals": OK + b"Transfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n",
    "chunked twice": OK + CHUNKED * 2 + b"\r\n0\r\n\r\n",
    "partial content": b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-9/20\r\n" + LENGTH + b"\r\n" + TEN,
    "no content, with a length": b"HTTP/1.1 204 No Content\r\n" + LENGTH + b"\r\n",
    "not modified, with a length": b"HTTP/1.1 304 Not Modified\r\n" + LENGTH + b"\r\n",
    "not modified, with chunks": b"HTTP/1.1 304 Not Modified\r\n" + CHUNKED + b"\r\n",
    "a refusal": b"HTTP/1.1 404 Not Found\r\n" + LENGTH + b"\r\n" + TEN,
    "an interim answer": b"HTTP/1.1 100 Continue\r\n\r\n" + OK + LENGTH + b"\r\n" + TEN,
    "two interim answers": b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 2 + OK + LENGTH + b"\r\n" + TEN,
    "an interim answer alone": b"HTTP/1.1 102 Processing\r\n\r\n",
    "a status of two digits": b"HTTP/1.1 99 Low\r\n" + LENGTH + b"\r\n" + TEN,
    "a status of four digits": b"HTTP/1.1 2000 High\r\n" + LENGTH + b"\r\n" + TEN,
    "a status beyond those there are": b"HTTP/1.1 999 Denied\r\n" + LENGTH + b"\r\n" + TEN,
    "no status": b"HTTP/1.1 OK\r\n" + LENGTH + b"\r\n" + TEN,
    "two blanks before the status": b"HTTP/1.1  200 OK\r\n" + LENGTH + b"\r\n" + TEN,
    "another protocol": b"ICY 200 OK\r\n" + LENGTH + b"\r\n" + TEN,
    "protocol in small letters": b"http/1.1 200 OK\r\n" + LENGTH + b"\r\n" + TEN,
    "a handshake of TLS": b"\x15\x03\x03\x00\x02\x02\x28",
    "a body alone": TEN,
    "an empty line first": b"\r\n" + OK + LENGTH + b"\r\n" + TEN,
    "nothing": b"",
    "half a head": OK + b"Content-Le",
}
"""As h11's own tests have them, and those of RFC 9112: framing, folding, what is not allowed and what is cut."""


class Raw:
    """A server that answers every request with the same bytes, in pieces, and closes the connection when it likes."""

    def __init__(self):
        self.pieces, self.closes, self.connections, self.answered = [], True, 0, 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._listening.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection, contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            asked = b""
            while received := connection.recv(65536):
                asked += received
                if asked.endswith(b"\r\n\r\n"):
                    asked = b""
                    for piece in self.pieces:
                        connection.sendall(piece)
                    self.answered += 1
                    if self.closes:
                        return


@pytest.fixture(scope="module")
def server():
    raw = Raw()
    yield raw
    raw.close()


def ours(server):
    async def dial(_):
        return await connect(["127.0.0.1"], server.port)

    return Transport(dial, keepalive=30)


async def outcome(transport, server, method):
    """What is read of the answer, or that it is none."""
    request = httpx.Request(
        method,
        f"http://127.0.0.1:{server.port}/x",
        headers={"Host": "127.0.0.1"},
        extensions={"timeout": dict.fromkeys(("connect", "read", "write", "pool"), 10.0)},
    )
    try:
        response = await transport.handle_async_request(request)
        try:
            body = b"".join([part async for part in response.stream])
        finally:
            await response.aclose()
    except (httpx.RemoteProtocolError, httpx.ReadError):
        return "no answer"
    return response.status_code, response.headers.multi_items(), body


@functools.cache
def certificates():
    """Making some for each transport takes longer than all else."""
    return ssl.create_default_context()


async def both(server, method="GET"):
    found = []
    for transport in (ours(server), httpx.AsyncHTTPTransport(verify=certificates(), trust_env=False)):
        found.append(await outcome(transport, server, method))
        await transport.aclose()
    return found


def cut(answer, places):
    edges = [0, *sorted({place % (len(answer) or 1) for place in places}), len(answer)]
    return [answer[begin:end] for begin, end in itertools.pairwise(edges)]


@pytest.mark.trio
@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
async def test_every_answer_is_read_as_httpx_reads_it(server, method):
    server.closes = True
    different = {}
    for name, answer in ANSWERS.items():
        for pieces in ([answer], cut(answer, range(0, len(answer), 17))):
            server.pieces = pieces
            mine, theirs = await both(server, method)
            if mine != theirs:
                different[name] = (mine, theirs)
    assert not different


BYTES = [b"", b"\r", b"\n", b" ", b"\x00", b"0", b":", b"\xff"]
"""What a byte of an answer becomes."""
places = st.integers(0, 400)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    answer=st.sampled_from(sorted(ANSWERS.values())),
    cuts=st.lists(places, max_size=4),
    changes=st.lists(st.tuples(places, st.sampled_from(BYTES)), max_size=3),
)
def test_damaged_answers_are_read_as_httpx_reads_them(server, answer, cuts, changes):
    for place, byte in changes:
        at = place % (len(answer) or 1)
        answer = answer[:at] + byte + answer[at + 1 :]
    server.pieces, server.closes = cut(answer, cuts), True
    mine, theirs = trio.run(both, server)
    assert mine == theirs, answer


@pytest.mark.trio
async def test_what_comes_behind_an_answer_is_no_part_of_the_next_one(server):
    server.closes = False
    transport = ours(server)
    answer = OK + LENGTH + b"\r\n" + TEN
    for surplus in (b"surplus", OK + LENGTH + b"\r\n" + b"not asked!"):
        for pieces in ([answer + surplus], [answer[:-3], answer[-3:] + surplus], [answer[:-10], TEN, surplus]):
            server.pieces, before = pieces, server.connections
            for number in range(server.answered + 1, server.answered + 4):
                assert (await outcome(transport, server, "GET"))[2] == TEN
                await until(lambda number=number: server.answered == number)  # the surplus has come, too
            assert server.connections >= before + 2, "such a connection is not used again"
    server.pieces, before = [answer], server.connections
    for _ in range(3):
        assert (await outcome(transport, server, "GET"))[2] == TEN
    assert server.connections <= before + 1
    await transport.aclose()
