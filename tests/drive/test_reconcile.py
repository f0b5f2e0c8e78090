"""What was deleted or renamed shows in ``data/``, though the cache tables still have it as it was."""

from __future__ import annotations

import json
import os
import subprocess

from asking import Asking
from mounted import mounted, run_alyxfs, until

SUBJECTS = "data/cortexlab/Subjects"
ALF = f"{SUBJECTS}/KS001/2023-01-02/001/alf"


def asked(demo):
    return [entry["path"] for entry in demo.requests() if not entry["path"].startswith("/data_files")]


def unprotected(directory):
    """Two datasets that are not protected."""
    return sorted(name for name in os.listdir(directory) if name.startswith("_ibl_wheel"))


def attribute(path, name):
    return os.getxattr(path, f"user.alyx.{name}").decode()


def refreshed(home, path):
    done = run_alyxfs(home, "refresh", str(path))
    assert done.returncode == 0, done.stderr


def test_a_deletion_elsewhere_shows_within_the_time_to_live(fresh_demo, home):
    asking = Asking(fresh_demo.url)
    with mounted(fresh_demo.url, home, "--time-to-live", "1.5") as drive:
        name = unprotected(drive / ALF)[0]
        dates = sorted(os.listdir(drive / SUBJECTS / "KS003"))
        session = attribute(drive / SUBJECTS / "KS003" / dates[0] / "001", "session")
        asking.send("DELETE", f"/datasets/{attribute(drive / ALF / name, 'dataset')}")
        asking.send("DELETE", f"/sessions/{session}")
        until(lambda: dates[0] not in os.listdir(drive / SUBJECTS / "KS003"), "the end of the session", patience=20)
        until(lambda: name not in os.listdir(drive / ALF), "the end of the dataset", patience=20)
    with mounted(fresh_demo.url, home) as drive:
        assert name not in os.listdir(drive / ALF)


def test_refresh_asks_what_is_gone_and_what_has_another_name(fresh_demo, home):
    asking = Asking(fresh_demo.url)
    with mounted(fresh_demo.url, home) as drive:
        first, second = unprotected(drive / ALF)
        before = {"KS001", "KS002", "KS003"}
        assert before <= set(os.listdir(drive / SUBJECTS))
        gone = max(os.listdir(drive / SUBJECTS / "KS001"))
        (number,) = os.listdir(drive / SUBJECTS / "KS001" / gone)
        session = attribute(drive / SUBJECTS / "KS001" / gone / number, "session")
        identities = [attribute(drive / ALF / name, "dataset") for name in (first, second)]

        asking.send("DELETE", f"/datasets/{identities[0]}")
        assert first in os.listdir(drive / ALF), "the server tells of no deletion"
        fresh_demo.clear_requests()
        refreshed(home, drive / ALF)
        assert first not in os.listdir(drive / ALF)
        assert len(asked(fresh_demo)) == 1, "one request for a session"

        asking.send("DELETE", f"/datasets/{identities[1]}")
        asking.send("DELETE", f"/sessions/{session}")
        asking.send("PATCH", "/subjects/KS002", {"nickname": "KS002-new"})
        refreshed(home, drive / SUBJECTS / "KS001")
        assert second not in os.listdir(drive / ALF)
        assert gone not in os.listdir(drive / SUBJECTS / "KS001")
        refreshed(home, drive / SUBJECTS)
        assert set(os.listdir(drive / SUBJECTS)) & {"KS002", "KS002-new"} == {"KS002-new"}

        def find_asks_nothing():
            fresh_demo.clear_requests()
            subprocess.run(["find", drive / SUBJECTS], stdout=subprocess.DEVNULL, check=True, timeout=60)
            return asked(fresh_demo) == []

        until(find_asks_nothing, "the end of the search that the number of records called for")
    with mounted(fresh_demo.url, home) as drive:
        assert second not in os.listdir(drive / ALF), "what was found out is kept"


def test_a_renamed_subject_is_found_by_its_new_name_and_then_only_there(fresh_demo, home):
    asking = Asking(fresh_demo.url)
    with mounted(fresh_demo.url, home) as drive:
        dates = sorted(os.listdir(drive / SUBJECTS / "KS001"))
        asking.send("PATCH", "/subjects/KS001", {"nickname": "KS001-new"})
        assert sorted(os.listdir(drive / SUBJECTS / "KS001-new")) == dates
        names = os.listdir(drive / SUBJECTS)
        assert "KS001-new" in names
        assert "KS001" not in names
        fresh_demo.clear_requests()
        assert not (drive / SUBJECTS / ".git").exists()
        assert asked(fresh_demo) == [], "names that programs look for everywhere cost nothing"


def test_what_this_drive_deletes_or_renames_shows_at_once(fresh_demo, home):
    asking = Asking(fresh_demo.url)
    values = {"subject": "KS001", "lab": "cortexlab", "users": ["demo"], "number": 7}
    made = asking.send("POST", "/sessions", {**values, "start_time": "2024-07-08T10:00:00"})
    session = made["url"].rsplit("/", 1)[-1]
    with mounted(fresh_demo.url, home, "--rw") as drive:
        place = drive / SUBJECTS / "KS001/2024-07-08/007"
        assert attribute(place, "session") == session
        name = unprotected(drive / ALF)[0]
        dataset = attribute(drive / ALF / name, "dataset")
        files = [row["url"].rsplit("/", 1)[-1] for row in asking.rows(f"/files?django=dataset,{dataset}")]
        hanging = [drive / f"files/{file}.json" for file in files]
        subprocess.run(["rm", *hanging], check=True, timeout=30)
        # No undo brings back all columns of a dataset, so that its delete takes consent.
        assert run_alyxfs(home, "allow-deletes", str(drive / f"datasets/{dataset}.json")).returncode == 0
        subprocess.run(["rm", drive / f"datasets/{dataset}.json"], check=True, timeout=30)
        assert name not in os.listdir(drive / ALF)
        subprocess.run(["rm", drive / f"sessions/{session}.json"], check=True, timeout=30)
        assert not place.exists()
        assert "2024-07-08" not in os.listdir(drive / SUBJECTS / "KS001")
        subprocess.run(["mv", drive / "subjects/KS002.json", drive / "subjects/KS002-new.json"], check=True, timeout=30)
        assert not (drive / SUBJECTS / "KS002").exists()
        assert set(os.listdir(drive / SUBJECTS)) & {"KS002", "KS002-new"} == {"KS002-new"}
        assert json.loads((drive / "subjects/KS002-new.json").read_bytes())["nickname"] == "KS002-new"
        (first,) = list((drive / SUBJECTS / "KS002-new").iterdir())[:1]
        assert attribute(next(first.iterdir()), "subject") == "KS002-new"
