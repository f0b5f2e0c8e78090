"""A record that a program has open for writing: its bytes wait in a draft until they are a whole JSON object.

Each program has a draft of its own, with what the record was when it began as its base, and so has each open that
empties the file. Nobody else sees a draft: other programs read the record as it was last saved, and two drafts of one
record are merged when they are saved, like those of two drives. Handles of one draft are those that one program opened
one after the other without emptying the file, as it would see its own bytes in any file.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import trio

from alyxfs import errors
from alyxfs.edits import Draft, Moment, Step, next_step

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from alyxfs.edits import SharedMemory
    from alyxfs.tree.writing.target import Target

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Saved:
    """What came of a draft that was not refused."""

    target: Target
    base: Mapping[str, Any] | None
    """What the bytes of the draft say of the record now: its next save is compared with it."""
    is_local: bool = False
    """Whether it stays on this machine: a copy of a record under a new name."""


class Saver(Protocol):
    """Who saves drafts."""

    async def run(self, path: str, settle: Callable[[], Awaitable[None]]) -> None:
        """Carry this out in a task of its own: who waits for it may stop waiting, and it comes to its end."""

    async def save(self, opened: OpenDraft, content: bytes, process: int, moment: Moment) -> Saved:
        """PATCH or POST; raises what refuses it. The draft is kept then, unless that is NotKept."""

    async def keep(self, target: Target, content: bytes) -> None:
        """Put a draft that nobody will complete where a person finds it."""

    def note_error(self, operation: str, path: str, sentence: str) -> None:
        """Tell people of an error that no program is told of."""

    def closed(self, opened: OpenDraft) -> None:
        """Nobody has it open any more."""


class OpenDraft:
    """One program's draft of one record.

    ``writers``, ``target``, ``base`` and what is known of the last save change only between awaits; ``_saving`` keeps
    two saves of one draft from overlapping.
    """

    def __init__(
        self,
        saver: Saver,
        target: Target,
        content: bytes,
        process: int,
        base: Mapping[str, Any] | None = None,
        memory: SharedMemory | None = None,
        read: Callable[[], Mapping[str, Any]] | None = None,
    ) -> None:
        self.number = next(_numbers)
        self.process = process
        """Of the program that opened it."""
        self.target = target
        self.base = base
        """The record as its program last saw it; None where it never read it."""
        self._read = read
        """To be called once when its program reads what it was opened with: gives what its bytes are based on then."""
        self.draft = Draft(content, memory=memory)
        self.writers = 0
        self.is_local = False
        """Whether its content, though handled, is on this machine alone."""
        self._saver = saver
        self._saving = trio.Lock()
        self._saved_generation = 0
        self._flushed_generation = 0
        self._refused_generation = -1
        self._refusal: errors.AlyxfsError | None = None

    @property
    def content_version(self) -> str:
        """See Reader."""
        return f"draft/{self.number}/{self.draft.generation}"

    @property
    def is_being_written(self) -> bool:
        """Whether its program sees its bytes in all that it opens: unsaved ones, written since it closed a descriptor.

        That may have been its last: the kernel tells of this only later, maybe after the program opened the file anew.
        """
        return self.draft.generation > max(self._saved_generation, self._flushed_generation)

    @property
    def is_saving(self) -> bool:
        """Whether a save is under way, which tells itself what comes of it."""
        return self._saving.locked()

    @property
    def is_lost_with_us(self) -> bool:
        """Whether nothing but the memory of this process holds its content."""
        return bool(self.draft.size) and (self.draft.pending or self.is_local)

    def holds_unsaved(self, generation: int) -> bool:
        """Whether what was written up to this generation is not saved."""
        return generation > self._saved_generation

    def note_read(self) -> None:
        """Its program reads. What it has written before was based on what it had read before it opened the file."""
        if self._read is not None and self.draft.generation == 0:
            self.base, self._read = self._read(), None

    def note_flush(self) -> None:
        """A descriptor was closed."""
        self._flushed_generation = self.draft.generation

    def is_refused(self) -> bool:
        """Whether the content as it is now was refused."""
        return self._refused_generation == self.draft.generation

    async def settle(self, moment: Moment, process: int) -> None:
        """Do what the moment asks for; raises what refuses the save, again and again as long as it is not saved.

        Nothing is sent twice for one content.
        """
        if next_step(self.draft, moment) is Step.NOTHING and not (self.is_saving or self.is_refused()):
            return

        async def settle() -> None:
            async with self._saving:
                await self._settle(moment, process)

        await self._saver.run(self.target.path, settle)

    async def _settle(self, moment: Moment, process: int) -> None:
        if self._refusal is not None and self.is_refused():
            if moment is Moment.LAST_CLOSE:
                return
            raise self._refusal.again()
        step = next_step(self.draft, moment)
        if step is Step.NOTHING:
            return
        generation, content = self.draft.generation, self.draft.content()
        try:
            if step is Step.KEEP:
                await self._saver.keep(self.target, content)
            else:
                saved = await self._saver.save(self, content, process, moment)
                self.target, self.base, self.is_local = saved.target, saved.base, saved.is_local
                self._saved_generation = generation
        except errors.NotKept:
            raise  # it is in memory alone: the next moment tries again
        except errors.AlyxfsError as error:
            self._refuse(generation, error)
            raise
        except trio.Cancelled:
            words = f"{self.target.path} was not saved within its deadline: `alyxfs log` tells what came of it."
            self._refuse(generation, errors.DeadlineExceeded(words))
            raise
        self.draft.mark_handled(generation)

    def _refuse(self, generation: int, error: errors.AlyxfsError) -> None:
        """It is kept, where the error or the journal says."""
        self._refused_generation, self._refusal = generation, error
        self.is_local = False
        self.draft.mark_handled(generation)

    async def last_close(self, process: int) -> None:
        """Nobody has it open any more: what is unsaved is saved, or kept, and there is nobody left to tell."""
        try:
            await self.settle(Moment.LAST_CLOSE, process)
        except errors.AlyxfsError as error:
            self._saver.note_error("close", self.target.path, str(error))
        except trio.Cancelled:
            if self.draft.pending and self.draft.size and not self.is_saving:
                with trio.CancelScope(shield=True):
                    await self._saver.keep(self.target, self.draft.content())
                    self.draft.mark_handled(self.draft.generation)
            raise


class DraftReader:
    """A record file that its own writer has open for reading, too."""

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
        self._opened.note_read()
        return self._opened.draft.read(offset, size)

    async def close(self) -> None:
        """See Reader."""


class RecordHandle(DraftReader):
    """An open record file, for reading and writing through its draft."""

    def __init__(self, saver: Saver, opened: OpenDraft, process: int) -> None:
        super().__init__(opened)
        self._saver = saver
        self._process = process
        self._written = 0
        """The generation of the draft that its last write made: what it wrote is in all later ones."""
        opened.writers += 1

    @property
    def opened(self) -> OpenDraft:
        """The draft behind it."""
        return self._opened

    async def write(self, offset: int, data: bytes) -> int:
        """See Writer."""
        size = self._opened.draft.write(offset, data)
        self._written = self._opened.draft.generation
        return size

    async def truncate(self, size: int) -> None:
        """See Writer."""
        self._opened.draft.truncate(size)
        self._written = self._opened.draft.generation

    def empty(self) -> None:
        """The program opened the file so that it is empty."""
        self._opened.draft.truncate(0)
        self._written = self._opened.draft.generation

    async def flush(self) -> None:
        """Save what this handle wrote, if the draft is whole; raises what refuses it, or refused it before."""
        if self._written:
            self._opened.note_flush()
        if self._opened.holds_unsaved(self._written):
            await self._opened.settle(Moment.FLUSH, self._process)

    async def fsync(self) -> None:
        """Save, or raise what refuses it; another handle's refusal is not this one's."""
        if self._opened.holds_unsaved(self._written) or not self._opened.is_refused():
            await self._opened.settle(Moment.FSYNC, self._process)

    async def close(self) -> None:
        """The last one ends the draft, and at once if it was saved: the program may look at the record's size next."""
        self._opened.writers -= 1
        try:
            if self._opened.writers == 0 and self._opened.draft.pending:
                await self._opened.last_close(self._process)
        finally:
            if self._opened.writers == 0:  # nobody opened it during the last save
                self._saver.closed(self._opened)
