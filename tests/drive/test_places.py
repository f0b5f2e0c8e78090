"""Where a drive stands and what it holds: paths of options, logs and sockets, and nothing of who started it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import trio

from alyxfs.control.place import LONGEST_ADDRESS, socket_place
from alyxfs.control.socket import serving_control
from mounted import environment, mounted, run_alyxfs, until

LOGIN = {"ALYXFS_USER": "demo", "ALYXFS_PASSWORD": "demo"}


@contextlib.contextmanager
def unmounted_at_last(home, drive):
    try:
        yield
    finally:
        run_alyxfs(home, "umount", str(drive))


def run_in(directory, home, *command):
    """Run a command of somebody who stands in this directory; it must succeed."""
    done = subprocess.run(
        command,
        cwd=directory,
        env=environment(home, **LOGIN),
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "script",
    [
        "exec 9>lock; flock 9; {mount}; exec 9>&-; flock -w 5 lock true",
        'said=$({mount}; echo done) && echo "$said" | grep -q done',
        "{mount} | cat",
        "mkfifo pipe; (timeout 20 cat <pipe >/dev/null; echo $? >ended) & {mount} 7>pipe; wait $!; grep -qx 0 ended",
        "{mount} <&- >&-",
    ],
    ids=["flock", "substitution", "pipeline", "fifo", "closed"],
)
def test_a_drive_in_the_background_holds_nothing_of_its_starter(demo, home, tmp_path, script):
    """A lock, or the end of a pipe, that it kept would make its starter wait for as long as the drive is mounted."""
    drive = home / "drive"
    mount = f"{sys.executable} -m alyxfs mount {demo.url} {drive}"
    with unmounted_at_last(home, drive):
        run_in(tmp_path, home, "bash", "-c", script.format(mount=mount))
        process = json.loads((drive / ".alyxfs/status.json").read_bytes())["process"]
        held = {os.path.realpath(entry) for entry in Path(f"/proc/{process}/fd").iterdir()}
        assert not [path for path in held if path.startswith(str(tmp_path / "lock")) or path.endswith("/pipe")]


def test_relative_paths_are_meant_from_where_the_user_stands(demo, home, tmp_path):
    drive = home / "drive"
    with unmounted_at_last(home, drive):
        options = ("--cache-directory", "here/cache", demo.url, str(drive))
        run_in(tmp_path, home, sys.executable, "-m", "alyxfs", "mount", *options)
        assert (tmp_path / "here/cache/servers").is_dir()


@pytest.mark.parametrize("fault", ["cache is a file", "cache is below a file", "log is read-only", "log is a file"])
def test_a_place_that_cannot_be_used_is_a_sentence_and_exit_code_3(demo, home, fault):
    place = home / "file"
    options, extra = [], {}
    if fault == "cache is a file":
        place.write_text("mine")
        options = ["--cache-directory", str(place)]
    elif fault == "cache is below a file":
        place.write_text("mine")
        options = ["--cache-directory", str(place / "cache")]
    elif fault == "log is a file":
        place.write_text("mine")
        extra = {"XDG_STATE_HOME": str(place)}
    else:
        place = Path("/proc/sys")  # read-only for everybody, root as well
        extra = {"XDG_STATE_HOME": str(place)}
    done = run_alyxfs(home, "mount", *options, demo.url, str(home / "drive"), **LOGIN, **extra)
    assert (done.returncode, "defect" in done.stderr, str(place) in done.stderr) == (3, False, True), done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_long_tmpdir_and_a_session_folder_are_no_obstacle(demo, home, tmp_path):
    long = tmp_path / ("x" * 120)
    long.mkdir()
    session = Path(tempfile.mkdtemp(prefix="run-"))
    try:
        for extra, folder in (({"TMPDIR": str(long)}, None), ({"XDG_RUNTIME_DIR": str(session)}, session / "alyxfs")):
            with mounted(demo.url, home, **extra) as drive:
                socket = Path(json.loads((drive / ".alyxfs/status.json").read_bytes())["control_socket"])
                assert folder in {None, socket.parent}
                assert socket.parent.stat().st_mode & 0o777 == 0o700
                assert run_alyxfs(home, "refresh", str(drive / "labs")).returncode == 0
            assert not socket.exists()
    finally:
        shutil.rmtree(session)


@pytest.mark.parametrize("squatted", ["a link", "open to others", "a file", "no folder for the session", "too long"])
def test_a_socket_never_stands_where_somebody_else_could_be(tmp_path, squatted, monkeypatch):
    monkeypatch.setattr("alyxfs.control.place.SHARED", shared := Path(tempfile.mkdtemp(prefix="shared-")))
    session = tmp_path / ("s" * (120 if squatted == "too long" else 3))
    session.mkdir(0o700)
    ours = [session / "alyxfs", shared / f"alyxfs-{os.geteuid()}"]
    (tmp_path / "elsewhere").mkdir(0o700)
    for folder in ours:
        if squatted == "a link":
            folder.symlink_to(tmp_path / "elsewhere")
        elif squatted == "open to others":
            folder.mkdir()
            folder.chmod(0o777)
        elif squatted == "a file":
            folder.write_text("")
    if squatted == "no folder for the session":
        session.chmod(0o755)
    with socket_place({"XDG_RUNTIME_DIR": str(session)}) as place:
        assert place.parent.lstat().st_mode & 0o777 == 0o700
        assert not place.parent.is_symlink()
        assert (place.parent in ours) == (squatted in {"no folder for the session", "too long"})
        assert len(os.fsencode(place)) <= LONGEST_ADDRESS
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(place))
    assert not place.exists()


@pytest.mark.parametrize("squatted", [False, True])
def test_sockets_of_killed_drives_go_and_those_of_living_ones_stay(tmp_path, squatted, monkeypatch):
    """In a folder for all drives, and in folders of one drive each where somebody else has that name."""
    monkeypatch.setattr("alyxfs.control.place.SHARED", shared := Path(tempfile.mkdtemp(prefix="shared-")))
    if squatted:
        (shared / f"alyxfs-{os.geteuid()}").write_text("")
    program = """
import os, socket, sys
from alyxfs.control import place
from pathlib import Path
place.SHARED = Path(sys.argv[1])
with place.socket_place({}) as path:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()
    print(path, flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", program, str(shared)]
    running = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        killed, living = (Path(process.stdout.readline().strip()) for process in running)
        running[0].kill()
        running[0].wait()
        assert killed.exists()
        with socket_place({}) as place:
            assert not killed.exists()
            assert living.exists()
            assert place.parent.parent == shared
        left = {living.parent, *([shared / f"alyxfs-{os.geteuid()}"] if squatted else [])}
        assert set(shared.iterdir()) == left
    finally:
        for process in running:
            process.kill()
            process.communicate()
        shutil.rmtree(shared)


@pytest.mark.skipif(shutil.which("systemd-tmpfiles") is None, reason="there is no systemd here")
def test_the_socket_survives_what_clears_temporary_places(tmp_path):
    """systemd-tmpfiles, told to remove what is older than no time at all."""
    folder = Path(tempfile.mkdtemp(prefix="run-"))
    try:
        (folder / "alyxfs").mkdir(0o700)
        path, forgotten = folder / "alyxfs" / "1.control", folder / "alyxfs" / "forgotten"

        async def serve():
            async with serving_control(path, {}):
                forgotten.write_text("")
                rules = tmp_path / "rules.conf"
                rules.write_text(f"e {folder} 0700 - - 0\n")
                # It looks for sockets that are in use in /proc, which not every container lets it.
                command = ["systemd-tmpfiles", "--clean", f"--prefix={folder}", str(rules)]
                await trio.run_process(command, capture_stderr=True)
                return path.exists(), forgotten.exists(), path.stat().st_mode & stat.S_ISVTX

        assert trio.run(serve) == (True, False, stat.S_ISVTX)
    finally:
        shutil.rmtree(folder)


def test_the_cache_may_vanish_at_any_time_and_costs_time_alone(demo, home):
    place = "data/cortexlab/Subjects/KS001/2023-01-02/001/alf"
    cache = home / ".cache/alyxfs"
    with mounted(demo.url, home, "--time-to-live", "1") as drive:
        names = sorted(os.listdir(drive / place))
        content = (drive / place / "_ibl_wheel.position.npy").read_bytes()
        tables = {name: (drive / "data" / name).read_bytes() for name in ("sessions.pqt", "datasets.pqt")}
        for _ in range(2):
            # The drive makes and removes files in it meanwhile.
            until(lambda: subprocess.run(["rm", "-rf", cache], capture_output=True, check=False).returncode == 0, "rm")
            subprocess.run(["df", drive.path], check=True, capture_output=True, timeout=30)
            assert sorted(os.listdir(drive / place)) == names
            assert (drive / place / "_ibl_wheel.position.npy").read_bytes() == content
            assert (drive / place / "_ibl_wheel.timestamps.npy").read_bytes()
            assert {name: (drive / "data" / name).read_bytes() for name in tables} == tables
            for command in ("pin", "unpin"):
                done = run_alyxfs(home, command, str(drive / place / "_ibl_wheel.timestamps.npy"))
                assert done.returncode == 0, done.stderr
            assert json.loads((drive / ".alyxfs/status.json").read_bytes())["defects"] == 0
            for lab in (drive / "labs").iterdir():
                lab.read_bytes()
            until(lambda: asked_again(drive) and list(cache.glob("servers/*/known.sqlite")), "a new store")
    assert list(cache.glob("files/blocks-1/*/*"))


def asked_again(drive):
    """Something to keep of the server."""
    return run_alyxfs(drive.path.parent, "refresh", str(drive / "labs")).returncode == 0 and os.listdir(drive / "labs")
