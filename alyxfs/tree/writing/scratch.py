"""Files that never leave this machine: what editors write beside a record while they save it."""

from __future__ import annotations

import itertools
import math
import time
from typing import TYPE_CHECKING

from alyxfs import clock
from alyxfs.edits import Draft
from alyxfs.tree.node import Attributes, File, Kind, Link, Node

if TYPE_CHECKING:
    from alyxfs.edits import SharedMemory
    from alyxfs.tree.writing.open_draft import OpenDraft

_numbers = itertools.count(1)


class LocalNode(Node):
    """A name that means something on this machine alone."""

    __slots__ = ()

    left_at = math.inf
    """Unix seconds of its last change; a listing that was asked for later may show that its name is a record's."""

    def content_to_keep(self) -> bytes:
        """What would be lost with it."""
        return b""

    def moved(self, name: str) -> None:
        """It has another name now."""

    @property
    def gives_way(self) -> bool:
        """Whether a record of its name is to be shown instead of it: nothing is lost with it."""
        return False

    @property
    def is_open(self) -> bool:
        """Whether a program has it open, as far as the file knows itself."""
        return False

    def note_taken(self) -> None:
        """A record of its name is there."""

    def note_kept(self) -> None:
        """Its content is on the disk now."""

    def leave(self, opened: OpenDraft) -> None:
        """A program has closed a draft of it that was not saved."""


class ScratchFile(LocalNode, File):
    """A local file in memory; it lives until it is removed, renamed over a record, or the drive is unmounted."""

    def __init__(self, memory: SharedMemory | None, content: bytes = b"") -> None:
        self.draft = Draft(content, memory=memory)
        self.modified = time.time()
        self.stands_for: str | None = None
        """The name of the record that was moved away to this one, as editors do to keep a backup."""
        self.left_at = clock.now()
        self.handles = 0
        self._identity = f"scratch/{next(_numbers)}"
        self._is_kept = self._is_taken = False

    @property
    def identity(self) -> str:
        """See Node."""
        return self._identity

    def content_to_keep(self) -> bytes:
        """What would be lost with it: not the backup of a record."""
        return self.draft.content() if self.stands_for is None and not self._is_kept else b""

    @property
    def gives_way(self) -> bool:
        """See LocalNode."""
        return self._is_taken and not self.is_open and not self.content_to_keep()

    @property
    def is_open(self) -> bool:
        """See LocalNode."""
        return self.handles > 0

    def note_taken(self) -> None:
        """See LocalNode."""
        self._is_taken = True

    def note_kept(self) -> None:
        """See LocalNode."""
        self._is_kept = True

    def changed(self) -> None:
        """A program writes to it."""
        self.modified, self.left_at, self._is_kept = time.time(), clock.now(), False

    def moved(self, name: str) -> None:  # noqa: ARG002 - whatever it is called now
        """See LocalNode."""
        self.left_at, self._is_taken = clock.now(), False

    def attributes(self) -> Attributes:
        """Lifetime 0: programs write to it all the time."""
        return Attributes(Kind.FILE, self.draft.size, self.modified, 0.0, 0.0, writable=True, private=True)

    async def open(self, process: int) -> ScratchHandle:  # noqa: ARG002 - the same for all
        """See File."""
        return ScratchHandle(self)

    async def open_for_writing(self, process: int, *, truncate: bool) -> ScratchHandle:  # noqa: ARG002
        """See File."""
        if truncate:
            self.changed()
            self.draft.truncate(0)
        return ScratchHandle(self)


class ScratchHandle:
    """An open scratch file."""

    def __init__(self, file: ScratchFile) -> None:
        self._file = file
        file.handles += 1

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
        self._file.changed()
        return self._file.draft.write(offset, data)

    async def truncate(self, size: int) -> None:
        """See Writer."""
        self._file.changed()
        self._file.draft.truncate(size)

    async def flush(self) -> None:
        """Nothing is sent."""

    async def fsync(self) -> None:
        """Nothing is sent."""

    async def close(self) -> None:
        """One less who has it open."""
        self._file.handles -= 1


class ScratchLink(LocalNode, Link):
    """A local link, as the locks of editors."""

    __slots__ = ()

    def __init__(self, target: str) -> None:
        super().__init__(f"scratch/{next(_numbers)}", target, time.time())
