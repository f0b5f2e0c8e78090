"""A record that is being made; once the server has it, it is that record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alyxfs.tree.draft import DraftReader
from alyxfs.tree.node import Attributes, File, Kind, Reader

if TYPE_CHECKING:
    from alyxfs.edits import Draft
    from alyxfs.tree.draft import OpenDraft, RecordHandle
    from alyxfs.tree.edited import EditedDirectory, EditedRecordFile


class NewRecordFile(File):
    """Stands in the directory until the record is made; programs that have it open keep it longer."""

    def __init__(self, directory: EditedDirectory, opened: OpenDraft) -> None:
        self._directory = directory
        self._opened = opened

    @property
    def identity(self) -> str:
        """See Node."""
        return f"new/{self._opened.number}"

    @property
    def draft(self) -> Draft:
        """What has been written."""
        return self._opened.draft

    def content_to_keep(self) -> bytes:
        """What would be lost with it."""
        return b"" if self._opened.is_safe and not self.draft.pending else self.draft.content()

    def attributes(self) -> Attributes:
        """See Node."""
        if (record := self._made()) is not None:
            return record.attributes()
        return Attributes(Kind.FILE, self.draft.size, self._opened.modified, 0.0, 0.0, writable=True)

    async def open(self, process: int) -> Reader:
        """See File."""
        if (record := self._made()) is not None:
            return await record.open(process)
        return DraftReader(self._opened)

    async def open_for_writing(self, process: int, *, truncate: bool) -> RecordHandle:
        """See File."""
        if (record := self._made()) is not None:
            return await record.open_for_writing(process, truncate=truncate)
        if truncate and self.draft.size:
            self.draft.truncate(0)
        return self._directory.workbench.reopen(self._opened, process)

    async def extended_attributes(self) -> dict[str, str]:
        """Whether it is still on this machine alone."""
        if (record := self._made()) is not None:
            return await record.extended_attributes()
        return {"endpoint": self._directory.endpoint.name, "local": "true"}

    def _made(self) -> EditedRecordFile | None:
        key = self._opened.target.key
        return None if key is None else self._directory.file_of(key, self._opened.target.identity or key)
