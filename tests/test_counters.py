"""What the status tells of the last minute."""

from __future__ import annotations

import random
from collections import deque

import pytest

from alyxfs import counters
from alyxfs.counters import MINUTE, Traffic


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 12_345.6

        @classmethod
        def monotonic(cls):
            return cls.now

    monkeypatch.setattr(counters, "time", Clock)
    return Clock


def test_requests_count_for_a_minute(clock):
    traffic = Traffic()
    assert traffic.last_minute() == 0
    for _ in range(3):
        traffic.sent()
    clock.now += 30
    traffic.sent()
    assert traffic.last_minute() == 4
    clock.now += 31
    assert traffic.last_minute() == 1
    clock.now += 1000
    assert (traffic.last_minute(), traffic.requests) == (0, 4)


@pytest.mark.parametrize("seed", range(20))
def test_it_is_what_a_list_of_all_times_tells_to_the_second(clock, seed):
    chance, traffic, times = random.Random(seed), Traffic(), deque()
    for _ in range(500):
        clock.now += chance.choice([0, 0.01, 0.4, 1, 3, 59, 60, 61]) * chance.random()
        for _ in range(chance.randrange(3)):
            traffic.sent()
            times.append(int(clock.now))
        assert traffic.last_minute() == sum(time > int(clock.now) - MINUTE for time in times)
