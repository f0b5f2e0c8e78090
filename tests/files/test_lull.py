"""When small files are saved: once nobody reads, once much waits, after a while in any case, and all together."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from alyxfs.files.transfer.lull import CALM, LONGEST, MUCH, Lull


class Reads:
    """When somebody read last."""

    def __init__(self):
        self.at = float("-inf")

    def __call__(self):
        return self.at

    async def go_on(self, seconds):
        """Read all the time, for so long."""
        ends = trio.current_time() + seconds
        while trio.current_time() < ends:
            self.at = trio.current_time()
            await trio.sleep(CALM / 4)


async def times_of(lull, *lengths):
    """How long each of these waits that come one after the other, in seconds."""
    began, found = trio.current_time(), [0.0] * len(lengths)

    async def one(number, length):
        await lull.come(length)
        found[number] = trio.current_time() - began

    async with trio.open_nursery() as nursery:
        for number, length in enumerate(lengths):
            nursery.start_soon(one, number, length)
            await trio.testing.wait_all_tasks_blocked()
    return found


@pytest.mark.trio
async def test_where_nobody_reads_it_is_saved_at_once(autojump_clock):
    assert await times_of(Lull(Reads()), 100) == [0.0]


@pytest.mark.trio
async def test_a_moment_after_the_last_read(autojump_clock):
    reads = Reads()
    reads.at = trio.current_time()
    assert await times_of(Lull(reads), 100, 100, 100) == pytest.approx([CALM] * 3)


@asynccontextmanager
async def read_all_the_time():
    """A lull that does not come by itself."""
    reads = Reads()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reads.go_on, 10 * LONGEST)
        await trio.testing.wait_all_tasks_blocked()
        yield Lull(reads)
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_after_a_while_though_somebody_reads_all_the_time(autojump_clock):
    async with read_all_the_time() as lull:
        for _ in range(2):
            assert await times_of(lull, 100, 100) == pytest.approx([LONGEST] * 2, abs=CALM)


@pytest.mark.trio
async def test_at_once_where_much_waits_also_the_next_time(autojump_clock):
    async with read_all_the_time() as lull:
        for _ in range(2):
            assert max(await times_of(lull, MUCH // 2, MUCH // 4, MUCH // 4)) < CALM
        assert await times_of(lull, MUCH // 2) == pytest.approx([LONGEST], abs=CALM)


@pytest.mark.trio
@pytest.mark.parametrize("end", [Lull.end, Lull.close])
async def test_at_once_where_somebody_wants_to_see_it_or_nobody_reads_any_more(autojump_clock, end):
    found = []
    async with read_all_the_time() as lull, trio.open_nursery() as nursery:
        lull.end()

        async def one():
            found.append(await times_of(lull, 100))

        nursery.start_soon(one)
        await trio.sleep(LONGEST / 2)
        assert found == [], "it was not there yet when somebody wanted to see what is"
        end(lull)
        await trio.testing.wait_all_tasks_blocked()
        assert found == [pytest.approx([LONGEST / 2], abs=CALM)]


@pytest.mark.trio
async def test_once_it_is_closed_nothing_waits(autojump_clock):
    async with read_all_the_time() as lull:
        lull.close()
        assert await times_of(lull, 100) == [0.0]
