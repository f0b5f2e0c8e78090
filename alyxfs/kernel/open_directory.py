"""An open directory as the kernel reads it: by position, with ``.`` and ``..`` first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyfuse3

from alyxfs.tree import FixedEntries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

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

    def own_names(self, start: int) -> Iterable[tuple[bytes, int, int]]:
        """``.`` and ``..`` from a position on: the name of each, its inode number, and the position after it."""
        return () if start >= OWN else ((b".", self.number, 1), (b"..", self._parent, 2))[start:]

    def known(self, start: int) -> Sequence[tuple[str, Node]] | None:
        """All that follows after a position from OWN on, where the whole directory is known."""
        entries = self._entries
        return entries.all[start - OWN :] if isinstance(entries, FixedEntries) else None

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


def given_at_once(
    known: Sequence[tuple[str, Node]],
    position: int,
    token: pyfuse3.ReaddirToken,
    entry_of: Callable[[Node], pyfuse3.EntryAttributes | None],
) -> Iterator[tuple[int, Node]]:
    """Give the entries that follow after a position, as many as the kernel takes: number and node of each of these.

    ``entry_of`` gives None for one that cannot be shown.
    """
    for following, (name, node) in enumerate(known, position + 1):
        entry = entry_of(node)
        if entry is None:
            continue
        if not pyfuse3.readdir_reply(token, name.encode(), entry, following):
            return
        yield entry.st_ino, node
