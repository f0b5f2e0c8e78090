"""Programs that look at a file before they open it: they will believe the size that they see then.

An open costs the kernel one look-up of a name that it may not keep, a stat another one. What it asks about the inode
does not tell them apart: for an open it asks for the mode, for a stat for the size, in one and the same question
(fuse_permission and fuse_update_attributes in fs/fuse/dir.c of Linux).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cachetools import LRUCache

from alyxfs.kernel.processes import process_of

if TYPE_CHECKING:
    from alyxfs.tree import Attributes

REMEMBERED = 1000
"""Programs with a file that they have looked up, and not opened yet."""


class Looks:
    """Look-ups of growing files, by inode and program. No method awaits."""

    def __init__(self) -> None:
        self._counts: LRUCache[tuple[int, int], int] = LRUCache(REMEMBERED)

    def note(self, number: int, attributes: Attributes, thread: int) -> None:
        """The program of this thread has looked up a name of the inode, which has these attributes."""
        if not attributes.is_growing:
            return
        key = number, process_of(thread)
        self._counts[key] = self._counts.get(key, 0) + 1

    def came_before_open(self, number: int, process: int) -> bool:
        """Whether a program that opens the inode has looked at it before; asked once an open."""
        return self._counts.pop((number, process), 0) > 1
