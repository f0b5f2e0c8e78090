"""A file server that comes and goes, and one that contradicts itself, as programs on a real mount see them.

``ALYXFS_OUTAGES=1``: outages of the length that the help promises (8 s of restart, 20 s of silence).
"""

from __future__ import annotations

import errno
import json
import os
import random
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from fault_server import CONTRADICTIONS, FaultServer, File
from files_alyx import SESSION, TOKEN, files_alyx, md5, show
from mounted import mounted, until
from outage_front import OutageFront
from small_alyx import identifiers

CONTENT = random.Random(5).randbytes(8_000_000)
IS_LONG = bool(os.environ.get("ALYXFS_OUTAGES"))
RESTART, SILENCE, DEADLINE = (8.0, 20.0, 30) if IS_LONG else (3.0, 5.0, 8)
RESTART_OF_ALYX, SILENCE_OF_ALYX = (8.0, 20.0) if IS_LONG else (1.5, 2.0)


@pytest.fixture
def server():
    with FaultServer({"a.npy": File(CONTENT), "b.npy": File(CONTENT[::-1])}) as running:
        yield running


def described(server, names=("a.npy", "b.npy")):
    """The files as the database has them."""
    return {
        name: {
            "data_url": server.url(name),
            "file_size": len(server.files[name].content),
            "hash": md5(server.files[name].content),
        }
        for name in names
    }


def restart(server):
    server.stop()
    time.sleep(RESTART)
    server.start_again()


def fall_silent(server):
    for silence in (server.frozen, server.silent):
        silence.set()
    time.sleep(SILENCE)
    for silence in (server.frozen, server.silent):
        silence.clear()


@pytest.mark.parametrize("outage", [restart, fall_silent])
def test_a_short_outage_is_not_seen_by_who_reads(server, home, outage):
    server.bytes_per_second = 4_000_000
    with files_alyx() as alyx:
        show(alyx, described(server))
        with mounted(alyx.url, home, "--deadline", str(DEADLINE), **TOKEN) as drive:
            slowest, began = 0.0, time.monotonic()
            trouble = threading.Thread(target=outage, args=(server,))
            with open(drive / SESSION / "a.npy", "rb", buffering=0) as file:
                content = file.read(500_000)
                trouble.start()
                while part := file.read(131_072):
                    content += part
                    slowest, began = max(slowest, time.monotonic() - began), time.monotonic()
            assert content == CONTENT
            assert slowest > 1, "there was an outage"
            trouble.join()
            assert (drive / SESSION / "b.npy").read_bytes() == CONTENT[::-1]
            length = RESTART if outage is restart else SILENCE
            print(f"{outage.__name__} of {length} s at a deadline of {DEADLINE} s: longest read {slowest:.1f} s")


def test_the_first_read_after_a_long_outage_succeeds_and_reads_within_it_fail_soon(server, home):
    with files_alyx() as alyx:
        show(alyx, described(server))
        with mounted(alyx.url, home, "--deadline", "2", **TOKEN) as drive:
            with open(drive / SESSION / "a.npy", "rb", buffering=0) as file:
                assert file.read(1000) == CONTENT[:1000]
            server.stop()
            for longest in (6.0, 4.0, 2.0):
                began = time.monotonic()
                with pytest.raises(OSError, match="error") as caught:
                    (drive / SESSION / "b.npy").read_bytes()
                assert errno.errorcode[caught.value.errno] == "EIO"
                assert time.monotonic() - began < longest
            assert (
                "cannot be reached: connection refused"
                in os.getxattr(drive / SESSION / "b.npy", "user.alyx.error").decode()
            )
            server.start_again()
            assert (drive / SESSION / "b.npy").read_bytes() == CONTENT[::-1]


def restart_alyx(front):
    front.stop()
    time.sleep(RESTART_OF_ALYX)
    front.start()


def silence_alyx(front):
    front.passes.clear()
    time.sleep(SILENCE_OF_ALYX)
    front.passes.set()


def replace_alyx(front):
    """A web server answers while the Alyx behind it is started anew."""
    front.gateway_status = 502
    time.sleep(RESTART_OF_ALYX)
    front.gateway_status = None


@pytest.mark.parametrize("outage", [restart_alyx, silence_alyx, replace_alyx])
def test_a_short_outage_of_the_alyx_is_not_seen_by_who_has_nothing_else_to_see(home, outage):
    with files_alyx() as alyx, OutageFront(alyx.port) as front:
        alyx.put("notes", [{"id": identity, "text": "x"} for identity in identifiers(3, seed=7)])
        options = ("--deadline", str(DEADLINE), "--time-to-live", "0.1")
        with mounted(front.url, home, *options, **TOKEN) as drive, ThreadPoolExecutor() as threads:
            labs = os.listdir(drive / "labs")
            began = time.monotonic()
            trouble = threads.submit(outage, front)
            until(lambda: not front.passes.is_set() or front.gateway_status or refuses(front), "the outage")
            record = threads.submit((drive / "sessions" / f"{identifiers(1)[0]}.json").read_bytes)
            listed = threads.submit(os.listdir, drive / "notes")
            if outage is not silence_alyx:
                until(lambda: '"stale_since": null' not in (drive / ".alyxfs/status.json").read_text(), "the notice")
                since = time.monotonic()
                assert os.listdir(drive / "labs") == labs
                assert time.monotonic() - since < 1, "what is known is shown at once"
            assert b'"subject": "S1"' in record.result()
            assert len(listed.result()) == 3
            assert time.monotonic() - began > 1, "there was an outage"
            trouble.result()
    assert len(alyx.asked) < 40


def refuses(front):
    try:
        socket.create_connection(("127.0.0.1", front.port)).close()
    except OSError:
        return True
    return False


def test_an_outage_of_the_alyx_costs_one_deadline_and_then_nothing(home):
    with (
        files_alyx() as alyx,
        OutageFront(alyx.port) as front,
        mounted(front.url, home, "--deadline", "2", **TOKEN) as drive,
    ):
        os.listdir(drive / "labs")
        front.stop()
        for least, most in ((1, 5), (0, 1.5), (0, 1.5)):
            began = time.monotonic()
            with pytest.raises(OSError, match="error") as caught:
                os.listdir(drive / "notes")
            assert (errno.errorcode[caught.value.errno], least < time.monotonic() - began < most) == ("EIO", True)
        assert "connection refused" in (drive / ".alyxfs/errors.log").read_text()


@pytest.mark.parametrize("contradiction", CONTRADICTIONS)
@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_a_server_that_contradicts_itself_is_one_clear_error_after_a_bounded_number_of_requests(
    server, home, contradiction, size
):
    server.contradiction = contradiction
    with files_alyx() as alyx:
        show(alyx, {"a.npy": described(server)["a.npy"] | {"file_size": size, "hash": ""}})
        with mounted(alyx.url, home, "--deadline", "6", **TOKEN) as drive:
            began = time.monotonic()
            with pytest.raises(OSError, match=r".") as caught:
                (drive / SESSION / "a.npy").read_bytes()
            assert errno.errorcode[caught.value.errno] in {"EIO", "ESTALE", "ETIMEDOUT"}
            assert time.monotonic() - began < 20
            assert json.loads((drive / ".alyxfs/status.json").read_text())["defects"] == 0
            server.contradiction = None
    assert len(server.requests) < 150


def test_the_name_of_the_unit_is_written_in_any_case(server, home):
    with files_alyx() as alyx:
        show(alyx, described(server, ["a.npy"]))
        server.unit = "Bytes"
        with mounted(alyx.url, home, **TOKEN) as drive:
            assert (drive / SESSION / "a.npy").read_bytes() == CONTENT
