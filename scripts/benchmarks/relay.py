"""Distance: a TCP relay that keeps bytes for some milliseconds each way, in a process of its own.

Making a connection costs a round trip, as over a real distance: what a client sends first is kept that much longer.
What is not imitated: slow start, loss, and windows smaller than 16 MiB. Without a link's width it is as fast as
Python moves bytes, several 100 MB/s.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

RECEIVE = 256 * 1024
"""Bytes taken from a socket at a time."""
IN_FLIGHT = 64
"""Pieces of up to RECEIVE bytes on their way on one connection: 16 MiB."""
LONGEST_QUEUE = 0.02
"""Seconds of bytes that wait before a narrow link: what a switch buffers."""
PATIENCE = 10.0
"""Seconds for the relay to start or end."""


class Link:
    """One direction of a line, shared by all connections. ``free_at`` changes only in ``departure``."""

    def __init__(self, delay: float, bytes_per_second: float | None) -> None:
        self.delay = delay
        self._rate = bytes_per_second
        self._free_at = 0.0

    def departure(self, now: float, count: int) -> float:
        """When these bytes have left, if they are handed over now."""
        if self._rate is None:
            return now
        self._free_at = max(self._free_at, now) + count / self._rate
        return self._free_at


async def carry(source: socket.socket, target: socket.socket, link: Link, first_delay: float) -> None:
    """Take all bytes from one socket to the other, in order and late; the end of the stream too."""
    loop = asyncio.get_running_loop()
    line: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(IN_FLIGHT)

    async def deliver() -> None:
        while True:
            due, piece = await line.get()
            if (wait := due - loop.time()) > 0:
                await asyncio.sleep(wait)
            if not piece:
                target.shutdown(socket.SHUT_WR)
                return
            await loop.sock_sendall(target, piece)

    async def take() -> None:
        earliest = loop.time() + first_delay
        while True:
            piece = await loop.sock_recv(source, RECEIVE)
            leaves = link.departure(loop.time(), len(piece))
            earliest = max(earliest, leaves + link.delay)
            await line.put((earliest, piece))
            if not piece:
                return
            if (queued := leaves - loop.time() - LONGEST_QUEUE) > 0:
                await asyncio.sleep(queued)

    await _all(deliver(), take())


async def _all(*coroutines: object) -> None:
    """Until all have ended; the first failure ends the others."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def relay(client: socket.socket, port: int, there: Link, back: Link) -> None:
    """Serve one connection until both sides have ended it, or one has broken it."""
    with client, socket.socket() as server:
        server.setblocking(False)
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError):  # a broken connection is passed on by closing the other
            await asyncio.get_running_loop().sock_connect(server, ("127.0.0.1", port))
            connecting = there.delay + back.delay
            await _all(carry(client, server, there, connecting + there.delay), carry(server, client, back, 0.0))


async def serve(port: int, delay: float, bytes_per_second: float | None) -> None:
    """Relay to a port of this machine until standard input ends; the relay's own port is printed."""
    loop = asyncio.get_running_loop()
    there, back = Link(delay, bytes_per_second), Link(delay, bytes_per_second)
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        listener.setblocking(False)
        parent_left = loop.run_in_executor(None, sys.stdin.read)
        print(listener.getsockname()[1], flush=True)

        async def accept() -> None:
            connections = set()
            while True:
                client, _ = await loop.sock_accept(listener)
                task = asyncio.create_task(relay(client, port, there, back))
                connections.add(task)
                task.add_done_callback(connections.discard)

        accepting = asyncio.create_task(accept())
        await asyncio.wait([accepting, parent_left], return_when=asyncio.FIRST_COMPLETED)
        accepting.cancel()


@contextlib.contextmanager
def running_relay(port: int, *, delay: float = 0.025, gbit: float | None = None) -> Iterator[int]:
    """A relay to a port of this machine, for as long as the block lasts; gives its port.

    ``delay`` in seconds each way; ``gbit`` is the width of the link each way, in Gbit/s.
    """
    command = [sys.executable, __file__, str(port), "--delay", str(delay)]
    command += ["--gbit", str(gbit)] if gbit else []
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield int(process.stdout.readline())
    finally:
        process.stdin.close()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int, help="the port of this machine that is to be far away")
    parser.add_argument("--delay", type=float, default=0.025, help="seconds each way")
    parser.add_argument(
        "--gbit", type=float, default=None, help="width of the link, in Gbit/s; none: as fast as it goes"
    )
    options = parser.parse_args()
    width = options.gbit * 1e9 / 8 if options.gbit else None
    asyncio.run(serve(options.port, options.delay, width))


if __name__ == "__main__":
    main()
