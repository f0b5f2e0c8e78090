"""Pictures of notes: ``notes/<id>.png``, entered by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alyxfs import errors
from alyxfs.alyx.identities import last_part
from alyxfs.alyx.quirks.writing import PICTURE_SIGNATURES
from alyxfs.files.source import Source
from alyxfs.tree.node import Attributes, File, Kind, Reader
from alyxfs.tree.record import ESTIMATED_SIZE

if TYPE_CHECKING:
    from alyxfs.files.cache import FileCache
    from alyxfs.files.source import OpenFile
    from alyxfs.tree.record import RecordFile

SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".tif", ".tiff", ".bmp")
"""A file ``notes/<id>`` with one of these is the note's picture."""

_SIGNATURE_BYTES = max(map(len, PICTURE_SIGNATURES))


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
        """The database does not tell the size: a look-up of the name has asked for it."""
        known = self._files.known_size(self._source) if self._source else 0
        size = ESTIMATED_SIZE if known is None else known
        modified = self._note.attributes().modified
        return Attributes(Kind.FILE, size, modified, 0.0, 0.0, is_estimate=known is None)

    async def learn_size(self) -> None:
        """Ask for the size, once; one that nobody offers keeps an estimate, as it cannot be opened."""
        if self._source is None or self._files.known_size(self._source) is not None:
            return
        if self._source.identity in self._files.unavailable:
            return
        try:
            opened = await self.open(0)
        except (errors.NotDownloadable, errors.AccessDenied) as error:
            self._files.unavailable[self._source.identity] = error.again()
        else:
            await opened.close()

    async def open(self, process: int) -> Reader:  # noqa: ARG002 - the same for all
        """See File."""
        if self._source is None:
            raise errors.NotFound(f"The note {self._name} has no picture yet.")
        opened = _Opened(await self._files.open(self._source), self._source.version)
        # Alyx itself answers the address with a text, and 200, where no web server serves the pictures (measured).
        if not (await opened.read(0, _SIGNATURE_BYTES)).startswith(PICTURE_SIGNATURES):
            await opened.close()
            raise errors.NotDownloadable(
                f"{self._source.url} is no picture: either it is lost, or the web server of this Alyx does not serve "
                "pictures."
            )
        return opened


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
    stored = last_part(address)
    if stored.rpartition(".")[2].lower() != name.rpartition(".")[2].lower():
        return None
    return Source(identity=f"note-{note.key}", name=stored, url=address, size=None, digest=None, version=address)
