"""A record as a JSON file."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from alyxfs.tree.node import Attributes, BytesReader, File, Kind, Reader

if TYPE_CHECKING:
    from alyxfs.alyx.metadata.cache import MetadataCache, Record
    from alyxfs.alyx.schema.read import Endpoint

ESTIMATED_SIZE = 4096
"""Bytes shown for a record whose detail is not known yet; the kernel asks again after open."""

SUFFIX = ".json"
NAME_LIFETIME = 60.0
"""Seconds that the kernel may keep the name of a record, where the time to live is not shorter."""


class RecordFile(File):
    """One record; its size is an estimate until its detail, or a row that is as good, has been seen."""

    __slots__ = ("_endpoint", "_identity", "_listed_modified", "_listed_size", "_metadata", "key")

    def __init__(
        self,
        metadata: MetadataCache,
        endpoint: Endpoint,
        key: str,
        identity: str,
        listed_size: int | None = None,
        listed_modified: float | None = None,
    ) -> None:
        self._metadata = metadata
        self._endpoint = endpoint
        self.key = key
        self._identity = identity
        self._listed_size = listed_size
        self._listed_modified = listed_modified

    def copy_to(self, other: RecordFile) -> None:
        """Make another node of the same record."""
        for name in RecordFile.__slots__:
            setattr(other, name, getattr(self, name))

    @property
    def identity(self) -> str:
        """The same through every directory that lists the record: queries show one inode."""
        return f"record/{self._endpoint.name}/{self._identity}"

    @property
    def endpoint_name(self) -> str:
        """Of the record."""
        return self._endpoint.name

    @property
    def record_identity(self) -> str:
        """The record's own."""
        return self._identity

    def attributes(self) -> Attributes:
        """Exact once the detail is known, else an estimate with lifetime 0."""
        measure = self._metadata.measure(self._endpoint.name, self.key, self._identity)
        lifetime = self._metadata.time_to_live_of(self._endpoint.name)
        name_lifetime = min(NAME_LIFETIME, lifetime)
        if measure is not None:
            return Attributes(Kind.FILE, measure.size, measure.modified, lifetime, name_lifetime)
        modified = self._listed_modified or self._metadata.started_at
        if self._listed_size is not None:
            return Attributes(Kind.FILE, self._listed_size, modified, lifetime, name_lifetime)
        return Attributes(Kind.FILE, ESTIMATED_SIZE, modified, 0.0, name_lifetime, is_estimate=True)

    async def record(self) -> Record:
        """The record, from memory, the store or the server."""
        return await self._metadata.record(self._endpoint.name, self.key, identity=self._identity)

    async def open(self, process: int) -> Reader:  # noqa: ARG002 - the same for all
        """Fetch the detail unless it is known."""
        record = await self.record()
        return BytesReader(record.content, version_of(record.content))

    async def extended_attributes(self) -> dict[str, str]:
        """Which record of which endpoint this is."""
        attributes = {"id": self._identity, "endpoint": self._endpoint.name}
        if self._endpoint.detailed:
            attributes["url"] = self._metadata.address(self._endpoint.name, self.key)
        record = self._metadata.known_record(self._endpoint.name, self.key, self._identity)
        if record is not None and record.stale:
            attributes["stale"] = "true"
        return attributes


def version_of(content: bytes) -> str:
    """Tells one content of a record file from another."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()
