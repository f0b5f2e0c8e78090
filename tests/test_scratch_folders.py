"""Scratch folders: those of killed processes go with the next, and nobody else's."""

from __future__ import annotations

import subprocess
import sys

from alyxfs.scratch_folders import IN_USE, scratch_folder

PROGRAM = """
import sys
from pathlib import Path
from alyxfs.scratch_folders import scratch_folder
with scratch_folder("mine-", Path(sys.argv[1])) as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


def started(directory):
    command = [sys.executable, "-c", PROGRAM, str(directory)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return process, process.stdout.readline().strip()


def test_folders_of_killed_processes_go_and_all_others_stay(tmp_path):
    for name in ("mine-of-an-earlier-version", "other-x"):
        (tmp_path / name).mkdir()
    (tmp_path / "other-x" / IN_USE).touch()
    (tmp_path / "mine-link").symlink_to(tmp_path / "other-x")
    killed, left_behind = started(tmp_path)
    living, in_use = started(tmp_path)
    try:
        killed.kill()
        killed.wait()
        with scratch_folder("mine-", tmp_path) as folder:
            assert folder.stat().st_mode & 0o777 == 0o700
            there = {str(path) for path in tmp_path.iterdir()}
            assert left_behind not in there
            assert in_use in there
            assert len(there) == 5
        assert not folder.exists()
    finally:
        living.communicate("")
        killed.communicate()
    assert living.returncode == 0
