"""Queries as directories, links, and what endpoints say of themselves."""

from __future__ import annotations

import errno
import json
import os
import urllib.parse
from contextlib import contextmanager

import pytest

from alyxfs import file_names
from asking import Asking
from queries import QUERIES, without_mark


@contextmanager
def raises(number):
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the number is compared below
        yield
    assert errno.errorcode[caught.value.errno] == errno.errorcode[number]


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_holds_what_the_server_selects(demo, shared_drive, query):
    endpoint, *filters = query.split("/")
    asked = "&".join(
        f"{name}={urllib.parse.quote(urllib.parse.unquote(value))}"
        for name, _, value in (part.partition("=") for part in filters)
    )
    lookup = {"subjects": "nickname", "users": "username"}.get(endpoint, "id")
    keys = sorted(
        file_names.encode(str(row[lookup]) if lookup in row else row["url"].rsplit("/", 1)[-1], ".json")
        for row in Asking(demo.url).rows(f"/{endpoint}?{asked}")
    )
    shown = sorted(os.listdir(shared_drive / query), key=without_mark)
    assert [without_mark(name) for name in shown] == keys


def test_the_queries_above_select_something(demo):
    asking = Asking(demo.url)
    empty = []
    for query in QUERIES:
        endpoint, *filters = query.split("/")
        if not asking.get(f"/{endpoint}?{'&'.join(filters).replace(' ', '%20')}&limit=1")["count"]:
            empty.append(query)
    assert empty == []


def test_a_record_is_the_same_file_through_a_query(demo, shared_drive):
    listed = os.listdir(shared_drive / "sessions/lab=cortexlab/number=1")
    first = shared_drive / "sessions/lab=cortexlab/number=1" / listed[0]
    assert first.stat().st_ino == (shared_drive / "sessions" / listed[0]).stat().st_ino
    assert json.loads(first.read_bytes())["lab"] == "cortexlab"
    other = next(row for row in Asking(demo.url).rows("/sessions") if row["lab"] == "harborlab")
    assert not (shared_drive / "sessions/lab=cortexlab" / f"{other['id']}.json").exists()


def test_an_unknown_filter_is_never_everything(shared_drive):
    with raises(errno.ENOENT):
        os.listdir(shared_drive / "sessions/colour=red")
    with raises(errno.ENOENT):
        os.listdir(shared_drive / "projects/colour=red")
    said = (shared_drive / ".alyxfs" / "errors.log").read_text()
    assert "sessions has no filter 'colour'; it has: " in said
    assert "projects has no field 'colour'; it has: " in said


@pytest.mark.parametrize(
    "query",
    [
        "sessions/number=abc",
        "sessions/date_range=yesterday",
        "sessions/django=no_such_field,1",
        "datasets/session=not-a-uuid",
        "subjects/alive=perhaps",
        "weighings/date_range=2021-01-01,2022-01-01",
        "sessions/lab=",
        "sessions/lab=%20",
        "sessions/django=",
        "sessions/number=1/number=2",
    ],
)
def test_a_value_that_the_server_refuses_is_an_error_with_its_words(shared_drive, query):
    with raises(errno.EINVAL):
        os.listdir(shared_drive / query)
    assert (shared_drive / ".alyxfs" / "errors.log").read_text().strip()


def test_endpoints_without_filters_are_queried_by_plain_fields(demo, shared_drive):
    rows = Asking(demo.url).rows("/projects")
    user = next(row["users"][0] for row in rows if row["users"])
    expected = sorted(file_names.encode(row["name"], ".json") for row in rows if user in row["users"])
    assert sorted(os.listdir(shared_drive / "projects" / f"users={user}")) == expected
    name = expected[0]
    narrower = f"name={urllib.parse.quote(file_names.decode(name[: -len('.json')]), safe='')}"
    assert os.listdir(shared_drive / "projects" / f"users={user}" / narrower) == [name]
    assert (shared_drive / "projects" / f"users={user}" / name).read_bytes() == (
        shared_drive / "projects" / name
    ).read_bytes()


def test_links_inside_a_query_lead_to_the_same_place(demo, shared_drive):
    session = next(row for row in Asking(demo.url).rows("/sessions?lab=cortexlab") if row["number"] and row["subject"])
    through = os.path.realpath(shared_drive / "sessions/lab=cortexlab" / session["id"])
    assert through == os.path.realpath(shared_drive / "sessions" / session["id"])
    assert os.path.isdir(through)


def test_links_and_descriptions_are_not_listed(shared_drive):
    listed = os.listdir(shared_drive / "subjects")
    assert all(name.endswith(".json") for name in listed)
    assert ".schema.json" not in listed


def test_the_help_offers_no_filter_that_the_server_fails_on(shared_drive):
    text = (shared_drive / "weighings/.help.md").read_text()
    assert "| nickname |" in text
    assert "| date_range |" not in text
    assert "fails on each value of them: date_range, lab, location, users." in text
    with pytest.raises(OSError, match="Invalid"):
        os.listdir(shared_drive / "weighings/lab=cortexlab")


def test_every_endpoint_describes_itself(shared_drive):
    for endpoint in os.listdir(shared_drive.path):
        if endpoint == "data":
            continue
        schema = json.loads((shared_drive / endpoint / ".schema.json").read_bytes())
        assert schema["endpoint"] == endpoint
        assert (shared_drive / endpoint / ".help.md").read_text().startswith(f"# {endpoint}\n")
    sessions = json.loads((shared_drive / "sessions" / ".schema.json").read_bytes())
    assert sessions["look_up"] == "id"
    assert "date_range" in sessions["filters"]
    assert "narrative" in sessions["fields"]
    text = (shared_drive / "sessions" / ".help.md").read_text()
    assert "| lab | string | name of the lab; ignores upper and lower case |" in text, "the server's words, and ours"
    assert "first and last day `/sessions?date_range=" in text
