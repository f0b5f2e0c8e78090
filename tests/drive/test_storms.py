"""Nothing that a drive asks may repeat without a pause, whatever servers answer: at most ten times in a second.

Faults are drawn by chance, seeded. ``ALYXFS_STORMS=N``: so many draws of each test, in place of a few.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from fault_server import CONTRADICTIONS, FAULTS, FaultServer, File, assert_no_storm
from files_alyx import SESSION, TOKEN, files_alyx, md5, show
from mounted import mounted
from small_alyx import identifiers

CONTENT = random.Random(11).randbytes(700_000)
DRAWS = int(os.environ.get("ALYXFS_STORMS", "0"))
MOST = 10
pytestmark = pytest.mark.timeout(60 + 30 * DRAWS if DRAWS else 120)
LAST_WORDS = 100_000
"""Bytes at the end of a file, as ``tail`` reads them."""


def attempts(*works):
    """Do all of it at the same time; each may fail, as an OSError."""

    def attempt(work):
        with contextlib.suppress(OSError):
            work()

    with ThreadPoolExecutor(len(works)) as threads:
        list(threads.map(attempt, works))


# Servers of data files


def draw_file_server(luck, server, name):
    """Make the server behave in some way, and describe the file as the database may have it."""
    server.faults, server.script, server.contradiction, server.status, server.redirects = {}, [], None, None, {}
    kind = luck.choice(["faults", "one fault", "contradiction", "status", "redirect", "missing", "page"])
    content = CONTENT[: luck.choice([0, 1, 20_000, len(CONTENT)])]
    file = File(content, ranges=luck.random() < 0.8, length=luck.random() < 0.8, gzipped=luck.random() < 0.1)
    file.etag = luck.choice([None, '"v1"', 'W/"v1"', "\x7f"])
    if kind == "faults":
        server.faults = {fault: luck.random() for fault in luck.sample(FAULTS, 3)}
    elif kind == "one fault":
        server.faults = {luck.choice(FAULTS): 1.0}
    elif kind == "contradiction":
        server.contradiction = luck.choice(CONTRADICTIONS)
    elif kind == "status":
        server.status = luck.choice([204, 304, 400, 401, 403, 404, 410, 416, 429, 500, 502, 503])
    elif kind == "redirect":
        server.redirects = {name: server.url(name)}
    elif kind == "page":
        file = File(b"<html>", kind="text/html", ranges=False)
    server.retry_after = luck.choice([None, "0", "1", "3600", "nonsense"])
    server.stall_seconds = 3.0
    server.files = {} if kind == "missing" else {name: file}
    size = luck.choice([len(content), len(content) + 1, 0, None, 5_000_000])
    return {"data_url": server.url(name), "file_size": size, "hash": luck.choice(["", md5(content), md5(b"other")])}


def read_tail(path):
    with open(path, "rb", buffering=0) as file:
        file.seek(-min(LAST_WORDS, os.fstat(file.fileno()).st_size), os.SEEK_END)
        file.read()


def test_no_request_for_a_file_is_repeated_without_a_pause(home):
    server = FaultServer(most_repeats=None)
    with files_alyx() as alyx, server:
        names = [f"{number}.npy" for number in range(DRAWS or 2)]
        lucks = {name: random.Random(f"files {name} {DRAWS}") for name in names}
        files = {name: draw_file_server(lucks[name], server, name) for name in names}
        show(alyx, files)
        with mounted(alyx.url, home, "--deadline", "2", **TOKEN) as drive:
            for name in names:
                draw_file_server(random.Random(f"files {name} {DRAWS}"), server, name)
                path = drive / SESSION / name
                began = len(server.requests)
                attempts(path.read_bytes, lambda path=path: read_tail(path), path.stat, path.read_bytes)
                assert_no_storm(server.requests[began:], MOST)
                assert len(server.requests) - began < 150, name


# The Alyx


def hang_up(output, _path):
    output.close()


def talk_nonsense(output, _path):
    output.write(b"\x16\x03 this is no HTTP\r\n\r\n")


def stop_halfway(output, _path):
    output.write(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"count": 1')


def lead_in_circles(output, path):
    output.write(b"HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % path.encode())


def throttle(output, _path):
    output.write(b"HTTP/1.1 429 Slower\r\nRetry-After: 0\r\nContent-Length: 2\r\n\r\n{}")


def show_a_page(output, _path):
    output.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>")


def say_that_the_token_is_wrong(output, _path):
    words = b'{"detail": "Invalid token."}'
    head = b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(words)
    output.write(head + words)


ANSWERS = [
    hang_up,
    talk_nonsense,
    stop_halfway,
    lead_in_circles,
    throttle,
    show_a_page,
    say_that_the_token_is_wrong,
    *[(status, {"detail": "no"}) for status in (400, 401, 403, 404, 405, 409, 410, 500, 502, 503, 504)],
    *[(200, document) for document in ({}, [], "x", None, {"count": 5, "results": []}, {"count": -1, "results": [1]})],
]


def test_no_request_of_the_api_is_repeated_without_a_pause(home):
    luck = random.Random(f"api {DRAWS}")
    answers = [luck.choice(ANSWERS) for _ in range(DRAWS)] or luck.sample(ANSWERS, 2)
    with files_alyx() as alyx:
        sessions = identifiers(len(answers), seed=3)
        with mounted(alyx.url, home, "--deadline", "2", "--time-to-live", "0.1", **TOKEN) as drive:
            for answer, session in zip(answers, sessions, strict=True):
                began = len(alyx.requests)
                alyx.instead = {"/": answer}
                attempts(
                    lambda: os.listdir(drive / "labs"),
                    lambda: os.listdir(drive / "notes"),
                    lambda session=session: (drive / f"sessions/{session}.json").read_bytes(),
                    lambda session=session: os.listdir(drive / f"sessions/lab={session}"),
                    lambda session=session: os.listdir(drive / f"data/lab/Subjects/{session}"),
                )
                alyx.instead = {}
                assert_no_storm(alyx.requests[began:], MOST)
                assert len(alyx.requests) - began < 100, answer
            began = time.monotonic()
            while not lists_notes(drive):
                assert time.monotonic() < began + 20, "the drive is well again"


def lists_notes(drive):
    with contextlib.suppress(OSError):
        return os.listdir(drive / "notes") is not None
