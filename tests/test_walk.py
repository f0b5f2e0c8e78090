"""A walk gives each record once and lacks none that was there throughout, for about one request a thousand rows."""

from __future__ import annotations

import random

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from alyxfs import errors
from alyxfs.alyx.api import Page
from alyxfs.alyx.walk import Walk
from small_alyx import identifiers


class List:
    """A list of the server that changes under the walk."""

    def __init__(self, ids, *, shuffled=False, before=lambda rows, request: None, failing=(), row_bytes=100):
        self.rows = [{"id": identity} for identity in ids]
        self.requests = []
        self.shuffled = shuffled
        self.before = before
        self.failing = set(failing)
        self.row_bytes = row_bytes

    async def fetch(self, filters, limit, offset):
        self.requests.append((filters, limit, offset))
        self.before(self.rows, len(self.requests))
        rows = list(self.rows)
        if filters:
            words = filters[0][1].split(",")
            for field, value in zip(words[::2], words[1::2], strict=True):
                rows = [row for row in rows if (row["id"] >= value if field == "id__gte" else row["id"] < value)]
        elif self.shuffled:
            random.shuffle(rows)
        page = rows[offset : offset + limit]
        if any(row["id"] in self.failing for row in page):
            raise errors.ServerFault("Could not resolve URL", status=500)
        return Page(len(rows), page, len(page) * self.row_bytes)


def walked(source, **options):
    """The ids that a whole walk gives, and the walk."""

    async def run():
        walk = Walk(source.fetch, identify=lambda row: row["id"], **({"has_ranges": True} | options))
        found = []
        while not walk.ended:
            found += [row["id"] for row in await walk.more()]
            assert len(source.requests) < 2000, "the walk does not end"
        return found, walk

    return trio.run(run)


@pytest.mark.parametrize("count", [0, 1, 25, 26, 274, 275, 1000, 1273, 1274, 7777, 60_000])
def test_a_calm_list_costs_about_one_request_a_thousand_rows(count):
    source = List(identifiers(count))
    found, _ = walked(source)
    assert found == [row["id"] for row in source.rows]
    assert len(source.requests) <= count / 1000 + 3


def test_the_first_page_is_small():
    source = List(identifiers(5000))
    walked(source)
    assert [limit for _, limit, _ in source.requests[:3]] == [25, 250, 1000]


def test_rows_that_come_in_front_repeat_nothing_and_are_listed_too():
    ids, new = identifiers(4000), identifiers(3, seed=1)
    source = List(ids, before=lambda rows, request: rows.insert(0, {"id": new.pop()}) if request in {3, 4, 6} else None)
    expected = set(ids) | set(new)
    found, _ = walked(source)
    assert len(found) == len(set(found))
    assert set(found) == expected


def test_rows_that_go_in_front_make_the_walk_skip_none():
    ids = identifiers(4000)
    source = List(ids, before=lambda rows, request: rows.__delitem__(slice(0, 7)) if request in {3, 4, 5} else None)
    found, _ = walked(source)
    assert len(found) == len(set(found))
    assert set(found) >= {row["id"] for row in source.rows}


def test_a_row_that_moves_to_the_front_is_found():
    ids = identifiers(4000)
    source = List(ids, before=lambda rows, request: rows.insert(0, rows.pop()) if request == 3 else None)
    found, _ = walked(source)
    assert sorted(found) == sorted(ids)


def test_a_list_without_order_goes_by_ranges_of_id():
    source = List(identifiers(20_000), shuffled=True)
    found, _ = walked(source, unordered=True)
    assert sorted(found) == sorted(row["id"] for row in source.rows)
    assert len(found) == len(set(found))
    assert len(source.requests) <= 20_000 / 900 + 4


def test_missing_order_is_noticed_and_made_up_for():
    source = List(identifiers(6000), shuffled=True)
    found, _ = walked(source)
    assert sorted(found) == sorted(row["id"] for row in source.rows)


def test_a_few_rows_that_lack_are_found_with_few_requests():
    """A row registered behind the reader in a list that is ordered by id."""
    ids = sorted(identifiers(20_000))
    late = identifiers(2, seed=5)

    def register(rows, request):
        if request == 15:
            rows.extend({"id": identity} for identity in late)
            rows.sort(key=lambda row: row["id"])

    source = List(ids, before=register)
    found, _ = walked(source)
    assert set(found) == set(ids) | set(late)
    assert len(source.requests) <= 20_000 / 1000 + 3 + 20


def test_a_list_without_ids_is_walked_once_more():
    names = [f"name {number}" for number in range(3000)]
    source = List(names, before=lambda rows, request: rows.insert(0, rows.pop()) if request == 3 else None)
    found, _ = walked(source, has_ranges=False)
    assert sorted(found) == sorted(names)


@pytest.mark.parametrize("position", [0, 24, 25, 300, 1999])
def test_one_row_that_the_server_fails_on_is_left_out_alone(position):
    ids = identifiers(2000)
    source = List(ids, failing=[ids[position]])
    found, walk = walked(source)
    assert sorted(found) == sorted(set(ids) - {ids[position]})
    assert len(walk.remarks) == 1
    assert len(source.requests) <= 40


def test_a_failing_row_in_a_list_without_order_is_left_out_alone():
    ids = identifiers(3000)
    source = List(ids, failing=[ids[7]], shuffled=True)
    source.shuffled = False  # the first page would meet the row at random
    found, walk = walked(source, unordered=True)
    assert sorted(found) == sorted(set(ids) - {ids[7]})
    assert walk.remarks


def test_a_list_that_always_fails_ends_with_the_servers_words():
    ids = identifiers(500)
    source = List(ids, failing=ids)
    with pytest.raises(errors.ServerFault, match="Could not resolve"):
        walked(source)
    assert len(source.requests) <= 10


def test_a_walk_goes_on_after_a_failure():
    """What was fetched before a broken connection need not be fetched again."""
    source = List(identifiers(3000))

    def fail_once(_, request):
        if request == 3:
            raise errors.Unreachable("gone")

    source.before = fail_once

    async def run():
        walk = Walk(source.fetch, identify=lambda row: row["id"], has_ranges=True)
        found = []
        while not walk.ended:
            try:
                found += await walk.more()
            except errors.Unreachable:
                source.before = lambda rows, request: None
        return found

    assert len(trio.run(run)) == 3000


def test_pages_of_large_rows_stay_bounded():
    source = List(identifiers(400), row_bytes=300_000)
    found, _ = walked(source)
    assert len(found) == 400
    assert max(limit for _, limit, _ in source.requests[1:]) * 300_000 <= 16 * 1024**2


def test_a_list_that_repeats_rows_gives_each_once():
    first, second = identifiers(2)
    source = List([first, second, first, second, first, first])

    async def fetch(filters, limit, offset):
        page = await List.fetch(source, filters, limit, offset)
        return Page(2, page.rows, page.size)

    source.fetch = fetch
    found, _ = walked(source)
    assert sorted(found) == sorted([first, second])


changes = st.lists(st.tuples(st.sampled_from(["insert", "delete"]), st.floats(0, 1), st.integers(1, 9)), max_size=12)


@settings(max_examples=60, deadline=None)
@given(count=st.integers(200, 4000), steps=changes)
def test_whatever_comes_and_goes_the_rest_is_listed_once(count, steps):
    ids = identifiers(count)
    new = identifiers(300, seed=2)
    remaining = list(steps)
    gone = set()

    def change(rows, request):
        if request < 2 or not remaining:
            return
        what, where, how_many = remaining.pop()
        position = int(where * len(rows))
        if what == "insert":
            rows[position:position] = [{"id": new.pop()} for _ in range(how_many)]
        else:
            gone.update(row["id"] for row in rows[position : position + how_many])
            del rows[position : position + how_many]

    found, _ = walked(List(ids, before=change))
    assert len(found) == len(set(found))
    assert set(found) >= set(ids) - gone
