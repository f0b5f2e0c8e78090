"""How much memory the bytes of all files may take: on their way to the disk, ahead of their readers, and kept for some.

What would be too much waits at the server: fetches ask before they take more, readers before they fetch ahead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import trio

from alyxfs.files.memory.buffers import Buffers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

UNSAVED = 128 * 1024 * 1024
"""Bytes: what all fetches together may hold before they wait for the disk."""
AHEAD = 64 * 1024 * 1024
"""Bytes that may be under way for nobody who waits for them already."""
KEPT = 96 * 1024 * 1024
"""Bytes that have come, or could not be saved, and are kept for readers that come soon."""
KEPT_READ = 16 * 1024 * 1024
"""Of these, bytes that are on disk and that somebody has read already."""


class Holder(Protocol):
    """What holds bytes of a file in memory: a segment of it."""

    @property
    def background(self) -> bool:
        """Whether nobody waited for it when it was asked for."""

    @property
    def from_disk(self) -> bool:
        """Whether it takes no connection."""

    @property
    def done(self) -> bool:
        """Whether no byte will follow."""

    @property
    def buffered(self) -> int:
        """Bytes in memory."""

    @property
    def is_unread(self) -> bool:
        """Whether it has or will have bytes in memory that nobody has read yet."""

    @property
    def unread_length(self) -> int:
        """How many."""

    @property
    def is_saved(self) -> bool:
        """Whether all of them can be had from disk."""


class _Kept(NamedTuple):
    file: object
    holder: Holder
    drop: Callable[[], None]


class Memory:
    """What the segments of all files hold together. Never awaits, but in :meth:`room`.

    State: ``_kept`` has the segments that have ended and whose bytes stay for a while, the oldest first. All others
    are known to their files alone; ``under_way`` gives those of all files at this moment.
    """

    def __init__(self, under_way: Callable[[], Iterable[Holder]]) -> None:
        self.buffers = Buffers()
        self._under_way = under_way
        self._kept: list[_Kept] = []
        self._room = trio.lowlevel.ParkingLot()

    @property
    def transfers(self) -> int:
        """Pieces of files that are on their way from a server."""
        return sum(not (item.done or item.from_disk) for item in self._under_way())

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
        ahead = [item for item in self._under_way() if item.background and item.is_unread]
        if sum(not item.done and not item.from_disk for item in ahead) >= connections:
            return False
        return sum(item.unread_length for item in ahead) + length <= (AHEAD if may_write else AHEAD // 2)

    # Kept

    def keep(self, file: object, ended: Holder, drop: Callable[[], None]) -> None:
        """Keep bytes in memory as long as no newer ones need it; those that can be had from disk again go first.

        ``drop`` lets go of them.
        """
        self._kept = [one for one in self._kept if one.holder.buffered]
        self._kept.append(_Kept(file, ended, drop))
        _drop_oldest([one for one in self._kept if one.holder.is_saved and not one.holder.is_unread], KEPT_READ)
        _drop_oldest(self._kept, KEPT)

    def release_file(self, file: object) -> None:
        """The file is closed, and with it what it had in memory."""
        self._kept = [one for one in self._kept if one.file is not file]

    def release(self) -> None:
        """Give back the memory of what can be had from disk again, and all free buffers."""
        _drop_oldest([one for one in self._kept if one.holder.is_saved], 0)
        self.buffers.release()


def _drop_oldest(kept: list[_Kept], limit: int) -> None:
    total = sum(one.holder.buffered for one in kept)
    for one in kept:
        if total <= limit:
            break
        total -= one.holder.buffered
        one.drop()
