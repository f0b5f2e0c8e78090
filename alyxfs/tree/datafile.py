"""A data file, and what the tree around it must know of it."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from alyxfs import errors, file_names
from alyxfs.alyx.datasets.layout import address_on_the_wire
from alyxfs.files.doubts import NO_BYTES
from alyxfs.files.source import Source
from alyxfs.tree.node import Attributes, File, Kind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from alyxfs.alyx.datasets.layout import DataFile
    from alyxfs.files.cache import FileCache
    from alyxfs.files.source import OpenFile

ESTIMATED_SIZE = 4096
"""Bytes that a listing tells the kernel of a file whose size nobody knows yet. No program sees them, as a look at the
file is a look-up of its name, which learns the size; but for those that nobody offers, which cannot be opened. Not 0:
tar takes a file of 0 bytes for empty without opening it."""


class DataTree(Protocol):
    """The tree that a data file stands in."""

    @property
    def files(self) -> FileCache:
        """Where the bytes come from."""

    @property
    def modified(self) -> float:
        """Unix seconds, of everything in the tree."""

    @property
    def lifetime(self) -> float:
        """Seconds that the kernel may keep names and sizes of the tree."""

    def about(self) -> dict[str, str]:
        """Extended attributes of everything in the tree."""

    async def tags(self, file: DataFile) -> str:
        """The tags of a file, with commas between them; nothing where none are known without a request."""

    def local_copies(self, file: DataFile) -> tuple[Path, ...]:
        """Where the user may have a file already."""

    def neighbours(self, file: DataFile) -> Sequence[DataFile]:
        """The files of the same folder with their addresses, as far as they are known; never awaits."""

    async def with_address(self, file: DataFile, is_here: Callable[[], Awaitable[bool]]) -> DataFile:
        """The file as it can be opened; ``is_here``: some of it is on this machine, which must do if need be."""

    async def addresses(self, file: DataFile) -> Sequence[str]:
        """Where servers offer the file, best first; at most one request, and of a file that is gone one more."""


class DataFileNode(File):
    """A data file; its bytes come from the file server, through the cache."""

    __slots__ = ("_folder", "_name", "_tree", "file", "number")

    is_fetched = True
    is_found_again = True

    def __init__(self, tree: DataTree, folder: str, name: str, file: DataFile) -> None:
        """``folder``: where it is shown, below the drive, and its ``name`` there: texts that others have, too."""
        self.number = 0
        self._tree = tree
        self._folder, self._name = folder, name
        self.file = file

    @property
    def identity(self) -> str:
        """The path below the drive."""
        return f"{self._folder}/{self._name}"

    @property
    def content(self) -> str:
        """Which dataset, which of its versions, and whether the file server was found to have something else since."""
        file = self.file
        return f"{file.identity}/{file.digest}/{self._tree.files.generation(file.identity, file.digest)}"

    @property
    def datasets(self) -> tuple[str, ...]:
        """See Node."""
        return (self.file.identity,)

    def keep_number(self, number: int) -> None:
        """See Node."""
        self.number = number

    def attributes(self) -> Attributes:
        """The database's size, or the file server's once that is known."""
        size = self._known_size()
        if size is None:
            return Attributes(Kind.FILE, ESTIMATED_SIZE, self._tree.modified, 0.0, 0.0)
        lifetime = self._tree.lifetime
        return Attributes(Kind.FILE, size, self._tree.modified, lifetime, lifetime)

    @property
    def knows_size(self) -> bool:
        """Whether the size that is shown is more than an estimate; never awaits."""
        return self._known_size() is not None

    async def learn_size(self) -> None:
        """Ask the file server for the size, where the database does not know it.

        Raises what :meth:`open` does, but for a file whose bytes nobody offers.
        """
        if self.knows_size or self.file.identity in self._tree.files.unavailable:
            return
        try:
            opened = await self._tree.files.open(await self.source_with_address())
        except (errors.NotDownloadable, errors.AccessDenied) as error:
            self._tree.files.unavailable[self.file.identity] = error.again()
        else:
            await opened.close()

    def _known_size(self) -> int | None:
        file = self.file
        return self._tree.files.size_of(file.identity, file.digest, _believable_size(file))

    async def open(self, process: int) -> DataReader:  # noqa: ARG002 - the same for all
        """Open through the cache; no request of the file server where the size is known."""
        return await self._open(await self.source_with_address())

    async def open_here(self, process: int) -> DataReader | None:  # noqa: ARG002 - the same for all
        """See File. That it is read is no reason to fetch its neighbours."""
        if not await self.is_whole():
            return None
        return await self._open(replace(await self.source_with_address(), neighbours=None))

    async def _open(self, source: Source) -> DataReader:
        opened = await self._tree.files.open(source)
        return DataReader(opened, f"{source.identity}/{source.version}")

    async def is_whole(self) -> bool:
        """Whether all of it is on this machine."""
        source = self.source()
        return (await self._tree.files.state(source)).share == 1 or await self._tree.files.has_copy(source)

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
        return self._source(self.file, self.identity)

    async def source_with_address(self) -> Source:
        """The file as it can be opened."""
        return self._source(await self._tree.with_address(self.file, self._is_here), self.identity)

    async def _is_here(self) -> bool:
        """Whether some of it is on this machine, which must do where the server is away."""
        source = self.source()
        return (await self._tree.files.state(source)).share > 0 or await self._tree.files.has_copy(source)

    async def refresh(self) -> None:
        """Forget what is here of it, and fetch it anew; raises what :meth:`open` does."""
        await self._tree.files.refresh(await self.source_with_address())

    async def extended_attributes(self) -> dict[str, str]:
        """Which dataset this is, and how much of it is on this machine."""
        source = self.source()
        state = await self._tree.files.state(source)
        attributes = {
            **self._tree.about(),
            "id": self.file.identity,
            "endpoint": "datasets",
            "dataset": self.file.identity,
            "hash": self.file.digest,
            "qc": self.file.qc,
            "revision": self.file.revision,
            "cached": f"{math.floor(100 * state.share)}%",
            "pinned": "yes" if state.is_pinned else "no",
        }
        if tags := await self._tree.tags(self.file):
            attributes["tags"] = tags
        if url := self._tree.files.address(source):
            attributes["url"] = url
        if state.remark:
            attributes["remark"] = state.remark
        return attributes

    @property
    def session(self) -> str | None:
        """The UUID of its session; None for an aggregate."""
        return self._tree.about().get("session")

    def description(self) -> dict[str, object]:
        """What a copy of it elsewhere must be told of: ``path``, ``size`` (bytes), ``md5`` (None where not known) …"""
        file = self.file
        return {
            "path": self.identity,
            "size": self.attributes().size,
            "dataset": file.identity,
            "session": self.session,
            "hash": file.digest,
            "md5": file.md5,
            "qc": file.qc,
            "is_default": file.is_default,
        }

    def _source(self, file: DataFile, place: str, *, with_neighbours: bool = True) -> Source:
        return Source(
            identity=file.identity,
            name=file.name,
            url=address_on_the_wire(file.url) if file.url else None,
            size=_believable_size(file),
            digest=file.md5,
            version=file.digest,
            local=self._tree.local_copies(file),
            place=place,
            neighbours=self._neighbour_sources if with_neighbours else None,
            copies=functools.partial(self._addresses, file),
        )

    async def _addresses(self, file: DataFile) -> list[str]:
        return [address_on_the_wire(address) for address in await self._tree.addresses(file)]

    def _neighbour_sources(self) -> list[Source]:
        neighbours = sorted(self._tree.neighbours(self.file), key=lambda file: file.name)
        places = [f"{self._folder}/{file_names.encode(file.name)}" for file in neighbours]
        return [
            self._source(file, place, with_neighbours=False) for file, place in zip(neighbours, places, strict=True)
        ]


class DataReader:
    """An open data file."""

    def __init__(self, opened: OpenFile, content_version: str) -> None:
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


def _believable_size(file: DataFile) -> int | None:
    """The database's, unless it is that of an empty file with the hash of another one: tar does not even open such."""
    return file.size if file.size != 0 or file.md5 in {None, NO_BYTES} else None
