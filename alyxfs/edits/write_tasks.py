"""Writes in tasks of their own: a program stops waiting at its deadline, and what was sent is followed to its end."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import trio

from alyxfs import errors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from alyxfs.tasks import Tasks

Result = TypeVar("Result")

GRACE = 2.0
"""Seconds for a write that is called off before it was sent: its draft is put on the disk, and the journal told."""


@dataclass(eq=False)
class _Write:
    path: str
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    ended: trio.Event = field(default_factory=trio.Event)
    is_awaited: bool = True
    has_succeeded: bool = False
    result: Any = None
    failure: errors.AlyxfsError | None = None


class WriteTasks:
    """``note_error`` (operation, path, sentence) is told what came of writes that nobody waited for any more."""

    def __init__(self, tasks: Tasks, note_error: Callable[[str, str, str], None]) -> None:
        self._tasks = tasks
        self._note_error = note_error
        self._under_way: set[_Write] = set()

    def __len__(self) -> int:
        """How many are under way."""
        return len(self._under_way)

    async def run(self, path: str, write: Callable[[], Awaitable[Result]]) -> Result:
        """The result of the write, or what it raises.

        A caller that is cancelled calls it off, and waits no longer than it takes to keep its draft. What has been
        sent by then goes on (it is shielded), and its end is told to ``note_error``.
        """
        running = _Write(path)
        self._under_way.add(running)

        async def carry_out() -> None:
            with running.scope:
                running.result = await write()
                running.has_succeeded = True

        def failed(failure: errors.AlyxfsError) -> None:
            running.failure = failure

        self._tasks.start(carry_out, failed=failed, ended=partial(self._end, running))
        try:
            await running.ended.wait()
        except trio.Cancelled:
            running.scope.cancel()
            with trio.move_on_after(GRACE) as scope:
                scope.shield = True
                await running.ended.wait()
            if not running.has_succeeded:
                running.is_awaited = running.ended.is_set()
                raise
        if running.failure is not None:
            raise running.failure
        if not running.has_succeeded:
            raise errors.Unreachable(f"{path} was not written: the drive is being taken down.")
        return cast("Result", running.result)

    async def finish(self) -> None:
        """At the unmount: call off what has not been sent, and wait for what has."""
        for running in list(self._under_way):
            running.scope.cancel()
        for running in list(self._under_way):
            await running.ended.wait()

    def _end(self, running: _Write) -> None:
        self._under_way.discard(running)
        running.ended.set()
        if not running.is_awaited:
            late = "It took longer than the program that wrote it could wait"
            sentence = f"{late}: {running.failure}" if running.failure else f"{late}, and was done all the same."
            self._note_error("late", running.path, sentence)
