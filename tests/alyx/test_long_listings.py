"""A long list that is not read to its end is gone on with: after a pause, at the next mount, and after a kill."""

from __future__ import annotations

import sqlite3
from contextlib import asynccontextmanager, closing

import pytest
import trio
import trio.testing

from alyxfs.alyx.auth import Account
from alyxfs.alyx.id_ranges import IdRange, Run, WalkState, unpack_state
from alyxfs.alyx.metadata import freshness, listings, long_listings
from alyxfs.alyx.metadata.cache import open_metadata_cache
from alyxfs.alyx.rest import Api
from alyxfs.net import open_network
from alyxfs.store import open_store
from small_alyx import identifiers, small_alyx

pytestmark = pytest.mark.trio

ALL = 8000
FIRST = 4000
"""Rows that are read before the pause."""


@pytest.fixture(autouse=True)
def _long(monkeypatch):
    for module in (listings, long_listings):
        monkeypatch.setattr(module, "LONG", 1000)


@pytest.fixture(params=["datasets", "files"])
def endpoint(request):
    """In an order, and in none."""
    return request.param


@pytest.fixture
def alyx(endpoint):
    with small_alyx() as alyx:
        alyx.put(endpoint, [row(identity) for identity in identifiers(ALL)])
        yield alyx


def row(identity):
    return {"id": identity, "name": "a.npy", "exists": True, "public": True, "protected": False}


@pytest.fixture
def mount(alyx, tmp_path):
    @asynccontextmanager
    async def mount(**options):
        async with open_network(deadline=5) as network, open_store(tmp_path / "store.sqlite") as store:
            api = Api(network, alyx.url, Account("anna", None, "good"))
            async with open_metadata_cache(api, store, **options) as metadata:
                yield metadata

    return mount


async def read(listing, end=1 << 40):
    index = 0
    while index < end and await listing.has(index):
        index += 1
    await trio.testing.wait_all_tasks_blocked(0.2)
    return [each.identity for each in listing.rows]


def asked(alyx, endpoint):
    return len(alyx.asked_for(f"/{endpoint}?"))


@pytest.fixture
async def known(alyx, mount, endpoint):
    """What was read before the pause, by a drive that has ended."""
    async with mount() as metadata:
        known = await read(metadata.listing(endpoint), FIRST)
        assert FIRST <= len(known) < ALL
        assert [walk["listing"] for walk in metadata.status()["walks"]] == [endpoint]
        assert metadata.status()["walks"][0]["of"] == ALL
    alyx.asked.clear()
    return known


async def test_the_next_mount_goes_on(alyx, mount, endpoint, known):
    async with mount() as metadata:
        found = await read(metadata.listing(endpoint))
        assert metadata.status()["walks"] == []
    assert found[: len(known)] == known
    assert sorted(found) == sorted(identifiers(ALL))
    assert asked(alyx, endpoint) <= (ALL - len(known)) // 925 + 4
    alyx.asked.clear()
    async with mount() as metadata:
        assert await read(metadata.listing(endpoint)) == found
    assert asked(alyx, endpoint) == 0, "it is kept as a whole"


@pytest.mark.parametrize("place", [0, 100, -100])
async def test_what_came_meanwhile_is_found(alyx, mount, endpoint, known, place):
    new = identifiers(30, seed=9)
    rows = alyx.rows[endpoint]
    rows[place:place] = map(row, new)
    async with mount() as metadata:
        found = await read(metadata.listing(endpoint))
    assert len(found) == len(set(found))
    assert set(found) == {*identifiers(ALL), *new}
    assert asked(alyx, endpoint) < 40


async def test_what_went_meanwhile_hides_nothing(alyx, mount, endpoint, known):
    gone = set(known[:30])
    alyx.rows[endpoint] = [each for each in alyx.rows[endpoint] if each["id"] not in gone]
    async with mount() as metadata:
        found = await read(metadata.listing(endpoint))
    assert len(found) == len(set(found))
    assert set(identifiers(ALL)) - gone <= set(found)


async def test_a_pause_within_a_mount_begins_nothing_anew(alyx, mount, endpoint):
    async with mount(time_to_live=0.0) as metadata:
        before = await read(metadata.listing(endpoint), FIRST)
        alyx.asked.clear()
        found = await read(metadata.listing(endpoint))
    assert found[: len(before)] == before
    assert len(found) == ALL
    assert asked(alyx, endpoint) <= (ALL - len(before)) // 925 + 3


async def test_what_was_declared_out_of_date_is_begun_anew(alyx, mount, endpoint, known):
    async with mount() as metadata:
        metadata.outdate(endpoint)
    async with mount() as metadata:
        assert len(await read(metadata.listing(endpoint))) == ALL
    assert asked(alyx, endpoint) > ALL // 1000


async def test_after_a_long_pause_it_is_begun_anew(alyx, mount, endpoint, known, monkeypatch):
    monkeypatch.setattr(freshness, "GONE_ON_WITH", 0.0)
    async with mount() as metadata:
        assert len(await read(metadata.listing(endpoint))) == ALL
    assert asked(alyx, endpoint) > ALL // 1000


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE pages SET state = 'no state'",
        "UPDATE pages SET body = 'no rows' WHERE number = 1",
        "DELETE FROM pages WHERE number = 1",
    ],
)
async def test_what_is_damaged_is_begun_anew(alyx, mount, endpoint, known, damage, tmp_path):
    with closing(sqlite3.connect(tmp_path / "store.sqlite")) as store, store:
        store.execute(damage)
    async with mount() as metadata:
        assert sorted(await read(metadata.listing(endpoint))) == sorted(identifiers(ALL))
    assert asked(alyx, endpoint) > ALL // 1000


async def test_a_whole_list_is_shown_when_the_server_is_away(alyx, mount, endpoint):
    async with mount() as metadata:
        found = await read(metadata.listing(endpoint))
    alyx.stop()
    async with mount(time_to_live=0.0) as metadata:
        assert await read(metadata.listing(endpoint)) == found


async def test_a_list_that_has_become_short_replaces_the_long_one(alyx, mount, endpoint, tmp_path):
    async with mount() as metadata:
        await read(metadata.listing(endpoint))
    alyx.put(endpoint, [row(identity) for identity in identifiers(10)])
    async with mount(time_to_live=0.0) as metadata:
        assert len(await read(metadata.listing(endpoint))) == 10
    with closing(sqlite3.connect(tmp_path / "store.sqlite")) as store, store:
        assert store.execute("SELECT count(*) FROM pages").fetchall() == [(0,)]


async def test_a_state_comes_back_as_it_was():
    ranges = (IdRange(0, 1 << 128), IdRange(5, 1 << 127, faults=2, goes_on=Run(3, 9)))
    for state in (
        WalkState(3, True, 0, "a", 5, 1, None, ("said",)),
        WalkState(3, False, 1, None, 5, 7, ranges, ()),
    ):
        assert unpack_state(state.pack()) == state
    assert list(map(unpack_state, (b"", b"[]", b"{}", b'{"ranges": [[1]]}'))) == [None] * 4
