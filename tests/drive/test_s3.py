"""Data files in buckets of S3: public ones by https address, private ones with the keys of their repository."""

from __future__ import annotations

import errno
import os
import sys

import pytest

from alyxfs import errors
from alyxfs.alyx.datasets.s3 import Buckets, path_in_bucket, root_of_bucket
from alyxfs.net import open_network
from asking import Asking
from bucket_server import REGION, bucket_server
from mounted import mounted

ACCESS, SECRET = "AKIAEXAMPLE", "secret/of+the=bucket"
PRIVATE = {
    "bucket_name": "example-private",
    "region_name": REGION,
    "Access key ID": ACCESS,
    "Secret access key": SECRET,
}
PUBLIC = {"bucket_name": "example-public", "region_name": REGION}
SESSION = "data/cortexlab/Subjects/KS001/2023-01-02/001"
LARGE = "data/cortexlab/Subjects/KS003/2023-03-04/001/raw_ephys_data/signal.mb8.npy"


@pytest.fixture
def buckets():
    with bucket_server() as running:
        yield running


def put_into_bucket(asking, buckets, bucket, path):
    """Upload the file behind a path of the drive; returns its content."""
    identity = os.getxattr(path, "user.alyx.dataset").decode()
    records = asking.get(f"/datasets/{identity}")["file_records"]
    content = asking.bytes_of(next(r["data_url"] for r in records if r["data_repository"].startswith("flatiron")))
    mirrored = next(record for record in records if record["data_repository"].startswith("aws"))
    key = f"{mirrored['data_repository_path'].strip('/')}/{mirrored['relative_path']}"
    buckets.contents[bucket, path_in_bucket(key, identity)] = content
    return content


def test_files_of_a_private_bucket_are_read_by_signed_requests(fresh_demo, buckets, home):
    asking = Asking(fresh_demo.url)
    buckets.keys["example-private"] = (ACCESS, SECRET)
    asking.send("PATCH", "/data-repository/aws_cortexlab", {"json": PRIVATE})
    options = ("--preferred-repositories", "aws")
    with mounted(fresh_demo.url, home, *options, AWS_ENDPOINT_URL_S3=buckets.url) as drive:
        alf = drive / SESSION / "alf"
        revised = next(path for path in sorted((alf / "probe00/pykilosort").rglob("spikes.times*")) if "#" in str(path))
        for path in (alf / "_ibl_wheel.position.npy", revised):
            content = put_into_bucket(asking, buckets, "example-private", path)
            assert path.read_bytes() == content
        content = put_into_bucket(asking, buckets, "example-private", drive / LARGE)
        with open(drive / LARGE, "rb", buffering=0) as file:
            file.seek(len(content) - 100)
            assert file.read() == content[-100:]
        assert {status for *_, status in buckets.asked} == {206}, "every request is signed, and for a range"
        assert buckets.asked[-1][2]["Range"] != "bytes=0-"
        shown = str({name: os.getxattr(path, name) for name in os.listxattr(path)})
        told = "".join(drive.log) + shown + (drive / ".alyxfs/errors.log").read_text()
        assert SECRET not in told
        assert "Signature=" not in told
        # Keys that are no longer good, and no other copy to read instead: the server says so.
        buckets.keys["example-private"] = (ACCESS, "another secret")
        asking.send("PATCH", "/data-repository/flatiron_cortexlab", {"data_url": None})
        other = alf / "_ibl_wheel.timestamps.npy"
        with pytest.raises(OSError, match="denied") as caught:
            other.read_bytes()
        assert caught.value.errno == errno.EACCES
    for kept in (home / ".cache").rglob("*"):
        if kept.is_file():
            assert SECRET.encode() not in kept.read_bytes(), kept
            assert "sqlite" not in kept.name or kept.stat().st_mode & 0o077 == 0, kept


def test_files_of_a_public_bucket_are_read_without_keys_where_they_have_no_other_address(fresh_demo, buckets, home):
    asking = Asking(fresh_demo.url)
    asking.send("PATCH", "/data-repository/aws_cortexlab", {"json": PUBLIC, "data_url": None})
    options = ("--preferred-repositories", "aws")
    with mounted(fresh_demo.url, home, *options, AWS_ENDPOINT_URL_S3=buckets.url) as drive:
        path = drive / SESSION / "alf/_ibl_wheel.position.npy"
        content = put_into_bucket(asking, buckets, "example-public", path)
        assert path.read_bytes() == content
    assert {(bucket, status) for bucket, *_, status in buckets.asked} == {("example-public", 206)}
    assert not any("Authorization" in headers for *_, headers, _ in buckets.asked)


@pytest.mark.trio
async def test_a_signature_goes_to_its_bucket_alone(buckets, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", buckets.url)
    buckets.keys["example-private"] = (ACCESS, SECRET)
    with bucket_server() as other:
        other.contents["elsewhere", "a.npy"] = b"moved"
        buckets.moved["example-private", "a.1.npy"] = f"{other.url}/elsewhere/a.npy"
        buckets.contents["example-private-too", "b.npy"] = b"public"
        async with open_network() as network:
            network.alyx_at("http://127.0.0.1")
            address = await Buckets(network).address(PRIVATE, "a.npy", "1")
            assert (await network.request("GET", address)).body == b"moved"
            assert (await network.request("GET", f"{buckets.url}/example-private-too/b.npy")).body == b"public"
    assert [status for *_, status in buckets.asked] == [307, 200]
    assert "Authorization" in buckets.asked[0][2]
    for *_, headers, _ in (other.asked[0], buckets.asked[1]):
        assert not {"Authorization", "X-Amz-Date"} & headers.keys()


@pytest.mark.trio
async def test_a_private_bucket_that_cannot_be_read_is_said(monkeypatch):
    async with open_network() as network:
        with pytest.raises(errors.NotDownloadable, match="lacks the secret key"):
            await Buckets(network).address({**PRIVATE, "Secret access key": None}, "a.npy", "1")
        monkeypatch.setitem(sys.modules, "botocore", None)  # as where it is not installed
        with pytest.raises(errors.NotDownloadable, match=r"alyxfs\[s3\]"):
            await Buckets(network).address(PRIVATE, "a.npy", "1")


def test_addresses_of_buckets(monkeypatch):
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    assert root_of_bucket(PUBLIC) == f"https://example-public.s3.{REGION}.amazonaws.com/"
    assert root_of_bucket({"bucket_name": "some"}) == "https://some.s3.us-east-1.amazonaws.com/"
    assert root_of_bucket({"bucket_name": "evil.example.org/x"}) is None
    assert root_of_bucket({"bucket_name": "some", "region_name": "x/y"}) is None
    assert root_of_bucket(None) is None
    path = "data/lab/Subjects/s/2024-01-02/001/alf/#r#/spikes.times.npy"
    assert path_in_bucket(path, "12") == "data/lab/Subjects/s/2024-01-02/001/alf/#r#/spikes.times.12.npy"
    assert path_in_bucket("README", "12") == "README.12"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://store.example/")
    assert root_of_bucket(PUBLIC) == "http://store.example/example-public/"
