"""A long list whose drive is killed while a program reads it goes on where it was; the status tells how far it is."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess

from long_list import long_list, offsets
from mounted import environment, run_alyxfs, started, until

ROWS = 30_000
"""More than those from which on a list is long."""
STOPPED_AT = 24_000
CREDENTIALS = {"ALYXFS_USER": "anna", "ALYXFS_PASSWORD": "right"}


def test_it_goes_on_after_a_kill(tmp_path):
    point = tmp_path / "drive"
    with long_list(ROWS) as alyx:
        arguments = ["mount", "-f", "--requests-per-minute", "6000", alyx.url, str(point)]
        variables = environment(tmp_path, **CREDENTIALS)
        process = started(arguments, variables)
        try:
            until(point.is_mount, "the mount")
            with os.scandir(point / "datasets") as entries:
                first = [entry.name for entry in itertools.islice(entries, STOPPED_AT)]
            walk = until(lambda: _walks(point), "the walk in the status")[0]
            assert walk["listing"] == "datasets"
            assert STOPPED_AT <= walk["rows"] < walk["of"] == ROWS
            told = run_alyxfs(tmp_path, "status", str(point)).stdout
            assert re.search(f"datasets: 2[4-9],[0-9]+ of {ROWS:,} rows have come", told)
            run_alyxfs(tmp_path, "snapshot", str(point), str(tmp_path / "kept"))  # by then all of it is in the store
            process.send_signal(signal.SIGKILL)
            process.wait(30)
        finally:
            process.kill()
            subprocess.run(["umount", "-l", str(point)], capture_output=True, check=False)
            process.stdout.close()
        alyx.asked.clear()
        process = started(arguments, variables)
        try:
            until(point.is_mount, "the mount")
            names = os.listdir(point / "datasets")
            assert _walks(point) == []
        finally:
            process.terminate()
            process.wait(30)
            subprocess.run(["umount", "-l", str(point)], capture_output=True, check=False)
            process.stdout.close()
        assert names[: len(first)] == first
        assert len(set(names)) == ROWS
        again = [offset for offset in offsets(alyx.asked) if 0 < offset < STOPPED_AT - 1]
        assert again == [], "nothing is asked for again, but for the front"


def _walks(point):
    return json.loads((point / ".alyxfs" / "status.json").read_text())["walks"]
