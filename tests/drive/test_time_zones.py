"""Changes of others arrive wherever the server stands: it stamps records with its own local time, and tells no zone."""

from __future__ import annotations

import json

import pytest

from alyxfs.demo.server import running_demo
from asking import Asking
from mounted import mounted, until

ZONES = {"12 hours west": "UTC+12", "4 hours west": "UTC+4", "UTC": "UTC0", "5:45 hours east": "UTC-5:45"}
ZONES["14 hours east"] = "UTC-14"
DAY = "cortexlab/Subjects/KS001/2023-01-03"


@pytest.fixture
def demo(demo_directory):
    with running_demo(demo_directory, largest_file_mb=2, control=True) as running:
        yield running


def session_of(asking):
    return next(row for row in asking.rows("/sessions?subject=KS001") if row["start_time"].startswith("2023-01-03"))


def add_file(asking, session, name):
    """Another user registers a file."""
    place = f"KS001/2023-01-03/001/alf/{name}"
    fields = {"name": name, "dataset_type": "spikes.times", "collection": "alf", "session": session["url"]}
    made = asking.send("POST", "/datasets", {**fields, "file_size": 10, "hash": "0" * 32})
    record = {"dataset": made["url"], "data_repository": "flatiron_cortexlab", "relative_path": place, "exists": True}
    asking.send("POST", "/files", record)


@pytest.mark.parametrize("zone", ZONES.values(), ids=ZONES)
def test_what_others_change_arrives_in_records_and_in_data(demo, home, zone):
    demo.control(time_zone=zone)
    asking = Asking(demo.url)
    session = session_of(asking)
    with mounted(demo.url, home, "--time-to-live", "1", "--time-to-live-of", "sessions=1", "--watch", "0.2") as drive:
        folder = drive / "data" / DAY / "001/alf"
        before = {path.name for path in folder.iterdir()}
        add_file(asking, session, "spikes.times.npy")
        until(lambda: {path.name for path in folder.iterdir()} - before == {"spikes.times.npy"}, "the new file")


@pytest.mark.parametrize("zone", ZONES.values(), ids=ZONES)
def test_watching_tells_what_others_change_also_after_clocks_are_set_back(demo, home, zone):
    """Nothing but watching may tell: the time to live is long."""
    demo.control(time_zone=zone)
    asking = Asking(demo.url)
    session = session_of(asking)
    record = f"sessions/{session['id']}.json"
    with mounted(demo.url, home, "--time-to-live", "3600", "--watch", "0.2") as drive:

        def narrative():
            return json.loads((drive / record).read_bytes())["narrative"]

        narrative()
        for text in ("first", "second"):
            asking.send("PATCH", f"/sessions/{session['id']}", {"narrative": text})
            until(lambda text=text: narrative() == text, f"the {text} change")
        if zone == ZONES["4 hours west"]:
            demo.control(time_zone="UTC+5")  # as in autumn: what is changed now is stamped an hour before the last one
            asking.send("PATCH", f"/sessions/{session['id']}", {"narrative": "in autumn"})
            until(lambda: narrative() == "in autumn", "the change after clocks were set back")
            asking.send("PATCH", f"/sessions/{session['id']}", {"narrative": "and on"})
            until(lambda: narrative() == "and on", "the next one")
            demo.control(time_zone="UTC+4")  # and forward in spring
            asking.send("PATCH", f"/sessions/{session['id']}", {"narrative": "in spring"})
            until(lambda: narrative() == "in spring", "the change after clocks were set forward")
