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
from mounted import environment, run_alyxfs, until


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
    given = "ro,nodev,nosuid,_netdev,nofail,x-systemd.automount,time_to_live=77,deadline=20"
    command = [helper, demo.url, str(directory), "-n", "-t", "fuse.alyxfs", "-o", given]  # -n: from autofs
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


needs_autofs = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("automount") is None or "autofs" not in Path("/proc/filesystems").read_text(),
    reason="autofs is not installed, or the kernel has none, or we are not root (apt-get install autofs)",
)


@needs_autofs
def test_autofs_mounts_it_when_somebody_looks(demo, home):
    """In namespaces of its own: all that was started there ends with them."""
    programs, token = home / "bin", home / "token"
    programs.mkdir()
    (programs / "alyxfs").symlink_to(Path(sys.executable).with_name("alyxfs"))
    token.touch(mode=0o600)
    token.write_text(Asking(demo.url).token)
    address = demo.url.replace(":", "\\:")
    (home / "map").write_text(f"alyx -fstype=fuse.alyxfs,ro,nodev,token_file={token},time_to_live=77 {address}\n")
    (home / "master").write_text(f"{home}/auto {home}/map --timeout=60\n")
    script = f"""
    mount --bind {programs} /usr/local/bin
    mount -t tmpfs none /run  # where automount notes that it is running
    automount --foreground --verbose {home}/master > {home}/log 2>&1 < /dev/null &
    until grep -q mounted {home}/log; do kill -0 $! || exit 1; sleep 0.05; done
    setsid grep '"time_to_live": 77' {home}/auto/alyx/.alyxfs/status.json  # automount waits for no kin of its own
    """
    places = {f"XDG_{name}_HOME": str(home / name.lower()) for name in ("CACHE", "CONFIG", "STATE", "DATA")}
    separate = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"]
    with open(home / "output", "w+") as output:  # no pipe: the drive may outlive the script for a moment
        subprocess.run(
            [*separate, "timeout", "60", "sh", "-c", script],
            env=environment(home, **places),
            stdout=output,
            stderr=output,
            timeout=90,
            check=False,
        )
        output.seek(0)
        assert "77" in output.read(), (home / "log").read_text()


def test_a_drive_leaves_its_starters_group_only_when_it_is_mounted(tmp_path):
    """Autofs lets nobody else to the place of a mount that it waits for: who looks there waits for himself."""
    script = f"""
import os
from pathlib import Path
from alyxfs.daemon import run_in_background
told = Path({str(tmp_path)!r}) / "told"
def serve(ready):
    before = os.getpgrp()
    ready()
    told.write_text(f"{{before}} {{os.getpgrp()}} {{os.getsid(0)}} {{os.getpid()}}")
    os.rename(told, f"{{told}} whole")
run_in_background(serve, told.with_name("log"))
print(os.getpgrp())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    whole = tmp_path / "told whole"
    until(whole.exists, "what the process in the background tells")
    before, after, session, process = whole.read_text().split()
    assert before == done.stdout.strip()
    assert after == session == process
