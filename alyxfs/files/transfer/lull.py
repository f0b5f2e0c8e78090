"""When small files are saved: while nobody reads, or once much waits for that.

To make a file on disk takes some 25 calls of the system. In a thread beside an event loop that is busy, each of them
waits for Python's lock, and the loop for the thread: 0.7 ms of processor a file, and 0.1 where the loop has nothing to
do (Linux 6.18, two cores).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

CALM = 0.05
"""Seconds without a read."""
LONGEST = 1.0
"""Seconds that what is there to save waits for these."""
MUCH = 32 * 1024 * 1024
"""Bytes that are saved at once, whoever reads."""


class Lull:
    """See the module. State: changed between two awaits; the first one that waits sees to it that all go on."""

    def __init__(self, read_at: Callable[[], float]) -> None:
        self._read_at = read_at
        """Trio time of the last read."""
        self._waiting = 0
        """Bytes."""
        self._enough = trio.Event()
        self._over: trio.Event | None = None
        self._is_closed = False

    async def come(self, length: int) -> None:
        """Return when so many bytes should be saved."""
        self._waiting += length
        if self._waiting >= MUCH:
            self._enough.set()
        if self._over is not None:
            await self._over.wait()
            return
        self._over = over = trio.Event()
        try:
            with trio.move_on_after(LONGEST):
                while not (self._is_closed or self._enough.is_set()):
                    with trio.move_on_at(self._read_at() + CALM) as scope:
                        await self._enough.wait()
                    if scope.cancelled_caught and trio.current_time() >= self._read_at() + CALM:
                        break
        finally:  # whatever becomes of the first one, the others go on
            over.set()
            self._over, self._enough, self._waiting = None, trio.Event(), 0

    def end(self) -> None:
        """Somebody wants to see on disk what waits here."""
        if self._over is not None:
            self._enough.set()

    def close(self) -> None:
        """Nobody reads any more."""
        self._is_closed = True
        self.end()
