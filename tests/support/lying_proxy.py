"""A proxy between a drive and an Alyx that changes answers by chance, seeded: the same seed tells the same lies.

It runs in threads of the test's process. Addresses in answers lead through it, so data files are lied about, too.
"""

from __future__ import annotations

import contextlib
import copy
import http.client
import io
import json
import random
import threading
import zipfile
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

from quiet_server import serving

ADDRESSES = [
    "http://data..example.org/x.npy",
    " http://data.example.org/x.npy",
    "http://xn--a/x.npy",
    "http://" + "h" * 300 + "/x.npy",
    "http://[::1/x.npy",
    "http://user:pass@127.0.0.1:1/x.npy",
    "http://127.0.0.1:99999/x.npy",
    "http://\u2100.example.org/x.npy",
    "http://fa\u00df.example.org\uff0fx/y.npy",
    "file:///etc/hostname",
    "//x",
    "http:",
    "x" * 10_000,
]
TEXTS = [
    "",
    "x" * 300,
    "\ud800",
    "a\x00b",
    "../../etc",
    "a/b",
    ".",
    "..",
    "%",
    "\u00e9" * 200,
    "a\nb",
    "\x1b[31m",
    "\u202eabc",
    "null",
    "#x#",
    "a/" * 300,
]
TIMES = ["2024-13-45", "9999-12-31T23:59:59", "0001-01-01T00:00:00+14:00", "yesterday", "2024-01-02T03:04:05"]
NUMBERS = [-1, 0, 1, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63), 10**30, 1e308, float("nan"), float("inf"), 0.5]


def nested(depth):
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


def odd_value(chance: random.Random, document):
    """A value that nobody expects here; at times a part of the document itself."""
    kinds = [NUMBERS, TEXTS, ADDRESSES, TIMES, [None, True, False, [], {}, [[]], [None], {"a": {}}, {"": []}]]
    kind = chance.randrange(8)
    if kind < len(kinds):
        return chance.choice(kinds[kind])
    if kind == len(kinds):
        return nested(chance.choice([50, 200, 500]))
    containers = list(places(document, chance))
    container, key = chance.choice(containers) if containers else ([1], 0)
    try:
        return copy.deepcopy(container[key])
    except RecursionError:  # what is nested deep already
        return nested(50)


def places(document, chance, most=400):
    """Containers and keys in a document, some of them."""
    waiting, given = [document], 0
    while waiting and given < most:
        value = waiting.pop(chance.randrange(len(waiting)))
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        chance.shuffle(keys)
        for key in keys[:40]:
            given += 1
            yield value, key
            if isinstance(value[key], dict | list) and value[key]:
                waiting.append(value[key])


def change_document(chance: random.Random, document):
    """The document with a few changes of values, keys and lists; or another one altogether."""
    if not isinstance(document, dict | list) or not document or chance.random() < 0.08:
        return odd_value(chance, document)
    for _ in range(chance.choice([1, 1, 2, 4, 10])):
        found = list(places(document, chance))
        if not found:
            break
        container, key = chance.choice(found)
        action = chance.randrange(6)
        if action == 0:
            del container[key]
        elif action == 1 and isinstance(container, list):
            container.insert(key, odd_value(chance, document))
        elif action == 2 and isinstance(container[key], list):
            del container[key][chance.randrange(len(container[key]) + 1) :]
        elif action == 3 and isinstance(container[key], list):
            container[key].extend(container[key][: chance.randrange(5)])
        else:
            container[key] = odd_value(chance, json.loads(json.dumps(document)) if chance.random() < 0.2 else [1])
    return document


def damage_bytes(chance: random.Random, content: bytes) -> bytes:
    """Bits turned, ends cut, parts twice."""
    damaged = bytearray(content)
    for _ in range(chance.choice([1, 1, 3, 20])):
        if not damaged:
            break
        position = chance.choice([chance.randrange(len(damaged)), max(0, len(damaged) - 1 - chance.randrange(400))])
        action = chance.randrange(5)
        if action == 0:
            damaged[position] ^= 1 << chance.randrange(8)
        elif action == 1:
            damaged[position] = chance.choice([0, 255, chance.randrange(256)])
        elif action == 2:
            del damaged[position:]
        elif action == 3:
            del damaged[position : position + chance.randrange(50)]
        else:
            damaged[position:position] = damaged[position : position + chance.randrange(50)]
    return bytes(damaged)


def change_archive(chance: random.Random, content: bytes) -> bytes:
    """A damaged archive, or a sound one whose tables are damaged, swapped or of another kind."""
    if chance.random() < 0.4:
        return damage_bytes(chance, content)
    with zipfile.ZipFile(io.BytesIO(content)) as members:
        parts = {name: members.read(name) for name in members.namelist()}
    name = chance.choice(sorted(parts))
    action = chance.randrange(6)
    if action == 0:
        del parts[name]
    elif action == 1:
        parts["sessions.pqt"], parts["datasets.pqt"] = parts["datasets.pqt"], parts["sessions.pqt"]
    elif action == 2:
        parts[name] = b"\0" * chance.choice([0, 100, 3_000_000, 50_000_000])
    else:
        parts[name] = damage_bytes(chance, parts[name])
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", chance.choice([zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])) as archive:
        for each, part in parts.items():
            archive.writestr(each, part)
    packed = bytearray(target.getvalue())
    if action == 3:  # "encrypted"
        for mark, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
            packed[packed.index(mark) + offset] |= 1
    return bytes(packed)


HEADERS = [
    ("Content-Type", "text/html"),
    ("Content-Type", ""),
    ("Content-Type", "application/json; charset=\xff"),
    ("Content-Encoding", "gzip"),
    ("Content-Encoding", "br"),
    ("Date", "yesterday"),
    ("Date", "Tue, 03 Dec 9999 10:00:00 GMT"),
    ("Date", "Mon, 01 Jan 0001 00:00:00 +2359"),
    ("Date", "Tue, 99 Dec 2019 99:00:00 -9999"),
    ("Retry-After", "9" * 400),
    ("Retry-After", "-5"),
    ("Retry-After", "\xb2"),
    ("Content-Range", "bytes 0-1/99999999999999999999"),
    ("Content-Range", "bytes */-1"),
    ("Content-Range", "Bytes 5-1/x"),
    ("ETag", "\xff" * 20),
    ("Last-Modified", "never"),
    ("Location", "http://[::1"),
    ("Connection", "close, keep-alive"),
    ("X" * 300, "y"),
    ("Set-Cookie", "a=b"),
]
STATUSES = [200, 201, 204, 206, 400, 401, 403, 404, 405, 409, 416, 418, 500, 500, 500, 599]
RARE_STATUSES = [301, 302, 429, 502, 503, 504]
"""After these a drive keeps still for a while, so that little else would be tried."""
WRITTEN = ("/sessions", "/subjects", "/weighings", "/tags", "/notes")
"""Where addresses begin whose answers a program of these tests may change."""
PAGES = [b"<![foo bar]]><html>", b"<html><body><h1>Sign in</h1>" + b"<" * 3000, b"<script>" * 500, b"\xff" * 100]


class LyingProxy:
    """``lie(seed)`` and ``be_honest()`` say how it answers from now on."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.url = ""
        self.probability = 0.3
        self.lies: list[str] = []
        """What was done to which answer since the last seed."""
        self._chance: random.Random | None = None
        self._earlier: list[bytes] = []
        self._answers: dict[str, tuple[int, list[tuple[str, str]], bytes]] = {}
        self._lock = threading.Lock()

    def lie(self, seed: int, probability: float = 0.5) -> None:
        with self._lock:
            self._chance, self.probability, self.lies = random.Random(seed), probability, []

    def be_honest(self) -> None:
        with self._lock:
            self._chance = None

    def changed(self, path: str, status: int, headers: list[tuple[str, str]], body: bytes) -> tuple[bytes, bool]:
        """The whole answer as it goes over the wire, and whether the connection is good for another one."""
        with self._lock:
            chance = self._chance
            if chance is None or path == "/auth-token" or chance.random() > self.probability:
                return on_the_wire(status, headers, body), True
            kind, answer = self._lie(chance, path, status, headers, body)
            self.lies.append(f"{kind}: {path}")
            return answer, kind in {"content", "swapped", "page"}

    def known(self, path: str) -> tuple[int, list[tuple[str, str]], bytes] | None:
        """What the server answered when it was last asked this, if it would answer the same."""
        return self._answers.get(path)

    def remember(self, method: str, path: str, answer: tuple[int, list[tuple[str, str]], bytes]) -> None:
        """Keep an answer, so that the demo need not make it again; a write makes those wrong that it can change."""
        if method == "GET" and not path.startswith("/data_files"):
            self._answers[path] = answer
        elif method != "GET":
            for known in [known for known in self._answers if known.startswith(WRITTEN)]:
                self._answers.pop(known, None)

    def _lie(self, chance, path, status, headers, body):
        kind = chance.choice(
            ["content", "content", "content", "content", "status", "header", "wire", "swapped", "page"]
        )
        if kind == "content":
            return kind, on_the_wire(status, headers, self._changed_content(chance, path, headers, body))
        if kind == "status":
            status = chance.choice(RARE_STATUSES if chance.random() < 0.05 else STATUSES)
            return f"{kind} {status}", on_the_wire(status, headers, chance.choice([body, body, b"", b"{}"]))
        if kind == "header":
            name, value = chance.choice(HEADERS)
            kept = [(each, text) for each, text in headers if each.lower() != name.lower()]
            return f"{kind} {name}", on_the_wire(status, [*kept, (name, value)], body)
        if kind == "swapped":
            other = chance.choice(self._earlier) if self._earlier else b"null"
            return kind, on_the_wire(status, headers, other)
        if kind == "page":
            kept = [pair for pair in headers if pair[0].lower() != "content-type"]
            status = chance.choice([200, 403, 404, 500])
            return kind, on_the_wire(status, [*kept, ("Content-Type", "text/html")], chance.choice(PAGES))
        return kind, damage_wire(chance, on_the_wire(status, headers, body))

    def _changed_content(self, chance, path, headers, body):
        if path.startswith("/cache.zip"):
            return change_archive(chance, body)
        if any(name.lower() == "content-type" and "json" in value for name, value in headers):
            self._earlier = [*self._earlier[-20:], body]
            if chance.random() < 0.2:
                return chance.choice([damage_bytes(chance, body), b"", b"[" * 100_000, b"9" * 5000, b"\xff\xfe"])
            return json.dumps(change_document(chance, json.loads(body))).encode() if body else b"null"
        return body  # bytes of data files are believed where no hash tells: they are another test's


def on_the_wire(status: int, headers, body: bytes) -> bytes:
    kept = [(name, value) for name, value in headers if name.lower() not in {"content-length", "transfer-encoding"}]
    lines = [f"HTTP/1.1 {status} Status", *(f"{name}: {value}" for name, value in kept)]
    if status not in {204, 304}:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + (b"" if status in {204, 304} else body)


def damage_wire(chance: random.Random, answer: bytes) -> bytes:
    """An answer that is hardly HTTP any more."""
    head, _, body = answer.partition(b"\r\n\r\n")
    action = chance.randrange(8)
    end = b"\r\n\r\n"
    return [
        answer[: chance.randrange(len(answer))],
        damage_bytes(chance, head) + end + body,
        head.replace(b"Content-Length: ", b"Content-Length: 9") + end + body,
        head.replace(b"Content-Length: ", b"Content-Length: -") + end + body,
        head + b"\r\nTransfer-Encoding: chunked" + end + b"%x\r\n" % len(body) + body + b"\r\nzz\r\n",
        head + b"\r\nX: " + b"y" * 300_000 + end + body,
        b"\x16\x03 this is no HTTP\r\n\r\n" * 5,
        b"",
    ][action]


@contextlib.contextmanager
def lying_proxy(upstream: str):
    """A running proxy, honest at first."""
    proxy = LyingProxy(upstream)
    host = urlsplit(upstream).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self):
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = proxy.known(self.path) if self.command == "GET" else None
            answer = answer or self.asked(sent)
            if self.command == "HEAD":
                whole, is_good = on_the_wire(answer[0], answer[1], b""), True
            else:
                whole, is_good = proxy.changed(self.path, *answer)
            with contextlib.suppress(OSError):
                self.wfile.write(whole)
            self.close_connection = self.close_connection or not is_good

        def asked(self, sent):
            passed = {name: value for name, value in self.headers.items() if name.lower() not in {"connection", "host"}}
            sent = sent.replace(proxy.url.encode(), upstream.encode())
            passed |= {"Host": host, "Content-Length": str(len(sent))}
            connection = http.client.HTTPConnection(host, timeout=60)
            try:
                connection.request(self.command, self.path, sent or None, passed)
                received = connection.getresponse()
                body = received.read()
            finally:
                connection.close()
            if "json" in received.getheader("Content-Type", ""):
                body = body.replace(upstream.encode(), proxy.url.encode())
            answer = received.status, received.getheaders(), body
            proxy.remember(self.command, self.path, answer)
            return answer

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = forward  # noqa: N815

        def log_message(self, *_):
            pass

    with serving(Handler) as proxy.url:
        yield proxy
