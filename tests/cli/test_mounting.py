"""Mounting as any file system: what is refused and why, what is cleared away; a failed mount leaves nothing."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from alyxfs import settings
from alyxfs.cli.drives import mounts
from alyxfs.errors import ConfigurationError
from alyxfs.kernel import guardian
from mounted import environment, mounted, run_alyxfs, until
from processes import children

DEMO = {"ALYXFS_USER": "demo", "ALYXFS_PASSWORD": "demo"}


@contextmanager
def background(demo, home, *options, place=None):
    """A drive mounted as people do it; unmounted whatever happens."""
    place = place or home / "drive"
    done = run_alyxfs(home, "mount", *options, demo.url, str(place), **DEMO)
    try:
        assert done.returncode == 0, done.stderr
        yield place, done
    finally:
        subprocess.run(["umount", "-l", str(place)], capture_output=True, check=False)


def state_of(place):
    return json.loads((place / ".alyxfs" / "status.json").read_bytes())


def kill(place):
    """End a drive and its guardian without a word, as a power cut would."""
    process = state_of(place)["process"]
    guardians = [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdecimal() and f"\0{process}\0{place}\0".encode() in commandline(entry)
    ]
    assert len(guardians) == 1
    for number in (*guardians, process):
        os.kill(number, signal.SIGKILL)


def commandline(entry):
    try:
        return (entry / "cmdline").read_bytes()
    except OSError:
        return b""


def everything_below(directory):
    return sorted(str(path) for path in directory.rglob("*"))


REFUSED = {
    "a deadline of nothing": (["--deadline", "0"], 3, "deadline takes a number from 0.1"),
    "a negative limit": (["--cache-limit", "-5"], 3, "cache_limit takes a number from 0"),
    "no connections": (["--file-connections", "0"], 3, "file_connections takes a number from 1 to 1000"),
    "no requests": (["--requests-per-minute", "0"], 3, "requests_per_minute takes a number from 1"),
    "no number": (["--watch", "nan"], 3, "watch takes a number from 0"),
    "no whole number": (["--file-connections", "2.5"], 2, "not a valid integer"),
    "--dry-run alone": (["--dry-run"], 2, "--dry-run says how to write: it needs --rw"),
    "--no-delete alone": (["--no-delete"], 2, "--no-delete says how to write: it needs --rw"),
    "ONE's directory that is not there": (["--one-directory", "/no/such/place"], 3, "/no/such/place"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_an_option_that_cannot_be_meant_is_refused(demo, home, what):
    options, code, words = REFUSED[what]
    done = run_alyxfs(home, "mount", *options, demo.url, str(home / "a" / "drive"), **DEMO)
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr
    assert not (home / "a").exists()


NUMBERS = [option for option in settings.options() if type(option.default) in {int, float}]


@pytest.mark.parametrize("option", NUMBERS, ids=lambda option: option.name)
def test_every_number_has_a_range(option, tmp_path):
    least, most = option.metadata["least"], option.metadata["most"]
    assert least <= option.default <= most
    for value in (least - 1, most + 1, -1):
        with pytest.raises(ConfigurationError, match=option.name):
            settings.load("https://a", {option.name: type(option.default)(value)}, tmp_path / "none")


def test_a_flag_overrules_the_settings_file(demo, home):
    folder = home / ".config" / "alyxfs"
    folder.mkdir(parents=True)
    (folder / "settings.toml").write_text(f'no_delete = true\n[server."{demo.url}/"]\nrw = true\n')
    with background(demo, home) as (place, _):
        assert state_of(place)["writable"] is True
    until(lambda: not os.path.ismount(home / "drive"), "the unmount")
    with mounted(demo.url, home, "--no-rw", "--delete") as drive:
        assert state_of(drive)["writable"] is False


def test_an_address_alone_is_no_place_to_mount_at(home):
    done = run_alyxfs(home, "mount", "https://alyx.example.org")
    assert done.returncode == 2
    assert "alyxfs mount https://alyx.example.org DIRECTORY" in done.stderr
    assert os.listdir(home) == []


def test_a_mistyped_host_is_not_there_and_is_not_remembered(home):
    done = run_alyxfs(home, "mount", "https://alyx.no-such-host.invalid", str(home / "a" / "drive"))
    assert done.returncode == 5, done.stderr
    assert "wants a user" not in done.stderr
    assert "known" in done.stderr  # "Name or service not known", in the words of this system
    assert not (home / "a").exists()
    assert os.listdir(home / ".cache" / "alyxfs" / "servers") == []


def test_a_server_that_is_there_wants_a_user(demo, home):
    done = run_alyxfs(home, "mount", demo.url, str(home / "drive"))
    assert (done.returncode, "wants a user" in done.stderr) == (4, True), done.stderr
    assert not (home / "drive").exists()


@pytest.mark.parametrize("place", [".cache/alyxfs/drive", ".cache/alyxfs", ".local/state/alyxfs/x", ".cache", "."])
def test_a_drive_neither_stands_in_what_it_keeps_nor_hides_it(demo, home, place):
    done = run_alyxfs(home, "mount", demo.url, str(home / place), **DEMO)
    assert done.returncode == 3
    assert "keep" in done.stderr, done.stderr
    assert not os.path.ismount(home / place)


def test_a_link_to_what_the_drive_keeps_is_seen_through(demo, home):
    (home / ".cache" / "alyxfs").mkdir(parents=True)
    (home / "elsewhere").symlink_to(home / ".cache" / "alyxfs")
    done = run_alyxfs(home, "mount", demo.url, str(home / "elsewhere" / "drive"), **DEMO)
    assert (done.returncode, "inside" in done.stderr) == (3, True), done.stderr


def test_a_killed_drive_is_cleared_away_by_the_next_mount(demo, home):
    with background(demo, home) as (place, _):
        kill(place)
        with background(demo, home):
            assert os.listdir(place / "labs")
            assert sum(mount.place == place for mount in mounts()) == 1
            assert run_alyxfs(home, "umount", str(place)).returncode == 0
        assert not os.path.ismount(place)


def test_of_two_mounts_at_one_place_one_is_refused(demo, home):
    command = [sys.executable, "-m", "alyxfs", "mount", demo.url, str(home / "drive")]
    both = [
        subprocess.Popen(command, env=environment(home, **DEMO), stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    try:
        said = [process.communicate(timeout=60)[1] for process in both]
        assert sorted(process.returncode for process in both) == [0, 3], said
        assert any("Another drive is being mounted" in text or "mounted at" in text for text in said)
        assert sum(mount.place == home / "drive" for mount in mounts()) == 1
    finally:
        subprocess.run(["umount", "-l", str(home / "drive")], capture_output=True, check=False)


def test_a_place_that_another_mount_is_preparing_is_refused(demo, home):
    place = home / "drive"
    place.mkdir()
    descriptor = os.open(place, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        done = run_alyxfs(home, "mount", demo.url, str(place), **DEMO)
    finally:
        os.close(descriptor)
    assert (done.returncode, "Another drive is being mounted" in done.stderr) == (3, True)
    assert place.exists()


@pytest.mark.parametrize("kind", ["a file", "below a file", "full"])
def test_a_place_that_cannot_be_used_is_told_and_nothing_is_made(demo, home, kind):
    (home / "file").write_text("")
    place = {"a file": "file", "below a file": "file/x", "full": "."}[kind]
    before = everything_below(home)
    done = run_alyxfs(home, "mount", demo.url, str(home / place), **DEMO)
    assert done.returncode == 3
    assert "None" not in done.stderr
    assert "Traceback" not in done.stderr
    assert everything_below(home) == before


def test_what_fusermount_says_is_told(demo, home, tmp_path):
    """Here by a mount option that the kernel does not know; users see it of user_allow_other."""
    program = f"""
import pathlib, pyfuse3
from alyxfs.kernel import session
pyfuse3.default_options = frozenset({{"no_such_option"}})
from alyxfs.cli import main
import sys
sys.argv = ["alyxfs", "mount", "-f", {demo.url!r}, {str(home / "drive")!r}]
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(home, **DEMO),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    sentence = next(line for line in done.stderr.splitlines() if line.startswith("alyxfs:"))
    assert "no_such_option" in sentence
    assert not (home / "drive").exists()


@pytest.mark.parametrize(
    ("said", "advised"),
    [
        (
            "fusermount3: option allow_other only allowed if 'user_allow_other' is set in /etc/fuse.conf",
            "--allow-other",
        ),
        ("fuse: device not found, try 'modprobe fuse' first: /dev/fuse", "modprobe fuse"),
        ("fusermount3: failed to open /dev/fuse: Permission denied", "chmod 666"),
        ("fusermount3: user has no write access to mountpoint /x", "that is yours"),
        ("fusermount3: too many FUSE filesystems mounted; mount_max=N can be set in /etc/fuse.conf", "mount_max"),
        ("fuse: failed to exec fusermount3: No such file or directory", "package fuse3"),
        ("something else", "Is fuse3 installed"),
    ],
)
def test_what_to_do_about_what_libfuse_says(said, advised):
    from alyxfs.kernel.session import advice

    assert advised in advice([said])


@contextmanager
def busy(place):
    """A program that stands in the drive."""
    program = subprocess.Popen(["sleep", "100"], cwd=place)
    try:
        until(lambda: os.readlink(f"/proc/{program.pid}/cwd") == str(place), "the program")
        yield program
    finally:
        program.kill()
        program.wait()


def test_umount_names_who_uses_the_drive(demo, home):
    with background(demo, home) as (place, _):
        with busy(place / "labs") as program:
            done = run_alyxfs(home, "umount", str(place))
            assert done.returncode == 3
            assert f"sleep ({program.pid})" in done.stderr
            assert os.path.ismount(place)
            process = state_of(place)["process"]
            done = run_alyxfs(home, "umount", "--lazy", str(place))
            assert (done.returncode, f"sleep ({program.pid})" in done.stderr) == (0, True)
            assert not os.path.ismount(place)
            assert Path(f"/proc/{process}").exists()
        until(lambda: commandline(Path(f"/proc/{process}")) == b"", "the end of the process")


def test_umount_force_frees_who_waits_for_a_drive_that_does_not_answer(demo, home):
    with background(demo, home) as (place, _):
        process = state_of(place)["process"]
        os.kill(process, signal.SIGSTOP)
        waiting = subprocess.Popen(
            ["ls", str(place / "subjects")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            time.sleep(0.2)
            assert waiting.poll() is None
            done = run_alyxfs(home, "umount", "--force", str(place))
            assert done.returncode == 0, done.stderr
            assert waiting.wait(20) != 0
            assert not os.path.ismount(place)
        finally:
            waiting.kill()
            waiting.wait()
            os.kill(process, signal.SIGCONT)
            os.kill(process, signal.SIGTERM)


def test_umount_of_no_drive_is_refused(home):
    done = run_alyxfs(home, "umount", str(home))
    assert (done.returncode, "No drive of alyxfs is mounted" in done.stderr) == (3, True)


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("building", signal.SIGTERM),
        ("building", signal.SIGKILL),
        ("serving", signal.SIGHUP),
        ("serving", signal.SIGTERM),
    ],
)
def test_the_demo_server_ends_with_the_command_that_runs_it(demo, demo_directory, home, moment, number):
    """Whatever ends that: a closed terminal sends SIGHUP."""
    data = home / ".cache" / "alyxfs" / "demo"
    data.mkdir(parents=True)
    if moment == "serving":
        (data / "v1-scale1-200mb").symlink_to(demo_directory / "v1-scale1-2mb")
    hearing = ["env", "--default-signal=HUP"]  # these tests may run under nohup
    command = [*hearing, sys.executable, "-m", "alyxfs", "demo", "--serve"]
    with subprocess.Popen(command, env=environment(home), stdout=subprocess.PIPE, text=True) as serving:
        try:
            if moment == "serving":
                assert serving.stdout.readline().startswith("ready ")
            else:
                until(lambda: any("seed.build" in line for line in descendants(serving.pid).values()), "the building")
            started = descendants(serving.pid)
            assert started
            os.kill(serving.pid, number)
            serving.wait(20)
            until(lambda: not any(commandline(Path(f"/proc/{process}")) for process in started), "their end")
        finally:
            serving.kill()


def descendants(process):
    """The command lines of what a process started, and of what that did, by number."""
    found = {}
    for child in children(process):
        found[child] = commandline(Path(f"/proc/{child}")).decode()
        found |= descendants(child)
    return found


def test_status_lists_all_drives_also_those_that_do_not_answer(demo, home):
    with background(demo, home) as (one, _), background(demo, home, "--rw", place=home / "two") as (two, _):
        listed = {
            line.partition(":")[0]: line for line in run_alyxfs(home, "status").stdout.splitlines() if str(home) in line
        }
        assert set(listed) == {str(one), str(two)}
        assert f"{demo.url}, read-only, mounted" in listed[str(one)]
        assert "writable" in listed[str(two)]
        process = state_of(one)["process"]
        os.kill(process, signal.SIGSTOP)
        try:
            done = run_alyxfs(home, "status", "--json")
        finally:
            os.kill(process, signal.SIGCONT)
        states = {row["place"]: row["state"] for row in json.loads(done.stdout)}
        assert states[str(one)] is None
        assert states[str(two)]["writable"] is True


def test_a_mount_of_somebody_at_an_odd_place_hides_no_drive(tmp_path):
    """The kernel writes some characters of a place as numbers, and a carriage return as it is."""
    place = tmp_path / "a\rb\nc \\ d"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    try:
        assert place in {mount.place for mount in mounts()}
        assert place not in {mount.place for mount in guardian.drives()}
    finally:
        subprocess.run(["umount", place], check=True)
