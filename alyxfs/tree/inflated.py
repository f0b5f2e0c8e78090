"""``x.bin`` beside ``x.cbin`` and ``x.ch``: a compressed recording as any program reads raw data, by seek and mmap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alyxfs import errors
from alyxfs.tree.datafile import ESTIMATED_SIZE, DataFileNode, DataReader
from alyxfs.tree.node import Attributes, File, Kind, Node

if TYPE_CHECKING:
    from collections.abc import Mapping

COMPRESSED, HEADER, RAW = ".cbin", ".ch", ".bin"


class InflatedNode(File):
    """A recording that is inflated as it is read; each read fetches and inflates only its chunks."""

    __slots__ = ("_header", "_identity", "_recording")

    is_fetched = True
    is_found_again = True

    def __init__(self, identity: str, recording: DataFileNode, header: DataFileNode) -> None:
        self._identity = identity
        self._recording = recording
        self._header = header

    @property
    def identity(self) -> str:
        """The path below the drive."""
        return self._identity

    @property
    def content(self) -> str:
        """That of the files it is made of."""
        return f"{self._recording.content}/{self._header.content}"

    @property
    def datasets(self) -> tuple[str, ...]:
        """See Node."""
        return self._recording.datasets + self._header.datasets

    @property
    def made_of(self) -> tuple[DataFileNode, ...]:
        """The files that must be on this machine for this one to be."""
        return (self._recording, self._header)

    def attributes(self) -> Attributes:
        """The size is in the header: an estimate until that is read, which programs do not get to see."""
        size = self._known_size()
        compressed = self._recording.attributes()
        if size is None:
            return Attributes(Kind.FILE, ESTIMATED_SIZE, compressed.modified, 0.0, 0.0)
        lifetime = self._header.attributes().lifetime
        return Attributes(Kind.FILE, size, compressed.modified, lifetime, lifetime)

    @property
    def knows_size(self) -> bool:
        """Whether the size that is shown is more than an estimate; never awaits."""
        return self._known_size() is not None

    @property
    def is_unusable(self) -> bool:
        """Whether it turned out a moment ago that the header cannot be had, so that this file is better not shown."""
        return not self.knows_size and self._header.file.identity + RAW in self._recording.files.unavailable

    async def learn_size(self) -> None:
        """Read the header, unless the size is known. Raises what :meth:`open` does."""
        if self.knows_size:
            return
        files = self._recording.files
        key = self._header.file.identity + RAW
        if (failure := files.unavailable.get(key)) is not None:
            raise failure.again()
        try:
            header = await self._header.source_with_address()
            await files.learn_inflated_size(self._recording.source(), header)
        except errors.AlyxfsError as error:
            if not _is_passing(error):
                files.unavailable[key] = error.again()
            raise

    def _known_size(self) -> int | None:
        return self._recording.files.known_inflated_size(self._recording.source(), self._header.source())

    async def open(self, process: int) -> DataReader:  # noqa: ARG002 - the same for all
        """Read the header, unless it is known."""
        header = await self._header.source_with_address()
        recording = await self._recording.source_with_address()
        opened = await self._recording.files.open_inflated(recording, header)
        version = f"{recording.identity}/{recording.version}/{header.identity}/{header.version}"
        return DataReader(opened, version)

    async def open_here(self, process: int) -> DataReader | None:
        """See File."""
        return await self.open(process) if all([await node.is_whole() for node in self.made_of]) else None

    async def extended_attributes(self) -> dict[str, str]:
        """Those of the compressed file, from which it is made."""
        return {**await self._recording.extended_attributes(), "made_from": "the .cbin beside it"}


def _is_passing(error: errors.AlyxfsError) -> bool:
    """Whether the next try may well succeed: the server, or the way to it, failed."""
    if isinstance(error, errors.ServerFault):
        return error.status is not None
    return isinstance(error, errors.Unreachable | errors.DeadlineExceeded | errors.Throttled)


def inflated_files(children: Mapping[str, Node]) -> dict[str, Node]:
    """The raw files that the compressed ones of a folder give, by name."""
    found: dict[str, Node] = {}
    for name, recording in children.items():
        if not name.endswith(COMPRESSED):
            continue
        stem = name[: -len(COMPRESSED)]
        header = children.get(stem + HEADER)
        if isinstance(recording, DataFileNode) and isinstance(header, DataFileNode) and stem + RAW not in children:
            identity = recording.identity[: -len(COMPRESSED)] + RAW
            found[stem + RAW] = InflatedNode(identity, recording, header)
    return found
