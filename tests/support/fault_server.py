"""A file server on loopback that behaves as badly as it is told to: every fault a real one has shown, seeded.

It runs in threads of the test's process, speaks plain HTTP/1.1 over sockets of its own (so that it can break any rule
of it), and counts what it is asked.
"""

from __future__ import annotations

import contextlib
import gzip
import random
import socket
import threading
import time
from dataclasses import dataclass, field
from urllib.parse import unquote

DATE = "Tue, 03 Dec 2019 10:00:00 GMT"
FAULTS = (
    "drop",  # the connection breaks in the middle of the body
    "drop_headers",  # the connection breaks before the first byte
    "stall",  # the body stops for longer than anybody waits
    "short",  # a body that ends early, in a shorter answer
    "wrong_range",  # a range that was not asked
    "no_range",  # 206 without saying which range
    "whole",  # 200 with the whole file
    "gzip",  # a range of the compressed file
    "status_429",
    "status_500",
    "status_503",
    "garbage",  # no HTTP at all
)


CONTRADICTIONS = (
    "unsatisfied",  # 416 for a range that is within the length it tells
    "two_backends",  # each answer has another entity tag
    "another_total",  # each answer tells another length of the whole
    "beyond_the_end",  # a range past the length it tells itself
    "before_the_range",  # bytes that were not asked for
    "no_total_and_no_bytes",  # an empty range
)
"""What a server may answer whatever it is asked, so that no two things it says can be true."""


@dataclass
class File:
    content: bytes
    etag: str | None = '"v1"'
    last_modified: str | None = DATE
    ranges: bool = True
    length: bool = True
    """False: no Content-Length, but chunks."""
    total: bool = True
    """False: a range does not tell the length of the whole."""
    conditions: bool = True
    """False: If-Range is not understood."""
    kind: str | None = None
    """Its Content-Type."""
    gzipped: bool = False
    """The server compresses the whole file, whatever is asked."""


@dataclass
class Request:
    path: str
    headers: dict[str, str]
    method: str = "GET"
    at: float = field(default_factory=time.monotonic)


@dataclass
class FaultServer:
    """Use as a context manager; ``url(name)`` is a file's address."""

    files: dict[str, File] = field(default_factory=dict)
    faults: dict[str, float] = field(default_factory=dict)
    """Fault to probability; each request draws at most one."""
    script: list[str] = field(default_factory=list)
    """Faults of the next requests, in order, before chance decides; "none" is no fault."""
    seed: int = 0
    delay: float = 0.0
    """Seconds before each answer: a round trip."""
    bytes_per_second: float | None = None
    stall_seconds: float = 30.0
    retry_after: str | None = "0"
    status: int | None = None
    """Answer everything with this status."""
    redirect: str | None = None
    redirects: dict[str, str] = field(default_factory=dict)
    """Where single files lead, by their names."""
    raw: dict[str, bytes] = field(default_factory=dict)
    """Whole answers as they go over the wire, by the names of files; the connection is closed behind them."""
    most_repeats: int | None = 10
    """How often the same may be asked within a second; None where the test itself asks so often."""
    unit: str = "bytes"
    """The name of the unit in Content-Range."""
    contradiction: str | None = None
    """One of CONTRADICTIONS."""
    refuses_head: bool = False
    head_status: int | None = 405
    """With which it refuses HEAD; None: it never answers."""
    root: int | str | None = None
    """The status of its root, or "hangs"."""
    password: str | None = None
    """The Authorization that is wanted, else 401."""

    def __post_init__(self) -> None:
        self.requests: list[Request] = []
        self.sent = 0
        """Bytes of bodies."""
        self.connections = 0
        self.open_connections = 0
        self.most_at_once = 0
        self._random = random.Random(self.seed)
        self._lock = threading.Lock()
        self._at_once = 0
        self._sockets: set[socket.socket] = set()
        self._closing = threading.Event()
        self.frozen = threading.Event()
        """Set: connections are taken, and nothing is answered; what is being sent comes whole."""
        self.silent = threading.Event()
        """Set: answers that are being sent wait in their middle."""

    def __enter__(self):
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        return self

    def __exit__(self, failure: object, *_: object) -> None:
        self.stop()
        if failure is None and self.most_repeats is not None:
            assert_no_storm(self.requests, self.most_repeats)

    @property
    def open_requests(self) -> int:
        """How many are being answered."""
        return self._at_once

    def stop(self) -> None:
        """Refuse connections and break those there are."""
        self._closing.set()
        self.stop_listening()
        self.break_connections()

    def stop_listening(self) -> None:
        """Refuse connections and keep those there are."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def start_again(self) -> None:
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=200)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def break_connections(self) -> None:
        with self._lock:
            for connection in self._sockets:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/{name}"

    def ranges(self) -> list[str]:
        return [request.headers.get("range", "") for request in self.requests]

    # Connections

    def _accept(self, listener: socket.socket) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with self._lock:
            self._sockets.add(connection)
            self.connections += 1
            self.open_connections += 1
        try:
            with connection, connection.makefile("rb") as lines, contextlib.suppress(OSError):
                while self._one(connection, lines):
                    pass
        finally:
            with self._lock:
                self._sockets.discard(connection)
                self.open_connections -= 1

    def _one(self, connection: socket.socket, lines) -> bool:
        first = lines.readline().decode("latin-1").split()
        if len(first) != 3:
            return False
        headers = {}
        while line := lines.readline().decode("latin-1").strip():
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        lines.read(int(headers.get("content-length", 0)))
        request = Request(first[1], headers, first[0])
        with self._lock:
            self.requests.append(request)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            fault = self._fault()
        try:
            return self._answer(connection, request, fault)
        finally:
            with self._lock:
                self._at_once -= 1

    def _fault(self) -> str:
        if self.script:
            return self.script.pop(0)
        chance = self._random.random()
        for fault, probability in self.faults.items():
            chance -= probability
            if chance < 0:
                return fault
        return "none"

    # Answers

    def _answer(self, connection: socket.socket, request: Request, fault: str) -> bool:  # noqa: C901, PLR0911, PLR0912 - one branch a fault
        while self.frozen.is_set() and not self._closing.is_set():
            time.sleep(0.01)
        if self.delay:
            time.sleep(self.delay)
        name = unquote(request.path.lstrip("/").partition("?")[0])
        odd = self.head_status if request.method == "HEAD" and self.refuses_head else self.root if not name else 0
        if isinstance(odd, int) and odd:
            return self._refuse(connection, odd)
        if odd == "hangs" or (odd is None and request.method == "HEAD"):
            self._closing.wait(self.stall_seconds)
            return False
        if (target := self.redirects.get(name, self.redirect)) is not None:
            return self._head(connection, 302, {"Location": target, "Content-Length": "0"})
        if name in self.raw:
            connection.sendall(self.raw[name])
            return False
        if self.status is not None:
            return self._refuse(connection, self.status)
        if self.password is not None and request.headers.get("authorization") != self.password:
            return self._refuse(connection, 401)
        file = self.files.get(name)
        if fault.startswith("status_"):
            return self._refuse(connection, int(fault[7:]))
        if fault == "drop_headers":
            return False
        if fault == "stall_headers":
            self._closing.wait(self.stall_seconds)
            return False
        if fault == "garbage":
            connection.sendall(b"\x16\x03 this is no HTTP\r\n\r\n" * 5)
            return False
        if file is None:
            return self._refuse(connection, 404)
        return self._send(connection, request, file, fault)

    def _send(self, connection: socket.socket, request: Request, file: File, fault: str) -> bool:
        total = len(file.content)
        asked = request.headers.get("range")
        condition = request.headers.get("if-range")
        if file.conditions and condition not in {None, file.etag, file.last_modified}:
            asked = None
        told = (("ETag", file.etag), ("Last-Modified", file.last_modified), ("Content-Type", file.kind))
        headers = {name: value for name, value in told if value}
        if file.etag and request.headers.get("if-none-match") == file.etag:
            return self._head(connection, 304, headers)
        if asked is None or not file.ranges or fault == "whole":
            return self._send_whole(connection, request, file, headers)
        start, _, last = asked.removeprefix("bytes=").partition("-")
        start, end = int(start), min(int(last or total - 1) + 1, total)
        if self.contradiction is not None:
            return self._contradict(connection, file, start, end, headers)
        if start >= total:
            return self._refuse(connection, 416, {"Content-Range": f"bytes */{total}"})
        if fault == "gzip":
            body = gzip.compress(file.content)[start:end] or b"x"
            headers |= {"Content-Encoding": "gzip", "Content-Range": f"bytes {start}-{end - 1}/{total}"}
            return self._body(connection, 206, headers, body, "none")
        if fault == "wrong_range":
            start = (start + 4096) % total if total > 4096 else start
            end = min(start + 4096, total)
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{total + (start == 0)}"
        elif fault == "no_range":
            pass
        else:
            if fault == "short":
                end = max(start + 1, end - max(1, (end - start) // 3))
            headers["Content-Range"] = f"{self.unit} {start}-{end - 1}/{total if file.total else '*'}"
        return self._body(connection, 206, headers, file.content[start:end], fault)

    def _contradict(self, connection: socket.socket, file: File, start: int, end: int, headers: dict) -> bool:
        count, total = len(self.requests), len(file.content)
        body = file.content[start:end]
        if self.contradiction == "unsatisfied":
            return self._refuse(connection, 416, {"Content-Range": f"bytes */{total}"})
        if self.contradiction == "two_backends":
            headers["ETag"] = f'"{count}"'
        elif self.contradiction == "another_total":
            total += count
        elif self.contradiction == "beyond_the_end":
            total = end - 1
        elif self.contradiction == "before_the_range":
            start, end = start + 1, end + 1
        else:
            end, body = start, b""
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{total}"
        return self._body(connection, 206, headers, body, "none")

    def _send_whole(self, connection: socket.socket, request: Request, file: File, headers: dict) -> bool:
        if file.gzipped and "gzip" in request.headers.get("accept-encoding", ""):
            return self._body(
                connection, 200, headers | {"Content-Encoding": "gzip"}, gzip.compress(file.content), "none"
            )
        if file.length:
            return self._body(connection, 200, headers, file.content, "none")
        self._head(connection, 200, headers | {"Transfer-Encoding": "chunked"})
        for first in range(0, len(file.content), 50_000):
            part = file.content[first : first + 50_000]
            connection.sendall(b"%x\r\n" % len(part) + part + b"\r\n")
        connection.sendall(b"0\r\n\r\n")
        return True

    def _body(self, connection: socket.socket, status: int, headers: dict, body: bytes, fault: str) -> bool:
        self._head(connection, status, headers | {"Content-Length": str(len(body))})
        stop = self._random.randrange(len(body)) if fault in {"drop", "stall"} and body else len(body)
        stop = 0 if fault == "stall_body" else stop  # before its first byte
        for first in range(0, stop, 65536):
            while self.silent.is_set() and not self._closing.is_set():
                time.sleep(0.01)
            part = body[first : min(first + 65536, stop)]
            connection.sendall(part)
            with self._lock:
                self.sent += len(part)
            if self.bytes_per_second:
                time.sleep(len(part) / self.bytes_per_second)
        if fault in {"stall", "stall_body"}:
            self._closing.wait(self.stall_seconds)
        return fault not in {"drop", "stall", "stall_body"}

    def _refuse(self, connection: socket.socket, status: int, headers: dict | None = None) -> bool:
        headers = dict(headers or {}) | {"Content-Length": "5"}
        if status in {429, 503} and self.retry_after is not None:
            headers["Retry-After"] = self.retry_after
        self._head(connection, status, headers)
        connection.sendall(b"sorry")
        return True

    def _head(self, connection: socket.socket, status: int, headers: dict[str, str]) -> bool:
        lines = [f"HTTP/1.1 {status} Status", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        connection.sendall("\r\n".join(lines).encode())
        return True


def assert_no_storm(requests: list[Request], most: int) -> None:
    """Nothing that is asked may repeat without a pause: no request more than so often within any second."""
    times: dict[tuple[str, str, str], list[float]] = {}
    for request in requests:
        key = request.method, request.path, request.headers.get("range", "")
        times.setdefault(key, []).append(request.at)
    for key, moments in times.items():
        for first, later in zip(moments, moments[most:], strict=False):
            assert later - first >= 1, f"{' '.join(key)} was asked {most + 1} times in {later - first:.3f} s"
