"""How much memory the bytes of all files may take: on their way to the disk, ahead of their readers, and kept for some.

What would be too much waits at the server: fetches ask before they take more, readers before they fetch ahead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from alyxfs.files.held import Buffers

if TYPE_CHECKING:
    from collections.abc import Collection

    from alyxfs.files.cachedfile import CachedFile
    from alyxfs.files.fetch import Fetch

UNSAVED = 128 * 1024 * 1024
"""Bytes: what all fetches together may hold before they wait for the disk."""
AHEAD = 64 * 1024 * 1024
"""Bytes that may be under way for nobody who waits for them already."""
KEPT = 96 * 1024 * 1024
"""Bytes that have come, or could not be saved, and are kept for readers that come soon."""
KEPT_READ = 16 * 1024 * 1024
"""Of these, bytes that are on disk and that somebody has read already."""


class Memory:
    """What the fetches of all files hold together. Never awaits, but in :meth:`room`.

    State: ``_kept`` has the fetches that have ended and whose bytes stay for a while, the oldest first. All others
    are known to their files alone; ``files`` is the cache's view of those at every moment.
    """

    def __init__(self, files: Collection[CachedFile]) -> None:
        self.buffers = Buffers()
        self._files = files
        self._kept: list[tuple[CachedFile, Fetch]] = []
        self._room = trio.lowlevel.ParkingLot()

    # On its way to the disk

    def is_crowded(self) -> bool:
        """Whether fetches should wait for the disk."""
        return self.buffers.unsaved > UNSAVED

    def is_disk_behind(self) -> bool:
        """Whether the disk is clearly slower than the network, so that fetches will have to wait for it soon."""
        return self.buffers.unsaved > AHEAD // 2

    async def room(self) -> None:
        """Sleep until a save has ended."""
        await self._room.park()

    def room_made(self) -> None:
        """A save has ended."""
        self._room.unpark_all()

    # Ahead of its readers

    def is_short(self) -> bool:
        """Whether what is read ahead should not come faster than it is read."""
        return self.buffers.unread > AHEAD

    def has_room_ahead(self, length: int, connections: int, *, may_write: bool) -> bool:
        """Whether so many bytes may be fetched that nobody waits for, over one of so many connections.

        ``may_write``: the disk takes what comes, so that memory is soon free again.
        """
        ahead = [item for file in self._files for item in file.fetches if item.background and item.is_unread]
        if sum(not item.done and not item.from_disk for item in ahead) >= connections:
            return False
        return sum(item.unread_length for item in ahead) + length <= (AHEAD if may_write else AHEAD // 2)

    # Kept

    def keep(self, file: CachedFile, ended: Fetch) -> None:
        """Keep bytes in memory as long as no newer ones need it; those that can be had from disk again go first."""
        self._kept = [one for one in self._kept if one[1].held]
        self._kept.append((file, ended))
        read = [one for one in self._kept if one[1].is_saved and not one[1].is_unread]
        _drop_oldest(read, KEPT_READ)
        _drop_oldest(self._kept, KEPT)

    def forget(self, file: CachedFile) -> None:
        """The file is closed, and with it what it had in memory."""
        self._kept = [(one, item) for one, item in self._kept if one is not file]

    def let_go(self) -> None:
        """Give back the memory of what can be had from disk again, and all free buffers."""
        _drop_oldest([one for one in self._kept if one[1].is_saved], 0)
        self.buffers.let_go()


def _drop_oldest(kept: list[tuple[CachedFile, Fetch]], limit: int) -> None:
    total = sum(item.held for _, item in kept)
    for file, item in kept:
        if total <= limit:
            break
        total -= item.held
        file.drop(item)
