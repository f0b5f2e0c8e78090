"""Files with copies on several servers, the first of which fails, as programs on a real mount see them."""

from __future__ import annotations

import errno
import json
import os
import random
import time
from contextlib import ExitStack, contextmanager

import pytest

from bucket_server import REGION, bucket_server
from fault_server import FaultServer, File
from files_alyx import SESSION, TOKEN, files_alyx, md5, show
from mounted import mounted, run_alyxfs
from small_alyx import resource

ONE, OTHER = (random.Random(seed).randbytes(3_000_000) for seed in (1, 2))
SMALL = ONE[:20_000]
DEADLINE = 6.0
PAGE = b"<html><body>Log in first</body></html>"
ACCESS, SECRET = "AKIAEXAMPLE", "secret/of+the=bucket"


def missing(server, name):
    del server.files[name]


def refused(server, _name):
    server.stop()


def stalled(server, _name):
    server.frozen.set()


def stalled_before_the_first_byte(server, _name):
    server.faults, server.stall_seconds = {"stall_body": 1.0}, 60.0


def broken(server, _name):
    server.status = 500


def down_for_maintenance(server, _name):
    server.status, server.retry_after = 503, "3600"


def forbidden(server, _name):
    server.password = "Basic other"


def of_another_size(server, name):
    server.files[name] = File(OTHER[: len(server.files[name].content) - 1])


def a_page(server, name):
    server.files[name] = File(PAGE, kind="text/html", ranges=False)


def garbled(server, _name):
    server.faults = {"garbage": 1.0}


FAULTS = [
    missing,
    refused,
    stalled,
    stalled_before_the_first_byte,
    broken,
    down_for_maintenance,
    forbidden,
    of_another_size,
    a_page,
    garbled,
]
NAMES = {f"{fault.__name__}.{kind}.npy": fault for fault in FAULTS for kind in ("small", "large")}


@pytest.fixture
def servers():
    with ExitStack() as stack:
        yield [stack.enter_context(FaultServer()) for _ in range(3)]


def record(url, repository="flatiron_lab"):
    return {"data_repository": repository, "relative_path": "a.npy", "data_url": url, "exists": True}


def described(content, *urls, **fields):
    """A dataset of this content with copies at these addresses."""
    copies = [record(url, f"server_{number}") for number, url in enumerate(urls)]
    return {
        "data_url": urls[0],
        "file_size": len(content),
        "hash": md5(content),
        "file_records": [record(None, "lab_SR"), *copies],
    } | fields


@contextmanager
def shown(files, home, *options, **environment):
    """A drive on an Alyx with these files: the drive and the Alyx."""
    with files_alyx() as alyx:
        show(alyx, files)
        with mounted(alyx.url, home, "--deadline", str(DEADLINE), *options, **TOKEN, **environment) as drive:
            yield drive, alyx


@pytest.fixture(scope="module")
def drive_of_failing_copies(tmp_path_factory):
    """A drive with a file for each fault, each with two servers of its own."""
    with ExitStack() as stack:
        files, pairs = {}, {}
        for name, fault in {**NAMES, "pinned.npy": missing, "fine.npy": None}.items():
            content = SMALL if ".small." in name else ONE
            first, second = pairs[name] = [stack.enter_context(FaultServer({name: File(content)})) for _ in range(2)]
            second.files[name].etag = '"of another server"'
            files[name] = described(content, first.url(name), second.url(name))
            if fault is not None:
                fault(first, name)
        drive, alyx = stack.enter_context(shown(files, tmp_path_factory.mktemp("copies")))
        yield drive, alyx, pairs


@pytest.mark.parametrize("name", NAMES)
def test_where_the_first_copy_fails_the_next_one_is_read(drive_of_failing_copies, name):
    drive, alyx, pairs = drive_of_failing_copies
    first, second = pairs[name]
    content = SMALL if ".small." in name else ONE
    asked = len(alyx.asked_for("/datasets/"))
    began = time.monotonic()
    assert (drive / SESSION / name).read_bytes() == content
    assert time.monotonic() - began < DEADLINE
    assert os.getxattr(drive / SESSION / name, "user.alyx.url").decode() == second.url(name)
    assert len(alyx.asked_for("/datasets/")) <= asked + 1, "its record is asked for once"
    tries = len(first.requests)
    assert tries <= 8
    assert (drive / SESSION / name).read_bytes() == content
    assert len(first.requests) == tries
    assert json.loads((drive / ".alyxfs/status.json").read_bytes())["defects"] == 0


def test_copies_that_nobody_needs_cost_no_request(drive_of_failing_copies):
    drive, alyx, pairs = drive_of_failing_copies
    first, second = pairs["fine.npy"]
    asked = len(alyx.asked_for("/datasets/"))
    assert (drive / SESSION / "fine.npy").read_bytes() == ONE
    assert (bool(first.requests), second.requests, len(alyx.asked_for("/datasets/"))) == (True, [], asked)


def test_bytes_of_two_copies_are_never_mixed(servers, home):
    """The copies are of different contents, of which no hash tells the right one."""
    first, second, _ = servers
    first.files["a.npy"], second.files["a.npy"] = File(ONE), File(OTHER, etag='"other"')
    first.bytes_per_second = 1_000_000
    files = {"a.npy": described(ONE, first.url("a.npy"), second.url("a.npy"), hash="")}
    with files_alyx() as alyx:
        show(alyx, files)
        with mounted(alyx.url, home, "--deadline", "2", **TOKEN) as drive:
            path = drive / SESSION / "a.npy"
            with open(path, "rb", buffering=0) as file:
                got = [file.read(200_000)]
                first.stop()
                with pytest.raises(OSError, match=r"error|Timer|timed") as caught:
                    got.extend(iter(lambda: file.read(131_072), b""))
                assert caught.value.errno in {errno.EIO, errno.ETIMEDOUT}
                assert b"".join(got) == ONE[: sum(map(len, got))]
                with pytest.raises(OSError, match=r"error|Timer|timed"), open(path, "rb", buffering=0) as another:
                    os.pread(another.fileno(), 1000, len(ONE) - 1000)
                assert second.requests == [], "somebody has the file open"
            with open(path, "rb", buffering=0) as file:
                assert file.read(1000) == OTHER[:1000]
                assert os.pread(file.fileno(), 1000, len(OTHER) - 1000) == OTHER[-1000:]
            first.start_again()
            assert path.read_bytes()[:1_000_000] == OTHER[:1_000_000], "a copy in use is kept while it can be read"
        tries = len(first.requests)
        with mounted(alyx.url, home, **TOKEN) as drive:
            assert (drive / SESSION / "a.npy").read_bytes() == OTHER, "by the next mount, too"
        assert len(first.requests) == tries


def test_what_is_down_is_not_waited_for_by_each_open(servers, home):
    first, second, _ = servers
    first.frozen.set()
    names = [f"{number:02}.npy" for number in range(20)]
    second.files |= {name: File(ONE[:200_000]) for name in names}
    files = {name: described(ONE[:200_000], first.url(name), second.url(name)) for name in names}
    with shown(files, home) as (drive, alyx):
        assert (drive / SESSION / names[0]).read_bytes() == ONE[:200_000]
        tries = len(first.requests)
        began = time.monotonic()
        for name in names[1:5]:
            assert (drive / SESSION / name).read_bytes() == ONE[:200_000]
        assert time.monotonic() - began < DEADLINE / 2
        assert {request.headers.get("range") for request in first.requests[tries:]} <= {"bytes=0-0"}, "only probes"
        assert len(alyx.asked_for("/datasets/")) == 5, "nothing is asked for files that nobody opened"


def test_the_failure_names_every_copy_and_addresses_that_may_not_be_asked_are_not(servers, home):
    first, second, third = servers
    third.files["b.npy"] = File(ONE)
    second.status = 403
    metadata = "http://169.254.169.254/latest/x.npy"
    files = {
        "a.npy": described(ONE, first.url("a.npy"), metadata, second.url("a.npy")),
        "b.npy": described(ONE, metadata, third.url("b.npy")),
    }
    options = ("--file-server", first.url(""), "--file-user", "u")
    with shown(files, home, *options, ALYXFS_FILE_PASSWORD="p") as (drive, _):
        with pytest.raises(OSError, match="No data") as caught:
            (drive / SESSION / "a.npy").read_bytes()
        assert caught.value.errno == errno.ENODATA
        said = os.getxattr(drive / SESSION / "a.npy", "user.alyx.error").decode()
        for words in ("None of the 3 copies", first.url("a.npy"), "169.254.169.254", second.url("a.npy"), "refuses"):
            assert words in said
        assert (drive / SESSION / "b.npy").read_bytes() == ONE
    assert {request.headers.get("authorization") for request in first.requests} == {"Basic dTpw"}
    assert not [request for request in second.requests + third.requests if "authorization" in request.headers]


def test_files_are_pinned_from_the_copy_that_can_be_had(drive_of_failing_copies):
    drive, _, pairs = drive_of_failing_copies
    done = run_alyxfs(drive.path.parent, "pin", str(drive / SESSION / "pinned.npy"))
    assert done.returncode == 0, done.stderr
    for server in pairs["pinned.npy"]:
        server.stop()
    assert (drive / SESSION / "pinned.npy").read_bytes() == ONE


def test_a_copy_in_a_private_bucket_is_read_where_the_web_fails(servers, home):
    first = servers[0]
    bucket = {"bucket_name": "example-private", "region_name": REGION}
    keys = {"Access key ID": ACCESS, "Secret access key": SECRET}
    with bucket_server() as buckets, files_alyx() as alyx:
        buckets.keys["example-private"] = (ACCESS, SECRET)
        alyx.schema["paths"] |= resource("data-repository", "name")
        alyx.lookups["data-repository"] = "name"
        alyx.put("data-repository", [{"name": "aws_lab", "json": bucket | keys}])
        show(alyx, {"a.npy": described(ONE, first.url("a.npy"))})
        identity, dataset = next((key, one) for (endpoint, key), one in alyx.details.items() if endpoint == "datasets")
        dataset["file_records"].append(record(None, "aws_lab"))
        buckets.contents["example-private", f"a.{identity}.npy"] = ONE
        for place in (0, len(ONE) - 1000):
            with (
                mounted(alyx.url, home, **TOKEN, AWS_ENDPOINT_URL_S3=buckets.url) as drive,
                open(drive / SESSION / "a.npy", "rb", buffering=0) as file,
            ):
                assert os.pread(file.fileno(), 1000, place) == ONE[place : place + 1000]
        assert len(first.requests) == 1
        assert {status for *_, status in buckets.asked} == {206}
    assert not [request for request in first.requests if "authorization" in request.headers]
