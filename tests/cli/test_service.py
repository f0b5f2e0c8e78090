"""A drive that systemd runs: its unit, and what it is told while the drive comes, stays and goes."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys

import pytest

from alyxfs.cli import service
from alyxfs.service_manager import ServiceManager
from mounted import environment, run_alyxfs, until

URL = "https://alyx.example.org"


def install(home, place, *options, **extra):
    done = run_alyxfs(home, "service", "install", *options, URL, str(place), **extra)
    assert done.returncode == 0, done.stderr
    (unit,) = (home / ".config/systemd/user").iterdir()
    return unit, done


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
@pytest.mark.parametrize("name", ["alyx", "a b", '100 % "x" $HOME \\ %n é'])
def test_systemd_finds_nothing_wrong_with_the_unit(home, tmp_path, name):
    (tmp_path / "run").mkdir(mode=0o700)
    unit, done = install(home, home / name, "--no-start", "-o", "rw,time_to_live=60")
    assert f"systemctl --user enable --now {unit.name}" in done.stdout
    assert unit.stat().st_mode & 0o077 == 0
    variables = environment(home, XDG_RUNTIME_DIR=str(tmp_path / "run"))
    command = ["systemd-analyze", "verify", "--user", "--man=no", str(unit)]
    verified = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")
    unit.write_text(unit.read_text().replace("Type=notify", "Type=notified"))
    wrong = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60, check=False)
    assert "notified" in wrong.stderr, "else verify shows nothing"


def test_the_unit_mounts_what_it_was_given(home, monkeypatch):
    unit, _ = install(home, home / "a b", "--no-start", "-o", "rw")
    line = next(line for line in unit.read_text().splitlines() if line.startswith("ExecStart="))
    assert line.endswith(f'"mount" "--foreground" "-o" "rw" "{URL}" "{home}/a b"')
    assert service.command_line(["100%", "$x", 'a"b', "c\\d"]) == '"100%%" "$$x" "a\\"b" "c\\\\d"'


@pytest.fixture
def systemctl(tmp_path):
    """A systemctl that notes what it is told, and fails where a file says so."""
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "systemctl"
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/told\n[ ! -e {tmp_path}/fails ] || {{ echo No bus >&2; exit 1; }}\n'
    )
    program.chmod(0o755)
    return tmp_path, {"PATH": f"{programs}:{os.environ['PATH']}"}


def test_install_and_remove_tell_systemd(home, systemctl):
    directory, path = systemctl
    unit, _ = install(home, home / "drive", **path)
    assert run_alyxfs(home, "service", "remove", str(home / "drive"), **path).returncode == 0
    assert not unit.exists()
    told = (directory / "told").read_text().splitlines()
    first, last = "--user daemon-reload", f"--user enable --now {unit.name}"
    assert told == [first, last, f"--user disable --now {unit.name}", first]
    done = run_alyxfs(home, "service", "remove", str(home / "drive"), **path)
    assert (done.returncode, "There is no unit" in done.stderr) == (3, True)


def test_what_systemctl_says_is_told(home, systemctl):
    directory, path = systemctl
    (directory / "fails").touch()
    done = run_alyxfs(home, "service", "install", URL, str(home / "drive"), **path)
    assert (done.returncode, "failed: No bus." in done.stderr) == (3, True)


@pytest.mark.parametrize(
    "arguments", [[URL], ["-o", "dry_run", URL, "x"], ["-o", "deadline=0", URL, "x"], ["-o", "colour", URL, "x"]]
)
def test_what_no_mount_would_take_gets_no_unit(home, arguments):
    assert run_alyxfs(home, "service", "install", "--no-start", *arguments).returncode in {2, 3}
    assert os.listdir(home) == []


class Manager:
    """The end of a NOTIFY_SOCKET at which systemd listens."""

    def __init__(self, address):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.settimeout(30)

    def hear(self):
        return dict(line.split("=", 1) for line in self.socket.recv(4096).decode().splitlines())


@pytest.mark.parametrize("is_abstract", [False, True])
def test_a_socket_of_either_kind_is_told(tmp_path, monkeypatch, is_abstract):
    name = f"{tmp_path}/notify"
    manager = Manager(f"\0{name}" if is_abstract else name)
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}" if is_abstract else name)
    telling = ServiceManager()
    assert "NOTIFY_SOCKET" not in os.environ, "what is started from here does not speak for the drive"
    telling.tell(READY="1", STATUS="It is there.")
    assert manager.hear() == {"READY": "1", "STATUS": "It is there."}
    manager.socket.close()
    telling.tell(READY="1")  # nobody hears it
    ServiceManager().tell(READY="1")


def test_systemd_is_told_when_the_drive_is_ready_how_it_is_and_that_it_ends(demo, home, tmp_path):
    manager, place = Manager(f"{tmp_path}/notify"), home / "drive"
    variables = environment(home, NOTIFY_SOCKET=f"{tmp_path}/notify", ALYXFS_USER="demo", ALYXFS_PASSWORD="demo")
    command = [sys.executable, "-m", "alyxfs", "mount", "--foreground", demo.url, str(place)]
    with open(tmp_path / "log", "w") as log, subprocess.Popen(command, env=variables, stdout=log, stderr=log) as drive:
        try:
            heard = {}
            while not ("READY" in heard and "STATUS" in heard):
                heard |= manager.hear()
            assert os.path.ismount(place), "it is ready when it answers"
            assert heard["STATUS"].startswith("Read-only, the server answers, ")
            drive.send_signal(signal.SIGTERM)
            while "STOPPING" not in heard:
                heard |= manager.hear()
            assert drive.wait(30) == 0
            until(lambda: not os.path.ismount(place), "the unmount")
        finally:
            drive.kill()
            manager.socket.close()
            subprocess.run(["umount", "-l", str(place)], capture_output=True, check=False)
