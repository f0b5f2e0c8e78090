"""``alyxfs doctor`` says what is amiss and what to do, of a machine and of servers of all kinds."""

from __future__ import annotations

import pytest

from alyxfs.cli import doctor
from alyxfs.settings import Settings
from mounted import run_alyxfs

DEMO = {"ALYXFS_USER": "demo", "ALYXFS_PASSWORD": "demo"}


def lines(done):
    return {line[6:18].strip(): line[:4].strip() for line in done.stdout.splitlines()}


def test_all_is_well_with_the_demo(demo, home):
    done = run_alyxfs(home, "doctor", demo.url, **DEMO)
    assert done.returncode == 0, done.stdout + done.stderr
    found = lines(done)
    assert found["user"] == found["tables"] == found["data files"] == found["FUSE"] == "ok"
    assert "BAD" not in found.values()
    assert "demo, from the environment: may read and write" in done.stdout


def test_a_user_who_may_only_read_is_told(demo, home):
    user = {"ALYXFS_USER": demo.public_user, "ALYXFS_PASSWORD": demo.public_password}
    done = run_alyxfs(home, "doctor", demo.url, **user)
    assert "may read; what is saved would be refused" in done.stdout


@pytest.mark.parametrize(
    ("credentials", "sentence"),
    [({}, "run `alyxfs login"), ({"ALYXFS_USER": "demo", "ALYXFS_PASSWORD": "wrong"}, "refuses user 'demo'")],
)
def test_a_user_whom_the_server_refuses(demo, home, credentials, sentence):
    done = run_alyxfs(home, "doctor", demo.url, **credentials)
    assert done.returncode == 1
    assert lines(done)["user"] == "BAD"
    assert sentence in done.stdout


def test_a_server_that_is_not_there(home):
    done = run_alyxfs(home, "doctor", "http://127.0.0.1:9", **DEMO)
    assert done.returncode == 1
    assert lines(done)["server"] == "BAD"
    assert "Traceback" not in done.stderr


def test_without_a_server_it_is_the_machine_alone(home):
    done = run_alyxfs(home, "doctor", "--machine-only")
    assert done.returncode == 0, done.stdout
    assert "server" not in lines(done)


@pytest.mark.parametrize(
    ("name", "content", "what", "state"),
    [
        ("FUSE_DEVICE", None, "FUSE", "BAD"),
        ("CONNECTIONS", None, "kernel", "note"),
        ("FUSE_SETTINGS", "# user_allow_other\n", "other users", "ok"),
        ("INDEXER_SETTINGS", 'PRUNEFS="nfs fuse.sshfs"\n', "indexer", "note"),
        ("INDEXER_SETTINGS", 'PRUNEFS="nfs fuse.alyxfs"\n', "indexer", "ok"),
    ],
)
def test_a_machine_that_is_not_as_it_should_be(tmp_path, monkeypatch, name, content, what, state):
    """Another machine's files in place of this one's."""
    path = tmp_path / "of-another-machine"
    if content is not None:
        path.write_text(content)
    monkeypatch.setattr(doctor, name, path)
    (found,) = [finding for finding in doctor.of_machine(Settings(cache_directory=tmp_path)) if finding.what == what]
    assert found.state == state


def test_a_disk_that_is_full_or_closed(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor.free_space, "FREE_SHARE", 1.0)
    findings = [one for one in doctor.of_machine(Settings(cache_directory=tmp_path)) if one.what == "cache"]
    assert findings[0].state == "BAD"
    assert "free" in findings[0].sentence
