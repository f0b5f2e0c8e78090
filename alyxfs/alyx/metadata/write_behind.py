"""Writes to the store in the background, in order, several in one go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from alyxfs.defects import note_defect
from alyxfs.tasks import nobody_waits

if TYPE_CHECKING:
    from collections.abc import Callable

    from alyxfs.tasks import Tasks


class WriteBehind:
    """What waits to be written. ``_waiting`` and ``_running`` change only between awaits."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._waiting: list[Callable[[], object]] = []
        self._turn = trio.Lock()
        self._running = False

    def add(self, write: Callable[[], object]) -> None:
        """Call ``write`` in a thread, soon, after all that was added before."""
        self._waiting.append(write)
        if not self._running:
            self._running = True
            self._tasks.start(self.flush, failed=nobody_waits, ended=self._has_run)

    async def flush(self) -> None:
        """Write all that waits."""
        async with self._turn:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                with trio.CancelScope(shield=True):  # what was taken out is written
                    await trio.to_thread.run_sync(_call_all, batch)

    def _has_run(self) -> None:
        self._running = False


def _call_all(writes: list[Callable[[], object]]) -> None:
    for write in writes:
        try:
            write()
        except Exception as error:  # noqa: BLE001 - the others are not to be lost with it
            note_defect(error, "writing to the store")
