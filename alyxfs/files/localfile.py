"""A data file that lies on this machine already, as in the user's ONE directory."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import trio

from alyxfs import errors

if TYPE_CHECKING:
    from alyxfs.files.source import Source


class LocalFile:
    """One reader of a local file."""

    def __init__(self, descriptor: int, size: int, name: str) -> None:
        self._descriptor = descriptor
        self.size = size
        self._name = name

    def at_hand(self, offset: int, size: int) -> bytes:
        """See OpenFile."""
        size = max(0, min(size, self.size - offset))
        try:
            found = os.pread(self._descriptor, size, offset)
        except OSError as error:
            raise errors.ServerFault(f"The local copy of {self._name} cannot be read: {error.strerror}.") from error
        if len(found) < size:
            raise errors.FileChanged(f"The local copy of {self._name} was cut while it was being read; open it again.")
        return found

    async def read(self, offset: int, size: int, *, ahead: bool = True) -> bytes:  # noqa: ARG002 - the kernel's work
        """See OpenFile; does not yield to other tasks."""
        return self.at_hand(offset, size)

    async def look(self, offset: int, size: int, *, ahead: bool = True) -> bytes:
        """See OpenFile."""
        return await self.read(offset, size, ahead=ahead)

    async def close(self) -> None:
        """See OpenFile."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        await trio.lowlevel.checkpoint()


async def open_local(source: Source) -> LocalFile | None:
    """The first local candidate that is a readable file of the right size, if any."""
    if source.size is None or not source.local:
        return None
    descriptor = await trio.to_thread.run_sync(_find, source)
    return None if descriptor is None else LocalFile(descriptor, source.size, source.name)


def _find(source: Source) -> int | None:
    for path in source.local:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            continue
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and status.st_size == source.size:
            return descriptor
        os.close(descriptor)
    return None
