"""A web server that stands for all that stands in front of an Alyx.

It hands API requests to Django, sends data files and uploaded pictures itself, writes the request log and obeys the
tests' control door. Each connection has a thread; connections are kept alive.
"""

import base64
import contextlib
import io
import socket
import sys
import traceback
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote_to_bytes, urlsplit

from .common.addresses import FILES_PATH
from .common.middleware import USER_KEY
from .control import PATH as CONTROL_PATH
from .control import Control
from .data_files import FileAnswer, answer_file, find_file
from .request_log import RequestLog

# The front ends of real servers refuse longer request lines.
LONGEST_REQUEST_LINE = 8190
# The end of an answer that is held back until the request log has its line.
TAIL = 64 * 1024
UPLOADS_PATH = "/uploaded/"


@dataclass
class Front:
    """What all connections share."""

    application: Any
    files: Path
    uploads: Path
    file_user: str | None
    log: RequestLog
    control: Control | None


class Server(ThreadingHTTPServer):
    """Listens, and gives each connection a thread that ends with the process."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host: str, port: int, front: Front) -> None:
        self.front = front
        super().__init__((host, port), Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One connection and its requests."""

    protocol_version = "HTTP/1.1"
    server_version = "demo"
    disable_nagle_algorithm = True
    wbufsize = 0
    server: Server
    reasons: ClassVar[dict[int, str]] = {status: texts[0] for status, texts in BaseHTTPRequestHandler.responses.items()}

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named so by its base
        """Say nothing: the request log is for that."""

    def answer(self) -> None:
        """Answer one request, whatever its method."""
        front = self.server.front
        body = self.read_body()
        if front.control and self.path == CONTROL_PATH:
            front.control.command(body)
            self.send(200, {"Content-Type": "application/json"}, b"{}", log=False)
            return
        self.orders = front.control.matching(self.command, self.path) if front.control else {}
        self.user: str | None = None
        if front.control and "delay" in self.orders:
            front.control.delay(float(self.orders["delay"]["seconds"]))
        if "close_before" in self.orders:
            self.hang_up()
        elif "fail" in self.orders:
            self.fail(self.orders["fail"])
        elif len(self.path) > LONGEST_REQUEST_LINE:
            self.send(414, {"Content-Type": "text/html"}, b"<h1>414 Request-URI Too Large</h1>")
        else:
            self.dispatch(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer  # noqa: N815

    def dispatch(self, body: bytes) -> None:
        """Send a file if the address is one of a file, else ask Django."""
        front = self.server.front
        path = unquote_to_bytes(urlsplit(self.path).path).decode("utf-8", "replace")
        if path.startswith(FILES_PATH):
            self.data_file(path.removeprefix(FILES_PATH))
            return
        if path.startswith(UPLOADS_PATH) and self.command in {"GET", "HEAD"}:
            upload = find_file(front.uploads, path.removeprefix(UPLOADS_PATH))
            if upload is not None:
                self.send_file(answer_file(upload, self.asked()))
                return
        self.api(body)

    # --- requests ---

    def asked(self) -> dict[str, str]:
        """The request's headers by their lower-case names."""
        return {name.lower(): value for name, value in self.headers.items()}

    def read_body(self) -> bytes:
        """Read what was sent, whole or in chunks."""
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(chunks)

    def environment(self, body: bytes) -> dict[str, Any]:
        """Describe the request the way WSGI wants it."""
        path, _, query = self.path.partition("?")
        host, port = self.server.server_address[:2]
        environment = {
            "REQUEST_METHOD": self.command,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "SERVER_NAME": str(host),
            "SERVER_PORT": str(port),
            "SERVER_PROTOCOL": self.request_version,
            "REMOTE_ADDR": self.client_address[0],
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in self.headers.items():
            key = "HTTP_" + name.upper().replace("-", "_")
            environment.setdefault(key, value)
        return environment

    # --- answers ---

    def api(self, body: bytes) -> None:
        """Ask Django and send what it says."""
        environment = self.environment(body)
        started: list[Any] = []

        def start_response(status: str, headers: list[tuple[str, str]], _error: Any = None) -> None:
            started[:] = [int(status.split(maxsplit=1)[0]), headers]

        result = self.server.front.application(environment, start_response)
        try:
            content = b"".join(result)
        finally:
            if hasattr(result, "close"):
                result.close()
        self.user = environment.get(USER_KEY)
        if "drop_after_save" in self.orders:
            self.write_log(started[0], 0)
            self.hang_up()
            return
        self.send(started[0], started[1], content)

    def data_file(self, parts: str) -> None:
        """Send a data file, if the client may have it."""
        front = self.server.front
        if front.file_user is not None:
            expected = "Basic " + base64.b64encode(front.file_user.encode()).decode()
            if self.headers.get("Authorization") != expected:
                challenge = {"WWW-Authenticate": 'Basic realm="data files"', "Content-Type": "text/html"}
                self.send(401, challenge, b"<h1>401 Authorization Required</h1>")
                return
            self.user = front.file_user.partition(":")[0]
        if self.command not in {"GET", "HEAD"}:
            self.send(405, {"Allow": "GET, HEAD", "Content-Type": "text/html"}, b"<h1>405 Not Allowed</h1>")
            return
        path = find_file(front.files, parts)
        if path is None:
            self.send(404, {"Content-Type": "text/html"}, b"<h1>404 Not Found</h1>")
            return
        self.send_file(answer_file(path, self.asked()))

    def fail(self, options: dict[str, Any]) -> None:
        """Fail as the tests want it."""
        status = int(options.get("status", 503))
        headers = {"Content-Type": "application/json"}
        if "retry_after" in options:
            headers["Retry-After"] = str(options["retry_after"])
        body = f'{{"detail": "{self.reasons.get(status, "Failed")}", "status_code": {status}}}'
        self.send(status, headers, body.encode())

    def send(self, status: int, headers: Any, body: bytes, *, log: bool = True) -> None:
        """Send an answer that is in memory."""
        pairs = list(headers.items() if isinstance(headers, dict) else headers)
        if not any(name.lower() == "content-length" for name, _ in pairs) and status not in {204, 304}:
            pairs.append(("Content-Length", str(len(body))))
        if self.command == "HEAD":
            body = b""
        if log:
            limit = self.orders.get("truncate", {}).get("bytes")
            if limit is not None:
                body = body[: int(limit)]
            self.write_log(status, len(body))
        self.wfile.write(self.head(status, pairs) + body)
        if log and "truncate" in self.orders:
            self.hang_up()

    def send_file(self, answer: FileAnswer) -> None:
        """Send bytes of a file without reading them into memory."""
        pairs = [*answer.headers.items()]
        if answer.status != 304:
            pairs.append(("Content-Length", str(answer.length)))
        length = answer.length
        if "truncate" in self.orders:
            length = min(length, int(self.orders["truncate"]["bytes"]))
        if answer.path is None or self.command == "HEAD":
            self.write_log(answer.status, 0)
            self.wfile.write(self.head(answer.status, pairs))
            return
        sent = 0
        logged = False
        try:
            with answer.path.open("rb") as file:
                self.wfile.write(self.head(answer.status, pairs))
                early = max(0, length - TAIL)
                if early:
                    sent += self.connection.sendfile(file, answer.start, early)
                self.write_log(answer.status, length)
                logged = True
                if length - early:
                    self.connection.sendfile(file, answer.start + early, length - early)
        finally:
            if not logged:
                self.write_log(answer.status, sent)
        if "truncate" in self.orders:
            self.hang_up()

    def head(self, status: int, pairs: list[tuple[str, str]]) -> bytes:
        """Return the status line and the headers."""
        lines = [f"HTTP/1.1 {status} {self.reasons.get(status, '')}"]
        lines += [f"{name}: {value}" for name, value in pairs]
        lines += [f"Date: {self.date_time_string()}", "Server: demo"]
        if self.close_connection:
            lines.append("Connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def write_log(self, status: int, count: int) -> None:
        """Write this request's line."""
        self.server.front.log.write(
            {
                "method": self.command,
                "path": self.path,
                "status": status,
                "bytes": count,
                "range": self.headers.get("Range"),
                "user": self.user,
            }
        )

    def hang_up(self) -> None:
        """Close the connection here and now."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def finish(self) -> None:
        """Give the thread's database connection back when the client is gone."""
        from django.db import connections  # noqa: PLC0415 - only once Django is set up

        connections.close_all()
        with contextlib.suppress(OSError):
            super().finish()

    def handle_one_request(self) -> None:
        """Answer one request; an error of this server itself is shown and ends the connection."""
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True
        except Exception:  # noqa: BLE001 - the server goes on
            traceback.print_exc()
            self.close_connection = True
