"""Pictures of notes: ``notes/<id>.png``, entered by name."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from alyxfs import errors
from alyxfs.files import Source
from alyxfs.tree.node import Attributes, File, Kind, Reader
from alyxfs.tree.record import ESTIMATED_SIZE
from alyxfs.tree.scratch import ScratchFile, ScratchHandle

if TYPE_CHECKING:
    from alyxfs.files import FileCache
    from alyxfs.files.source import OpenFile
    from alyxfs.tree.record import RecordFile
    from alyxfs.tree.workbench import Target, Workbench

NOTES = "notes"
SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".tif", ".tiff", ".bmp")
"""A file ``notes/<id>`` with one of these is the note's picture."""

_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*", b"BM")
_SIGNATURE_BYTES = max(map(len, _SIGNATURES))


def note_of(name: str) -> str | None:
    """The name of the record file whose picture this name would be; None where it is none."""
    stem, dot, extension = name.rpartition(".")
    return f"{stem}.json" if stem and (dot + extension).lower() in SUFFIXES else None


class Picture(File):
    """The picture that a note has, or is being given: bytes that are sent as they are when the file is closed."""

    def __init__(self, name: str, note: RecordFile, files: FileCache, source: Source | None) -> None:
        self._name = name
        self._note = note
        self._files = files
        self._source = source

    @property
    def identity(self) -> str:
        """See Node."""
        return f"picture/{self._name}"

    def attributes(self) -> Attributes:
        """The database does not tell the size: it is known once the picture was opened."""
        known = self._files.known_size(self._source) if self._source else 0
        size = ESTIMATED_SIZE if known is None else known
        return Attributes(Kind.FILE, size, self._note.attributes().modified, 0.0, 0.0)

    async def open(self, process: int) -> Reader:  # noqa: ARG002 - the same for all
        """See File."""
        if self._source is None:
            raise errors.NotFound(f"The note {self._name} has no picture yet.")
        opened = _Opened(await self._files.open(self._source), self._source.version)
        # Alyx itself answers the address with a text, and 200, where no web server serves the pictures (measured).
        if not (await opened.read(0, _SIGNATURE_BYTES)).startswith(_SIGNATURES):
            await opened.close()
            raise errors.NotDownloadable(
                f"{self._source.url} is no picture: either it is lost, or the web server of this Alyx does not serve "
                "pictures."
            )
        return opened


class EditedPicture(Picture):
    """A picture that can be replaced."""

    def __init__(
        self, name: str, note: RecordFile, files: FileCache, source: Source | None, workbench: Workbench, target: Target
    ) -> None:
        super().__init__(name, note, files, source)
        self._workbench = workbench
        self._target = target

    def attributes(self) -> Attributes:
        """Writable."""
        known = super().attributes()
        return Attributes(Kind.FILE, known.size, known.modified, 0.0, 0.0, writable=True)

    async def open_for_writing(self, process: int, *, truncate: bool) -> ScratchHandle:  # noqa: ARG002 - as all do
        """A picture is replaced whole."""
        if not truncate:
            raise errors.NotAllowed(f"The picture {self._name} can only be replaced as a whole.")
        return _PictureHandle(self._workbench, self._target)


class _PictureHandle(ScratchHandle):
    def __init__(self, workbench: Workbench, target: Target) -> None:
        super().__init__(ScratchFile(workbench.memory))
        self._workbench = workbench
        self._target = target

    async def flush(self) -> None:
        """Send what is new; a flush of an empty file is the shell's."""
        draft = self._file.draft
        if draft.pending and draft.size:
            generation = draft.generation
            try:
                await self._workbench.attach_picture(self._target, draft.content())
            finally:
                draft.mark_handled(generation)

    async def fsync(self) -> None:
        """See Writer."""
        await self.flush()


class _Opened:
    def __init__(self, file: OpenFile, version: str) -> None:
        self._file = file
        self.content_version = version

    @property
    def size(self) -> int:
        return self._file.size

    async def read(self, offset: int, size: int) -> bytes:
        return await self._file.read(offset, size)

    async def close(self) -> None:
        await self._file.close()


async def source_of(note: RecordFile, name: str) -> Source | None:
    """Where the picture of this name is; None where the note has none, or one of another kind."""
    document = (await note.record()).document
    address = document.get("image") if isinstance(document, dict) else None
    if not isinstance(address, str) or not address:
        return None
    stored = urlsplit(address).path.rpartition("/")[2]
    if stored.rpartition(".")[2].lower() != name.rpartition(".")[2].lower():
        return None
    return Source(identity=f"note-{note.key}", name=stored, url=address, size=None, digest=None, version=address)
