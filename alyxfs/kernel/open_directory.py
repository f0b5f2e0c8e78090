"""An open directory as the kernel reads it: by position, with ``.`` and ``..`` first."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alyxfs.tree import Directory, Entries, Node

OWN = 2
"""Positions of ``.`` and ``..``; what the directory shows follows."""


class OpenDirectory:
    """Owned by its handle. What it shows changes only when it is read from its beginning again."""

    def __init__(self, node: Directory, numbers: tuple[int, int], entries: Entries) -> None:
        self.node = node
        self.number, self._parent = numbers
        """The inode numbers of the directory and of the one that it stands in."""
        self._entries = entries
        self._was_read = False

    def is_rewound(self, position: int) -> bool:
        """Whether a program reads it again from its beginning (rewinddir), as this position tells."""
        was_read, self._was_read = self._was_read, True
        return was_read and position == 0

    async def look_again(self) -> None:
        """Show what is there now, as POSIX wants it of rewinddir. Raises what opening raises."""
        self._entries = await self.node.entries()

    def own_names(self, start: int) -> Iterator[tuple[int, tuple[bytes, int]]]:
        """``.`` and ``..`` from a position on: the position after each, its name and its inode number."""
        names = ((b".", self.number), (b"..", self._parent))
        return iter(list(enumerate(names, 1))[start:])

    def ready(self, position: int) -> bool:
        """See Entries."""
        return self._entries.ready(position - OWN)

    async def at(self, position: int) -> tuple[bytes, Node | None, int] | None:
        """See Entries."""
        found = await self._entries.at(position - OWN)
        if found is None:
            return None
        name, node, following = found
        return name.encode(), node, following + OWN
