"""Something else instead of a file, with a status of success: a failure, nothing of which is kept, and not for good."""

from __future__ import annotations

import errno
import json
import os
import random

import pytest

from fault_server import FaultServer, File
from mounted import mounted, run_alyxfs, until

SMALL, LARGE = random.Random(1).randbytes(40_000), random.Random(2).randbytes(1_600_000)
HTML = b"<!DOCTYPE html><title>Log in</title><form action=/login>Welcome to our network</form>" * 20
NOTHING = {"etag": None, "last_modified": None}
INSTEAD = {
    "log-in page": File(HTML, kind="text/html; charset=utf-8", ranges=False, **NOTHING),
    "log-in page without length": File(HTML, kind="text/html", ranges=False, length=False, **NOTHING),
    "page as a range": File(HTML, kind="text/html", **NOTHING),
    "message": File(
        json.dumps({"detail": "Sign in first."}).encode(), kind="application/json", ranges=False, **NOTHING
    ),
    "page without a type": File(HTML, ranges=False, **NOTHING),
    "page said to be bytes": File(HTML, kind="application/octet-stream", ranges=False, etag='"1"'),
    "bytes as a range": File(HTML * 30, kind="application/octet-stream", etag='"1"'),
    "nothing": File(b"", ranges=False, **NOTHING),
}


IMPATIENT = ("--deadline", "6")
"""What does not come is waited for as long."""


@pytest.fixture
def server():
    with FaultServer() as server:
        yield server


def failure(path, *, tries=3):
    """The errno with which reading fails; a wrong size may be found out before what is behind it."""
    for _ in range(tries):
        with pytest.raises(OSError) as caught:  # noqa: PT011 - the number is compared
            path.read_bytes()
        if caught.value.errno != errno.ESTALE:
            break
    return errno.errorcode[caught.value.errno]


def test_what_is_not_the_file_is_a_failure_that_leaves_nothing_behind(served, server, own_demo, home):
    files = {}
    for name, content in (("small", SMALL), ("large", LARGE)):
        for instead in INSTEAD:
            files[f"{name}: {instead}"] = served.add(f"{name}.{instead}.bin".replace(" ", "-"), content)
    true = {what: server.files[file.key] for what, file in files.items()}
    for what, file in files.items():
        server.files[file.key] = INSTEAD[what.partition(": ")[2]]
    with mounted(own_demo.url, home, *IMPATIENT) as drive:
        for what, file in files.items():
            path = drive / file.place
            assert failure(path) == "EIO", what
            assert failure(path, tries=1) == "EIO", what
            words = os.getxattr(path, "user.alyx.error").decode()
            assert any(word in words for word in ("instead of the file", "neither the size nor the hash")), words
            assert os.getxattr(path, "user.alyx.cached") == b"0%", what
            assert path.stat().st_size == len(true[what].content), what
        done = run_alyxfs(home, "pin", str(path.parent))
        assert done.returncode != 0
        assert f"{len(files)} pinned files could not be kept whole" in done.stderr
        assert done.stderr.count("was not fetched") == len(files)
        assert run_alyxfs(home, "refresh", str(path)).returncode != 0, "the server still gives something else"
        for what, file in files.items():
            server.files[file.key] = true[what]
        done = run_alyxfs(home, "refresh", str(path))
        assert (done.returncode, done.stderr) == (0, "")
        assert path.read_bytes() == true[what].content, "at once"
        for what, file in files.items():
            until(lambda path=drive / file.place: readable(path), f"{what}, after a while", 20)
            assert readable(drive / file.place) == true[what].content, what
            assert (drive / file.place).stat().st_size == len(true[what].content)
        done = run_alyxfs(home, "pin", str(path.parent))
        assert done.returncode == 0, done.stderr


def readable(path):
    try:
        return path.read_bytes()
    except OSError:
        return None


def test_what_is_here_already_is_read_on_and_the_rest_is_right_afterwards(served, server, own_demo, home):
    kinds = [name for name in INSTEAD if "type" not in name and "bytes" not in name]
    files = {instead: served.add(f"begun.{instead}.bin".replace(" ", "-"), LARGE) for instead in kinds}
    true = {instead: server.files[file.key] for instead, file in files.items()}
    with mounted(own_demo.url, home, *IMPATIENT) as drive:
        for instead, file in files.items():
            with open(drive / file.place, "rb", buffering=0) as opened:
                assert os.pread(opened.fileno(), 5000, 0) == LARGE[:5000]
                server.files[file.key] = INSTEAD[instead]
                for _ in range(3):
                    with pytest.raises(OSError) as caught:  # noqa: PT011 - the number is compared
                        os.pread(opened.fileno(), 5000, 1_000_000)
                    assert caught.value.errno in ({errno.EIO} if instead != "nothing" else {errno.EIO, errno.ESTALE})
                asked = len(server.requests)
                for _ in range(20):
                    with pytest.raises(OSError):  # noqa: PT011
                        os.pread(opened.fileno(), 5000, 1_000_000)
                assert len(server.requests) - asked <= 10, "it is not asked for each page that is read"
        for instead, file in files.items():
            server.files[file.key] = true[instead]
        for instead, file in files.items():
            until(lambda path=drive / file.place: readable(path) == LARGE, f"{instead}: all of it, after a while", 20)


def test_a_page_that_was_taken_for_the_file_without_a_hash_is_not_so_for_good(served, server, own_demo, home):
    """Where nothing but the size speaks against it, it is content; and the next mount asks again."""
    file = served.add("unhashed.bin", LARGE, digest=None)
    true, server.files[file.key] = server.files[file.key], INSTEAD["page said to be bytes"]
    with mounted(own_demo.url, home, *IMPATIENT) as drive:
        assert (drive / file.place).read_bytes() == HTML
    server.files[file.key] = true
    with mounted(own_demo.url, home, *IMPATIENT) as drive:
        assert (drive / file.place).read_bytes() == LARGE
        assert (drive / file.place).stat().st_size == len(LARGE)


def test_an_html_file_is_one(served, own_demo, home):
    right = served.add("report.html", HTML, kind="text/html")
    wrong = served.add("report2.html", HTML, size=10, kind="text/html")
    odd = served.add("odd.bin", LARGE, kind="text/html")
    with mounted(own_demo.url, home, *IMPATIENT) as drive:
        assert (drive / right.place).read_bytes() == HTML
        assert (drive / wrong.place).read_bytes() == HTML, "its hash is right"
        assert (drive / odd.place).read_bytes() == LARGE, "a careless server calls everything so; the length is right"


def test_refresh_of_a_file_fetches_it_anew_and_who_has_it_open_opens_it_again(served, server, own_demo, home):
    """The server replaced it by another of the same length, which nothing but its bytes shows."""
    file = served.add("replaced.bin", LARGE)
    with mounted(own_demo.url, home, *IMPATIENT) as drive:
        path = drive / file.place
        assert run_alyxfs(home, "pin", str(path)).returncode == 0
        with open(path, "rb", buffering=0) as opened:
            assert opened.read(5000) == LARGE[:5000]
            server.files[file.key] = File(LARGE[::-1])
            assert path.read_bytes() == LARGE
            done = run_alyxfs(home, "refresh", str(path))
            assert (done.returncode, done.stderr) == (0, "")
            with pytest.raises(OSError, match="Stale"):
                os.pread(opened.fileno(), 5000, 0)
        assert path.read_bytes() == LARGE[::-1]
        done = run_alyxfs(home, "pin", str(path))
        assert done.returncode == 0
        assert "differs from the hash in the database" in done.stderr, "pin says what it has"
        server.stop()
        done = run_alyxfs(home, "refresh", str(path))
        assert done.returncode != 0
        assert path.read_bytes() == LARGE[::-1], "nothing is forgotten while it cannot be had"
