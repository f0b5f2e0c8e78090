"""Background tasks: what goes wrong in one is told to who waits for it, counted, and ends nothing else."""

from __future__ import annotations

import ast
import itertools
from pathlib import Path

import pytest
import trio
import trio.testing

import alyxfs
from alyxfs import defects, errors
from alyxfs.tasks import FIRST_PAUSE, LONGEST_PAUSE, background_tasks, for_each, nobody_waits

SPAWNING = {"open_nursery", "Nursery", "start_soon", "spawn_system_task", "serve_tcp", "start_blocking_trio_thread"}


def test_no_module_spawns_a_task_but_through_the_supervisor():
    root = Path(alyxfs.__file__).parent
    found = []
    for path in sorted(root.rglob("*.py")):
        if path == root / "tasks.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else None
            imported = [alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) else []
            found += [
                f"{path.relative_to(root)}:{node.lineno}: {each}" for each in (name, *imported) if each in SPAWNING
            ]
    assert not found, "these tasks could end the drive; begin them with alyxfs.tasks: " + ", ".join(found)


async def fail(error):
    await trio.lowlevel.checkpoint()
    raise error


@pytest.mark.trio
async def test_a_defect_is_told_to_who_waits_and_counted_and_all_else_goes_on(caplog):
    before = defects.noted.count
    told, went_on = [], trio.Event()
    async with background_tasks() as tasks:
        tasks.start(fail, RuntimeError("secret"), failed=told.append, ended=went_on.set)
        await went_on.wait()
        await trio.testing.wait_all_tasks_blocked()
    assert [type(error) for error in told] == [errors.Defect]
    assert "RuntimeError" in str(told[0])
    assert "secret" not in str(told[0]), "its text is for the log alone"
    assert "secret" in caplog.text
    assert "Traceback" in caplog.text
    assert defects.noted.count == before + 1
    assert defects.noted.last == str(told[0])


@pytest.mark.trio
async def test_a_domain_error_is_no_defect():
    before = defects.noted.count
    told, error = [], errors.NotFound("There is no such thing.")
    async with background_tasks() as tasks:
        tasks.start(fail, error, failed=told.append)
        await trio.testing.wait_all_tasks_blocked()
    assert told == [error]
    assert defects.noted.count == before


@pytest.mark.trio
async def test_a_waiter_that_cannot_be_told_ends_nothing():
    def cannot(error):
        raise ValueError(error)

    before = defects.noted.count
    ended = []
    async with background_tasks() as tasks:
        tasks.start(fail, RuntimeError(), failed=cannot, ended=lambda: ended.append("one"))
        tasks.start(fail, RuntimeError(), failed=nobody_waits, ended=lambda: 1 / 0)
        await trio.testing.wait_all_tasks_blocked()
    assert ended == ["one"]
    assert defects.noted.count == before + 4, "each of the tasks, and what should have been told of each"


@pytest.mark.trio
async def test_a_failure_among_cancelled_siblings_is_no_way_out():
    """An inner nursery raises a group of what went wrong and what was cancelled with it."""

    async def fails_when_cancelled():
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            raise RuntimeError from None

    async def inner():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails_when_cancelled)
            nursery.start_soon(trio.sleep_forever)

    before = defects.noted.count
    async with background_tasks() as tasks:
        tasks.start(inner, failed=nobody_waits)
        await trio.testing.wait_all_tasks_blocked()
    assert defects.noted.count == before + 1


@pytest.mark.trio
async def test_what_should_never_end_begins_again_with_growing_pauses(autojump_clock):
    began = []

    async def dies():
        began.append(trio.current_time())
        if len(began) == 9:
            await trio.sleep(LONGEST_PAUSE + 1)
        if len(began) == 11:
            return
        raise RuntimeError

    async with background_tasks() as tasks:
        tasks.keep(dies)
        await trio.sleep(3600)
    pauses = [round(after - before) for before, after in itertools.pairwise(began)]
    assert pauses[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert pauses[8] == LONGEST_PAUSE + 1 + FIRST_PAUSE, "it had worked for a while"
    assert pauses[9:] == [2], "and it is over when it returns"


@pytest.mark.trio
async def test_one_of_many_that_fails_leaves_the_others(autojump_clock):
    done, failed, most, running = [], [], 0, 0

    async def work(number):
        nonlocal most, running
        running += 1
        most = max(most, running)
        try:
            await trio.sleep(1)
            if number == 3:
                raise RuntimeError
            done.append(number)
        finally:
            running -= 1

    await for_each(range(6), work, at_once=2, failed=lambda number, error: failed.append((number, type(error))))
    assert sorted(done) == [0, 1, 2, 4, 5]
    assert failed == [(3, errors.Defect)]
    assert most == 2


@pytest.mark.trio
async def test_the_error_of_the_block_is_raised_as_it_is():
    async def block():
        async with background_tasks() as tasks:
            tasks.start(trio.sleep_forever, failed=nobody_waits)
            raise errors.Invalid("as it is")

    with pytest.raises(errors.Invalid):
        await block()
