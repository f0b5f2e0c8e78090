"""A server in front of an Alyx that makes of addresses what some proxies make of them."""

from __future__ import annotations

import contextlib
import http.client
import posixpath
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import quote, unquote, urlsplit

from quiet_server import serving

HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}


@dataclass
class Front:
    """Its address, how it reads the path of a request, and what it passed on."""

    url: str
    decodes: int = 1
    """Times that it decodes a path before it folds ``..`` away; 0 leaves paths alone."""
    encodes: bool = True
    """Whether it encodes the path again, or passes on what it decoded: a ``?`` then begins the query."""
    backslashes: bool = False
    """Whether it takes ``\\`` for ``/``."""
    passed: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path as it was asked, path as it was passed on."""

    def read(self, path: str) -> str:
        """The path that goes on to Alyx."""
        if not self.decodes:
            return path
        for _ in range(self.decodes):
            path = unquote(path, errors="surrogatepass")
        if self.backslashes:
            path = path.replace("\\", "/")
        path = posixpath.normpath("/" + path.lstrip("/"))
        return (
            quote(path, errors="surrogatepass") if self.encodes else quote(path, safe="/%?#=&;", errors="surrogatepass")
        )


@contextlib.contextmanager
def folding_front(upstream: str, **how):
    """A front server of this Alyx, running."""
    host = urlsplit(upstream).netloc
    front = Front("", **how)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def respond(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path, question, query = self.path.partition("?")
            onward = front.read(path)
            front.passed.append((self.command, path, onward))
            connection = http.client.HTTPConnection(host, timeout=30)
            try:
                headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
                connection.request(self.command, onward.partition("#")[0] + question + query, body or None, headers)
                answer = connection.getresponse()
                content = answer.read()
            finally:
                connection.close()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in HOP_BY_HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = respond  # noqa: N815 - names that http.server asks for

        def log_message(self, *_):
            pass

    with serving(Handler) as front.url:
        yield front
