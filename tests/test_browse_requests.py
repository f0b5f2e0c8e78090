"""How few requests looking costs, counted at the server."""

from __future__ import annotations

import itertools
import os
import subprocess

import pytest

from asking import Asking
from mounted import mounted, until


def paths(demo):
    return [entry["path"] for entry in demo.requests() if not entry["path"].startswith("/data_files")]


def walked(directory):
    return [entry.name for entry in os.scandir(directory)]


@pytest.mark.parametrize("endpoint", ["labs", "sessions", "datasets", "insertions"])
def test_a_listing_costs_its_pages_and_ls_l_no_more(demo, drive, endpoint):
    count = Asking(demo.url).get(f"/{endpoint}?limit=1")["count"]
    demo.clear_requests()
    listed = subprocess.run(["ls", "-l", drive / endpoint], capture_output=True, text=True, check=True, timeout=60)
    assert len(listed.stdout.splitlines()) == count + 1
    assert len(paths(demo)) <= count / 1000 + 3
    demo.clear_requests()
    subprocess.run(["find", drive / endpoint, "-size", "+1c"], capture_output=True, check=True, timeout=60)
    assert len(walked(drive / endpoint)) == count
    assert paths(demo) == [], "a second listing within the time to live asks nothing"


def test_the_first_names_come_after_a_small_page_and_a_reader_that_stops_stops_the_paging(demo, drive):
    with os.scandir(drive / "datasets") as entries:
        first = [entry.name for entry in itertools.islice(entries, 20)]
    assert len(set(first)) == 20
    assert len(paths(demo)) <= 3
    fetched = sum(int(path.split("limit=")[1].split("&")[0]) for path in paths(demo))
    assert fetched < Asking(demo.url).get("/datasets?limit=1")["count"] / 2


def test_a_record_costs_one_request_and_then_none(demo, drive):
    session = Asking(demo.url).rows("/sessions")[0]["id"]
    demo.clear_requests()
    content = (drive / "sessions" / f"{session}.json").read_bytes()
    assert paths(demo) == [f"/sessions/{session}"]
    assert (drive / "sessions" / f"{session}.json").read_bytes() == content
    assert len(paths(demo)) == 1


def test_a_row_that_is_the_whole_record_costs_no_request_of_its_own(demo, drive):
    listed = walked(drive / "weighings")
    demo.clear_requests()
    for name in listed[:50]:
        assert (drive / "weighings" / name).read_bytes().startswith(b"{\n")
    assert paths(demo) == []


@pytest.mark.parametrize(
    "name", [".git", ".Trash-1000", "autorun.inf", "x.swp", ".x.json.swp", "desktop.ini", "no-uuid.json"]
)
def test_names_that_cannot_exist_cost_nothing(demo, drive, name):
    for directory in (drive.path, drive / "sessions", drive / "datasets", drive / "subjects"):
        if (directory.name, name) == ("subjects", "no-uuid.json"):
            continue  # a nickname may well be so
        assert not (directory / name).exists()
    assert paths(demo) == []


def test_a_sessions_whole_tree_costs_one_request_or_none_with_the_servers_tables(demo, drive):
    asking = Asking(demo.url)
    session = next(
        row
        for row in asking.rows("/sessions")
        if row["lab"] and row["number"] and asking.get(f"/datasets?session={row['id']}&limit=1")["count"] > 10
    )
    place = drive / "data" / session["lab"] / "Subjects" / session["subject"] / session["start_time"][:10]
    os.stat(place)
    demo.clear_requests()
    found = subprocess.run(
        ["find", place / f"{session['number']:03d}", "-type", "f", "-printf", "%s %p\n"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert len(found.stdout.splitlines()) > 10
    assert [path.split("?")[0] for path in paths(demo)] in (
        [],
        [f"/sessions/{session['id']}"],
        [f"/sessions/{session['id']}", "/revisions"],
    )
    assert not [entry for entry in demo.requests() if entry["path"].startswith("/data_files")]


def test_listings_and_records_are_asked_again_after_the_time_to_live(demo, home):
    with mounted(demo.url, home, "--time-to-live", "0.2") as drive:
        walked(drive / "labs")
        demo.clear_requests()
        until(lambda: walked(drive / "labs") and paths(demo), "another request for the labs")


def test_a_second_mount_needs_no_second_download(demo, home):
    asking = Asking(demo.url)
    with mounted(demo.url, home) as drive:
        relative, _ = next(real_files(asking, drive))
        content = (drive / relative).read_bytes()
    with mounted(demo.url, home) as drive:
        demo.clear_requests()
        assert (drive / relative).read_bytes() == content
        assert not [entry for entry in demo.requests() if entry["path"].startswith("/data_files")]


def real_files(asking, drive):
    """Data files that the demo really serves: their place in the drive and their dataset."""
    sessions = {row["id"]: row for row in asking.rows("/sessions")}
    for dataset in asking.rows("/datasets?exists=true"):
        addresses = [record["data_url"] for record in dataset["file_records"] if record["data_url"]]
        session = sessions.get((dataset["session"] or "").rsplit("/", 1)[-1])
        if not addresses or session is None or not session["lab"] or not session["number"]:
            continue
        if not asking.serves(addresses[0]):
            continue
        yield asking.place(session, dataset), dataset
