"""Drives of one user keep to one limit of requests a minute, counted at the server."""

from __future__ import annotations

import json
import subprocess
import time

import pytest

from mounted import mounted, run_alyxfs, until

LIMIT = ("--requests-per-minute", "60")


def status(drive):
    return json.loads((drive / ".alyxfs/status.json").read_bytes())


@pytest.mark.timeout(120)
def test_two_drives_that_walk_at_the_same_time_send_no_more_than_one_may(demo, home):
    demo.clear_requests()
    began = time.monotonic()
    with (
        mounted(demo.url, home, *LIMIT, directory=home / "one") as one,
        mounted(demo.url, home, *LIMIT, "--cache-directory", str(home / "own"), directory=home / "other") as other,
    ):
        readers = [
            subprocess.Popen(f"cat {drive.path}/{endpoint}/*.json", shell=True, stdout=subprocess.DEVNULL)
            for drive, endpoint in ((one, "sessions"), (other, "subjects"))
        ]

        def sent(endpoint):
            return [entry for entry in demo.requests() if entry["path"].startswith(f"/{endpoint}/")]

        try:
            until(lambda: all(status(drive)["waiting_for_limit"] for drive in (one, other)), "drives that wait")
            for endpoint in ("sessions", "subjects"):
                before = len(sent(endpoint))
                until(lambda e=endpoint, b=before: len(sent(e)) > b + 1, f"turns for the walk of {endpoint}")
            total, seconds = len(demo.requests()), time.monotonic() - began
            assert 30 <= total <= 31 + seconds / 2
            assert [status(drive)["cache_remarks"] for drive in (one, other)] == [[], []]
        finally:
            for reader in readers:
                reader.kill()
                reader.wait(30)


def test_who_asks_nothing_takes_no_turn(demo, home):
    turns = home / ".local/state/alyxfs/requests"
    with mounted(demo.url, home, "--keep-token"):
        (file,) = turns.iterdir()
    file.unlink()
    with mounted(demo.url, home, "--keep-token") as drive:
        list(drive.path.iterdir())
    assert list(turns.iterdir()) == []


def test_a_drive_that_has_to_count_alone_works_and_the_status_says_so(demo, home):
    turns = home / ".local/state/alyxfs/requests"
    turns.parent.mkdir(parents=True)
    turns.write_text("in the way")
    with mounted(demo.url, home) as drive:
        assert list((drive / "labs").iterdir())
        (remark,) = status(drive)["cache_remarks"]
        assert "counts its requests alone" in remark
        assert "counts its requests alone" in run_alyxfs(home, "status", str(drive.path)).stdout.replace("\n", " ")
        assert len([line for line in drive.log if "counts its requests alone" in line]) == 1
