"""A record's name leads no request to another record, whatever servers between here and Alyx make of addresses."""

from __future__ import annotations

import contextlib
import json
import os
import urllib.parse
from functools import partial

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alyxfs import errors, file_names
from alyxfs.alyx.auth import Account
from alyxfs.alyx.lookups import can_mislead, proves_itself, quote_key
from alyxfs.alyx.rest import Api
from alyxfs.net import open_network
from asking import Asking
from folding_front import folding_front
from mounted import mounted, run_alyxfs
from small_alyx import small_alyx
from writing import FAST, writing

NAMES = [
    "x%2F..%2F..%2Flabs%2Fcortexlab",
    "%2e%2e%2flabs%2fcortexlab",
    "x%252F..%252F..%252Flabs%252Fcortexlab",
    "..\\labs\\cortexlab",
    "victim?x",
    "victim%23x",
    "..%2Fprojects%2Fvictim",
    "50%",
]
FRONTS = {
    "none": {"decodes": 0},
    "decodes once": {"decodes": 1},
    "decodes once and passes on": {"decodes": 1, "encodes": False},
    "decodes twice": {"decodes": 2},
    "decodes twice and passes on": {"decodes": 2, "encodes": False},
    "takes backslashes": {"decodes": 1, "backslashes": True},
    "decodes three times": {"decodes": 3, "backslashes": True, "encodes": False},
}


def everything(asking):
    return {
        endpoint: {row["name"]: row for row in asking.rows(f"/{endpoint}")} for endpoint in ("labs", "projects", "tags")
    }


def delete(home, file):
    """A project has columns that no undo brings back, so that its delete takes consent."""
    run_alyxfs(home, "allow-deletes", str(file))
    file.unlink()


@pytest.mark.parametrize("which", ["none", "decodes once and passes on", "decodes three times"])
def test_no_record_is_changed_read_or_deleted_by_the_name_of_another(changing, home, which):
    changing.control(reset=True)
    asking = Asking(changing.url)
    for project in [*NAMES, "victim"]:
        with contextlib.suppress(OSError):
            asking.send("DELETE", f"/projects/{quote_key(project)}")
        asking.send("POST", "/projects", {"name": project, "users": []})
    before = everything(asking)
    refused, done = [], []
    with (
        folding_front(changing.url, **FRONTS[which]) as front,
        mounted(front.url, home, "--rw", *FAST, "--deletes-per-minute", "1000") as drive,
    ):
        listed = os.listdir(drive / "projects")
        for name in NAMES:
            file = drive / "projects" / file_names.encode(name, ".json")
            assert file.name in listed
            with contextlib.suppress(OSError):
                assert json.loads(file.read_bytes())["name"] == name
            for change in (partial(file.write_text, json.dumps({"users": ["demo"]})), partial(delete, home, file)):
                try:
                    change()
                    done.append(name)
                except OSError:
                    refused.append(name)
        told = (drive / ".alyxfs" / "errors.log").read_text()
    after = everything(asking)
    for endpoint, records in before.items():
        for key, record in records.items():
            if endpoint == "projects" and key in NAMES:
                assert key in refused or key not in after["projects"], key
            else:
                assert after[endpoint].get(key) == record, (endpoint, key)
    if which == "none":
        assert refused == []
        assert not set(NAMES) & set(after["projects"])
    else:
        assert refused
        assert "another record than" in told or "does not exist" in told
    # By its own address, which no front has touched, each record can still be had.
    for name in set(NAMES) & set(after["projects"]):
        asking.send("DELETE", f"/projects/{quote_key(name)}")


@settings(max_examples=int(os.environ.get("ALYXFS_LOOKUPS", "25")), suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.text("./%\\?#;\n\0\x7fab2FfeE5C3", min_size=1, max_size=14), min_size=2, max_size=4, unique=True),
    st.sampled_from(list(FRONTS)),
    st.sampled_from(["PATCH", "DELETE"]),
)
def test_whatever_is_written_goes_to_the_record_of_that_name(keys, which, how):
    """What arrives at Alyx, read as Alyx reads addresses, is the name that was meant."""
    with small_alyx() as alyx, folding_front(alyx.url, **FRONTS[which]) as front:
        alyx.put("projects", [{"name": key} for key in keys])
        arrived = []
        answer = alyx.answer

        def writing_only(method, target, headers, body):
            if method == how:
                arrived.append(urllib.parse.unquote(urllib.parse.urlsplit(target).path.split("/")[-1]))
                return 200, {}
            return answer(method, target, headers, body)

        alyx.answer = writing_only

        async def write(key):
            async with open_network(deadline=20) as network:
                api = Api(network, front.url, Account(token="good"))
                with contextlib.suppress(errors.NotFound, errors.ServerFault, errors.Invalid, errors.NotAllowed):
                    assert (await api.detail("projects", key, "name"))["name"] == key
                    await api.send(how, "projects", key, {} if how == "PATCH" else None)

        for key in keys:
            before = len(arrived)
            trio.run(write, key)
            assert arrived[before:] in ([], [key])
        if which == "none":
            assert arrived == [key for key in keys if "/" not in key]


def test_a_name_that_can_mislead_is_not_written_to_before_it_was_read():
    with small_alyx() as alyx:

        async def write():
            async with open_network() as network:
                await Api(network, alyx.url, Account(token="good")).send("DELETE", "projects", "50%", None)

        with pytest.raises(errors.NotAllowed, match="may lead to another record"):
            trio.run(write)
        assert alyx.asked_for("/projects") == []


@pytest.mark.parametrize("key", ["a/b", "../labs/x", "/"])
def test_a_name_with_a_slash_stands_in_no_address(key):
    with small_alyx() as alyx:

        async def read():
            async with open_network() as network:
                await Api(network, alyx.url, Account(token="good")).detail("projects", key, "name")

        with pytest.raises(errors.NotFound, match="no address"):
            trio.run(read)
        assert alyx.asked == []


@pytest.mark.parametrize(
    "key", ["KS022", "Zo\u00eb", "a b", "_ibl_x.npy", "user+tag@example.org", "v1.2.3", "a&b=c", ".hidden"]
)
def test_a_common_name_costs_nothing_more(key):
    assert not can_mislead(key)


@pytest.mark.parametrize(
    ("endpoint", "lookup", "key", "document", "proves"),
    [
        ("subjects", "nickname", "50%", {"nickname": "50%", "url": "http://a/subjects/50%25"}, True),
        ("subjects", "nickname", "..", {"nickname": "..", "url": "http://a/alyx/subjects/.."}, True),
        ("subjects", "nickname", "q?x", {"nickname": "q", "url": "http://a/subjects/q"}, False),
        ("projects", "name", "a#b", {"name": "a#b"}, True),
        ("projects", "name", "a#b", {"name": "a"}, False),
        ("projects", "name", "a%2Fb", {"name": "a%2Fb", "url": "http://a/insertions/1"}, False),
        ("projects", None, "a#b", {"name": "a#b"}, False),
        ("water-requirement", "nickname", "50%", {"subject": "50%"}, True),
        ("water-requirement", "nickname", "50%", {"nickname": "50%"}, False),
    ],
)
def test_a_record_proves_whose_it_is(endpoint, lookup, key, document, proves):
    assert proves_itself(document, endpoint, lookup, key) is proves


@pytest.mark.parametrize("nickname", ["a#b", "50%"])
def test_a_record_of_which_no_query_can_count_what_hangs_from_it_is_not_deleted(changing, home, nickname):
    """A query that is decoded twice asks for another subject, from which nothing hangs."""
    with writing(changing, home) as room:
        with pytest.raises(PermissionError):
            room.file("subjects", nickname).unlink()
        assert room.writes() == []
        assert "cannot be counted for certain" in room.errors()
