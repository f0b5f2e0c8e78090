"""Programs that walk through the small files of a directory: which ones to fetch before they are asked for. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alyxfs.files.source import Source

LARGEST = 1024 * 1024
"""Bytes: a larger file is worth its own round trip, and too much to fetch on a guess."""
LONGEST_STEP = 4
"""Places that a walk in order may go on at a time: it may leave out a file or two."""
FIRST_DEPTH = 4
"""Files fetched ahead after the first step; twice as many after each further one."""
MAXIMUM_DEPTH = 64


class SiblingWalk:
    """One directory, and how far somebody has come in it."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = list(sources)
        self._places = {source.identity: place for place, source in enumerate(self._sources)}
        self._last = -LONGEST_STEP
        self._steps = 0
        self._asked = 0

    def holds(self, source: Source) -> bool:
        """Whether the file is of this directory."""
        return source.identity in self._places

    def read(self, source: Source) -> list[Source]:
        """Take note that somebody reads this file; return the next ones, if a walk in order is under way."""
        place = self._places[source.identity]
        step = place - self._last
        if step:
            in_order = 0 < step <= LONGEST_STEP and self._last >= 0
            self._steps = self._steps + 1 if in_order else 0
            self._last = place
            if not in_order:
                self._asked = 0
        if not self._steps:
            return []
        self._asked = max(self._asked, place + 1)
        depth = min(FIRST_DEPTH * 2 ** min(self._steps - 1, 10), MAXIMUM_DEPTH)
        return self._sources[self._asked : place + 1 + depth]

    def asked(self) -> None:
        """Note that the next one of the last answer is under way, or not worth fetching."""
        self._asked += 1
