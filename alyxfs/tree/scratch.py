"""Files that never leave this machine: what editors write beside a record while they save it."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING

from alyxfs.edits import Draft
from alyxfs.tree.node import Attributes, File, Kind, Link

if TYPE_CHECKING:
    from alyxfs.edits import SharedMemory

_numbers = itertools.count(1)


class ScratchFile(File):
    """A local file in memory; it lives until it is removed, renamed over a record, or the drive is unmounted."""

    def __init__(self, memory: SharedMemory | None, content: bytes = b"") -> None:
        self.draft = Draft(content, memory=memory)
        self.modified = time.time()
        self.stands_for: str | None = None
        """The name of the record that was moved away to this one, as editors do to keep a backup."""
        self._identity = f"scratch/{next(_numbers)}"

    @property
    def identity(self) -> str:
        """See Node."""
        return self._identity

    def content_to_keep(self) -> bytes:
        """What would be lost with it: not the backup of a record."""
        return self.draft.content() if self.stands_for is None else b""

    def attributes(self) -> Attributes:
        """Lifetime 0: programs write to it all the time."""
        return Attributes(Kind.FILE, self.draft.size, self.modified, 0.0, 0.0, writable=True)

    async def open(self, process: int) -> ScratchHandle:  # noqa: ARG002 - the same for all
        """See File."""
        return ScratchHandle(self)

    async def open_for_writing(self, process: int, *, truncate: bool) -> ScratchHandle:  # noqa: ARG002
        """See File."""
        if truncate:
            self.draft.truncate(0)
        return ScratchHandle(self)


class ScratchHandle:
    """An open scratch file."""

    def __init__(self, file: ScratchFile) -> None:
        self._file = file

    @property
    def content_version(self) -> str:
        """See Reader."""
        return f"{self._file.identity}/{self._file.draft.generation}"

    @property
    def size(self) -> int:
        """See Reader."""
        return self._file.draft.size

    async def read(self, offset: int, size: int) -> bytes:
        """See Reader."""
        return self._file.draft.read(offset, size)

    async def write(self, offset: int, data: bytes) -> int:
        """See Writer."""
        self._file.modified = time.time()
        return self._file.draft.write(offset, data)

    async def truncate(self, size: int) -> None:
        """See Writer."""
        self._file.modified = time.time()
        self._file.draft.truncate(size)

    async def flush(self) -> None:
        """Nothing is sent."""

    async def fsync(self) -> None:
        """Nothing is sent."""

    async def close(self) -> None:
        """Nothing to let go."""


class ScratchLink(Link):
    """A local link, as the locks of editors."""

    __slots__ = ()

    def __init__(self, target: str) -> None:
        super().__init__(f"scratch/{next(_numbers)}", target)

    def content_to_keep(self) -> bytes:
        """Nothing."""
        return b""
