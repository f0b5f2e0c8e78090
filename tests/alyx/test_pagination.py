"""A walk gives each record once and lacks none that was there throughout, for about one request a thousand rows."""

from __future__ import annotations

import random

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from alyxfs import errors
from alyxfs.alyx.pagination import PageWalk
from alyxfs.alyx.rest import Page
from small_alyx import identifiers


def meets(identity, lookup, value):
    """Whether a record is among those that one condition on its id leaves."""
    assert lookup.startswith(("id__", "pk__"))
    return identity >= value if lookup.endswith("gte") else identity < value


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
        words = filters[0][1].split(",") if filters else []
        if len(set(words[::2])) < len(words[::2]):
            raise errors.ServerFault("Duplicated fields", status=500)
        rows = [row for row in self.rows if all(map(meets, [row["id"]] * len(words), words[::2], words[1::2]))]
        if self.shuffled:
            random.shuffle(rows)
        page = rows[offset : offset + limit]
        if any(row["id"] in self.failing for row in page):
            raise errors.ServerFault("Could not resolve URL", status=500)
        return Page(len(rows), page, len(page) * self.row_bytes)


def walked(source, **options):
    """The ids that a whole walk gives, and the walk."""

    async def run():
        walk = PageWalk(source.fetch, identify=lambda row: row["id"], **({"has_ranges": True} | options))
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


def test_a_list_in_another_order_for_each_size_of_a_page_is_not_asked_again_and_again():
    """As the planner of a database does it where nothing orders the rows."""
    source = List(identifiers(900))
    orders = {}

    async def fetch(_filters, limit, offset):
        rows = orders.setdefault(limit, random.Random(limit).sample(source.rows, len(source.rows)))
        source.requests.append(limit)
        return Page(len(rows), rows[offset : offset + limit], 1)

    async def run():
        walk = PageWalk(fetch, identify=lambda row: row["id"], has_ranges=True)
        found = []
        while not walk.ended:
            found += [row["id"] for row in await walk.more()]
        return found

    assert sorted(trio.run(run)) == sorted(row["id"] for row in source.rows)
    assert source.requests == [25, 250, 1000, 1000]


def test_a_query_that_fails_is_told_from_rows_that_fail():
    tried = []

    async def fetch(_filters, limit, offset):
        tried.append((limit, offset))
        raise errors.ServerFault("Cannot resolve keyword", status=500)

    async def whole(walk):
        while True:
            await walk.more()

    def remarks(filters):
        walk = PageWalk(fetch, filters, identify=lambda row: row["id"], has_ranges=True)
        with pytest.raises(errors.ServerFault, match="Cannot resolve keyword"):
            trio.run(whole, walk)
        return walk.remarks

    assert remarks((("django", "nonsense,1"),)) == []
    assert len(tried) == 2
    assert remarks(()) == [], "a list that fails as a whole leaves out no rows"


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


@pytest.mark.parametrize(
    ("count", "steps"), [(1272, {2: 1, 3: 1, 4: -2, 5: -1}), (1274, {2: 1, 3: 1, 4: -2, 5: 2, 6: -3})]
)
def test_what_comes_and_goes_in_front_hides_no_row_behind_the_count(count, steps):
    """As many go as are skipped, so that the count at the end tells nothing."""
    ids, new = identifiers(count), identifiers(9, seed=1)

    def change(rows, request):
        number = steps.get(request, 0)
        rows[:0] = [{"id": new.pop()} for _ in range(number)]
        del rows[: -min(0, number)]

    found, _ = walked(List(ids, before=change))
    assert set(found) >= set(ids)


def test_a_list_that_is_emptied_under_the_walk_ends_soon():
    source = List(identifiers(3000), before=lambda rows, request: rows.clear() if request == 3 else None)
    found, _ = walked(source)
    assert len(found) == 274
    assert len(source.requests) <= 6


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


def sorted_where_filtered(identities):
    """As a server gives them that sorts rows to tell the different ones: without a condition they have no order."""
    source = List(identities)

    def before(rows, request):
        rows.sort(key=lambda row: row["id"])
        if not source.requests[-1][0]:
            random.shuffle(rows)

    source.before = before
    return source


def test_pages_are_full_where_the_server_sorts_what_it_selects():
    source = sorted_where_filtered(identifiers(20_000))
    found, _ = walked(source, unordered=True)
    assert sorted(found) == sorted(row["id"] for row in source.rows)
    assert len(source.requests) <= 20 + 1


def test_rows_that_come_and_go_behind_a_sorted_walk_are_found():
    source = sorted_where_filtered(identifiers(9000))
    ordered, kept = source.before, sorted(row["id"] for row in source.rows)
    gone = set(kept[100:300])

    def before(rows, request):
        if request == 4:
            rows[:] = [row for row in rows if row["id"] not in gone] + [{"id": f"{5:08}-0000-0000-0000-000000000000"}]
        ordered(rows, request)

    source.before = before
    found, _ = walked(source, unordered=True)
    assert set(kept) - gone <= set(found)
    assert len(source.requests) <= 20


@pytest.mark.parametrize("own", ["id__gte", "pk__lt"])
def test_a_condition_on_the_id_of_the_users_own_is_named_once(own):
    """The server refuses a field that stands twice."""
    source = List(identifiers(9000), shuffled=True)
    half = "80000000-0000-0000-0000-000000000000"
    found, walk = walked(source, unordered=True, filters=(("django", f"{own},{half}"),))
    assert sorted(found) == sorted(row["id"] for row in source.rows if meets(row["id"], own, half))
    assert walk.remarks == []
    assert len(source.requests) <= 2 * 4500 / 900 + 4


def test_a_walk_that_can_use_no_condition_of_its_own_says_what_it_lacks():
    zero, all_ids = "0" * 8 + "-0000" * 3 + "-" + "0" * 12, "g"
    source = List(identifiers(9000), shuffled=True)
    filters = (("django", f"id__gte,{zero},pk__lt,{all_ids}"),)
    with pytest.raises(errors.ServerFault, match=r"\d+ of the 9000 records could not be had .*no order"):
        walked(source, unordered=True, filters=filters)
    assert len(source.requests) <= 2 * (9 + 21)


def test_a_walk_that_comes_to_no_end_by_ranges_says_so():
    """A server that ignores the conditions."""
    source = List(identifiers(3000))

    async def fetch(filters, limit, offset):
        return await List.fetch(source, (), limit, offset)

    source.fetch = fetch
    with pytest.raises(errors.ServerFault, match=r"of the 3000 records could not be had .*ignores conditions"):
        walked(source, unordered=True)
    assert len(source.requests) <= 3


@pytest.mark.parametrize("count", [3000, 10_000_000, None])
def test_a_server_that_gives_the_same_page_for_ever_is_left(count):
    source = List(identifiers(3000))

    async def fetch(filters, limit, offset):
        page = await List.fetch(source, (), limit, 0)
        return Page(count, page.rows, page.size)

    source.fetch = fetch
    with pytest.raises(errors.ServerFault, match="could not be had"):
        walked(source, has_ranges=False)
    assert len(source.requests) <= 100


def test_pages_that_are_too_large_become_smaller():
    source = List(identifiers(300), row_bytes=300_000)

    async def fetch(filters, limit, offset):
        page = await List.fetch(source, filters, limit, offset)
        if page.size > 20 * 300_000 or any(row["id"] == source.rows[100]["id"] for row in page.rows):
            raise errors.AnswerTooLarge("sends more than 6000000 bytes")
        return page

    source.fetch = fetch
    found, walk = walked(source)
    assert sorted(found) == sorted(row["id"] for row in source.rows if row is not source.rows[100])
    assert len(walk.remarks) == 1
    assert len(source.requests) <= 60


@pytest.mark.parametrize("unordered", [False, True])
def test_rows_without_identity_cost_themselves_alone(unordered):
    source = List(identifiers(3000))
    odd = [{"": None}, {"": 5}, {"": None}, {"name": "x"}]
    own = source.fetch

    async def fetch(filters, limit, offset):
        page = await own(filters, limit, offset)
        return Page(page.count + len(odd), odd[: limit // 2] + page.rows[: limit - len(odd[: limit // 2])], page.size)

    source.fetch = fetch
    good = {row["id"] for row in source.rows}

    async def run():
        walk = PageWalk(source.fetch, identify=lambda row: row.get("id"), has_ranges=True, unordered=unordered)
        found = []
        while not walk.ended:
            found += await walk.more()
            assert len(source.requests) < 200, "the walk does not end"
        return found

    found = trio.run(run)
    assert good <= {row.get("id") for row in found}
    assert all(row in odd for row in found if row.get("id") not in good)


def test_ranges_that_all_fail_end_with_the_servers_words():
    source = List(identifiers(9000), before=fail_ranges)
    with pytest.raises(errors.ServerFault, match="no such look-up"):
        walked(source, unordered=True)
    assert len(source.requests) <= 40


def fail_ranges(_rows, request):
    if request > 1:
        raise errors.ServerFault("no such look-up", status=500)


def test_ranges_fit_rows_that_are_large():
    source = List(identifiers(4000), shuffled=True, row_bytes=100_000)
    found, _ = walked(source, unordered=True)
    assert len(found) == 4000
    assert len(source.requests) <= 2 * 4000 * 100_000 / 16e6


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
        walk = PageWalk(source.fetch, identify=lambda row: row["id"], has_ranges=True)
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


@settings(max_examples=60)
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
