"""A very small Alyx on loopback whose every answer a test can steer; the demo is the true one."""

from __future__ import annotations

import contextlib
import json
import random
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit

from fault_server import Request

LIST_GET = {
    "parameters": [{"in": "query", "name": name, "schema": {"type": "integer"}} for name in ("limit", "offset")]
}


def query(*names):
    return [{"in": "query", "name": name, "schema": {"type": "string"}} for name in names]


def resource(name, lookup, *filters):
    listing = {"get": {"parameters": [*LIST_GET["parameters"], *query(*filters)]}, "post": {}}
    return {f"/{name}": listing} | ({f"/{name}/{{{lookup}}}": {"get": {}, "patch": {}}} if lookup else {})


SCHEMA = {
    "openapi": "3.0.3",
    "paths": {
        **resource("subjects", "nickname", "nickname", "django"),
        **resource("datasets", "id", "django", "collection"),
        **resource("files", "id", "django"),
        **resource("sessions", "id", "django", "lab"),
        **resource("projects", "name"),
        **resource("procedures", None),
        **resource("water-restriction", None),
        "/auth-token": {"post": {}},
    },
}


CORE_API = {
    "_type": "document",
    "_meta": {"url": "http://alyx.example/docs/", "title": "Alyx"},
    "auth-token": {"create": {"_type": "link", "url": "/auth-token", "action": "post"}},
    "labs": {
        "list": {
            "_type": "link",
            "url": "/labs",
            "action": "get",
            "fields": [{"name": name, "location": "query"} for name in ("limit", "offset", "name")],
        },
        "read": {
            "_type": "link",
            "url": "/labs/{name}",
            "action": "get",
            "fields": [{"name": "name", "location": "path", "required": True}],
        },
    },
}
"""As older servers give it at /docs."""


def identifiers(count, seed=0):
    """Random UUIDs, the same ones each time."""
    source = random.Random(seed)
    return [str(uuid.UUID(int=source.getrandbits(128), version=4)) for _ in range(count)]


class SmallAlyx:
    """The server's state, open to tests: rows of each list, what was asked, and what goes wrong."""

    def __init__(self):
        self.rows = {}
        self.details = {}
        self.lookups = {"subjects": "nickname", "projects": "name"}
        self.tokens = {"good"}
        self.passwords = {"anna": "right"}
        self.failing = set()
        self.asked = []
        self.requests = []  # with the moment of each
        self.authorizations = []  # path and Authorization of each request
        self.heard = []  # all headers of each request, as text
        self.posted = []
        self.knows_head = True  # else such a request is never answered
        self.stopped = threading.Event()
        self.slow = None  # an Event to wait for before answering
        self.instead = {}  # beginnings of paths: a document, or a function that writes to the connection
        self.url = ""
        self.schema = SCHEMA

    def asked_for(self, start):
        return [path for path in self.asked if path.startswith(start)]

    def hold(self, method):
        """Wait before a request is answered, as the test has it."""
        if method == "HEAD" and not self.knows_head:
            self.stopped.wait(60)
        if self.slow is not None:
            self.slow.wait(10)

    def put(self, endpoint, documents):
        lookup = self.lookups.get(endpoint, "id")
        self.rows[endpoint] = list(documents)
        for document in documents:
            if lookup in document:
                self.details[endpoint, document[lookup]] = document | {"more": [1, 2, 3]}

    def answer(self, method, target, headers, body):
        parts = urlsplit(target)
        if parts.path == "/auth-token":
            self.posted.append(headers.get("Authorization"))
            return self.log_in(json.loads(body))
        if parts.path == "/api/schema":
            return (200, self.schema) if self.schema else (404, {"detail": "Not found.", "status_code": 404})
        if parts.path == "/docs":
            return 200, CORE_API
        if refusal := self.refusal(method, headers.get("Authorization")):
            return 403, {"detail": refusal, "status_code": 403}
        endpoint, *key = parts.path.strip("/").split("/")
        return self.detail(endpoint, unquote(key[0])) if key else self.page(endpoint, dict(parse_qsl(parts.query)))

    def refusal(self, method, authorization):
        if authorization is None:
            return "Authentication credentials were not provided."
        if authorization.removeprefix("Token ") not in self.tokens:
            return "Invalid token."
        return None if method == "GET" else "You do not have permission to perform this action."

    def log_in(self, given):
        if self.passwords.get(given["username"]) != given["password"]:
            return 400, {"non_field_errors": ["Unable to log in with provided credentials."], "status_code": 400}
        self.tokens.add("fresh")
        return 200, {"token": "fresh"}

    def detail(self, endpoint, key):
        lookup = self.lookups.get(endpoint, "id")
        if sum(row.get(lookup) == key for row in self.rows.get(endpoint, ())) > 1:
            return 500, {"detail": "get() returned more than one Subject -- it returned 2!", "status_code": 500}
        if (endpoint, key) not in self.details or "/" in key:
            return 404, {"detail": "Not found.", "status_code": 404}
        return 200, self.details[endpoint, key]

    def page(self, endpoint, query):
        rows = list(self.rows.get(endpoint, ()))
        limit, offset = min(1000, int(query.pop("limit"))), int(query.pop("offset"))
        if conditions := query.pop("django", ""):
            words = conditions.split(",")
            for field, value in zip(words[::2], words[1::2], strict=True):
                rows = [row for row in rows if (row["id"] >= value if field.endswith("gte") else row["id"] < value)]
        elif endpoint == "files":
            random.shuffle(rows)
        for name, value in query.items():
            rows = [row for row in rows if name not in row or row[name] == value]
        page = rows[offset : offset + limit]
        if any(row.get("id") in self.failing for row in page):
            return 500, {"detail": "Could not resolve URL for hyperlinked relationship", "status_code": 500}
        return 200, {"count": len(rows), "next": None, "previous": None, "results": page}


@contextlib.contextmanager
def small_alyx(port=0):
    """A running server; stopping it closes its connections too."""
    alyx = SmallAlyx()
    connections = set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self):
            super().setup()
            connections.add(self.connection)

        def respond(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            alyx.asked.append(self.path)
            alyx.requests.append(Request(self.path, {}, self.command))
            alyx.authorizations.append((self.path, self.headers.get("Authorization")))
            alyx.heard.append(f"{self.command} {self.path}\n{self.headers}")
            alyx.hold(self.command)
            instead = next((given for path, given in alyx.instead.items() if self.path.startswith(path)), None)
            if callable(instead):
                self.close_connection = True
                with contextlib.suppress(OSError):
                    instead(self.wfile, self.path)
                return
            status, document = instead or alyx.answer(self.command, self.path, self.headers, body)
            text = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PATCH = do_DELETE = do_HEAD = respond  # noqa: N815 - names that http.server asks for

        def log_message(self, *_):
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 64

        def handle_error(self, *_):
            pass

    server = Server(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    alyx.port = server.server_address[1]
    alyx.url = f"http://127.0.0.1:{alyx.port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()

    def stop():
        if not alyx.stopped.is_set():
            alyx.stopped.set()
            server.shutdown()
            server.server_close()
            for connection in connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(2)

    alyx.stop = stop
    try:
        yield alyx
    finally:
        stop()
        thread.join(5)
