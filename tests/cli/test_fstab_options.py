"""``mount -t fuse.alyxfs`` and what may stand behind ``-o`` there and in fstab."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from alyxfs.cli.fstab_options import parsed
from alyxfs.settings import options
from asking import Asking
from mounted import environment, run_alyxfs


def test_what_every_mount_may_be_given_is_passed_over():
    text = "rw,nodev,nosuid,noatime,_netdev,nofail,noauto,user,user=root,x-systemd.automount,comment=a b,defaults"
    assert parsed(text) == ({"rw": True}, {})


def test_each_option_of_the_table_can_be_given():
    for option in options():
        name = option.name
        value = {bool: "", float: "=7", int: "=7", str: "=a\\,b"}.get(type(option.default), "=/a")
        expected = {bool: True, float: 7.0, int: 7, str: "a,b"}.get(type(option.default), "/a")
        assert parsed(f"{name}{value}") == ({name: expected}, {})
        assert parsed(f"{name.replace('_', '-')}{value}") == ({name: expected}, {})


def test_read_only_the_account_and_opposites():
    assert parsed("rw,ro") == ({"rw": False}, {})
    assert parsed("alyx_user=anna,token_file=/t") == ({}, {"user": "anna", "token_file": "/t"})
    assert parsed("noauto,snapshot=/shared/a.snapshot") == ({}, {"snapshot": "/shared/a.snapshot"})
    assert parsed("no_allow_other") == ({"allow_other": False}, {})


@pytest.mark.parametrize("text", ["time_to_live", "time_to_live=soon", "allow_other=yes", "password=x", "rv"])
def test_what_is_no_option_is_refused_by_name(text):
    with pytest.raises(click.UsageError, match=text.split("=", maxsplit=1)[0]):
        parsed(text)


def test_fuses_own_helper_mounts_it(demo, home):
    """As mount(8) calls it for the type fuse.alyxfs."""
    directory = home / "drive"
    directory.mkdir()
    programs = f"{Path(sys.executable).parent}:/usr/sbin:/sbin:{os.environ['PATH']}"
    variables = environment(home, PATH=programs, ALYXFS_USER="demo", ALYXFS_PASSWORD="demo")
    helper = shutil.which("mount.fuse3", path=programs)
    given = "ro,_netdev,nofail,x-systemd.automount,time_to_live=77,deadline=20"
    command = [helper, demo.url, str(directory), "-t", "fuse.alyxfs", "-o", given]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60, check=False)
    try:
        assert done.returncode == 0, done.stderr
        assert json.loads((directory / ".alyxfs/status.json").read_bytes())["time_to_live"] == 77
    finally:
        ended = run_alyxfs(home, "umount", str(directory))
    assert ended.returncode == 0, ended.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="a line in fstab is root's to write")
def test_a_line_in_fstab_mounts_it(demo, home):
    """In a mount namespace of its own, where fstab and /usr/local/bin are the test's."""
    directory, programs, table, token = home / "drive", home / "bin", home / "fstab", home / "token"
    directory.mkdir()
    programs.mkdir()
    (programs / "alyxfs").symlink_to(Path(sys.executable).with_name("alyxfs"))
    token.touch(mode=0o600)
    token.write_text(Asking(demo.url).token)
    given = f"ro,noauto,user,_netdev,nofail,token_file={token},time_to_live=77"
    table.write_text(f"{demo.url} {directory} fuse.alyxfs {given} 0 0\n")
    script = f"""set -e
    mount --bind {programs} /usr/local/bin
    mount --bind {table} /etc/fstab
    mount {directory}
    grep '"time_to_live": 77' {directory}/.alyxfs/status.json
    ls {directory}
    umount {directory}
    """
    # mount(8) hands on neither HOME nor PATH.
    places = {f"XDG_{name}_HOME": str(home / name.lower()) for name in ("CACHE", "CONFIG", "STATE", "DATA")}
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
        env=environment(home, **places),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "sessions" in done.stdout.split()
