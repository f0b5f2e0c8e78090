"""How long what is known is shown: a time to live for all endpoints, others for some."""

from __future__ import annotations

import json

import pytest

from alyxfs import settings
from alyxfs.demo.server import running_demo
from alyxfs.errors import ConfigurationError
from asking import Asking
from mounted import mounted, run_alyxfs, until


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
        mounted(demo.url, home, "--time-to-live", "0.1", "--deadline", "2") as drive,
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
