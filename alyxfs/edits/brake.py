"""The delete brake: what stands between ``rm -rf`` and the only database of a lab."""

from __future__ import annotations

from collections import deque

import trio

from alyxfs import errors

WINDOW = 60.0
"""Seconds."""


class DeleteBrake:
    """Lets ``deletes_per_minute`` through in any minute; the next one pulls it, and then nothing passes until lifted.

    It stays pulled because ``rm -rf`` goes on for longer than a minute. Attempts count, also those that are refused
    because others hang from the record: they cost the server several requests each. :meth:`take` never awaits.
    """

    def __init__(self, deletes_per_minute: int) -> None:
        self.deletes_per_minute = deletes_per_minute
        self.pulled = False
        self._times: deque[float] = deque()

    def take(self) -> None:
        """Count one delete that is about to be tried; raises NotAllowed where it is one too many."""
        now = trio.current_time()
        while self._times and self._times[0] <= now - WINDOW:
            self._times.popleft()
        self.pulled = self.pulled or len(self._times) >= self.deletes_per_minute
        self.refuse_pulled()
        self._times.append(now)

    def refuse_pulled(self) -> None:
        """Raise NotAllowed where the brake is pulled."""
        if self.pulled:
            raise errors.NotAllowed(
                f"Deleting is stopped: more than {self.deletes_per_minute} records were to be deleted within a minute. "
                "Was that meant? `alyxfs log` shows what was deleted and `alyxfs undo` brings records back; "
                "`alyxfs allow-deletes` lets as many more through."
            )

    def lift(self) -> None:
        """Let ``deletes_per_minute`` more through."""
        self.pulled = False
        self._times.clear()
