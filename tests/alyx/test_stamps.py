"""The server's stamps: wherever it stands, and however clocks are moved, no change is missed."""

from __future__ import annotations

import bisect
import time
from datetime import datetime, timedelta, timezone

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from alyxfs.alyx.metadata.poll import WIDE_EVERY, watch
from alyxfs.alyx.metadata.stamps import newest_stamp, stamp_of, utc
from alyxfs.alyx.rest import Page
from alyxfs.alyx.schema.read import read_schema
from small_alyx import SCHEMA

EPOCH = datetime(2026, 10, 25, 0, 30, tzinfo=timezone.utc).replace(tzinfo=None)


class StampingServer:
    """It stamps changes with the time of its zone, and answers queries as Alyx does. Trio's time is the time."""

    def __init__(self, zone):
        self.zone = zone
        self.records = []  # stamp and key, in order
        self.began = 0.0
        self.told = []

    @property
    def clock_offset(self):
        """What the Date of its answers told."""
        return self.now().replace(tzinfo=timezone.utc).timestamp() - time.time()

    async def schema(self):
        return read_schema(SCHEMA)

    def was_asked_for(self, endpoint):
        return endpoint == "datasets"

    def outdate(self, endpoint, key=None):
        """Nothing is kept here."""

    outdate_details = outdate

    def now(self):
        return EPOCH + timedelta(seconds=trio.current_time() - self.began)

    def change(self, key):
        bisect.insort(self.records, (self.now() + self.zone, key))

    async def page(self, endpoint, filters, limit, offset):
        assert (endpoint, offset) == ("datasets", 0)
        if not filters:
            return Page(len(self.records), [{}], 100)
        since = datetime.fromisoformat(filters[0][1].partition(",")[2])
        newer = self.records[bisect.bisect_right(self.records, (since, "~")) :]
        rows = [
            {"url": f"http://alyx/datasets/{key}", "auto_datetime": stamp.isoformat()} for stamp, key in newer[:limit]
        ]
        return Page(len(newer), rows, 100)


@given(
    zone=st.integers(-12 * 4, 14 * 4).map(lambda quarters: timedelta(minutes=15 * quarters)),
    moves=st.permutations([timedelta(), timedelta(), timedelta(hours=1), timedelta(hours=-1)]),
    old=st.integers(0, 3000),
    pauses=st.lists(st.floats(0.5, 100), min_size=2, max_size=5),
)
@settings(max_examples=40)
def test_no_change_is_missed_in_any_zone_however_clocks_are_moved(zone, moves, old, pauses):
    """And none that is old is told again and again."""

    async def run():
        server = StampingServer(zone)
        server.began = trio.current_time()
        ages = [timedelta(seconds=number * 60 + 30) for number in range(old)]  # of the last two days
        server.records = sorted((EPOCH + zone - age, f"old-{number}") for number, age in enumerate(ages))
        changed = []

        async def others():
            await trio.sleep(3)
            for number, pause in enumerate(pauses):
                server.zone += moves[number % len(moves)] if number else timedelta()
                server.change(f"new-{number}")
                changed.append(f"new-{number}")
                await trio.sleep(pause)

        with trio.move_on_after(sum(pauses) + 3 + 2 * 2.0 * WIDE_EVERY):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch, server, server, 2.0, lambda *what: server.told.append(what), {})
                nursery.start_soon(others)
        told = [key for _, key in server.told if key]
        assert set(changed) <= set(told)
        assert len(told) == len(set(told)), "each change is told once"
        assert sum(key.startswith("old") for key in told) <= 1

    trio.run(run, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize("value", [None, 5, "", "soon", ["2020-01-01"], "2020-01-01T99:00:00"])
def test_a_stamp_that_is_none_is_passed_over(value):
    assert stamp_of({"auto_datetime": value}) is None
    assert newest_stamp([{"auto_datetime": value}, {}], time.time()) is None


def test_a_stamp_that_no_clock_can_show_yet_is_passed_over():
    now = time.time()
    rows = [{"auto_datetime": (utc(now) + timedelta(hours=hours)).isoformat()} for hours in (-3, 13, 15, 24 * 365)]
    assert newest_stamp(rows, now) == stamp_of(rows[1])
