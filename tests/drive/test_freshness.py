"""How long what is known is shown: a time to live for all endpoints, others for some."""

from __future__ import annotations

import json
import os
import time

import pytest

from alyxfs import settings
from alyxfs.demo.server import running_demo
from alyxfs.errors import ConfigurationError
from asking import Asking
from mounted import mounted, run_alyxfs, until
from other_python import SHIFTED_CLOCK, python_with


def test_an_endpoint_with_a_short_time_to_live_shows_changes_and_one_with_a_long_time_is_not_asked(
    demo_directory, home
):
    with (
        running_demo(demo_directory, largest_file_mb=2) as demo,
        mounted(demo.url, home, "--time-to-live", "0.2", "--time-to-live-of", "subjects=0.3, labs=3600") as drive,
    ):
        asking = Asking(demo.url)

        def shown(path, field):
            return json.loads((drive / path).read_bytes())[field]

        lab, subject = "labs/cortexlab", "subjects/KS001"
        timezone = shown(f"{lab}.json", "timezone")
        shown(f"{subject}.json", "description")
        asking.send("PATCH", f"/{lab}", {"timezone": "Europe/Lisbon"})
        asking.send("PATCH", f"/{subject}", {"description": "changed elsewhere"})
        demo.clear_requests()
        until(lambda: shown(f"{subject}.json", "description") == "changed elsewhere", "the change of the subject")
        assert shown(f"{lab}.json", "timezone") == timezone != "Europe/Lisbon"
        assert not [entry for entry in demo.requests() if entry["path"].startswith("/labs")]
        assert run_alyxfs(home, "refresh", str(drive / "labs")).returncode == 0
        assert shown(f"{lab}.json", "timezone") == "Europe/Lisbon", "what is below the path is asked anew"
        told = json.loads((drive / ".alyxfs/status.json").read_bytes())
        assert told["time_to_live_of"] == {"subjects": 0.3, "labs": 3600}


def test_an_endpoint_that_the_server_does_not_have_is_told_at_the_mount(demo, home):
    own = ("--time-to-live-of", "mice=5", demo.url, str(home / "drive"))
    done = run_alyxfs(home, "mount", *own, ALYXFS_USER="demo", ALYXFS_PASSWORD="demo")
    assert (done.returncode, "'mice'" in done.stderr) == (3, True)


def test_times_to_live_are_endpoints_with_seconds():
    assert settings.Settings(time_to_live_of="a=1, b-c = 2.5,").times_to_live() == {"a": 1.0, "b-c": 2.5}
    assert settings.Settings().times_to_live() == {}
    for wrong in ("labs", "labs=", "=3", "labs=soon", "labs=-1", "labs=nan"):
        with pytest.raises(ConfigurationError, match="takes endpoints with seconds"):
            settings.Settings(time_to_live_of=wrong).times_to_live()


def test_a_web_server_that_says_alyx_is_away_counts_as_away(demo_directory, home):
    with (
        running_demo(demo_directory, largest_file_mb=2, control=True) as demo,
        mounted(demo.url, home, "--time-to-live", "0.1") as drive,
    ):

        def status():
            return json.loads((drive / ".alyxfs/status.json").read_bytes())

        lab = (drive / "labs/cortexlab.json").read_bytes()
        assert status()["stale_since"] is None
        demo.control(fail={"status": 502, "count": 1000, "path_prefix": "/labs"})
        assert (drive / "labs/cortexlab.json").read_bytes() == lab
        until(lambda: (drive / "labs/cortexlab.json").read_bytes() == lab and status()["stale_since"], "the word of it")
        demo.control(reset=True)
        until(
            lambda: (drive / "labs/cortexlab.json").read_bytes() == lab and status()["stale_since"] is None,
            "the word that it is back",
        )


def test_a_clock_that_is_set_back_keeps_nothing_for_fresh(demo_directory, home, tmp_path):
    """Neither while the drive is mounted, nor what an earlier mount asked for in what is the future now."""
    shift = tmp_path / "shift"
    shift.write_text("7200")
    packages = python_with(tmp_path / "packages", SHIFTED_CLOCK.format(file=str(shift)))
    day = "data/cortexlab/Subjects/KS001"
    with running_demo(demo_directory, largest_file_mb=2) as demo:
        asking = Asking(demo.url)

        def looks(drive):
            description = json.loads((drive / "subjects/KS001.json").read_bytes())["description"]
            return (
                description,
                (drive / "labs/new_lab.json").name in os.listdir(drive / "labs"),
                os.listdir(drive / day),
            )

        with mounted(demo.url, home, "--time-to-live", "1", **packages) as drive:
            before = looks(drive)
            shift.write_text("3600")
            asking.send("PATCH", "/subjects/KS001", {"description": "first"})
            until(lambda: looks(drive)[0] == "first", "the change after the clock was set back")
        shift.write_text("0")
        asking.send("PATCH", "/subjects/KS001", {"description": "second"})
        asking.send("POST", "/labs", {"name": "new_lab"})
        session = {"subject": "KS001", "lab": "cortexlab", "start_time": "2024-07-08T09:10:11", "number": 7}
        asking.send("POST", "/sessions", {**session, "users": ["demo"]})
        with mounted(demo.url, home, "--time-to-live", "3600", **packages) as drive:
            assert looks(drive) == ("second", True, sorted([*before[2], "2024-07-08"]))
    # The server is away: what was asked for last is what is known.
    with mounted(demo.url, home, "--time-to-live", "3600", "--deadline", "3", **packages) as drive:
        assert looks(drive)[:2] == ("second", True)


def test_with_a_time_to_live_of_0_each_operation_asks_once(demo, home):
    with mounted(demo.url, home, "--time-to-live", "0", "--requests-per-minute", "60000") as drive:
        folder = drive / "data/cortexlab/Subjects/KS001/2023-01-02/001/alf"
        began = time.monotonic()
        demo.clear_requests()
        names = os.listdir(folder)
        for name in names:
            os.stat(folder / name)
        asked = [entry["path"] for entry in demo.requests()]
        seconds = time.monotonic() - began
        assert len(names) > 3
        changes = [path for path in asked if path.startswith("/datasets?django=auto_datetime")]
        assert 1 <= len(changes) <= 2 + seconds, "once for what the kernel asks in a row"
        assert not [path for path in asked if path.startswith("/data-repository/")], "the list has told of each"
        assert asked.count("/labs?limit=25&offset=0") <= 2 * (1 + len(names))
        demo.clear_requests()
        (drive / "labs/cortexlab.json").read_bytes()
        assert 1 <= len(demo.requests()) <= 2, "one for its name, one for its content"


@pytest.mark.parametrize("length", [300_000, 900_000])
def test_who_reads_a_record_that_changes_meanwhile_gets_all_of_one_version(own_demo, home, length):
    """The kernel has one set of pages for a file: those of another version are kept from it."""
    asking, old = Asking(own_demo.url), {"a": "A" * 600_000}
    session = asking.send("POST", "/sessions", {"subject": "KS001", "lab": "cortexlab", "json": old})["id"]
    with mounted(own_demo.url, home) as drive:
        path = drive / "sessions" / f"{session}.json"
        with open(path, "rb", buffering=0) as first:
            beginning = first.read(4096)
            new = asking.send("PATCH", f"/sessions/{session}", {"json": {"a": "B" * length}})["json"]
            assert run_alyxfs(home, "refresh", str(path)).returncode == 0
            assert json.loads(path.read_bytes())["json"] == new
            assert json.loads(beginning + first.readall())["json"] == old
        assert json.loads(path.read_bytes())["json"] == new
        assert path.stat().st_size == len(path.read_bytes())
    asking.send("DELETE", f"/sessions/{session}")
