"""What stands on the way to a server and fails: it refuses, falls silent, answers for the server, loses connections.

It passes bytes on in threads of the test's process, and looks into none of them but where it answers itself.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass, field


@dataclass
class Passage:
    """A connection through the front, and what was lost on it."""

    client: socket.socket
    server: socket.socket
    is_lost: bool = False
    """Nothing comes through any more, and neither end is told."""
    swallowed: bytearray = field(default_factory=bytearray)
    """What the client has sent since."""


class OutageFront:
    """Use as a context manager; ``url`` is the server's address through it."""

    def __init__(self, port: int) -> None:
        self._server_port = port
        self.passages: list[Passage] = []
        self.passes = threading.Event()
        """Not set: connections are taken, and nothing comes through."""
        self.passes.set()
        self.gateway_status: int | None = None
        """Answer each request so, as a web server does whose Alyx is away."""
        self.port = 0
        self._threads: list[threading.Thread] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.passes.set()
        self.stop()
        for thread in self._threads:
            thread.join(10)
        for passage in self.passages:
            passage.client.close()
            passage.server.close()

    def start(self) -> None:
        """Take connections (again)."""
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=200)
        self.port = self._listener.getsockname()[1]
        self._begin(self._accept, self._listener)

    def stop(self) -> None:
        """Refuse connections and break those there are."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for passage in self.passages:
            _end(passage.client)
            _end(passage.server)

    def lose_connections(self) -> None:
        """Forget those there are, as a router does that has not seen them for a while."""
        for passage in self.passages:
            passage.is_lost = True

    def _begin(self, work, *arguments) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                passage = Passage(client, socket.create_connection(("127.0.0.1", self._server_port)))
            except OSError:
                client.close()
                continue
            self.passages.append(passage)
            for source, target in ((client, passage.server), (passage.server, client)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._begin(self._pass_on, passage, source, target)

    def _pass_on(self, passage: Passage, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while part := source.recv(65536):
                self.passes.wait()
                if passage.is_lost:
                    passage.swallowed += part if source is passage.client else b""
                elif self.gateway_status is not None and source is passage.client:
                    source.sendall(b"HTTP/1.1 %d Away\r\nContent-Length: 4\r\n\r\naway" % self.gateway_status)
                else:
                    target.sendall(part)
        if not passage.is_lost:
            _end(target)


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
