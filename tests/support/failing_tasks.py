"""A drive whose background tasks fail when they are told to: ``python failing_tasks.py PLACE mount …``.

The file PLACE names a task and a step: ``Records._fly 2``. Each task of this name raises RuntimeError then: at step 0
before it does anything, at step 2 when it goes on for the second time after waiting, or later. ``* 2`` means one task
of every name. What was begun, and what was made to fail, is written to PLACE.begun and PLACE.failed, a name in a line.
"""

from __future__ import annotations

import functools
import os
import sys
import types

from alyxfs import tasks
from alyxfs.alyx.datasets import index
from alyxfs.cli import main
from alyxfs.edits import second_look
from alyxfs.files import disk_use, mtscomp
from alyxfs.files.transfer import task
from alyxfs.tree.writing import delayed_delete

IN_PLACE_OF_MINUTES = 0.2
PLACE = sys.argv.pop(1)


class Order:
    """What the file says, and the names of which a task has failed by it."""

    def __init__(self) -> None:
        self._text, self._spent = "", set()

    def is_meant(self, name: str, step: int) -> bool:
        with open(PLACE) as file:
            text = file.read()
        if text != self._text:
            self._text, self._spent = text, set()
        who, when = text.split() or ("", "0")
        at_this_step = step == 0 if when == "0" else step >= int(when)
        return at_this_step and (who == name or (who == "*" and name not in self._spent))

    def fail(self, name: str) -> RuntimeError:
        self._spent.add(name)
        note("failed", name)
        return RuntimeError("made to fail")


ORDER = Order()


def note(kind: str, name: str) -> None:
    with open(f"{PLACE}.{kind}", "a") as file:
        file.write(f"{name}\n")


def holds_a_lock_meanwhile(coroutine) -> bool:
    """Whether it waits for a lock of trio's: made to fail there it would keep it, as no exception of the world does."""
    while coroutine is not None:
        code = getattr(coroutine, "cr_code", None) or getattr(coroutine, "gi_code", None)
        if code is not None and os.path.basename(code.co_filename) == "_sync.py":
            return True
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    return False


@types.coroutine
def failing(coroutine, name: str):
    """Carry out a coroutine step by step."""
    note("begun", name)
    if ORDER.is_meant(name, 0):
        coroutine.close()
        raise ORDER.fail(name)
    proceed, step = functools.partial(coroutine.send, None), 0
    while True:
        try:
            awaited = proceed()
        except StopIteration as end:
            return end.value
        try:
            value = yield awaited
        except BaseException as error:  # noqa: BLE001 - it is the coroutine's
            proceed = functools.partial(coroutine.throw, error)
            continue
        step += 1
        if ORDER.is_meant(name, step) and not holds_a_lock_meanwhile(coroutine):
            proceed = functools.partial(coroutine.throw, ORDER.fail(name))
        else:
            proceed = functools.partial(coroutine.send, value)


outcome = tasks._outcome


async def failing_outcome(work, arguments):
    async def steps(*arguments):
        return await failing(work(*arguments), tasks._name(work))

    return await outcome(functools.update_wrapper(steps, work), arguments)


if __name__ == "__main__":
    tasks._outcome = failing_outcome
    tasks.FIRST_PAUSE = tasks.LONGEST_PAUSE = IN_PLACE_OF_MINUTES
    disk_use.RECORD_PAUSE = disk_use.TIDY_PAUSE = index.FAILURE_PAUSE = IN_PLACE_OF_MINUTES
    second_look.LATER = second_look.SLOWER = IN_PLACE_OF_MINUTES
    delayed_delete.UNLINK_GRACE = IN_PLACE_OF_MINUTES
    task.SAVE_PIECE = 64 * 1024
    mtscomp.ESTABLISHED = 1
    main()
