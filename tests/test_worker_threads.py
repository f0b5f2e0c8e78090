"""Short pieces of work in threads: in order, many in a row, and what becomes of those that raise."""

from __future__ import annotations

import threading
import time

import pytest
import trio
import trio.testing

from alyxfs import worker_threads
from alyxfs.worker_threads import WorkerThreads


async def all_of(threads, *pieces):
    """What comes of these pieces, begun together; errors as they are."""
    found = [None] * len(pieces)

    async def one(number, piece):
        try:
            found[number] = await threads.run(piece)
        except Exception as error:  # noqa: BLE001 - looked at by the test
            found[number] = error

    async with trio.open_nursery() as nursery:
        for number, piece in enumerate(pieces):
            nursery.start_soon(one, number, piece)
    return found


class Gate:
    """Work that goes on when it may, and notes how many are at work together."""

    def __init__(self):
        self.opened = threading.Event()
        self.begun = threading.Semaphore(0)
        self.at_work = self.most = 0
        self._lock = threading.Lock()

    def __call__(self):
        with self._lock:
            self.at_work += 1
            self.most = max(self.most, self.at_work)
        self.begun.release()
        try:
            assert self.opened.wait(20)
        finally:
            with self._lock:
                self.at_work -= 1


@pytest.mark.trio
async def test_each_caller_gets_what_its_own_work_gave_or_raised():
    threads = WorkerThreads(at_once=1, most=1)

    def fail():
        raise KeyError("this one")

    found = await all_of(threads, *(lambda number=number: number * number for number in range(100)), fail)
    assert found[:100] == [number * number for number in range(100)]
    assert isinstance(found[100], KeyError)
    assert await threads.run(divmod, 7, 2) == (3, 1)


@pytest.mark.trio
async def test_one_thread_does_what_waits_and_ends():
    threads, used = WorkerThreads(at_once=1, most=1), []
    for _ in range(3):
        await all_of(threads, *[lambda: used.append(threading.get_ident())] * 50)
        assert len(set(used[-50:])) <= 2, "the second where the first one had just come to its end"
    assert len(used) == 150


@pytest.mark.trio
async def test_so_many_work_at_once_and_no_more(monkeypatch):
    monkeypatch.setattr(worker_threads, "SLOW", 1000.0)
    threads, gate = WorkerThreads(at_once=3, most=8), Gate()
    threads._begun_at = time.monotonic()
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(threads.run, gate)
        for _ in range(3):
            assert await trio.to_thread.run_sync(gate.begun.acquire, True, 20)
        assert gate.at_work == 3
        gate.opened.set()
    assert gate.most == 3


@pytest.mark.trio
async def test_where_the_disk_is_slow_more_work_at_once(monkeypatch):
    monkeypatch.setattr(worker_threads, "SLOW", 0.0)
    threads, gate = WorkerThreads(at_once=1, most=4), Gate()
    async with trio.open_nursery() as nursery:
        for number in range(6):
            nursery.start_soon(threads.run, gate)
            if number < 4:
                assert await trio.to_thread.run_sync(gate.begun.acquire, True, 20), "it does not wait for the others"
        assert gate.at_work == 4
        gate.opened.set()
    assert gate.most == 4


@pytest.mark.trio
async def test_a_result_does_not_wait_for_work_that_takes_long(monkeypatch):
    monkeypatch.setattr(worker_threads, "TOGETHER", 0.0)
    threads, gate, first = WorkerThreads(at_once=1, most=1), Gate(), trio.Event()

    async def short():
        await threads.run(int)
        first.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(short)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(threads.run, gate)
        with trio.fail_after(20):
            await first.wait()
        gate.opened.set()


@pytest.mark.trio
async def test_what_has_begun_is_waited_for_also_by_who_is_called_off():
    threads, gate = WorkerThreads(at_once=1, most=1), Gate()
    ended = []

    async def called_off():
        with trio.move_on_after(0.01):
            await threads.run(gate)
            ended.append(gate.at_work)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(called_off)
        assert await trio.to_thread.run_sync(gate.begun.acquire, True, 20)
        await trio.sleep(0.05)
        assert not ended, "a thread still uses what its caller would let go"
        gate.opened.set()
    assert ended == [0]


@pytest.mark.trio
async def test_who_is_called_off_before_it_begins_does_nothing():
    threads, done = WorkerThreads(at_once=1, most=1), []
    with trio.move_on_after(0) as scope:
        await threads.run(done.append, 1)
    assert scope.cancelled_caught
    assert done == []


@pytest.mark.trio
async def test_where_no_thread_can_be_had_the_caller_hears_of_it_and_the_next_one_is_served(monkeypatch):
    threads, start = WorkerThreads(at_once=1, most=1), trio.lowlevel.start_thread_soon

    def refused(*_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(trio.lowlevel, "start_thread_soon", refused)
    done = []
    with pytest.raises(RuntimeError, match="new thread"):
        await threads.run(done.append, 1)
    monkeypatch.setattr(trio.lowlevel, "start_thread_soon", start)
    with trio.fail_after(20):
        await threads.run(done.append, 2)
    assert done == [2]


@pytest.mark.trio
async def test_where_there_is_one_thread_and_no_other_can_be_had_that_one_does_it(monkeypatch):
    monkeypatch.setattr(worker_threads, "SLOW", 0.0)
    threads, gate, done, start = WorkerThreads(at_once=1, most=2), Gate(), [], trio.lowlevel.start_thread_soon

    def refused(*_):
        raise RuntimeError("can't start new thread")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(threads.run, gate)
        assert await trio.to_thread.run_sync(gate.begun.acquire, True, 20)
        monkeypatch.setattr(trio.lowlevel, "start_thread_soon", refused)
        nursery.start_soon(threads.run, done.append, 1)
        await trio.testing.wait_all_tasks_blocked()
        monkeypatch.setattr(trio.lowlevel, "start_thread_soon", start)
        assert done == []
        gate.opened.set()
    assert done == [1]
