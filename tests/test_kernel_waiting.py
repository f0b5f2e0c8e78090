"""How the daemon waits for the kernel's next request."""

from __future__ import annotations

import os

import pytest
import trio

from alyxfs.kernel.waiting import RequestWait

pytestmark = pytest.mark.trio


@pytest.fixture
def device():
    """A pipe stands for /dev/fuse: readable as long as something is in it."""
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


@pytest.fixture
def slept(monkeypatch):
    """One entry for each time that the wait went to sleep."""
    sleeps = []
    asleep = trio.lowlevel.wait_readable

    async def wait_readable(descriptor):
        sleeps.append(descriptor)
        await asleep(descriptor)

    monkeypatch.setattr(trio.lowlevel, "wait_readable", wait_readable)
    return sleeps


async def test_it_sleeps_until_there_is_a_request(device, slept):
    reading, writing = device
    wait = RequestWait(reading)
    with trio.move_on_after(0.05) as scope:
        await wait()
    assert scope.cancelled_caught
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        os.write(writing, b"request")
    assert len(slept) == 2


async def test_after_a_quick_request_it_looks_for_the_next_before_sleeping(device, slept):
    reading, writing = device
    os.write(writing, b"request")
    wait = RequestWait(reading)
    for _ in range(20):  # the first ones may be slow on a busy machine, a quick one follows soon
        await wait()
    assert len(slept) < 20


async def test_it_looks_no_longer_than_a_moment_and_not_again_where_nothing_came(device, slept):
    reading, writing = device
    os.write(writing, b"request")
    wait = RequestWait(reading)
    for _ in range(20):
        await wait()
    os.read(reading, 100)
    before = len(slept)
    for _ in range(2):
        with trio.move_on_after(0.05) as scope:
            await wait()
        assert scope.cancelled_caught, "it must sleep in a way that other tasks and cancelling get through"
    assert len(slept) == before + 2
