"""The scripts for SLURM, run with its variables and without it: a drive for a job, and nothing of it afterwards."""

from __future__ import annotations

import getpass
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mounted import environment, mounted, run_alyxfs, until
from stranger import NUMBER, needs_root

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts" / "cluster"


@pytest.fixture(scope="module")
def snapshot(demo, tmp_path_factory):
    home = tmp_path_factory.mktemp("maker") / "home"
    with mounted(demo.url, home) as drive:
        assert run_alyxfs(home, "snapshot", str(drive.path), str(home / "snapshot")).returncode == 0
    return home / "snapshot"


@pytest.fixture
def slurm(snapshot, home):
    """What slurmd gives its scripts, and what an administrator has set."""
    program = home / "alyxfs"
    program.write_text(f'#!/bin/sh\nHOME={home} exec {sys.executable} -m alyxfs "$@"\n')
    program.chmod(0o755)
    return {
        "SLURM_JOB_ID": "4711",
        "SLURM_JOB_USER": getpass.getuser(),
        "SLURM_JOB_UID": str(os.geteuid()),
        "SLURM_JOB_COMMENT": "spikes, alyxfs",
        "ALYXFS": str(program),
        "ALYXFS_SNAPSHOT": str(snapshot),
        "ALYXFS_PLACE": str(home / "place"),
        "ALYXFS_SCRATCH": str(home / "scratch"),
    }


def run(home, script, slurm, **more):
    # environment() takes away what begins with ALYXFS_.
    variables = environment(home) | slurm | more
    return subprocess.run(
        [SCRIPTS / script], env=variables, capture_output=True, text=True, timeout=100, check=True
    ).stdout


def is_mounted(place):
    return f" {place} fuse" in Path("/proc/self/mounts").read_text()


def pid_of(drive):
    return json.loads((drive / ".alyxfs/status.json").read_bytes())["process"]


def is_alive(pid):
    return Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes() != b""


@pytest.mark.parametrize("end", ["well", "drive killed", "in use"])
def test_a_job_has_a_drive_and_leaves_nothing(home, slurm, end):
    drive = home / "place/4711/alyx"
    run(home, "prolog.sh", slurm)
    try:
        assert run(home, "task_prolog.sh", slurm) == f"export ALYX={drive}\n"
        assert "KS001" in os.listdir(drive / "data/cortexlab/Subjects")
        process = pid_of(drive)
        job = None
        if end == "drive killed":
            os.kill(process, signal.SIGKILL)
        elif end == "in use":
            job = subprocess.Popen(["sleep", "60"], cwd=drive)
        run(home, "epilog.sh", slurm)
        assert not is_mounted(drive)
        assert list((home / "place").iterdir()) == []
        if job is not None:
            job.kill()
            job.wait()
        until(lambda: not is_alive(process), "the end of the drive")
        assert (home / "scratch" / getpass.getuser()).exists(), "for the next job"
    finally:
        subprocess.run(["umount", "-l", drive], capture_output=True, check=False)


def test_a_job_that_does_not_want_one_has_none(home, slurm):
    run(home, "prolog.sh", slurm, SLURM_JOB_COMMENT="")
    assert run(home, "task_prolog.sh", slurm) == ""
    run(home, "epilog.sh", slurm)
    assert not (home / "place").exists()


def test_a_drive_that_cannot_be_mounted_drains_no_node(home, slurm):
    run(home, "prolog.sh", slurm, ALYXFS_SNAPSHOT="/no/such/file")
    assert run(home, "task_prolog.sh", slurm) == ""
    run(home, "epilog.sh", slurm)
    assert list((home / "place").iterdir()) == []


@pytest.mark.parametrize(("drives", "each"), [("20", 26), ("7", 74), ("1000", 1)])
def test_without_a_snapshot_drives_share_what_a_user_may_ask(home, slurm, drives, each):
    program = home / "told"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {home}/arguments\n')
    program.chmod(0o755)
    job = {**slurm, "ALYXFS": str(program), "ALYXFS_SNAPSHOT": "", "ALYXFS_DRIVES": drives}
    run(home, "prolog.sh", job, ALYXFS_API_PROXY="http://cache:8081")
    arguments = (home / "arguments").read_text().splitlines()
    options = dict(zip(arguments[1:-1:2], arguments[2:-1:2], strict=True))
    assert options["--requests-per-minute"] == str(each)
    assert options["--api-proxy"] == "http://cache:8081"


@needs_root
def test_slurmd_runs_as_root_and_the_drive_is_its_users(slurm):
    """What is mounted is told by a program in place of alyxfs: another user cannot run that of the tests."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        program = folder / "alyxfs"
        program.write_text('#!/bin/sh\nfor last; do :; done\nmkdir -p "$last/data"; env > "$last/data/$1-$(id -un)"\n')
        program.chmod(0o755)
        places = {"ALYXFS_PLACE": str(folder / "run"), "ALYXFS_SCRATCH": str(folder / "scratch")}
        job = {**slurm, **places, "SLURM_JOB_USER": "nobody", "ALYXFS": str(program), "SECRET": "of root"}
        run(folder, "prolog.sh", job)
        told = folder / "run/4711/alyx/data/mount-nobody"
        assert told.stat().st_uid == NUMBER
        assert set(re.findall(r"^(\w+)=", told.read_text(), re.MULTILINE)) <= {
            "HOME",
            "USER",
            "PATH",
            "LANG",
            "PWD",
            "_",
        }
        for each in (folder / "run/4711", folder / "scratch/nobody"):
            assert (each.stat().st_uid, each.stat().st_mode & 0o777) == (NUMBER, 0o700)
        assert (folder / "run").stat().st_mode & 0o777 == 0o755
        run(folder, "epilog.sh", job)
        assert not (folder / "run/4711").exists()
        # A folder that somebody else made first is left alone.
        os.chown(folder / "scratch", NUMBER, -1)
        run(folder, "prolog.sh", job)
        assert not (folder / "run/4711").exists()
