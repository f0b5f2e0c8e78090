"""The file server: nginx with a configuration of its own, its log, and how far away it is.

Three ways lead to the same files: ``near`` (loopback), ``tls`` (loopback, a certificate made here), ``far`` (25 ms
each way) and ``link`` (the same distance over 1 Gbit/s). Bytes and requests are counted by nginx: a body's bytes as
they were sent, of broken-off answers too.
"""

from __future__ import annotations

import contextlib
import getpass
import re
import shutil
import socket
import statistics
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.relay import running_relay

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

GBIT = 1.0
"""Width of the narrow link, in Gbit/s."""
PATIENCE = 15.0
"""Seconds for nginx to start, to end, or to have sent what it is sending."""
QUIET_LOOKS = 5
QUIET_PAUSE = 0.03
"""So many looks in a row, so many seconds apart, must find no request: one may be on its way for 25 ms."""

_CONFIGURATION = """
daemon off;
{user}
worker_processes 1;
pid {scratch}/nginx.pid;
error_log {scratch}/error.log;
events {{ worker_connections 1024; }}
http {{
    log_format counted '$server_port $msec $request_time $request_method $status $body_bytes_sent $request_uri';
    access_log {scratch}/access.log counted;
    client_body_temp_path {scratch}/body;
    proxy_temp_path {scratch}/proxy;
    fastcgi_temp_path {scratch}/fastcgi;
    uwsgi_temp_path {scratch}/uwsgi;
    scgi_temp_path {scratch}/scgi;
    default_type application/octet-stream;
    sendfile on;
    tcp_nopush on;
    keepalive_timeout 120;
    keepalive_requests 1000000;
    root {root};
    autoindex on;
    server {{ listen 127.0.0.1:{near} backlog=512; }}
    {tls}
    server {{ listen 127.0.0.1:{status}; access_log off; location / {{ stub_status; }} }}
}}
"""
_TLS = """
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
    }}
"""


@dataclass(frozen=True)
class Request:
    """One line of nginx's log."""

    start: float
    """Unix seconds."""
    end: float
    method: str
    status: int
    sent: int
    """Bytes of the body."""
    path: str


@dataclass(frozen=True)
class FileServer:
    """nginx while it runs."""

    root: Path
    addresses: dict[str, str]
    """By the way's name; end in ``/``. ``tls`` is missing where there is no openssl."""
    certificate: Path
    round_trip: float
    """Seconds that a small request takes on an open connection of ``far``: the median of 15."""
    log: Path
    status_address: str

    def mark(self) -> int:
        """Remember the place in the log, once nothing is under way."""
        self.become_quiet()
        return self.log.stat().st_size

    def since(self, mark: int) -> list[Request]:
        """What was asked since the mark, once nothing is under way."""
        self.become_quiet()
        with self.log.open(encoding="utf-8") as log:
            log.seek(mark)
            return [_request(line) for line in log]

    def become_quiet(self) -> None:
        """Wait until no request is being answered; a peer that reads on for too long is not waited for."""
        ends = time.monotonic() + PATIENCE
        looks = 0
        while looks < QUIET_LOOKS and time.monotonic() < ends:
            with urllib.request.urlopen(self.status_address, timeout=PATIENCE) as answer:
                writing = int(re.search(rb"Writing: (\d+)", answer.read())[1])
            looks = looks + 1 if writing <= 1 else 0  # it counts the question itself
            time.sleep(QUIET_PAUSE)


def _request(line: str) -> Request:
    _, end, seconds, method, status, sent, path = line.split(maxsplit=6)
    return Request(float(end) - float(seconds), float(end), method, int(status), int(sent), path.strip())


def round_trips(requests: Iterable[Request], round_trip: float) -> int:
    """The longest chain of requests of which each began a round trip after the end of the one before, or later."""
    longest: list[tuple[Request, int]] = []
    for request in sorted(requests, key=lambda request: request.start):
        before = [length for other, length in longest if request.start - other.end >= 0.9 * round_trip]
        longest.append((request, 1 + max(before, default=0)))
    return max((length for _, length in longest), default=0)


@contextlib.contextmanager
def running_server(root: Path, scratch: Path) -> Iterator[FileServer]:
    """Serve the files of a directory in all ways, for as long as the block lasts."""
    if shutil.which("nginx") is None:
        raise FileNotFoundError("The file server of the benchmark is nginx: apt-get install nginx-light")
    near, tls, status = _free_ports(3)
    certificate, key = scratch / "certificate.pem", scratch / "key.pem"
    has_tls = _make_certificate(certificate, key)
    (scratch / "nginx.conf").write_text(
        _CONFIGURATION.format(
            user=f"user {getpass.getuser()};" if getpass.getuser() == "root" else "",
            scratch=scratch,
            root=root,
            near=near,
            status=status,
            tls=_TLS.format(port=tls, certificate=certificate, key=key) if has_tls else "",
        ),
        encoding="utf-8",
    )
    errors = scratch / "error.log"
    process = subprocess.Popen(
        ["nginx", "-p", str(scratch), "-e", str(errors), "-c", str(scratch / "nginx.conf")], stderr=subprocess.DEVNULL
    )
    try:
        _wait_until_open(near, process, errors)
        with running_relay(near) as far, running_relay(near, gbit=GBIT) as link:
            ports = {"near": near, "far": far, "link": link}
            addresses = {name: f"http://127.0.0.1:{port}/" for name, port in ports.items()}
            if has_tls:
                addresses["tls"] = f"https://127.0.0.1:{tls}/"
            yield FileServer(
                root, addresses, certificate, _measure(far), scratch / "access.log", f"http://127.0.0.1:{status}/"
            )
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in listeners]


def _make_certificate(certificate: Path, key: Path) -> bool:
    """Make a certificate for this machine's address; False where there is no openssl."""
    if shutil.which("openssl") is None:
        return False
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0


def _wait_until_open(port: int, process: subprocess.Popen[bytes], errors: Path) -> None:
    ends = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > ends:
                words = errors.read_text(encoding="utf-8") if errors.exists() else ""
                raise RuntimeError(f"nginx does not start: {words}") from None
            time.sleep(0.02)
        else:
            return


def _measure(port: int) -> float:
    """The median of 15 small requests on one connection, in seconds."""
    times = []
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        for _ in range(16):
            started = time.monotonic()
            connection.sendall(b"HEAD / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            answer = b""
            while not answer.endswith(b"\r\n\r\n"):
                answer += connection.recv(65536)
            times.append(time.monotonic() - started)
    return statistics.median(times[1:])  # the first one had to connect
