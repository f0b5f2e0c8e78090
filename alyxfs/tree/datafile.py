"""A data file, and what the tree around it must know of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from alyxfs.alyx.datafiles import address_on_the_wire
from alyxfs.files import Source
from alyxfs.tree.node import Attributes, File, Kind

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from alyxfs.alyx.datafiles import DataFile
    from alyxfs.files import FileCache, OpenFile

ESTIMATED_SIZE = 4096
"""Bytes shown of a file whose size the database does not know, until it has been opened."""
READ_AT_OPEN = 64 * 1024
"""Bytes: a smaller file comes whole when it is opened, which costs its reader nothing more, and then its size is true.
Some sizes in the database are wrong, and tar and mmap believe the size they saw at open."""


class Surroundings(Protocol):
    """The tree that a data file stands in."""

    files: FileCache

    @property
    def modified(self) -> float:
        """Unix seconds, of everything in the tree."""

    @property
    def lifetime(self) -> float:
        """Seconds that the kernel may keep names and sizes of the tree."""

    def about(self) -> dict[str, str]:
        """Extended attributes of everything in the tree."""

    def local_copies(self, file: DataFile) -> tuple[Path, ...]:
        """Where the user may have a file already."""

    def neighbours(self, file: DataFile) -> Sequence[DataFile]:
        """The files of the same folder with their addresses, as far as they are known; never awaits."""

    async def with_address(self, file: DataFile, *, is_here: bool) -> DataFile:
        """The file as it can be opened; ``is_here``: some of it is on this machine, which must do if need be."""


class DataFileNode(File):
    """A data file; its bytes come from the file server, through the cache."""

    __slots__ = ("_identity", "_tree", "file")

    def __init__(self, tree: Surroundings, identity: str, file: DataFile) -> None:
        self._tree = tree
        self._identity = identity
        self.file = file

    @property
    def identity(self) -> str:
        """The path below the drive."""
        return self._identity

    def attributes(self) -> Attributes:
        """The database's size, or the file server's once that is known."""
        file = self.file
        size = self._tree.files.known_size(Source(file.identity, file.name, None, file.size, None, file.digest))
        if size is None:
            return Attributes(Kind.FILE, ESTIMATED_SIZE, self._tree.modified, 0.0, self._tree.lifetime)
        return Attributes(Kind.FILE, size, self._tree.modified, self._tree.lifetime, self._tree.lifetime)

    async def open(self, process: int) -> DataReader:  # noqa: ARG002 - the same for all
        """Open through the cache; no request of the file server where the size is known."""
        source = await self.source_with_address()
        opened = await self._tree.files.open(source)
        if opened.size <= READ_AT_OPEN and self._tree.files.cached_share(source) == 0:
            await _read_or_close(opened)
        return DataReader(opened, source.version, source.identity)

    @property
    def files(self) -> FileCache:
        """Where its bytes come from."""
        return self._tree.files

    @property
    def made_of(self) -> tuple[DataFileNode, ...]:
        """The files that must be on this machine for this one to be."""
        return (self,)

    def source(self) -> Source:
        """The file as far as it is known without asking."""
        return self._source(self.file)

    async def source_with_address(self) -> Source:
        """The file as it can be opened."""
        source = self.source()
        is_here = self._tree.files.cached_share(source) > 0 or any(path.exists() for path in source.local)
        return self._source(await self._tree.with_address(self.file, is_here=is_here))

    async def extended_attributes(self) -> dict[str, str]:
        """Which dataset this is, and how much of it is on this machine."""
        source = self.source()
        attributes = {
            **self._tree.about(),
            "id": self.file.identity,
            "endpoint": "datasets",
            "dataset": self.file.identity,
            "hash": self.file.digest,
            "qc": self.file.qc,
            "revision": self.file.revision,
            "cached": f"{self._tree.files.cached_share(source):.0%}",
            "pinned": "yes" if self._tree.files.is_pinned(source) else "no",
        }
        if url := source.url:
            attributes["url"] = url
        if remark := self._tree.files.remark(source):
            attributes["remark"] = remark
        return attributes

    def _source(self, file: DataFile, *, with_neighbours: bool = True) -> Source:
        return Source(
            identity=file.identity,
            name=file.name,
            url=address_on_the_wire(file.url) if file.url else None,
            size=file.size,
            digest=file.md5,
            version=file.digest,
            local=self._tree.local_copies(file),
            neighbours=self._neighbour_sources if with_neighbours else None,
        )

    def _neighbour_sources(self) -> list[Source]:
        neighbours = sorted(self._tree.neighbours(self.file), key=lambda file: file.name)
        return [self._source(file, with_neighbours=False) for file in neighbours]


class DataReader:
    """An open data file."""

    def __init__(self, opened: OpenFile, content_version: str, dataset: str) -> None:
        self.dataset = dataset
        """UUID of the dataset whose bytes these are."""
        self.size_at_open = opened.size
        """Bytes; the size turns out smaller where the database is wrong."""
        self._opened = opened
        self._content_version = content_version

    @property
    def content_version(self) -> str:
        """See Reader."""
        return self._content_version

    @property
    def size(self) -> int:
        """See Reader."""
        return self._opened.size

    def at_hand(self, offset: int, size: int) -> bytes | memoryview:
        """As :meth:`read` where nobody has to wait for the bytes, else nothing."""
        return self._opened.at_hand(offset, size)

    async def read(self, offset: int, size: int) -> bytes | memoryview:
        """See Reader."""
        return await self._opened.look(offset, size)

    async def close(self) -> None:
        """See Reader."""
        await self._opened.close()


async def _read_or_close(opened: OpenFile) -> None:
    try:
        await opened.read(0, opened.size)
    except BaseException:
        await opened.close()
        raise
