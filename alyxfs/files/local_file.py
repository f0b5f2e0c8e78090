"""One reader of a data file that lies on this machine already, as in the user's ONE directory."""

from __future__ import annotations

import errno
import logging
import os
from typing import TYPE_CHECKING, NamedTuple, Protocol

import trio

from alyxfs import errors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from alyxfs.files.memory.buffers import Bytes
    from alyxfs.files.source import OpenFile

log = logging.getLogger(__name__)


class State(NamedTuple):
    """What tells one content of a local file from another, as far as its file system can."""

    inode: int
    size: int
    modified: int
    """Nanoseconds, as the next."""
    changed: int
    """Which no program can set back."""


def state_of(descriptor: int) -> State:
    """That of an open file. Blocks."""
    found = os.fstat(descriptor)
    return State(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class Directory(Protocol):
    """Where the file lies."""

    async def step(self, work: Callable[[int, int], bytes | None], offset: int, size: int, /) -> bytes | None:
        """Do a piece of work that touches it; raises OSError, as TimeoutError where it does not answer."""

    def close_soon(self, descriptor: int) -> None:
        """Let go of an open file."""


class LocalFile:
    """Its content was compared with the database, so what the server has is the same.

    Where the copy cannot be read in time, or is changed or cut, the file is read on in the other way.
    """

    def __init__(
        self,
        directory: Directory,
        descriptor: int,
        state: State,
        name: str,
        otherwise: Callable[[], Awaitable[OpenFile]],
    ) -> None:
        self._directory = directory
        self._descriptor = descriptor
        self._state = state
        self._name = name
        self._otherwise = otherwise
        self._instead: OpenFile | None = None
        self._switching = trio.Lock()
        self._tells_what_waits = True
        """Whether the file system tells what is in memory, and so at hand."""

    @property
    def size(self) -> int:
        """Bytes."""
        return self._state.size if self._instead is None else self._instead.size

    @property
    def content(self) -> object:
        """See OpenFile."""
        return self._state

    def check(self) -> None:
        """See OpenFile."""
        if self._instead is not None:
            self._instead.check()

    def at_hand(self, offset: int, size: int) -> Bytes:
        """See OpenFile: what the kernel has in memory."""
        if self._instead is not None:
            return self._instead.at_hand(offset, size)
        count = min(size, self._state.size - offset)
        if count <= 0 or not self._tells_what_waits:
            return b""
        found = bytearray(count)
        try:
            if os.preadv(self._descriptor, [found], offset, os.RWF_NOWAIT) < count or not self._is_same():
                return b""
        except OSError as error:
            self._tells_what_waits = error.errno == errno.EAGAIN
            return b""
        return memoryview(found)

    async def read(self, offset: int, size: int, *, ahead: bool = True) -> bytes:
        """See OpenFile."""
        return bytes(await self.look(offset, size, ahead=ahead))

    async def look(self, offset: int, size: int, *, ahead: bool = True) -> Bytes:
        """See OpenFile; the kernel reads ahead."""
        if self._instead is None:
            try:
                found = await self._directory.step(self._read, offset, min(size, max(0, self._state.size - offset)))
            except OSError as error:
                log.info("the local copy of %s cannot be read: %s", self._name, error)
                found = None
            if found is not None:
                return found
        return await (await self._switched()).look(offset, size, ahead=ahead)

    async def close(self) -> None:
        """See OpenFile."""
        self._release()
        if self._instead is not None:
            await self._instead.close()
        await trio.lowlevel.checkpoint()

    async def _switched(self) -> OpenFile:
        async with self._switching:
            if self._instead is None:
                log.info("%s is read from its server, and no longer from this machine", self._name)
                instead = await self._otherwise()
                if instead.size != self._state.size:
                    await instead.close()
                    raise errors.FileChanged(f"{self._name} is another on its server than it was here: open it again.")
                self._instead = instead
                self._release()
        return self._instead

    def _release(self) -> None:
        if self._descriptor >= 0:
            self._directory.close_soon(self._descriptor)
            self._descriptor = -1

    def _read(self, offset: int, size: int) -> bytes | None:
        """The bytes; None where the file is no longer what it was. Blocks."""
        found = os.pread(self._descriptor, size, offset)
        return found if len(found) == size and self._is_same() else None

    def _is_same(self) -> bool:
        now = os.fstat(self._descriptor)
        return (now.st_size, now.st_mtime_ns, now.st_ctime_ns) == self._state[1:]
