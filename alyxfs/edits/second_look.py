"""A second look at what was saved: whether it still stands there a moment later.

The server holds no record still. It saves whole rows, and JSON fields whole: a save that read the record before ours
was done, and wrote it after, takes ours back without knowing, and without a conflict. That cannot be prevented from
here, but it shows a moment later, and then people are told.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio

from alyxfs import errors
from alyxfs.edits.merge import MISSING, same, same_after_saving
from alyxfs.edits.validate import quoted
from alyxfs.tasks import nobody_waits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from alyxfs.tasks import Tasks

log = logging.getLogger(__name__)

SOON = 2.0
"""Seconds after a save: most that began before it have ended by then, unless the record is a slow one."""
SLOWER = 3
"""The second look waits so many times as long as the save took."""
LATE = 10.0
"""Seconds after a save at which the last look comes, for saves of others that take long. Another value may be meant
then: to tell of it once too often is better than once too few."""
LAST_LOOKS = 3.0
"""Seconds that the unmount takes for them at most."""
GIVEN_UP = 120.0
"""Seconds after the last save of a record for which a server that does not answer is asked again."""

Path = tuple[str, ...]
"""A field, then keys inside it."""


@dataclass(frozen=True)
class _Value:
    """What a save made of one value."""

    number: int | None
    """Of the save in the journal."""
    before: Any
    after: Any
    saved_at: float
    """Trio time."""


class SecondLooks:
    """``read`` gives a record as the server has it now, ``note_error`` (operation, path, sentence) tells people.

    ``_expected`` changes only between awaits: a later save of this drive takes the place of what was expected before.
    """

    def __init__(
        self,
        tasks: Tasks,
        read: Callable[[str, str], Awaitable[Mapping[str, Any]]],
        note_error: Callable[[str, str, str], None],
    ) -> None:
        self.overwritten = 0
        """Values that did not stand there any more."""
        self._tasks = tasks
        self._read = read
        self._note_error = note_error
        self._expected: dict[tuple[str, str], dict[Path, _Value]] = {}

    @property
    def waiting(self) -> int:
        """Records that are still to be looked at."""
        return len(self._expected)

    def saved(
        self,
        number: int | None,
        record: tuple[str, str],
        sent: Mapping[str, Any],
        before: Mapping[str, Any],
        after: Mapping[str, Any],
        seconds: float,
    ) -> None:
        """Look again at the fields that were sent: ``before`` and ``after`` are the record, ``seconds`` its time."""
        is_waiting = record in self._expected
        expected = self._expected.setdefault(record, {})
        self._compare(record, before)  # what was lost by now is not seen later, under this save
        for path, old, new in _changes(before, after, sent):
            for known in [known for known in expected if known[: len(path)] == path or path[: len(known)] == known]:
                del expected[known]
            expected[path] = _Value(number, old, new, trio.current_time())
        if not is_waiting:
            self._tasks.start(self._look, record, max(SOON, SLOWER * seconds), failed=nobody_waits)

    def forget(self, record: tuple[str, str]) -> None:
        """It is deleted, or has another name."""
        self._expected.pop(record, None)

    async def finish(self, read: Callable[[str, str], Awaitable[Mapping[str, Any]]]) -> None:
        """At the unmount, look once more at what is still waited for: nobody does later. It goes to the drive's log.

        ``read`` needs no other task: they have ended.
        """
        with trio.move_on_after(LAST_LOOKS):
            for record in list(self._expected):
                with contextlib.suppress(errors.AlyxfsError):
                    now = await read(*record)
                    for path, value in self._expected.pop(record, {}).items():
                        if not same_after_saving(value.after, current := _at(now, path)):
                            log.warning("%s", self._tell(record, path, value, current))

    async def _look(self, record: tuple[str, str], pause: float) -> None:
        await trio.sleep(pause)
        if record not in self._expected:
            return
        asked_at = trio.current_time()
        try:
            now = await self._read(*record)
        except errors.NotFound:
            self._expected.pop(record, None)
            return
        except errors.AlyxfsError as error:
            self._look_once_more(record, str(error))
            return
        if record not in self._expected:
            return
        self._compare(record, now, asked_at)
        expected = self._expected.get(record, {})
        for path in [path for path, value in expected.items() if value.saved_at + LATE <= asked_at]:
            del expected[path]
        if expected:
            next_look = min(value.saved_at for value in expected.values()) + LATE - trio.current_time()
            self._tasks.start(self._look, record, max(SOON, next_look), failed=nobody_waits)
        else:
            self._expected.pop(record, None)

    def _look_once_more(self, record: tuple[str, str], reason: str) -> None:
        """The server did not answer: try again for a while, and then say that nobody knows."""
        log.info("%s/%s could not be looked at again yet: %s", *record, reason)
        last = max((value.saved_at for value in self._expected.get(record, {}).values()), default=-math.inf)
        if trio.current_time() - last < GIVEN_UP:
            self._tasks.start(self._look, record, LATE, failed=nobody_waits)
            return
        self._expected.pop(record, None)
        sentence = f"Whether what was saved still stands there could not be found out: {reason}"
        self._note_error("overwritten?", "/".join(record), sentence)

    def _compare(self, record: tuple[str, str], now: Mapping[str, Any], asked_at: float = math.inf) -> None:
        """Tell of the values, saved before the record was asked for, that are not there any more."""
        expected = self._expected[record]
        for path, value in list(expected.items()):
            if value.saved_at > asked_at or same_after_saving(value.after, current := _at(now, path)):
                continue
            self._tell(record, path, value, current)
            del expected[path]

    def _tell(self, record: tuple[str, str], path: Path, value: _Value, current: Any) -> str:
        self.overwritten += 1
        saved_at = time.strftime("%H:%M:%S", time.localtime(time.time() - trio.current_time() + value.saved_at))
        which = "" if value.number is None else f" by write {value.number}"
        name = f"{'.'.join(path)} of {'/'.join(record)}"
        is_undone = same(current, value.before)
        words = "is what it was before again" if is_undone else f"is {_words(current)} now"
        sentence = (
            f"{name}, which was saved as {_words(value.after)} at {saved_at}{which}, {words}: somebody else saved the "
            "record at nearly the same moment. Read it, and save yours again if it is still meant."
        )
        self._note_error("overwritten", "/".join(record), sentence)
        return sentence


def _changes(
    before: Mapping[str, Any], after: Mapping[str, Any], names: Mapping[str, Any], path: Path = ()
) -> Iterator[tuple[Path, Any, Any]]:
    """The values that differ, of objects key by key."""
    for name in names:
        old, new = before.get(name, MISSING), after.get(name, MISSING)
        if isinstance(new, dict) and (isinstance(old, dict) or old in (None, MISSING)):
            earlier = old if isinstance(old, dict) else {}
            yield from _changes(earlier, new, {**earlier, **new}, (*path, name))
        elif not same(old, new):
            yield (*path, name), old, new


def _at(document: Any, path: Path) -> Any:
    for name in path:
        document = document.get(name, MISSING) if isinstance(document, dict) else MISSING
    return document


def _words(value: Any) -> str:
    return "removed" if value is MISSING else quoted(value)
