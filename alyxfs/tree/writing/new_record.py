"""A new file that is to become a record: on this machine alone until the server has made it."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from alyxfs import clock
from alyxfs.edits import Draft
from alyxfs.tree.node import Attributes, BytesReader, File, Kind, Reader
from alyxfs.tree.writing.open_draft import DraftReader
from alyxfs.tree.writing.scratch import LocalNode

if TYPE_CHECKING:
    from collections.abc import Callable

    from alyxfs.tree.writing.editing_session import EditingSession
    from alyxfs.tree.writing.open_draft import OpenDraft, RecordHandle
    from alyxfs.tree.writing.target import Target

_numbers = itertools.count(1)


class NewRecordFile(LocalNode, File):
    """Stands in the directory until a record is made of it; programs that have it open keep it longer.

    Its content is what the program that closed it last has left there unsaved.
    """

    shows_drafts = True

    def __init__(self, editing: EditingSession, target: Target, made: Callable[[str], File]) -> None:
        self._editing = editing
        self._target = target
        self._record = made
        """The file of a record, by its key."""
        self.draft = Draft(memory=editing.memory)
        self._modified = time.time()
        self._is_kept = True
        self._is_taken = False
        self.left_at = clock.now()
        """Unix seconds at which it was made, or left unsaved."""
        self._left = 0
        """The number of the draft that was left there."""
        self._number = next(_numbers)

    @property
    def identity(self) -> str:
        """See Node."""
        return f"new/{self._number}"

    def content_to_keep(self) -> bytes:
        """What would be lost with it."""
        return b"" if self._is_kept else self.draft.content()

    @property
    def gives_way(self) -> bool:
        """See LocalNode."""
        return self._is_taken and not self.content_to_keep()

    def note_taken(self) -> None:
        """See LocalNode."""
        self._is_taken = True

    def note_kept(self) -> None:
        """See LocalNode."""
        self._is_kept = True

    def moved(self, name: str) -> None:
        """See LocalNode."""
        self._target, self._is_taken = replace(self._target, file_name=name), False

    def leave(self, opened: OpenDraft) -> None:
        """See LocalNode."""
        if opened.number > self._left:
            self._left = opened.number
            self._is_kept = not opened.is_lost_with_us
            self._modified, self.left_at = time.time(), clock.now()
            self.draft = opened.draft

    def attributes(self) -> Attributes:
        """See Node."""
        if (record := self._made()) is not None:
            return record.attributes()
        return Attributes(Kind.FILE, self.draft.size, self._modified, 0.0, 0.0, writable=True, private=True)

    async def open(self, process: int) -> Reader:
        """See File."""
        if (record := self._made()) is not None:
            self._editing.names.note_read(self._target.directory, self._target.file_name, process)
            return await record.open(process)
        own = self._editing.drafts.new_written_by(process, self._target.directory, self._target.file_name)
        if own is not None:
            return DraftReader(own)
        return BytesReader(self.draft.content(), f"{self.identity}/{self._left}")

    async def open_for_writing(self, process: int, *, truncate: bool) -> RecordHandle:
        """See File."""
        if (record := self._made()) is not None:
            return await record.open_for_writing(process, truncate=truncate)  # type: ignore[return-value]
        return self._editing.open_new(self._target, process, self.draft.content(), truncate=truncate)

    async def extended_attributes(self) -> dict[str, str]:
        """Whether it is still on this machine alone."""
        if (record := self._made()) is not None:
            return await record.extended_attributes()
        return {"endpoint": self._target.endpoint.name, "local": "true"}

    def _made(self) -> File | None:
        key = self._editing.names.made_as(self._target.directory, self._target.file_name)
        return None if key is None else self._record(key)
