"""The commands around a drive: mounting in the background, looking after it, taking it down."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
from contextlib import contextmanager

import pytest

from alyxfs import settings
from alyxfs.errors import ConfigurationError
from asking import Asking
from mounted import mounted, run_alyxfs, until
from processes import children, is_running

DEMO = {"ALYXFS_USER": "demo", "ALYXFS_PASSWORD": "demo"}


@contextmanager
def background(demo, home, *options):
    """A drive mounted as people do it; unmounted whatever happens."""
    path = home / "drive"
    done = run_alyxfs(home, "mount", *options, demo.url, str(path), **DEMO)
    try:
        assert done.returncode == 0, done.stderr
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], capture_output=True, check=False)


def process_of(path):
    return json.loads((path / ".alyxfs" / "status.json").read_bytes())["process"]


def test_mount_returns_when_the_drive_answers_and_umount_when_its_process_has_ended(demo, home):
    with background(demo, home) as path:
        assert "labs" in os.listdir(path)
        process = process_of(path)
        done = run_alyxfs(home, "umount", str(path))
        assert done.returncode == 0, done.stderr
        assert not os.path.ismount(path)
        assert not is_running(process)


def test_what_is_kept_is_readable_by_the_owner_alone(demo, home):
    with background(demo, home) as path:
        os.listdir(path / "labs")
        place = next((path / "data").glob("*/Subjects/KS001/2023-01-02/001/alf/*.npy"))
        place.read_bytes()
        run_alyxfs(home, "umount", str(path))
    kept = list((home / ".cache" / "alyxfs").rglob("*"))
    assert any(found.name == "known.sqlite" for found in kept)
    for found in [*kept, *(home / ".local" / "state").rglob("*.log")]:
        mode = stat.S_IMODE(found.stat().st_mode)
        assert not mode & 0o077 or any(not parent.stat().st_mode & 0o077 for parent in found.parents), found


def test_status_tells_of_server_and_process(demo, home):
    with background(demo, home) as path:
        os.listdir(path / "labs")
        status = json.loads(run_alyxfs(home, "status", "--json", str(path / "labs")).stdout)
        assert status["server"] == demo.url
        assert status["process"] == process_of(path)
        assert status["stale_since"] is None
        shown = run_alyxfs(home, "status", str(path)).stdout
        assert re.search(rf"drive +{path.resolve()}, read-only, mounted .* ago", shown)
        assert re.search(rf"server +{demo.url}, \d+ requests \(\d+ in the last minute\)", shown)
        assert re.search(r"known +1 listing with \d rows, the oldest from .* ago", shown)
        assert re.search(r"errors +none", shown)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_unmounts(demo, home, number):
    with background(demo, home) as path:
        process = process_of(path)
        os.kill(process, number)
        until(lambda: not os.path.ismount(path), "the unmount")
        until(lambda: not is_running(process), "the end of the process")


def test_a_drive_that_was_killed_with_its_guardian_can_be_unmounted_and_mounted_again(demo, home):
    with background(demo, home) as path:
        process = process_of(path)
        (guardian,) = children(process)
        os.kill(guardian, signal.SIGKILL)
        until(lambda: not is_running(guardian), "the end of the guardian")
        os.kill(process, signal.SIGKILL)
        until(lambda: not is_running(process), "the end of the process")
        for command in (("status", str(path)), ("refresh", str(path / "labs")), ("log", str(path))):
            refused = run_alyxfs(home, *command)
            assert (refused.returncode, "alyxfs umount" in refused.stderr) == (3, True), refused.stderr
        assert run_alyxfs(home, "umount", str(path)).returncode == 0
    with background(demo, home) as path:
        assert os.listdir(path / "labs")


def test_a_place_that_is_in_use_is_refused(demo, home):
    with background(demo, home) as path:
        done = run_alyxfs(home, "mount", demo.url, str(path), **DEMO)
        assert (done.returncode, "mounted" in done.stderr) == (3, True)
    full = home / "full"
    full.mkdir()
    (full / "file").write_text("")
    done = run_alyxfs(home, "mount", demo.url, str(full), **DEMO)
    assert (done.returncode, "not empty" in done.stderr) == (3, True)


@pytest.mark.parametrize("server", ["ftp://alyx.example.org", "https://user:secret@alyx.example.org", "https://"])
def test_what_is_no_address_is_refused(home, server):
    done = run_alyxfs(home, "mount", server, str(home / "drive"))
    assert done.returncode == 3
    assert "address of a server" in done.stderr


def test_refresh_asks_again_before_the_time_to_live_has_passed(demo_directory, home):
    from alyxfs.demo.server import running_demo

    with running_demo(demo_directory, largest_file_mb=2) as demo, background(demo, home) as path:
        asking = Asking(demo.url)
        session = asking.rows("/sessions")[0]["id"]
        record = path / "sessions" / f"{session}.json"
        before = json.loads(record.read_bytes())
        asking.send("PATCH", f"/sessions/{session}", {"narrative": "changed elsewhere"})
        assert json.loads(record.read_bytes()) == before
        assert run_alyxfs(home, "refresh", str(record)).returncode == 0
        assert json.loads(record.read_bytes())["narrative"] == "changed elsewhere"
        labs = os.listdir(path / "labs")
        asking.send("POST", "/labs", {"name": "newlab", "timezone": "UTC"})
        assert os.listdir(path / "labs") == labs
        assert run_alyxfs(home, "refresh", str(path / "labs")).returncode == 0
        assert sorted(os.listdir(path / "labs")) == sorted([*labs, "newlab.json"])
        done = run_alyxfs(home, "refresh", str(home))
        assert (done.returncode, "not in a drive" in done.stderr) == (3, True)


def test_two_drives_see_each_others_changes_when_they_watch(demo_directory, home):
    from alyxfs.demo.server import running_demo

    with running_demo(demo_directory, largest_file_mb=2) as demo, mounted(demo.url, home, "--watch", "0.5") as drive:
        asking = Asking(demo.url)
        session = asking.rows("/sessions")[0]["id"]
        record = drive / "sessions" / f"{session}.json"
        record.read_bytes()
        asking.send("PATCH", f"/sessions/{session}", {"narrative": "seen by watching"})
        until(lambda: json.loads(record.read_bytes())["narrative"] == "seen by watching", "the change", patience=10)


def test_login_keeps_the_token_and_mount_uses_it(demo, home):
    done = run_alyxfs(home, "login", demo.url, "--user", "demo", "--password", "demo")
    assert done.returncode == 0, done.stderr
    path = home / "drive"
    try:
        assert run_alyxfs(home, "mount", demo.url, str(path)).returncode == 0
        assert os.listdir(path / "labs")
    finally:
        subprocess.run(["umount", "-l", str(path)], capture_output=True, check=False)
    refused = run_alyxfs(home, "login", demo.url, "--user", "demo", "--password", "no-such")
    assert (refused.returncode, "no-such" in refused.stderr) == (4, False)


def test_the_demo_command_mounts_and_unmounts(home):
    path = home / "drive"
    try:
        done = run_alyxfs(home, "demo", str(path), timeout=110)
        assert done.returncode == 0, done.stderr
        assert "cortexlab.json" in os.listdir(path / "labs")
        assert run_alyxfs(home, "umount", str(path)).returncode == 0
    finally:
        subprocess.run(["umount", "-l", str(path)], capture_output=True, check=False)


def test_settings_come_from_the_file_its_server_table_and_the_flags_in_this_order(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text('time_to_live = 60\nwatch = 5\n[server."https://one.example"]\ntime_to_live = 10\n')
    assert settings.load("https://two.example", {}, path).time_to_live == 60.0
    assert settings.load("https://one.example", {}, path).time_to_live == 10.0
    assert settings.load("https://one.example", {"time_to_live": 1.0}, path).time_to_live == 1.0
    assert settings.load("https://one.example", {"watch": None}, path).watch == 5.0


@pytest.mark.parametrize(
    ("text", "words"),
    [("time_to_live = 'long'", "takes a float"), ("colour = 1", "unknown key 'colour'"), ("= 1", "not valid TOML")],
)
def test_a_wrong_settings_file_is_told(tmp_path, text, words):
    path = tmp_path / "settings.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=words):
        settings.load("https://one.example", {}, path)
