"""How many requests a server is asked in a minute, by a clock that jumps over every wait."""

from __future__ import annotations

from collections import deque

import pytest
import trio

from alyxfs.net.rate_limit import RequestRate

pytestmark = pytest.mark.trio

LIMIT = 520
"""Requests in a minute: the default."""


async def walk(rate, sent, seconds):
    """Ask for one record after the other, each answered in 20 ms."""
    with trio.move_on_after(seconds):
        while True:
            await rate.wait_for_turn()
            sent.append(trio.current_time())
            await trio.sleep(0.02)


def most_in_a_minute(times):
    window, most = deque(), 0
    for moment in times:
        window.append(moment)
        while window[0] <= moment - 60 + 1e-6:  # what is 60 s later to the clock may be a little less in a difference
            window.popleft()
        most = max(most, len(window))
    return most


async def test_a_long_walk_has_the_full_rate_in_every_minute_and_never_more(autojump_clock):
    rate, sent = RequestRate(LIMIT), []
    started = trio.current_time()
    await walk(rate, sent, 600)
    assert most_in_a_minute(sent) <= LIMIT
    for minute in range(10):
        begins = started + 60 * minute
        assert LIMIT - 5 <= sum(begins <= moment < begins + 60 for moment in sent) <= LIMIT, minute


async def test_who_asks_beside_four_walks_waits_for_a_moment(autojump_clock):
    rate, sent, waits, waiting = RequestRate(LIMIT), [], [], []
    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(walk, rate, sent, 300)
        for _ in range(40):
            await trio.sleep(7)
            waiting.append(rate.waiting)
            started = trio.current_time()
            await rate.wait_for_turn()
            sent.append(trio.current_time())
            waits.append(trio.current_time() - started)
    assert max(waiting) == 4, "the walks wait, and the status can say so"
    assert max(waits) < 2
    assert most_in_a_minute(sorted(sent)) <= LIMIT
    assert rate.waiting == 0


async def test_who_stops_waiting_takes_nothing_from_others(autojump_clock):
    rate = RequestRate(10)
    for _ in range(6):
        await rate.wait_for_turn()
    for _ in range(100):
        with trio.move_on_after(0.01):
            await rate.wait_for_turn()
    started = trio.current_time()
    await rate.wait_for_turn()
    assert trio.current_time() - started <= 60 / 5


async def test_the_smallest_limit_is_one_a_minute(autojump_clock):
    rate = RequestRate(1)
    started = trio.current_time()
    for _ in range(3):
        await rate.wait_for_turn()
    assert trio.current_time() - started == pytest.approx(120)
