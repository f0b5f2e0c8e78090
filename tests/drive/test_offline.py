"""Without the server: all that was listed or read before is there. With another drive: what it changes is seen."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import time

import pytest

from alyxfs.demo.server import running_demo
from mounted import mounted, until

SESSION = "data/cortexlab/Subjects/KS001/2023-01-02/001"
READ = f"{SESSION}/alf/_ibl_wheel.position.npy"


def looked_at(drive):
    """What a person has listed and read, by path."""
    found = {directory: sorted(os.listdir(drive / directory)) for directory in ("labs", "subjects", "data", SESSION)}
    found["query"] = sorted(os.listdir(drive / "sessions/lab=cortexlab/number=1"))
    for name in ("labs/cortexlab.json", "subjects/KS001.json", READ, "sessions/.help.md", "data/sessions.pqt"):
        found[name] = (drive / name).read_bytes()
    session = os.getxattr(drive / SESSION, "user.alyx.session").decode()
    found["session"] = (drive / "sessions" / f"{session}.json").read_bytes()
    found["link"] = os.path.realpath(drive / "sessions" / session)
    return found


def status(drive):
    return json.loads((drive / ".alyxfs/status.json").read_bytes())


@pytest.mark.parametrize("options", [(), ("--time-to-live", "0.1")], ids=["fresh", "stale"])
def test_after_a_mount_without_the_server_all_that_was_known_is_there(demo_directory, home, options):
    with running_demo(demo_directory, largest_file_mb=2) as demo:
        with mounted(demo.url, home, *options) as drive:
            before = looked_at(drive)
        url = demo.url
    started = time.time()
    with mounted(url, home, *options) as drive:
        assert time.time() - started < 20
        assert looked_at(drive) == before
        said = status(drive)
        assert said["stale_since"] >= started - 1, "since when the server is away"
        assert said["cache_tables"]["asked_at"] < started, "how old the tables and their changes are"
        # What was never seen is an error, and soon.
        for unknown in ("users/alice.json", f"{SESSION}/alf/_ibl_wheel.timestamps.npy"):
            began = time.monotonic()
            with pytest.raises(OSError, match="error") as caught:
                (drive / unknown).read_bytes()
            assert caught.value.errno == errno.EIO
            assert time.monotonic() - began < 10
        # So is a listing that nobody asked for before; names of data files are known from the tables.
        with pytest.raises(OSError, match="error"):
            os.listdir(drive / "users")
        assert len(os.listdir(drive / "data/harborlab/Subjects")) > 1


def test_the_labs_of_the_tables_show_though_they_were_never_listed(demo_directory, home):
    with running_demo(demo_directory, largest_file_mb=2) as demo:
        with mounted(demo.url, home) as drive:
            assert (drive / "data/sessions.pqt").stat().st_size > 0
        url = demo.url
    with mounted(url, home) as drive:
        assert {"cortexlab", "harborlab", "sessions.pqt"} <= set(os.listdir(drive / "data"))
        assert "KS001" in os.listdir(drive / "data/cortexlab/Subjects")


def test_a_server_that_was_never_reached_is_said_at_once(home):
    started = time.monotonic()
    with (
        pytest.raises(AssertionError, match=r"annot be reached|onnection"),
        mounted("http://127.0.0.1:9", home),
    ):
        pass
    assert time.monotonic() - started < 25


def test_what_one_drive_edits_others_see(demo_directory, home):
    """One with a short time to live, and one that watches."""
    with (
        running_demo(demo_directory, largest_file_mb=2) as demo,
        mounted(demo.url, home, "--rw", directory=home / "writing") as writing,
        mounted(demo.url, home, "--time-to-live", "1", directory=home / "forgetting") as forgetting,
        mounted(demo.url, home, "--watch", "1", directory=home / "watching") as watching,
    ):
        session = os.getxattr(writing / SESSION, "user.alyx.session").decode()
        name, dates = f"sessions/{session}.json", os.path.dirname(os.path.dirname(SESSION))

        def narrative(drive):
            return json.loads((drive / name).read_bytes())["narrative"]

        def is_listed(drive):
            return "2024-09-10" in os.listdir(drive / dates)

        for drive in (forgetting, watching):
            assert narrative(drive) != "edited"
            assert not is_listed(drive)
            os.listdir(drive / SESSION)
        (writing / name).write_text('{"narrative": "edited"}')
        for drive in (forgetting, watching):
            until(lambda drive=drive: narrative(drive) == "edited", "the edit", patience=5)
        values = {"subject": "KS001", "lab": "cortexlab", "users": ["demo"], "number": 9}
        made = writing / "sessions/new.json"
        made.write_text(json.dumps({**values, "start_time": "2024-09-10T10:00:00"}))
        for drive in (forgetting, watching):
            until(lambda drive=drive: is_listed(drive), "the new session among the data files", patience=5)
        identity = json.loads(made.read_bytes())["id"]
        subprocess.run(["rm", writing / f"sessions/{identity}.json"], check=True, timeout=30)
        for drive in (forgetting, watching):
            until(lambda drive=drive: not is_listed(drive), "its end", patience=8)


def test_many_readers_of_two_drives_leave_one_sound_store(demo_directory, home):
    """Both write what they learn into one file at the same time; a third reads it without the server."""
    with running_demo(demo_directory, largest_file_mb=2) as demo:
        with (
            mounted(demo.url, home, directory=home / "one") as one,
            mounted(demo.url, home, directory=home / "two") as two,
        ):
            seen = {}
            for endpoint in ("notes", "datasets", "insertions", "weighings", "users"):
                seen[endpoint] = sorted(os.listdir(one / endpoint))
                assert sorted(os.listdir(two / endpoint)) == seen[endpoint]
            for name in seen["insertions"][:20]:
                assert (one / "insertions" / name).read_bytes() == (two / "insertions" / name).read_bytes()
        url = demo.url
    with mounted(url, home) as drive:
        assert {endpoint: sorted(os.listdir(drive / endpoint)) for endpoint in seen} == seen
        for name in seen["insertions"][:20]:
            assert (drive / "insertions" / name).read_bytes()
