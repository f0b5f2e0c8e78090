"""The delete brake: what stands between ``rm -rf`` and the only database of a lab."""

from __future__ import annotations

from collections import deque

import trio

from alyxfs import errors

WINDOW = 60.0
"""Seconds."""


class DeleteBrake:
    """Lets ``deletes_per_minute`` through in any minute; the next one pulls it, and then nothing passes until lifted.

    It stays pulled because ``rm -rf`` goes on for longer than a minute. :meth:`take` never awaits.
    """

    def __init__(self, deletes_per_minute: int) -> None:
        self.deletes_per_minute = deletes_per_minute
        self.pulled = False
        self._times: deque[float] = deque()

    def check(self) -> None:
        """Raise NotAllowed where the brake is pulled: before any request is spent on a record."""
        if self.pulled:
            raise errors.NotAllowed(
                f"Deleting is stopped: more than {self.deletes_per_minute} records were to be deleted within a minute. "
                "Was that meant? `alyxfs log` shows what was deleted and `alyxfs undo` brings records back; "
                "lift the brake to go on."
            )

    def take(self) -> None:
        """Count one delete that is about to be sent; raises NotAllowed where it is one too many."""
        self.check()
        now = trio.current_time()
        while self._times and self._times[0] <= now - WINDOW:
            self._times.popleft()
        if len(self._times) >= self.deletes_per_minute:
            self.pulled = True
            self.check()
        self._times.append(now)

    def lift(self) -> None:
        """Let ``deletes_per_minute`` more through."""
        self.pulled = False
        self._times.clear()
