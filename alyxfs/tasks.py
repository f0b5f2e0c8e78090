"""Tasks in the background: the one way to spawn them, so that what goes wrong in one ends nothing else.

Whatever a task raises fails those who wait for it, is logged, and is counted where it is a defect of alyxfs. A bare
nursery would end the whole drive with it; a test sees to it that there is none outside of this module.
"""

from __future__ import annotations

import logging
import sys
from contextlib import asynccontextmanager
from functools import update_wrapper
from typing import TYPE_CHECKING

import trio

from alyxfs.defects import as_domain_error, note_defect

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
    from typing import TypeVar

    from typing_extensions import TypeVarTuple, Unpack

    from alyxfs.errors import AlyxfsError

    Arguments = TypeVarTuple("Arguments")
    Item = TypeVar("Item")

log = logging.getLogger(__name__)

FIRST_PAUSE = 1.0
"""Seconds before a task that should never end is started again; doubled each time it ends soon after."""
LONGEST_PAUSE = 60.0
"""Seconds: the longest of these pauses, and the time after which a task counts as one that works."""


def nobody_waits(failure: AlyxfsError) -> None:
    """For a task on whose outcome nothing depends."""
    log.info("in the background: %s", failure)


class Tasks:
    """The background tasks of a block of code. Made with :func:`background_tasks`."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    def start(
        self,
        work: Callable[[Unpack[Arguments]], Awaitable[object]],
        *arguments: Unpack[Arguments],
        failed: Callable[[AlyxfsError], object],
        ended: Callable[[], object] | None = None,
    ) -> None:
        """Begin ``work`` in a task of its own, soon.

        ``failed`` is called with the reason where it raises anything: it must tell whoever waits for the outcome.
        ``ended`` is called at last in any case, also where it was cancelled. Neither may await.
        """
        self._nursery.start_soon(_watched, work, arguments, failed, ended, name=work)

    def keep(self, work: Callable[[Unpack[Arguments]], Awaitable[object]], *arguments: Unpack[Arguments]) -> None:
        """Run ``work`` in a task of its own until it returns; where it raises it begins again after a pause."""
        self._nursery.start_soon(_kept, work, arguments, name=work)

    def cancel(self) -> None:
        """Cancel all of them, and the block."""
        self._nursery.cancel_scope.cancel()


@asynccontextmanager
async def background_tasks() -> AsyncGenerator[Tasks, None]:
    """Tasks that are cancelled when the block ends, and an end of the block that raises its own error as it is.

    A plain nursery would wrap that error in a group, which no caller could catch by its kind.
    """
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        try:
            yield Tasks(nursery)
        except Exception as error:  # noqa: BLE001 - raised again below, outside of the nursery
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def for_each(
    items: Iterable[Item],
    work: Callable[[Item], Awaitable[object]],
    *,
    at_once: int,
    failed: Callable[[Item, AlyxfsError], object],
) -> None:
    """Do ``work`` for every item, so many ``at_once``, and return when all have ended, whatever became of each."""
    limiter = trio.CapacityLimiter(at_once)

    async def in_turn(item: Item) -> None:
        async with limiter:
            await work(item)

    update_wrapper(in_turn, work)  # by whose name a defect is told
    async with trio.open_nursery() as nursery:
        for item in items:

            def has_failed(failure: AlyxfsError, item: Item = item) -> None:
                failed(item, failure)

            nursery.start_soon(_watched, in_turn, (item,), has_failed, None, name=work)


async def _watched(
    work: Callable[..., Awaitable[object]],
    arguments: tuple[object, ...],
    failed: Callable[[AlyxfsError], object],
    ended: Callable[[], object] | None,
) -> None:
    try:
        error = await _outcome(work, arguments)
        if error is not None:
            _tell(work, failed, as_domain_error(error, _name(work)))
    finally:
        if ended is not None:
            _tell(work, ended)


def _tell(work: Callable[..., Awaitable[object]], whom: Callable[..., object], *what: object) -> None:
    try:
        whom(*what)
    except Exception as error:  # noqa: BLE001 - nothing may leave the task
        note_defect(error, f"what follows {_name(work)}")


async def _kept(work: Callable[..., Awaitable[object]], arguments: tuple[object, ...]) -> None:
    pause = FIRST_PAUSE
    while True:
        began = trio.current_time()
        error = await _outcome(work, arguments)
        if error is None:
            return
        sentence = as_domain_error(error, _name(work))
        if trio.current_time() - began > LONGEST_PAUSE:
            pause = FIRST_PAUSE
        log.info("%s begins again in %g s: %s", _name(work), pause, sentence)
        await trio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


async def _outcome(work: Callable[..., Awaitable[object]], arguments: tuple[object, ...]) -> Exception | None:
    """What the work raised, if anything. Cancelling, and an interrupt from the keyboard, go through."""
    try:
        await work(*arguments)
    except Exception as error:  # noqa: BLE001 - handed to who waits
        return error
    except BaseExceptionGroup as group:  # of an inner nursery, some of whose tasks were cancelled meanwhile
        unexpected, rest = group.split(Exception)
        if unexpected is not None:
            note_defect(unexpected, _name(work))
        assert rest is not None, "else it were an ExceptionGroup"
        raise rest from None
    return None


def _name(work: Callable[..., Awaitable[object]]) -> str:
    return getattr(work, "__qualname__", repr(work)).replace(".<locals>", "")
