"""What others change is noticed, for one request a poll and endpoint."""

from __future__ import annotations

import pytest
import trio

from alyxfs.alyx.metadata.poll import MOST_CHANGES, watch
from alyxfs.alyx.rest import Page
from alyxfs.alyx.schema.read import read_schema
from small_alyx import SCHEMA

pytestmark = pytest.mark.trio


class Server:
    """The watched part of a server, and what the library was told of it."""

    clock_offset = 0.0

    def __init__(self, *asked_for):
        self.asked_for = set(asked_for)
        self.changes = []
        self.further = 0
        self.count = 100
        self.requests = []
        self.forgotten = []
        self.told = []

    async def page(self, endpoint, filters, limit, offset):
        assert offset == 0
        self.requests.append(endpoint)
        if not filters:
            assert limit == 1
            return Page(self.count, [{}], 100)
        assert filters[0][1].startswith("auto_datetime__gt,2")
        rows, self.changes = self.changes, []
        return Page(len(rows) + self.further, rows, 100)

    async def schema(self):
        return read_schema(SCHEMA)

    def was_asked_for(self, endpoint):
        return endpoint in self.asked_for

    def outdate(self, endpoint, key=None):
        self.forgotten.append((endpoint, key))

    def outdate_details(self, endpoint):
        self.forgotten.append((endpoint, ""))


async def watched(server, seconds, *steps):
    """Watch for so many seconds, and take each step at its time."""
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch, server, server, 2.0, lambda *what: server.told.append(what), {})
            for at, step in steps:
                nursery.start_soon(_later, at, step)


async def _later(seconds, step):
    await trio.sleep(seconds)
    step()


async def test_a_minute_costs_one_request_a_poll_and_a_count_every_other_time(autojump_clock):
    server = Server("sessions", "datasets", "labs")
    await watched(server, 60.5)
    assert server.requests.count("sessions") == server.requests.count("datasets") == 30 + 15
    assert set(server.requests) == {"sessions", "datasets"}, "nothing is known of the others"
    assert server.told == []


async def test_nothing_is_asked_where_nothing_was_looked_at(autojump_clock):
    server = Server()
    await watched(server, 61, (30.5, lambda: server.asked_for.add("sessions")))
    assert len(server.requests) == 15 + 8


async def test_a_change_is_told_at_the_next_poll(autojump_clock):
    server = Server("sessions")
    await watched(server, 10.5, (5, lambda: server.changes.extend([{"id": "a"}, {"url": "http://alyx/datasets/b"}])))
    assert server.told == server.forgotten == [("sessions", None), ("sessions", "a"), ("sessions", "b")]


async def test_a_deletion_shows_in_the_count_within_five_seconds(autojump_clock):
    server = Server("sessions")
    await watched(server, 12, (7, lambda: setattr(server, "count", 99)))
    assert server.told == [("sessions", None)]


async def test_a_record_that_comes_does_not_make_up_for_one_that_goes(autojump_clock):
    server = Server("sessions")

    def come():
        server.changes.append({"id": "new"})
        server.count = 101

    await watched(server, 27, (5, come), (21, lambda: setattr(server, "count", 100)))
    assert server.told == [("sessions", None), ("sessions", "new"), ("sessions", None)]


async def test_very_many_changes_concern_every_record(autojump_clock):
    server = Server("sessions")

    def change():
        server.changes.extend({"id": str(number)} for number in range(MOST_CHANGES))
        server.further = 5

    await watched(server, 6.5, (5, change))
    assert server.told == server.forgotten == [("sessions", None), ("sessions", "")]
