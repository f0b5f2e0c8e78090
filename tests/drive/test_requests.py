"""How few requests looking costs, counted at the server."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import subprocess

import pytest

from alyxfs import file_names
from asking import Asking
from mounted import mounted, run_alyxfs, until


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


def test_links_cost_no_request_of_their_own(demo, drive):
    os.listdir(drive / "data/cortexlab/Subjects")  # what is below a lab is asked once
    names = [name.removesuffix(".json") for name in os.listdir(drive / "sessions/lab=cortexlab")]
    demo.clear_requests()
    with_place = {}
    for name in names:
        with contextlib.suppress(FileNotFoundError):  # it lacks a lab or a date
            with_place[name] = os.readlink(drive / "sessions/lab=cortexlab" / name)
    for subject in os.listdir(drive / "data/cortexlab/Subjects"):
        os.readlink(drive / "subjects" / subject)
    asked = [request["path"] for request in demo.requests()]
    assert len(asked) <= len(names) - len(with_place), asked
    assert len(with_place) > 20
    name, target = next(iter(with_place.items()))
    assert (drive / "sessions/lab=cortexlab" / name).resolve() == (drive / "sessions" / name).resolve(), target


def test_links_of_a_listing_cost_no_request_for_each(demo, drive):
    """Also of subjects that have no sessions, so that ``data/`` does not know them."""
    os.listdir(drive / "data/cortexlab/Subjects")
    for endpoint in ("insertions", "subjects"):
        names = [name.removesuffix(".json") for name in os.listdir(drive / endpoint)]
        demo.clear_requests()
        found = []
        for name in names:
            with contextlib.suppress(OSError):  # of a session or lab without a place
                found.append(os.readlink(drive / endpoint / name))
        asked = paths(demo)
        assert len(asked) <= 3, (endpoint, asked)  # of a name that two subjects have: the lists cannot say which
        assert len(found) > len(names) / 2, endpoint


@pytest.mark.parametrize("nickname", ["q?x=1&y", "v1.2", "100%25", "trailing."])
def test_a_subject_of_any_name_has_a_link_before_it_was_listed(demo, drive, nickname):
    lab = next(row["lab"] for row in Asking(demo.url).rows("/subjects") if row["nickname"] == nickname)
    name = file_names.encode(nickname)
    assert os.readlink(drive / "subjects" / name) == f"../data/{lab}/Subjects/{name}"


def test_a_link_has_the_time_of_what_it_leads_to(demo, drive):
    row = next(row for row in Asking(demo.url).rows("/sessions?lab=cortexlab") if row["number"] and row["subject"])
    link = drive / "sessions" / row["id"]
    assert os.lstat(link).st_mtime == os.stat(link).st_mtime > 0


def test_a_dataset_without_a_file_is_no_dangling_link(demo, drive):
    rows = Asking(demo.url).rows("/datasets?exists=False")
    row = next(row for row in rows if row["session"] and not any(file["exists"] for file in row["file_records"]))
    with pytest.raises(OSError, match="No data") as caught:
        os.readlink(drive / "datasets" / row["url"].rsplit("/", 1)[-1])
    assert caught.value.errno == errno.ENODATA


@pytest.mark.parametrize("options", [(), ("--rw",)], ids=["reading", "writing"])
def test_mounting_again_asks_nothing_while_what_is_known_is_fresh(demo, home, options):
    counts = []
    for _ in range(2):
        demo.clear_requests()
        with mounted(demo.url, home, "--keep-token", *options) as drive:
            assert "labs" in os.listdir(drive.path)
            counts.append(len(demo.requests()))
    assert counts[0] <= 4
    assert counts[1] == 0


def test_the_status_says_what_waits_for_the_servers_limit(demo, home):
    with mounted(demo.url, home, "--requests-per-minute", "20") as drive:
        records = [drive / "subjects" / name for name in os.listdir(drive / "subjects")]
        reader = subprocess.Popen(["cat", *records], stdout=subprocess.DEVNULL)
        try:
            state = drive / ".alyxfs/status.json"
            until(lambda: json.loads(state.read_bytes())["waiting_for_limit"], "a request that waits")
            shown = run_alyxfs(home, "status", str(drive.path)).stdout
            assert "1 request waiting for the server's limit" in shown
        finally:
            reader.kill()
            reader.wait(30)
