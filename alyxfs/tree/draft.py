"""A record that is open for writing: its bytes wait in a draft until they are a whole JSON object."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING

import trio

from alyxfs import errors
from alyxfs.edits import Draft, Moment, Step, next_step

if TYPE_CHECKING:
    from alyxfs.edits import SharedMemory
    from alyxfs.tree.workbench import Target, Workbench

_numbers = itertools.count(1)


class OpenDraft:
    """One record's draft, shared by those who opened it without emptying it.

    ``writers`` changes only between awaits; ``_saving`` keeps two saves of one draft from overlapping.
    """

    def __init__(
        self,
        workbench: Workbench,
        target: Target,
        content: bytes,
        process: int,
        memory: SharedMemory | None = None,
    ) -> None:
        self.number = next(_numbers)
        self.process = process
        """Of the program that opened it first."""
        self.target = target
        self.draft = Draft(content, memory=memory)
        self.modified = time.time()
        self.writers = 0
        self.is_safe = True
        """Whether the content, as far as it was handled, is on the server, in the journal or in the rejected folder."""
        self._workbench = workbench
        self._saving = trio.Lock()

    @property
    def was_changed(self) -> bool:
        """Whether anybody wrote to it; until then the record is what the server says."""
        return self.draft.generation > 0

    @property
    def content_version(self) -> str:
        """See Reader."""
        return f"draft/{self.number}/{self.draft.generation}"

    async def settle(self, moment: Moment, process: int) -> None:
        """Do what the moment asks for; raises what refuses the save. Nothing is sent twice for one content."""
        async with self._saving:
            step = next_step(self.draft, moment)
            if step is Step.NOTHING:
                return
            generation, content = self.draft.generation, self.draft.content()
            self.is_safe = True
            try:
                if step is Step.KEEP:
                    await self._workbench.keep(self.target, content)
                else:
                    self.is_safe = await self._workbench.save(self.target, content, process)
            finally:
                self.draft.mark_handled(generation)  # sent, or kept where the error says

    async def last_close(self, process: int) -> None:
        """Nobody has it open any more: what is unsaved is saved, or kept, and there is nobody left to tell."""
        try:
            await self.settle(Moment.LAST_CLOSE, process)
        except errors.AlyxfsError as error:
            self._workbench.note_error("close", self.target.path, str(error))


class DraftReader:
    """A record file that is open for reading only, while somebody writes to it."""

    def __init__(self, opened: OpenDraft) -> None:
        self._opened = opened

    @property
    def content_version(self) -> str:
        """See Reader."""
        return self._opened.content_version

    @property
    def size(self) -> int:
        """See Reader."""
        return self._opened.draft.size

    async def read(self, offset: int, size: int) -> bytes:
        """See Reader."""
        return self._opened.draft.read(offset, size)

    async def close(self) -> None:
        """See Reader."""


class RecordHandle(DraftReader):
    """An open record file, for reading and writing through its draft."""

    def __init__(self, workbench: Workbench, opened: OpenDraft, process: int) -> None:
        super().__init__(opened)
        self._workbench = workbench
        self._process = process
        opened.writers += 1

    @property
    def opened(self) -> OpenDraft:
        """The draft behind it."""
        return self._opened

    async def write(self, offset: int, data: bytes) -> int:
        """See Writer."""
        self._opened.modified = time.time()
        return self._opened.draft.write(offset, data)

    async def truncate(self, size: int) -> None:
        """See Writer."""
        self._opened.modified = time.time()
        self._opened.draft.truncate(size)

    async def flush(self) -> None:
        """Save if the draft is whole; raises what refuses it."""
        await self._opened.settle(Moment.FLUSH, self._process)

    async def fsync(self) -> None:
        """Save, or raise what refuses it."""
        await self._opened.settle(Moment.FSYNC, self._process)

    async def close(self) -> None:
        """The last one ends the draft, and at once if it was saved: the program may look at the record's size next."""
        self._opened.writers -= 1
        if self._opened.writers == 0 and self._opened.draft.pending:
            await self._opened.last_close(self._process)
        if self._opened.writers == 0:  # nobody opened it during the last save
            self._workbench.forget_draft(self._opened)
