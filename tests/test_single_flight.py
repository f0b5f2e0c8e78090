"""One piece of work for all who ask for the same at the same time."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from alyxfs import errors
from alyxfs.single_flight import SingleFlight
from alyxfs.tasks import background_tasks


class Work:
    """Work that ends when it is told to, and counts how often it began."""

    def __init__(self, failure=None):
        self.began, self.may_end, self.failure = 0, trio.Event(), failure

    async def __call__(self):
        self.began += 1
        number = self.began
        await self.may_end.wait()
        if self.failure is not None:
            raise self.failure
        return number


async def ask(flights, work, answers, *, joins=True):
    try:
        answers.append(await flights.result("key", work, joins=joins))
    except errors.AlyxfsError as error:
        answers.append(error)


@pytest.mark.trio
async def test_all_who_ask_share_one_piece_of_work_also_when_the_first_gives_up():
    work, answers = Work(), []
    async with background_tasks() as tasks, trio.open_nursery() as nursery:
        flights = SingleFlight(tasks)
        with trio.move_on_after(0):
            await flights.result("key", work)
        nursery.start_soon(ask, flights, work, answers)
        nursery.start_soon(ask, flights, work, answers)
        await trio.testing.wait_all_tasks_blocked()
        work.may_end.set()
        await trio.testing.wait_all_tasks_blocked()
        assert await flights.result("key", work) == 2, "what has ended is not joined"
    assert answers == [1, 1]


@pytest.mark.trio
async def test_what_failed_is_told_to_each_by_an_exception_of_its_own():
    work, answers = Work(errors.NotFound("There is none.", status=404, url="http://x")), []
    async with background_tasks() as tasks, trio.open_nursery() as nursery:
        flights = SingleFlight(tasks)
        nursery.start_soon(ask, flights, work, answers)
        nursery.start_soon(ask, flights, work, answers)
        await trio.testing.wait_all_tasks_blocked()
        work.may_end.set()
    assert [(type(each), str(each), each.status, each.url) for each in answers] == [
        (errors.NotFound, "There is none.", 404, "http://x")
    ] * 2
    assert answers[0] is not answers[1]


@pytest.mark.trio
async def test_nobody_joins_what_is_forgotten_and_who_must_not_join_begins_anew():
    work, answers = Work(), []
    async with background_tasks() as tasks, trio.open_nursery() as nursery:
        flights = SingleFlight(tasks)
        nursery.start_soon(ask, flights, work, answers)
        await trio.testing.wait_all_tasks_blocked()
        flights.forget(lambda key: key == "key")
        nursery.start_soon(ask, flights, work, answers)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(lambda: ask(flights, work, answers, joins=False))
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(ask, flights, work, answers)
        await trio.testing.wait_all_tasks_blocked()
        work.may_end.set()
    assert sorted(answers) == [1, 2, 3, 3]


@pytest.mark.trio
async def test_who_waits_is_told_when_the_drive_is_taken_down():
    answers = []
    async with trio.open_nursery() as nursery:
        async with background_tasks() as tasks:
            flights = SingleFlight(tasks)
            nursery.start_soon(ask, flights, Work(), answers)
            await trio.testing.wait_all_tasks_blocked()
        await trio.testing.wait_all_tasks_blocked()
    assert [type(each) for each in answers] == [errors.Unreachable]
