"""What is known of a server: how many requests it costs, and what is served when the server does not answer."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from alyxfs import errors, json_text
from alyxfs.alyx.auth import Account
from alyxfs.alyx.metadata.cache import open_metadata_cache
from alyxfs.alyx.metadata.row_list import BARE_ROW, COMPACT_ROW
from alyxfs.alyx.rest import Api
from alyxfs.net import open_network
from alyxfs.store import open_store
from alyxfs.tree.endpoint import EndpointDirectory
from small_alyx import identifiers, small_alyx

pytestmark = pytest.mark.trio


@pytest.fixture
def alyx():
    with small_alyx() as alyx:
        alyx.put(
            "subjects",
            [
                {"nickname": f"S{number}", "id": identity, "url": f"http://alyx.example/subjects/S{number}"}
                for number, identity in enumerate(identifiers(60))
            ],
        )
        alyx.put(
            "datasets",
            [
                {
                    "id": identity,
                    "name": "a.npy",
                    "public": True,
                    "protected": False,
                    "auto_datetime": "2024-05-01T12:00:00.5",
                }
                for identity in identifiers(1500, seed=1)
            ],
        )
        alyx.put("files", [{"id": identity, "exists": True} for identity in identifiers(2500, seed=2)])
        yield alyx


@pytest.fixture
def path(tmp_path):
    return tmp_path / "known" / "store.sqlite"


@asynccontextmanager
async def library_of(alyx, path, **options):
    async with open_network(deadline=5) as network, open_store(path) as store:
        api = Api(network, alyx.url, Account("anna", None, "good"))
        async with open_metadata_cache(api, store, **options) as metadata:
            yield metadata


async def whole(listing):
    index = 0
    while await listing.has(index):
        index += 1
    return list(listing.rows)


async def test_a_second_listing_asks_nothing(alyx, path):
    async with library_of(alyx, path) as metadata:
        rows = await whole(metadata.listing("datasets"))
        assert len(rows) == len({row.identity for row in rows}) == 1500
        asked = len(alyx.asked_for("/datasets"))
        assert asked <= 4
        assert await whole(metadata.listing("datasets")) == rows
        assert len(alyx.asked_for("/datasets")) == asked


async def test_readers_of_one_list_share_the_walk(alyx, path):
    async with library_of(alyx, path) as metadata, trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(whole, metadata.listing("datasets"))
    assert len(alyx.asked_for("/datasets")) == 4


async def test_a_reader_that_stops_stops_the_paging(alyx, path):
    alyx.put("datasets", [{"id": identity} for identity in identifiers(20_000)])
    async with library_of(alyx, path) as metadata:
        listing = metadata.listing("datasets")
        for index in range(20):
            assert await listing.has(index)
        await trio.testing.wait_all_tasks_blocked(0.2)
        assert len(alyx.asked_for("/datasets")) == 2
        assert len(listing.rows) == 274


async def test_a_row_that_is_the_record_needs_no_request(alyx, path):
    async with library_of(alyx, path) as metadata:
        rows = await whole(metadata.listing("datasets"))
        asked = len(alyx.asked)
        for row in rows[::100]:
            record = await metadata.record("datasets", row.key, identity=row.identity)
            assert len(record.content) == row.size
            assert set(record.document) == {"id", "name", "auto_datetime"}
            assert record.modified == row.modified == 1714564800.5
        assert len(alyx.asked) == asked


async def test_a_record_costs_one_request_and_then_none(alyx, path):
    async with library_of(alyx, path) as metadata:
        first = await metadata.record("subjects", "S7")
        assert first.document["more"] == [1, 2, 3]
        assert first.content == json_text.render(first.document)
        assert await metadata.record("subjects", "S7") == first
        assert metadata.known_record("subjects", "S7") == first
        assert alyx.asked_for("/subjects") == ["/subjects/S7"]


async def test_readers_of_one_record_share_one_request(alyx, path):
    alyx.slow = threading.Event()
    async with library_of(alyx, path) as metadata, trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(metadata.record, "subjects", "S7")
        await trio.testing.wait_all_tasks_blocked(0.1)
        alyx.slow.set()
    assert alyx.asked_for("/subjects") == ["/subjects/S7"]


async def test_a_reader_that_gives_up_leaves_the_request_to_the_others(alyx, path):
    alyx.slow = threading.Event()
    found = []

    async def read():
        found.append(await metadata.record("subjects", "S7"))

    async with library_of(alyx, path) as metadata, trio.open_nursery() as nursery:
        with trio.move_on_after(0.1):
            await metadata.record("subjects", "S7")
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked(0.1)
        alyx.slow.set()
    assert len(found) == 1
    assert alyx.asked_for("/subjects") == ["/subjects/S7"]


async def test_that_there_is_no_such_record_is_remembered_for_a_while(alyx, path):
    async with library_of(alyx, path) as metadata:
        for _ in range(5):
            with pytest.raises(errors.NotFound):
                await metadata.record("subjects", "nobody")
    assert alyx.asked_for("/subjects") == ["/subjects/nobody"]


async def test_forgetting_asks_again(alyx, path):
    async with library_of(alyx, path) as metadata:
        await metadata.record("subjects", "S7")
        alyx.details["subjects", "S7"] = {"nickname": "S7", "id": "x", "changed": True}
        metadata.outdate("subjects", "S7")
        assert (await metadata.record("subjects", "S7")).document["changed"]
        await whole(metadata.listing("subjects"))
        alyx.rows["subjects"].pop()
        metadata.outdate("subjects")
        assert len(await whole(metadata.listing("subjects"))) == 59
    async with library_of(alyx, path) as metadata:
        assert len(await whole(metadata.listing("subjects"))) == 59


async def test_forgetting_all_details_asks_again_for_each(alyx, path):
    async with library_of(alyx, path) as metadata:
        for name in ("S7", "S8"):
            await metadata.record("subjects", name)
            alyx.details["subjects", name] = {"nickname": name, "id": "x", "changed": True}
        metadata.outdate_details("subjects")
        assert metadata.known_record("subjects", "S7") is None
        assert (await metadata.record("subjects", "S7")).document["changed"]
    async with library_of(alyx, path) as metadata:
        assert (await metadata.record("subjects", "S8")).document["changed"], "nor is the store believed"
        await metadata.record("subjects", "S8")
    assert len(alyx.asked_for("/subjects/S8")) == 2


async def test_fresh_asks_the_server_and_hides_no_failure(alyx, path):
    async with library_of(alyx, path) as metadata:
        await metadata.record("subjects", "S7")
        await metadata.record("subjects", "S7", fresh=True)
        assert len(alyx.asked_for("/subjects")) == 2
        alyx.stop()
        with pytest.raises(errors.Unreachable):
            await metadata.record("subjects", "S7", fresh=True)


async def test_what_is_known_is_served_when_the_server_is_gone(alyx, path):
    async with library_of(alyx, path, time_to_live=0) as metadata:
        rows = await whole(metadata.listing("datasets"))
        record = await metadata.record("subjects", "S7")
        assert not record.stale
        alyx.stop()
        again = await metadata.record("subjects", "S7")
        assert again.stale
        assert again.content == record.content
        listing = metadata.listing("datasets")
        assert await whole(listing) == rows
        assert listing.stale
        with pytest.raises(errors.Unreachable):
            await metadata.record("subjects", "S8")
        with pytest.raises(errors.Unreachable):
            await whole(metadata.listing("files"))
        assert metadata.status()["stale_since"]


async def test_a_walk_that_breaks_is_completed_with_what_was_known(alyx, path):
    async with library_of(alyx, path, time_to_live=0) as metadata:
        rows = await whole(metadata.listing("datasets"))
        listing = metadata.listing("datasets")
        await listing.has(0)
        alyx.stop()
        assert {row.identity for row in await whole(listing)} == {row.identity for row in rows}
        assert listing.stale


async def test_a_mount_without_network_has_what_was_known(alyx, path):
    async with library_of(alyx, path) as metadata:
        await metadata.schema()
        await metadata.record("subjects", "S7")
        rows = await whole(metadata.listing("files"))
    alyx.stop()
    async with library_of(alyx, path, time_to_live=0) as metadata:
        assert "subjects" in (await metadata.schema()).endpoints
        assert (await metadata.record("subjects", "S7")).stale
        listing = metadata.listing("files")
        assert await whole(listing) == rows
        assert listing.stale
        assert (await metadata.record("files", rows[-1].key)).document == {"id": rows[-1].key, "exists": True}


async def test_a_list_that_was_out_of_date_has_no_age_in_the_status(alyx, path):
    async with library_of(alyx, path) as metadata:
        await whole(metadata.listing("files"))
        metadata.outdate("files")
    alyx.stop()
    async with library_of(alyx, path) as metadata:
        assert len(await whole(metadata.listing("files"))) == 2500
        assert metadata.status()["oldest_listing"] is None


async def test_a_new_mount_within_the_time_to_live_asks_for_no_list(alyx, path):
    async with library_of(alyx, path) as metadata:
        rows = await whole(metadata.listing("files"))
    asked = len(alyx.asked_for("/files"))
    async with library_of(alyx, path) as metadata:
        assert await whole(metadata.listing("files")) == rows
    assert len(alyx.asked_for("/files")) == asked


async def test_the_server_is_found_again(alyx, path):
    port = int(alyx.url.rsplit(":", 1)[1])
    async with library_of(alyx, path, time_to_live=0) as metadata:
        await metadata.record("subjects", "S7")
        alyx.stop()
        assert (await metadata.record("subjects", "S7")).stale
        with small_alyx(port) as back:
            back.details["subjects", "S7"] = {"nickname": "S7", "id": "x", "new": 1}
            with trio.fail_after(10):
                while (record := await metadata.record("subjects", "S7")).stale:  # noqa: ASYNC110 - no event tells
                    await trio.sleep(0.05)
            assert record.document["new"] == 1
            assert metadata.status()["stale_since"] is None


async def test_a_refusal_is_not_hidden_behind_what_is_known(alyx, path):
    async with library_of(alyx, path, time_to_live=0) as metadata:
        await metadata.record("subjects", "S7")
        alyx.tokens.clear()
        with pytest.raises(errors.AccessDenied, match="alyxfs login"):
            await metadata.record("subjects", "S7")
        with pytest.raises(errors.AccessDenied):
            await whole(metadata.listing("datasets"))


async def test_a_doubled_name_is_read_from_the_list(alyx, path):
    first, second = identifiers(2, seed=9)
    alyx.rows["subjects"] += [
        {"nickname": "dup", "id": first, "lab": "a"},
        {"nickname": "dup", "id": second, "lab": "b"},
    ]
    async with library_of(alyx, path) as metadata:
        rows = [row for row in await whole(metadata.listing("subjects")) if row.key == "dup"]
        assert [row.identity for row in rows] == [first, second]
        for row, lab in zip(rows, "ab", strict=True):
            record = await metadata.record("subjects", "dup", identity=row.identity)
            assert record.document["lab"] == lab
            assert record.partial
            assert metadata.known_record("subjects", "dup", row.identity) == record


async def test_a_name_with_a_slash_is_read_from_its_row(alyx, path):
    alyx.put("projects", [{"name": "a/b", "users": []}, {"name": "plain", "users": []}])
    async with library_of(alyx, path) as metadata:
        assert (await metadata.record("projects", "a/b")).document == {"name": "a/b", "users": []}
        with pytest.raises(errors.NotFound):
            await metadata.record("projects", "a/c")


@pytest.mark.parametrize(
    "name", ["..", ".", ".hidden01", "a b", "a#b", "50%", "Zoë", "Zoe\u0308", "a?b", 'a"b', "a\\b"]
)
async def test_odd_names_reach_the_server_as_they_are(alyx, path, name):
    alyx.put("subjects", [{"nickname": name, "id": identifiers(1)[0]}])
    async with library_of(alyx, path) as metadata:
        record = await metadata.record("subjects", name)
        assert record.document["nickname"] == name
        assert not record.partial


async def test_rows_without_an_address_are_records_with_made_names(alyx, path):
    rows = [{"subject": "S1", "start_time": "2022-01-01T09:30:00", "water_type": kind} for kind in ("a", "b")]
    alyx.put("water-restriction", [*rows, {"subject": "S2", "start_time": None, "water_type": "c"}])
    alyx.put("procedures", [{"id": identity, "name": "same"} for identity in identifiers(2)])
    async with library_of(alyx, path) as metadata:
        listed = await whole(metadata.listing("water-restriction"))
        keys = [row.key for row in listed]
        assert keys[0] == "S1_2022-01-01T09:30:00"
        assert keys[1].startswith("S1_2022-01-01T09:30:00~")
        assert keys[2] == "S2"
        contents = [(await metadata.record("water-restriction", row.key, identity=row.identity)) for row in listed]
        assert [record.document["water_type"] for record in contents] == ["a", "b", "c"]
        assert [len(record.content) for record in contents] == [row.size for row in listed]
        assert (await metadata.record("water-restriction", keys[1])).document["water_type"] == "b"
        assert len({row.key for row in await whole(metadata.listing("procedures"))}) == 2
        with pytest.raises(errors.NotFound):
            await metadata.record("procedures", "no such name")


async def test_a_content_keeps_the_time_of_its_first_sight(alyx, path):
    async with library_of(alyx, path, time_to_live=0) as metadata:
        first = await metadata.record("subjects", "S7")
        files = await whole(metadata.listing("files"))
    async with library_of(alyx, path, time_to_live=0) as metadata:
        again = await metadata.record("subjects", "S7")
        assert again.fetched_at > first.fetched_at
        assert again.modified == first.modified
        again = await whole(metadata.listing("files"))
        assert {row.identity: row.modified for row in again} == {row.identity: row.modified for row in files}
        alyx.details["subjects", "S7"] = {"nickname": "S7", "id": "x", "new": 1}
        assert (await metadata.record("subjects", "S7")).modified > first.modified


async def test_a_row_that_fails_is_left_out_and_said(alyx, path):
    alyx.failing = {alyx.rows["subjects"][30]["id"]}
    async with library_of(alyx, path) as metadata:
        assert len(await whole(metadata.listing("subjects"))) == 59
        assert any("left out" in remark for remark in metadata.status()["remarks"])


async def test_a_query_that_the_server_fails_on_is_invalid(alyx, path):
    alyx.failing = {row["id"] for row in alyx.rows["datasets"]}
    async with library_of(alyx, path) as metadata:
        with pytest.raises(errors.Invalid, match="query"):
            await whole(metadata.listing("datasets", (("collection", "x"),)))


async def test_listings_beyond_the_bound_leave_memory_and_are_read_back(alyx, path, monkeypatch):
    monkeypatch.setattr("alyxfs.alyx.metadata.listings.MEMORY_LIMIT", 2000 * COMPACT_ROW)
    async with library_of(alyx, path) as metadata:
        await whole(metadata.listing("datasets"))
        await whole(metadata.listing("files"))
        asked = len(alyx.asked)
        metadata.listing("subjects")
        assert await metadata.known_listing("datasets") is None
        assert len(await whole(metadata.listing("datasets"))) == 1500
        assert len(alyx.asked) == asked


async def test_the_bound_of_listings_is_one_of_bytes(alyx, path, monkeypatch):
    monkeypatch.setattr("alyxfs.alyx.metadata.listings.MEMORY_LIMIT", 150 * BARE_ROW)
    alyx.put("projects", [{"name": f"{number}{'x' * 900}", "users": []} for number in range(100)])
    async with library_of(alyx, path) as metadata:
        await whole(metadata.listing("projects"))
        metadata.listing("subjects")
        assert await metadata.known_listing("projects") is None


async def test_rows_that_nobody_asks_for_leave_memory_and_come_back_without_a_request(alyx, path, monkeypatch):
    async with library_of(alyx, path) as metadata:
        listing = metadata.listing("datasets")
        rows = list(await whole(listing))
        row = rows[700]
        listing.made["names"] = ["of rows"]
        await metadata.flush()
        asked = len(alyx.asked)
        assert not await metadata.forget_idle(), "somebody has just asked for them"
        monkeypatch.setattr("alyxfs.alyx.metadata.listings.REMEMBERED_SECONDS", 0.0)
        assert await metadata.forget_idle()
        assert (metadata.status()["rows"], listing.made, listing.count) == (0, {}, 1500)
        assert metadata.listed_at("datasets") == listing.fetched_at
        assert metadata.listing("datasets") is listing, "what was made of it on the disk is still of its rows"
        assert await metadata.listed_fields("datasets", row.key) == {"protected": False, "public": True}
        assert await metadata.forget_idle()
        assert await listing.has(700)
        assert listing.rows[700] == row
        assert await metadata.forget_idle()
        assert list((await metadata.known_listing("datasets")).rows) == rows
        assert len(alyx.asked) == asked


async def test_a_name_is_found_without_the_rows_of_its_list_where_its_record_is_here(alyx, path, monkeypatch):
    monkeypatch.setattr("alyxfs.alyx.metadata.listings.REMEMBERED_SECONDS", 0.0)
    async with library_of(alyx, path) as metadata:
        endpoints = (await metadata.schema()).endpoints
        datasets, subjects = (
            EndpointDirectory(metadata, endpoints[name], None, None) for name in ("datasets", "subjects")
        )
        row = (await whole(metadata.listing("datasets")))[700]
        await whole(metadata.listing("subjects"))
        await metadata.flush()
        asked = len(alyx.asked)
        assert await metadata.forget_idle()
        found = await datasets.lookup(f"{row.key}.json")
        assert (found.identity, found.attributes().size) == (f"record/datasets/{row.identity}", row.size)
        assert metadata.status()["rows"] == 0
        assert (await subjects.lookup("S7.json")).key == "S7"
        with pytest.raises(errors.NotFound):
            await datasets.lookup("desktop.ini")
        assert metadata.status()["rows"] == 60, "no row of subjects is its record"
        assert len(alyx.asked) == asked


async def test_rows_that_the_store_lacks_stay_in_memory(alyx, path, monkeypatch):
    monkeypatch.setattr("alyxfs.alyx.metadata.listings.REMEMBERED_SECONDS", 0.0)
    async with library_of(alyx, path) as metadata:
        begun = metadata.listing("files")
        assert await begun.has(0)
        await trio.testing.wait_all_tasks_blocked()
        lost = metadata.listing("datasets")
        await whole(lost)
        await metadata.flush()
        with contextlib.closing(sqlite3.connect(path)) as store, store:
            store.execute("DELETE FROM listings WHERE endpoint = 'datasets'")
        asked = len(alyx.asked)
        assert not await metadata.forget_idle()
        assert len(begun.rows) >= 25
        assert len(lost.rows) == 1500
        assert len(alyx.asked) == asked


async def test_rows_that_are_asked_for_while_they_are_laid_aside_are_all_there(alyx, path, monkeypatch):
    monkeypatch.setattr("alyxfs.alyx.metadata.listings.REMEMBERED_SECONDS", 0.0)
    async with library_of(alyx, path) as metadata:
        rows = list(await whole(metadata.listing("datasets")))
        await metadata.flush()
        asked = len(alyx.asked)

        async def read():
            for _ in range(20):
                assert list(await whole(metadata.listing("datasets"))) == rows

        async def forget():
            for _ in range(200):
                await metadata.forget_idle()

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(read)
            nursery.start_soon(forget)
        assert len(alyx.asked) == asked


async def test_rows_that_another_drive_has_fetched_anew_are_another_listing(alyx, path, monkeypatch):
    monkeypatch.setattr("alyxfs.alyx.metadata.listings.REMEMBERED_SECONDS", 0.0)
    async with library_of(alyx, path) as metadata, library_of(alyx, path) as other:
        first = metadata.listing("subjects")
        await whole(first)
        await metadata.flush()
        assert await metadata.forget_idle()
        alyx.rows["subjects"].append({"nickname": "new", "id": identifiers(1, seed=7)[0]})
        other.outdate("subjects")
        await whole(other.listing("subjects"))
        await other.flush()
        assert len(await whole(first)) == 61
        again = metadata.listing("subjects")
        assert again is not first
        assert len(await whole(again)) == 61


async def test_who_had_half_of_a_list_is_not_given_the_other_half_of_another_one(alyx, path, monkeypatch):
    monkeypatch.setattr("alyxfs.alyx.metadata.listings.REMEMBERED_SECONDS", 0.0)
    async with library_of(alyx, path) as metadata, library_of(alyx, path) as other:
        half_read = metadata.listing("subjects")
        await whole(half_read)
        await metadata.flush()
        assert await metadata.forget_idle()
        del alyx.rows["subjects"][0]
        other.outdate("subjects")
        await whole(other.listing("subjects"))
        await other.flush()
        with pytest.raises(errors.FileChanged, match="list it again"):
            await half_read.has(30)
        assert len(await whole(metadata.listing("subjects"))) == 59


async def test_without_the_server_rows_that_left_memory_are_shown_old(alyx, path, monkeypatch):
    monkeypatch.setattr("alyxfs.alyx.metadata.listings.REMEMBERED_SECONDS", 0.0)
    async with library_of(alyx, path, time_to_live=0.0) as metadata:
        assert len(await whole(metadata.listing("subjects"))) == 60
        await metadata.flush()
        assert await metadata.forget_idle()
        alyx.instead = {"/": (503, {"detail": "away"})}
        listing = metadata.listing("subjects")
        assert len(await whole(listing)) == 60
        assert listing.stale


async def test_records_that_nobody_asks_for_leave_memory_and_their_measures_stay(alyx, path, monkeypatch):
    monkeypatch.setattr("alyxfs.alyx.metadata.records.REMEMBERED_SECONDS", 0.0)
    async with library_of(alyx, path) as metadata:
        record = await metadata.record("subjects", "S7")
        await metadata.flush()
        asked = len(alyx.asked)
        assert not await metadata.forget_idle(), "it has just been asked for"
        assert metadata.known_record("subjects", "S7") == record
        assert not await metadata.forget_idle(), "nor this time"
        assert await metadata.forget_idle()
        assert metadata.known_record("subjects", "S7") is None
        assert metadata.measure("subjects", "S7", record.identity) == (len(record.content), record.modified)
        assert await metadata.record("subjects", "S7") == record
        assert len(alyx.asked) == asked
        assert await _forgotten(metadata)
        metadata.outdate("subjects", "S7")
        assert metadata.measure("subjects", "S7", record.identity) is None


async def test_a_row_in_place_of_a_record_is_kept_as_long_as_it_is_fresh(alyx, path, monkeypatch):
    monkeypatch.setattr("alyxfs.alyx.metadata.records.REMEMBERED_SECONDS", 0.0)
    first, second = identifiers(2, seed=9)
    alyx.rows["subjects"] += [{"nickname": "dup", "id": first}, {"nickname": "dup", "id": second}]
    async with library_of(alyx, path) as metadata:
        record = await metadata.record("subjects", "dup", identity=first)
        assert record.partial
        asked = len(alyx.asked)
        assert not await _forgotten(metadata)
        assert await metadata.record("subjects", "dup", identity=first) == record
        assert len(alyx.asked) == asked


async def _forgotten(metadata):
    """Whether any record leaves memory: one has two looks' time."""
    return any([await metadata.forget_idle(), await metadata.forget_idle()])


async def test_an_answer_that_was_under_way_when_the_record_changed_is_not_kept(alyx, path):
    found = []

    async def read():
        found.append(await metadata.record("subjects", "S7"))

    async with library_of(alyx, path) as metadata, trio.open_nursery() as nursery:
        await metadata.schema()
        alyx.slow = threading.Event()
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked(0.1)
        metadata.outdate("subjects", "S7")
        alyx.slow.set()
        with trio.fail_after(5):
            while not found:  # noqa: ASYNC110 - no event tells
                await trio.sleep(0.01)
        alyx.details["subjects", "S7"] = {"nickname": "S7", "id": "x", "new": 1}
        assert (await metadata.record("subjects", "S7")).document["new"] == 1
    async with library_of(alyx, path) as metadata:
        assert (await metadata.record("subjects", "S7")).document["new"] == 1


async def test_a_record_too_large_for_memory_costs_one_request_too(alyx, path):
    alyx.details["subjects", "S7"] = {"nickname": "S7", "id": "x", "text": "x" * 2_000_000}
    async with library_of(alyx, path) as metadata:
        for _ in range(3):
            assert len((await metadata.record("subjects", "S7")).content) > 2_000_000
        assert metadata.known_record("subjects", "S7") is None
    assert alyx.asked_for("/subjects") == ["/subjects/S7"]


async def test_a_filter_that_the_schema_does_not_name_lists_nothing(alyx, path):
    async with library_of(alyx, path) as metadata:
        with pytest.raises(errors.NotFound, match="no filter 'nosuch'"):
            await whole(metadata.listing("subjects", (("nosuch", "1"),)))
    assert alyx.asked_for("/subjects") == []
