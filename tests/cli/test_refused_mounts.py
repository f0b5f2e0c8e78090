"""What the machine refuses an ordinary user, by its real cause: in a mount namespace, with files of another machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import stranger
from mounted import environment

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    stranger.needs_root,
    pytest.mark.skipif(
        any(not folder.stat().st_mode & 0o001 for folder in (ROOT, *ROOT.parents)),
        reason="other users of this machine cannot enter the repository",
    ),
]
DEVICE = """mkdir {place}/dev && mount -t tmpfs -o dev,mode=755 none {place}/dev
mknod -m {mode} {place}/dev/fuse c 10 {minor} && mount --bind {place}/dev/fuse /dev/fuse
"""
OPEN = {"mode": 666, "minor": 229}

CAUSES = {
    "allow_other": (OPEN, "", ["--allow-other"], "user_allow_other", "Leave --allow-other out, or have root write"),
    "closed": ({"mode": 600, "minor": 229}, "", [], "Permission denied", "chmod 666 /dev/fuse"),
    "no module": ({"mode": 666, "minor": 254}, "", [], "/dev/fuse", "modprobe fuse"),
    "too many": (OPEN, "echo mount_max=0 > {place}/fuse.conf", [], "too many FUSE filesystems", "mount_max"),
    "no fusermount": (OPEN, "mount --bind /dev/null $(command -v fusermount3)", [], "fusermount3", "package fuse3"),
    "another's directory": (OPEN, "chown 0:0 {place}/home/drive", [], "write access", "a directory that is yours"),
}


@pytest.fixture
def place():
    """A directory that other users can enter."""
    directory = Path(tempfile.mkdtemp(prefix="refused-", dir="/tmp"))
    directory.chmod(0o755)
    for name in ("home", "home/drive"):
        (directory / name).mkdir(0o755)
        os.chown(directory / name, stranger.NUMBER, stranger.NUMBER)
    yield directory
    shutil.rmtree(directory)


@pytest.mark.parametrize("cause", CAUSES)
def test_what_the_machine_refuses_is_told_with_what_to_do(demo, place, cause):
    device, prepare, options, reason, advice = CAUSES[cause]
    done = as_ordinary_user(
        place, f"{DEVICE.format(place=place, **device)}{prepare.format(place=place)}", *options, demo.url, "drive"
    )
    assert done.returncode == 3, done.stdout + done.stderr
    (sentence,) = (line for line in done.stderr.splitlines() if line.startswith("alyxfs: "))
    assert reason in sentence
    assert advice in sentence
    assert "Traceback" not in done.stderr
    assert "defect" not in done.stderr


def test_a_kernel_that_lets_nobody_set_its_read_ahead_is_told_and_nothing_stays_mounted(demo, tmp_path):
    """In a container, as a rule: /sys is read-only there, also for root."""
    (tmp_path / "drive").mkdir()
    script = """mount -o remount,ro,bind /sys || mount --bind -o ro /sys /sys
    "$@"; echo "exit code $?"; findmnt --noheadings --types fuse.alyxfs "$PWD/drive" || echo "nothing is mounted"
    """
    command = [sys.executable, "-m", "alyxfs", "mount", "--kernel-read-ahead", "1024", demo.url, "drive"]
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", *command],
        env=environment(tmp_path, PYTHONPATH=str(ROOT), ALYXFS_USER="demo", ALYXFS_PASSWORD="demo"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.splitlines()[-2:] == ["exit code 3", "nothing is mounted"], done.stdout + done.stderr
    told = "alyxfs: The kernel's read-ahead cannot be set (Read-only file system): it takes root."
    assert done.stderr.splitlines() == [told]


def test_settings_that_cannot_be_read_are_told(place):
    (place / "home/.config/alyxfs").mkdir(parents=True)
    (place / "home/.config").chmod(0o700)
    done = as_ordinary_user(place, "true", "http://127.0.0.1:9", "drive")
    assert (done.returncode, "Traceback" in done.stderr) == (3, False), done.stderr
    assert f"{place}/home/.config/alyxfs/settings.toml cannot be read: Permission denied." in done.stderr


def way_to_python(place):
    """Lines of a script that let everybody to this Python, where its folder is in one that is closed, as /root."""
    prefix = Path(sys.base_prefix)
    closed = [folder for folder in prefix.parents if not folder.stat().st_mode & 0o001]
    if not closed:
        return ""
    opened = place / "opened"
    inside = opened / prefix.relative_to(closed[-1])
    return f"""mkdir -p {inside}
    mount --bind {prefix} {inside}
    mount --rbind {opened} {closed[-1]}
    """


def as_ordinary_user(place, prepare, *arguments):
    """What `alyxfs mount` says to a user who may read the repository and nothing else."""
    (place / "fuse.conf").touch(mode=0o644)
    script = f"""set -e
    {way_to_python(place)}
    touch /etc/fuse.conf
    {prepare}
    mount --bind {place}/fuse.conf /etc/fuse.conf
    cd {place}/home
    exec setpriv --reuid {stranger.NUMBER} --regid {stranger.NUMBER} --clear-groups "$@"
    """
    variables = environment(place / "home", PYTHONPATH=str(ROOT), ALYXFS_USER="demo", ALYXFS_PASSWORD="demo")
    command = [sys.executable, "-m", "alyxfs", "mount", *arguments]
    return subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", *command],
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
