"""How the daemon waits for the kernel's next request."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import trio

from alyxfs.kernel import busy_poll
from alyxfs.kernel.busy_poll import RequestLock, RequestWait
from alyxfs.kernel.session import REQUESTS, allow_requests


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

    # Only looks on: a process that sleeps for a moment looks from outside as one that never does.
    monkeypatch.setattr(trio.lowlevel, "wait_readable", wait_readable)
    return sleeps


@pytest.mark.trio
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


@pytest.mark.trio
async def test_after_a_quick_request_it_looks_for_the_next_before_sleeping(device, slept):
    reading, writing = device
    os.write(writing, b"request")
    wait = RequestWait(reading)
    for _ in range(20):  # the first ones may be slow on a busy machine, a quick one follows soon
        await wait()
    assert len(slept) < 20


@pytest.mark.trio
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


@pytest.mark.trio
async def test_requests_that_come_at_once_leave_the_other_tasks_their_turns(device):
    reading, writing = device
    os.write(writing, b"request")
    wait, lock = RequestWait(reading), RequestLock()
    turns = 0

    async def other():
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        with trio.fail_after(10):
            while turns < 50:  # never, if requests alone were served
                async with lock:
                    await wait()
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_one_task_at_a_time_waits_for_a_request(device):
    reading, writing = device
    wait, lock = RequestWait(reading), RequestLock()
    inside = most = answered = 0

    async def worker():
        nonlocal inside, most, answered
        while True:
            async with lock:
                inside += 1
                most = max(most, inside)
                try:
                    await wait()
                finally:  # cancelled at the end of the test, it is inside no longer either
                    inside -= 1
            os.read(reading, 1)
            answered += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(worker)
        for count in range(1, 40):
            os.write(writing, b"r")
            with trio.fail_after(10):
                while answered < count:
                    await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert most == 1


def test_the_kernel_is_allowed_many_requests_where_it_lets_us(tmp_path, caplog):
    device = os.makedev(0, 57)
    connection = tmp_path / "57"
    connection.mkdir()
    allow_requests(tmp_path, device)
    assert int((connection / "max_background").read_text()) == REQUESTS
    assert 12 < int((connection / "congestion_threshold").read_text()) < REQUESTS
    with caplog.at_level(logging.INFO):
        allow_requests(tmp_path / "nowhere", device)
    assert [record.levelno for record in caplog.records] == [logging.INFO]


def test_a_pyfuse3_that_is_not_known_is_left_as_it_is(monkeypatch):
    """Its versions to come, of which there is none yet that could be installed."""
    unknown = SimpleNamespace(__version__="4.0.0", trio=trio)
    monkeypatch.setattr(busy_poll, "pyfuse3", unknown)
    busy_poll.look_before_sleeping()
    assert unknown.trio is trio
    moved = SimpleNamespace(__version__="3.5.9")
    monkeypatch.setattr(busy_poll, "pyfuse3", moved)
    busy_poll.look_before_sleeping()
    assert not hasattr(moved, "trio")


def test_the_pyfuse3_that_is_installed_is_known():
    """In a process of its own: other tests may have replaced what it waits by."""
    look = "import sys; from alyxfs.kernel.busy_poll import can_look; sys.exit(not can_look())"
    subprocess.run([sys.executable, "-c", look], check=True, timeout=60)
