"""Which credential goes where: the API and the data files on one host and port, folders of others on the same server,
an Alyx over https that leads to http, and two servers that share a cache.
"""

from __future__ import annotations

import contextlib
import os

import pytest

from alyxfs.net.addresses import is_below
from certificates import TlsServer, write_certificate
from fault_server import FaultServer, File
from files_alyx import SESSION, TOKEN, files_alyx, md5, show
from hostile_world import BASIC, FILE_PASSWORD, FILE_USER
from mounted import mounted, run_alyxfs

CONTENT = b"0123456789"


def told(heard, beginning):
    """The credentials of the requests for addresses that begin so."""
    return {
        line.partition(": ")[2].strip()
        for text in heard
        if text.split(" ", 2)[1].startswith(beginning)
        for line in text.splitlines()[1:]
        if line.lower().startswith(("authorization", "cookie", "x-amz"))
    }


def test_the_api_gets_the_token_and_the_data_files_of_its_host_the_password(home):
    with files_alyx() as alyx:
        alyx.instead["/files/private"] = (200, CONTENT)
        alyx.instead["/~somebody"] = (200, CONTENT)
        places = {"private": "/files/private", "page": "/~somebody/page", "up": "/files/../~somebody/page",
                  "encoded": "/files/%2e%2e/~somebody/page", "record": "/labs/lab"}  # fmt: skip
        show(alyx, {name: f"{alyx.url}{path}" for name, path in places.items()})
        options = ("--file-server", f"{alyx.url}/files", "--file-user", FILE_USER)
        with mounted(alyx.url, home, *options, **TOKEN, ALYXFS_FILE_PASSWORD=FILE_PASSWORD) as drive:
            os.listdir(drive / "labs")
            assert told(alyx.heard, "/labs") == {"Token good"}
            alyx.heard.clear()
            assert (drive / SESSION / "private").read_bytes() == CONTENT
            assert told(alyx.heard, "/files/private") == {BASIC}
            assert (drive / SESSION / "page").read_bytes() == CONTENT
            for name in ("up", "encoded", "record"):
                with contextlib.suppress(OSError):
                    (drive / SESSION / name).read_bytes()
            for beginning in ("/~somebody", "/files/..", "/files/%", "/labs"):
                assert told(alyx.heard, beginning) == set(), beginning
            assert told(alyx.heard, "/sessions") | told(alyx.heard, "/datasets") <= {"Token good"}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/data/x", True),
        ("/data/a/b#c", True),
        ("/data", False),
        ("/database/x", False),
        ("/data/../x", False),
        ("/data/%2e%2e/x", False),
        ("/data/%252e%252e/x", False),
        ("/data/..%5cx", False),
        ("/data/a/..b", True),
        ("/x/data/y", False),
    ],
)
def test_what_is_below_a_folder(path, expected):
    assert is_below("/data", f"https://host.example{path}") is expected
    assert is_below("", f"https://host.example{path}")


def test_an_alyx_over_https_leads_nobody_to_http(home, tmp_path):
    """Neither the log-in nor what comes after: the password and the token would be anybody's."""
    certificate = tmp_path / "both.pem"
    write_certificate(certificate, "localhost")
    with FaultServer({"x": File(CONTENT)}) as open_to_all, TlsServer(certificate, {}, most_repeats=None) as secure:
        secure.redirect = open_to_all.url("x")
        account = {"ALYXFS_USER": "demo", "ALYXFS_PASSWORD": "a secret", "SSL_CERT_FILE": str(certificate)}
        done = run_alyxfs(home, "mount", f"https://localhost:{secure.port}", str(home / "drive"), **account)
        assert done.returncode != 0
        token = {"ALYXFS_TOKEN": "a-token", "SSL_CERT_FILE": str(certificate)}
        done = run_alyxfs(home, "mount", f"https://localhost:{secure.port}", str(home / "drive"), **token)
        assert done.returncode == 4, done.stderr
        assert "leads from https to" in done.stderr
        assert any(request.headers.get("authorization") == "Token a-token" for request in secure.requests)
    assert open_to_all.connections == 0


def test_no_server_fills_in_the_bytes_of_another(home):
    """Two servers that name one dataset by the same id, hash, size and address of its bytes, in one cache."""
    other = CONTENT[::-1]
    with (
        files_alyx() as honest,
        files_alyx() as hostile,
        FaultServer({"x": File(CONTENT)}) as files,
        FaultServer({"x": File(other)}) as evil,
    ):
        described = {"file_size": len(CONTENT), "hash": md5(CONTENT)}
        show(honest, {"x.bin": described | {"data_url": files.url("x")}})
        show(hostile, {"x.bin": described | {"data_url": evil.url("x")}})
        for alyx, content in ((hostile, other), (honest, CONTENT), (hostile, other)):
            with mounted(alyx.url, home, **TOKEN) as drive:
                assert (drive / SESSION / "x.bin").read_bytes() == content
