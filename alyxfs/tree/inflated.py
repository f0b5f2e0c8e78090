"""``x.bin`` beside ``x.cbin`` and ``x.ch``: a compressed recording as any program reads raw data, by seek and mmap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alyxfs.tree.datafile import ESTIMATED_SIZE, DataFileNode, DataReader
from alyxfs.tree.node import Attributes, File, Kind, Node

if TYPE_CHECKING:
    from collections.abc import Mapping

COMPRESSED, HEADER, RAW = ".cbin", ".ch", ".bin"


class InflatedNode(File):
    """A recording that is inflated as it is read; each read fetches and inflates only its chunks."""

    __slots__ = ("_header", "_identity", "_recording")

    def __init__(self, identity: str, recording: DataFileNode, header: DataFileNode) -> None:
        self._identity = identity
        self._recording = recording
        self._header = header

    @property
    def identity(self) -> str:
        """The path below the drive."""
        return self._identity

    @property
    def made_of(self) -> tuple[DataFileNode, ...]:
        """The files that must be on this machine for this one to be."""
        return (self._recording, self._header)

    def attributes(self) -> Attributes:
        """The size is in the header, which is read at the first open; until then it is an estimate."""
        recording = self._recording
        size = recording.files.known_inflated_size(recording.source(), self._header.source())
        compressed = recording.attributes()
        lifetime = compressed.name_lifetime
        if size is None:
            return Attributes(Kind.FILE, ESTIMATED_SIZE, compressed.modified, 0.0, lifetime)
        return Attributes(Kind.FILE, size, compressed.modified, lifetime, lifetime)

    async def open(self, process: int) -> DataReader:  # noqa: ARG002 - the same for all
        """Read the header, unless it is known."""
        header = await self._header.source_with_address()
        recording = await self._recording.source_with_address()
        opened = await self._recording.files.open_inflated(recording, header)
        return DataReader(opened, f"{recording.version}/{header.version}", recording.identity)

    async def extended_attributes(self) -> dict[str, str]:
        """Those of the compressed file, from which it is made."""
        return {**await self._recording.extended_attributes(), "made_from": "the .cbin beside it"}


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
