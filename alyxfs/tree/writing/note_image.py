"""Pictures of notes that can be replaced: ``cp figure.png notes/<id>.png``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alyxfs import errors
from alyxfs.tree.node import BytesReader
from alyxfs.tree.note_images import Picture
from alyxfs.tree.record import version_of
from alyxfs.tree.writing.scratch import ScratchFile, ScratchHandle

if TYPE_CHECKING:
    from alyxfs.files.cache import FileCache
    from alyxfs.files.source import Source
    from alyxfs.tree.node import Attributes, Reader
    from alyxfs.tree.record import RecordFile
    from alyxfs.tree.writing.editing_session import EditingSession
    from alyxfs.tree.writing.target import Target


class EditedPicture(Picture):
    """A picture that can be replaced."""

    def __init__(
        self,
        name: str,
        note: RecordFile,
        files: FileCache,
        source: Source | None,
        editing: EditingSession,
        target: Target,
    ) -> None:
        super().__init__(name, note, files, source)
        self._editing = editing
        self._target = target

    def attributes(self) -> Attributes:
        """Writable."""
        known = super().attributes()._replace(writable=True)
        proposed = self._proposed()
        return known if proposed is None else known._replace(size=len(proposed), is_estimate=False)

    async def learn_size(self) -> None:
        """See Picture."""
        if self._proposed() is None:
            await super().learn_size()

    async def open(self, process: int) -> Reader:
        """See File."""
        proposed = self._proposed()
        return await super().open(process) if proposed is None else BytesReader(proposed, version_of(proposed))

    def _proposed(self) -> bytes | None:
        return self._editing.editor.proposed_picture(self._note.key)

    async def open_for_writing(self, process: int, *, truncate: bool) -> ScratchHandle:  # noqa: ARG002 - as all do
        """A picture is replaced whole."""
        if not truncate:
            raise errors.NotAllowed(f"The picture {self._name} can only be replaced as a whole.")
        return _PictureHandle(self._editing, self._target)


class _PictureHandle(ScratchHandle):
    def __init__(self, editing: EditingSession, target: Target) -> None:
        super().__init__(ScratchFile(editing.memory))
        self._editing = editing
        self._target = target
        self._refusal: errors.AlyxfsError | None = None

    async def flush(self) -> None:
        """Send what is new; a flush of an empty file is the shell's. What was refused is refused again."""
        draft = self._file.draft
        if draft.pending and draft.size:
            generation, self._refusal = draft.generation, None
            try:
                await self._editing.attach_picture(self._target, draft.content())
            except errors.AlyxfsError as refusal:
                self._refusal = refusal.again()
            draft.mark_handled(generation)
        if self._refusal is not None:
            raise self._refusal.again()

    async def fsync(self) -> None:
        """See Writer."""
        await self.flush()
