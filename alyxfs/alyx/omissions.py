"""What the server told that cannot be shown: it costs that one entry, and is said once."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cachetools import LRUCache

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

REMEMBERED = 1000
"""Sentences that are not said again."""
LONGEST_SENTENCE = 500
"""Characters: the odd thing itself may be of any length."""


class Omissions:
    """One for a drive. ``_said`` changes only in :meth:`note`, which never awaits."""

    def __init__(self) -> None:
        self.tell: Callable[[str, str], None] = lambda where, sentence: log.info("%s: %s", where, sentence)
        """Called with the place in the drive and a sentence; must not await."""
        self._said: LRUCache[tuple[str, str], bool] = LRUCache(REMEMBERED)

    def note(self, where: str, sentence: str) -> None:
        """Tell people, unless they were told before."""
        sentence = sentence if len(sentence) <= LONGEST_SENTENCE else sentence[:LONGEST_SENTENCE] + "…"
        if (where, sentence) not in self._said:
            self._said[where, sentence] = True
            self.tell(where, sentence)
