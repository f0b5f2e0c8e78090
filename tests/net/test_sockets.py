"""Connections as the kernel has them."""

import socket

import pytest
import trio

from alyxfs.net import sockets


@pytest.mark.trio
async def test_a_connection_has_room_from_its_beginning_on_and_wakes_for_every_byte():
    with socket.create_server(("127.0.0.1", 0)) as server:
        stream = await sockets.connect(["127.0.0.1"], server.getsockname()[1])
        peer, _ = server.accept()
        with peer:
            connection = stream._stream.socket
            assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= sockets.WINDOW
            assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1
            peer.sendall(b"a")
            with trio.fail_after(5):
                assert await stream.read(100) == b"a"
        await stream.aclose()
