"""What happens when something is wrong: a sentence, a right errno or exit code, and no waiting for nothing."""

from __future__ import annotations

import errno
import os
import time
from contextlib import contextmanager

import pytest

from alyxfs.demo.server import running_demo
from asking import Asking
from mounted import mounted, run_alyxfs, until


@contextmanager
def raises(number):
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the number is compared below
        yield
    assert errno.errorcode[caught.value.errno] == errno.errorcode[number]


def test_a_stopped_server_leaves_what_is_known_and_comes_back_without_a_remount(demo_directory, home):
    with running_demo(demo_directory, largest_file_mb=2) as first:
        port = int(first.url.rsplit(":", 1)[1])
        session, other, *_ = (row["id"] for row in Asking(first.url).rows("/sessions"))
        with mounted(first.url, home, "--time-to-live", "0.1", "--deadline", "4") as drive:
            listed = sorted(os.listdir(drive / "labs"))
            content = (drive / "sessions" / f"{session}.json").read_bytes()
            first.process.terminate()
            first.process.wait(10)
            assert sorted(os.listdir(drive / "labs")) == listed
            assert (drive / "sessions" / f"{session}.json").read_bytes() == content
            with raises(errno.EIO):
                (drive / "sessions" / f"{other}.json").read_bytes()
            started = time.monotonic()
            for _ in range(10):
                with raises(errno.EIO):
                    (drive / "sessions" / f"{other}.json").read_bytes()
            assert time.monotonic() - started < 1, "the first failure is known"
            assert "cannot be reached: connection refused" in (drive / ".alyxfs" / "errors.log").read_text()
            assert '"stale_since": null' not in (drive / ".alyxfs" / "status.json").read_text()
            with running_demo(demo_directory, largest_file_mb=2, port=port):
                until(lambda: readable(drive / "sessions" / f"{other}.json"), "the record after the server came back")


def readable(path):
    try:
        return path.read_bytes()
    except OSError:
        return None


def test_a_server_that_hangs_costs_one_deadline_and_then_nothing(demo_directory, home):
    with running_demo(demo_directory, largest_file_mb=2, control=True) as demo:
        sessions = [row["id"] for row in Asking(demo.url).rows("/sessions")[:5]]
        with mounted(demo.url, home, "--deadline", "2") as drive:
            os.stat(drive / "sessions")
            demo.control(delay={"seconds": 20, "path_prefix": "/", "count": 1000})
            started = time.monotonic()
            with raises(errno.ETIMEDOUT):
                (drive / "sessions" / f"{sessions[0]}.json").read_bytes()
            assert 1 < time.monotonic() - started < 8
            started = time.monotonic()
            for session in sessions[1:]:
                with raises(errno.EIO):
                    (drive / "sessions" / f"{session}.json").read_bytes()
            assert time.monotonic() - started < 1
            demo.control(reset=True)
            until(lambda: readable(drive / "sessions" / f"{sessions[0]}.json"), "the record once the server answers")


def test_a_wrong_token_is_told_at_the_mount(demo, home):
    done = run_alyxfs(home, "mount", demo.url, str(home / "drive"), ALYXFS_TOKEN="0" * 40)
    assert done.returncode == 4
    assert "token" in done.stderr
    assert "alyxfs login" in done.stderr
    assert "0" * 40 not in done.stderr
    assert not os.path.ismount(home / "drive")


def test_a_wrong_password_is_told_at_the_mount(demo, home):
    done = run_alyxfs(home, "mount", demo.url, str(home / "drive"), ALYXFS_USER="demo", ALYXFS_PASSWORD="wrong-one")
    assert done.returncode == 4
    assert "demo" in done.stderr
    assert "wrong-one" not in done.stderr


def test_a_token_that_expires_is_replaced_where_the_password_is_known(demo_directory, home):
    with running_demo(demo_directory, largest_file_mb=2, control=True) as demo, mounted(demo.url, home) as drive:
        os.listdir(drive / "labs")
        demo.control(expire_tokens=True)
        assert os.listdir(drive / "projects")


def test_a_token_that_expires_without_a_password_is_access_denied(demo_directory, home):
    with running_demo(demo_directory, largest_file_mb=2, control=True) as demo:
        token = Asking(demo.url).token
        with mounted(demo.url, home, ALYXFS_TOKEN=token) as drive:
            os.listdir(drive / "labs")
            demo.control(expire_tokens=True)
            with raises(errno.EACCES):
                os.listdir(drive / "projects")
            log = (drive / ".alyxfs" / "errors.log").read_text()
            assert "alyxfs login" in log
            assert token not in log + "".join(drive.log)


def test_a_public_user_reads(demo, home):
    with mounted(demo.url, home, ALYXFS_USER="public", ALYXFS_PASSWORD="public") as drive:
        assert os.listdir(drive / "labs")


def test_a_server_that_fails_at_the_first_mount_is_told_and_later_borne(demo_directory, home):
    broken = {"status": 500, "path_prefix": "/", "count": 1000}
    with running_demo(demo_directory, largest_file_mb=2, control=True) as demo:
        demo.control(fail=broken | {"path_prefix": "/brain-regions"})
        with mounted(demo.url, home / "other") as drive:
            assert os.listdir(drive / "labs"), "one list that fails is no broken server"
        for endpoint in ("channels", "chronic-insertions"):
            demo.control(fail=broken | {"path_prefix": f"/{endpoint}"})
        account = {"ALYXFS_USER": demo.user, "ALYXFS_PASSWORD": demo.password}
        done = run_alyxfs(home, "mount", demo.url, str(home / "drive"), **account)
        assert done.returncode == 1
        assert "the server failed (500)" in done.stderr
        assert not os.path.ismount(home / "drive")
        demo.control(reset=True)
        with mounted(demo.url, home) as drive:
            listed = os.listdir(drive / "labs")
        demo.control(fail=broken)
        with mounted(demo.url, home) as drive:
            assert os.listdir(drive / "labs") == listed


def test_no_network_at_the_first_mount_is_told(home):
    done = run_alyxfs(
        home, "mount", "http://127.0.0.1:9", str(home / "drive"), ALYXFS_USER="demo", ALYXFS_PASSWORD="demo"
    )
    assert done.returncode == 5
    assert "http://127.0.0.1:9 cannot be reached" in done.stderr


def test_no_network_at_a_later_mount_shows_what_is_known(demo_directory, home):
    with running_demo(demo_directory, largest_file_mb=2) as demo:
        session = Asking(demo.url).rows("/sessions")[0]["id"]
        with mounted(demo.url, home) as drive:
            listed = sorted(os.listdir(drive / "labs"))
            content = (drive / "sessions" / f"{session}.json").read_bytes()
    with mounted(demo.url, home) as drive:
        assert sorted(os.listdir(drive / "labs")) == listed
        assert (drive / "sessions" / f"{session}.json").read_bytes() == content
        with raises(errno.EIO):
            os.listdir(drive / "tags")


def test_the_drive_is_read_only(drive):
    for attempt in (
        lambda: (drive / "labs" / "new.json").write_text("{}"),
        lambda: (drive / "labs" / "new").mkdir(),
        lambda: (drive / "labs" / os.listdir(drive / "labs")[0]).unlink(),
        lambda: (drive / "labs" / os.listdir(drive / "labs")[0]).chmod(0o777),
    ):
        with raises(errno.EROFS):
            attempt()


def test_a_missing_record_is_a_missing_file(drive):
    with raises(errno.ENOENT):
        (drive / "sessions" / "00000000-0000-0000-0000-000000000000.json").read_bytes()
    with raises(errno.ENOENT):
        (drive / "subjects" / "nobody.json").read_bytes()


def test_a_file_that_nobody_serves_says_so(demo, drive):
    asking = Asking(demo.url)
    session = {row["id"]: row for row in asking.rows("/sessions")}
    listed = (
        drive / Asking.place(session[dataset["session"].rsplit("/", 1)[-1]], dataset)
        for dataset in asking.rows("/datasets?exists=true")
        if dataset["session"]
        and session[dataset["session"].rsplit("/", 1)[-1]]["number"]
        and session[dataset["session"].rsplit("/", 1)[-1]]["lab"]
        and dataset["file_size"]
        and any(record["data_url"] and not asking.serves(record["data_url"]) for record in dataset["file_records"])
    )
    path = next(listed)
    assert path.stat().st_size > 0
    with raises(errno.ENODATA):
        path.read_bytes()
    assert path.name in (drive / ".alyxfs" / "errors.log").read_text()
    assert b"not on its file server" in os.getxattr(path, "user.alyx.error")
