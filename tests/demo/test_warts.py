"""Lists and records of the demo Alyx, warts included, as the library gives them."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest

from alyxfs import errors
from alyxfs.alyx.auth import Account
from alyxfs.alyx.metadata.access import Access
from alyxfs.alyx.metadata.cache import open_metadata_cache
from alyxfs.alyx.rest import Api
from alyxfs.demo.server import running_demo
from alyxfs.net import open_network
from alyxfs.store import open_store

pytestmark = pytest.mark.trio


@asynccontextmanager
async def library_of(demo, path):
    async with library_and_access(demo, path, Account(demo.user, demo.password)) as (metadata, _):
        yield metadata


@asynccontextmanager
async def library_and_access(demo, path, account):
    demo.clear_requests()
    async with open_network(deadline=30) as network, open_store(path / "store.sqlite") as store:
        api = Api(network, demo.url, account)
        async with open_metadata_cache(api, store) as metadata:
            yield metadata, Access(api, store, metadata, account)


async def whole(listing):
    index = 0
    while await listing.has(index):
        index += 1
    return listing.rows


def asked(demo, start):
    return [one for one in demo.requests() if one["path"].startswith(start)]


async def test_every_list_is_whole_and_within_its_requests(demo, tmp_path):
    async with library_of(demo, tmp_path) as metadata:
        for endpoint in (await metadata.schema()).endpoints.values():
            if not endpoint.listed:
                continue
            rows = await whole(metadata.listing(endpoint.name))
            requests = asked(demo, f"/{endpoint.name}?")
            assert len(requests) <= len(rows) / 1000 + 3, endpoint.name
            assert len({row.identity for row in rows}) == len(rows), endpoint.name
            count = len(await whole(metadata.listing(endpoint.name)))
            assert count == len(rows)
            assert len(asked(demo, f"/{endpoint.name}?")) == len(requests), endpoint.name


async def test_a_row_that_counts_as_the_record_is_what_the_detail_gives(demo, tmp_path):
    """The table of quirks, held against the server."""
    compared = set()
    async with library_of(demo, tmp_path) as metadata:
        for endpoint in (await metadata.schema()).endpoints.values():
            if not (endpoint.listed and endpoint.detailed):
                continue
            rows = [row for row in await whole(metadata.listing(endpoint.name)) if row.size is not None]
            for row in [row for row in rows if "/" not in row.key][:: max(1, len(rows) // 3)]:
                of_row = await metadata.record(endpoint.name, row.key, identity=row.identity)
                detail = await metadata.record(endpoint.name, row.key, identity=row.identity, fresh=True)
                assert list(of_row.document) == list(detail.document), endpoint.name
                assert of_row.identity == detail.identity == row.identity
                if endpoint.name != "data-notices":  # its many-to-many order differs at each request
                    assert of_row.content == detail.content, endpoint.name
                    assert len(of_row.content) == row.size
                compared.add(endpoint.name)
    assert {"datasets", "files", "labs", "notes", "weighings", "trajectories", "users"} <= compared


@pytest.mark.parametrize("name", ["..", ".hidden01", "a b", "a#b", "50%", "Zoë", "Zoe\u0308"])
async def test_odd_names(demo, tmp_path, name):
    async with library_of(demo, tmp_path) as metadata:
        rows = await whole(metadata.listing("subjects"))
        assert [row.key for row in rows].count(name) == 1
        record = await metadata.record("subjects", name)
        assert record.document["nickname"] == name
        assert "weighings" in record.document


async def test_a_doubled_nickname(demo, tmp_path):
    async with library_of(demo, tmp_path) as metadata:
        rows = [row for row in await whole(metadata.listing("subjects")) if row.key == "dup_001"]
        assert len(rows) == 2
        for row in rows:
            record = await metadata.record("subjects", row.key, identity=row.identity)
            assert record.partial
            assert record.document["id"] == row.identity


async def test_projects_with_a_slash(demo, tmp_path):
    async with library_of(demo, tmp_path) as metadata:
        odd = [row for row in await whole(metadata.listing("projects")) if "/" in row.key]
        assert odd
        before = len(demo.requests())
        for row in odd:
            assert (await metadata.record("projects", row.key)).document["name"] == row.key
        assert len(demo.requests()) == before


async def test_water_requirement_is_entered_by_name(demo, tmp_path):
    async with library_of(demo, tmp_path) as metadata:
        subject = (await whole(metadata.listing("water-restricted-subjects")))[0].key
        assert (await metadata.record("water-requirement", subject)).document["subject"] == subject
        with pytest.raises(errors.NotFound):
            await metadata.record("water-requirement", "nobody at all")


async def test_an_unknown_record_and_a_malformed_id(demo, tmp_path):
    async with library_of(demo, tmp_path) as metadata:
        for key in ("00000000-0000-4000-8000-000000000000", "not-a-uuid"):
            with pytest.raises(errors.NotFound):
                await metadata.record("sessions", key)


async def test_queries(demo, tmp_path):
    async with library_of(demo, tmp_path) as metadata:
        sessions = await whole(metadata.listing("sessions"))
        lab = next(row.kept[0] for row in sessions if row.kept[0])
        expected = {row.identity for row in sessions if row.kept[0] == lab}
        assert {row.identity for row in await whole(metadata.listing("sessions", (("lab", lab),)))} == expected
        with pytest.raises(errors.Invalid):
            await whole(metadata.listing("sessions", (("number", "many"),)))
        with pytest.raises(errors.Invalid):
            await whole(metadata.listing("sessions", (("django", "nosuch,1"),)))
        with pytest.raises(errors.NotFound, match="no filter"):
            await whole(metadata.listing("sessions", (("nosuch", "1"),)))


async def test_a_query_by_id_of_a_list_without_order_is_whole(demo, tmp_path):
    half = "80000000-0000-0000-0000-000000000000"
    async with library_of(demo, tmp_path) as metadata:
        every = {row.identity for row in await whole(metadata.listing("files"))}
        found = [row.identity for row in await whole(metadata.listing("files", (("django", f"id__gte,{half}"),)))]
    assert sorted(found) == sorted(identity for identity in every if identity >= half)


@pytest.mark.parametrize(
    ("account", "sentence"),
    [
        (Account("demo", "wrong"), "refuses user 'demo'"),
        (Account(None, None, "0" * 40), "alyxfs login"),
        (Account(), "alyxfs login"),
    ],
)
async def test_wrong_credentials_show_at_once(demo, tmp_path, account, sentence):
    async with library_and_access(demo, tmp_path, account) as (_, access):
        with pytest.raises(errors.AccessDenied, match=sentence):
            await access.check()


async def test_the_public_user_reads(demo, tmp_path):
    async with library_and_access(demo, tmp_path, Account(demo.public_user, demo.public_password)) as (
        metadata,
        access,
    ):
        await access.check()
        assert await whole(metadata.listing("labs"))


async def test_an_older_server(demo_directory, tmp_path):
    with running_demo(demo_directory, largest_file_mb=2, core_api=True) as older:
        async with library_of(older, tmp_path) as metadata:
            endpoints = (await metadata.schema()).endpoints
            assert endpoints["subjects"].lookup == "nickname"
            assert not endpoints["water-type"].detailed
            assert endpoints["subjects"].filters["alive"].kind == "boolean"
            assert endpoints["subjects"].filters["nickname"].kind == "string"
            rows = await whole(metadata.listing("subjects"))
            assert rows
            assert (await metadata.record("subjects", rows[0].key)).document["nickname"] == rows[0].key
