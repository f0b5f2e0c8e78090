"""``releases/<tag>/data/``: the datasets of a tag and nothing newer, laid out as ``data/``, with ONE's tables."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from alyxfs import file_names
from alyxfs.alyx.metadata.listing import whole
from alyxfs.drive_paths import DATA, RELEASES
from alyxfs.tree.data import DataDirectory
from alyxfs.tree.dot_alyxfs import FixedDirectory
from alyxfs.tree.node import Attributes, Directory, FixedEntries, Kind, no_such_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from alyxfs.alyx.metadata.cache import MetadataCache
    from alyxfs.tree.file_tree import Data

TAGS = "tags"
"""The endpoint that lists them."""


class ReleasesDirectory(Directory):
    """A directory for each tag. ``_data`` grows by what was looked up."""

    def __init__(self, metadata: MetadataCache, make_data: Callable[[str, str], Data]) -> None:
        """``make_data`` is given a tag and the place of its data in the drive."""
        self._metadata = metadata
        self._make_data = make_data
        self._data: dict[str, Data] = {}
        self._modified = time.time()

    @property
    def identity(self) -> str:
        """See Node."""
        return RELEASES

    def attributes(self) -> Attributes:
        """See Node."""
        return Attributes(Kind.DIRECTORY, 0, self._modified, 60.0)

    async def entries(self) -> FixedEntries:
        """See Directory; costs the listing of the tags."""
        names = await self._names()
        return FixedEntries([(name, self._release(name, tag)) for name, tag in sorted(names.items())])

    async def lookup(self, name: str) -> Directory:
        """See Directory."""
        names = await self._names()
        if name not in names:
            raise no_such_name(name, RELEASES)
        return self._release(name, names[name])

    async def _names(self) -> dict[str, str]:
        """The tags by their names in the drive."""
        return {file_names.encode(row.key): row.key for row in await whole(self._metadata.listing(TAGS))}

    def _release(self, name: str, tag: str) -> Directory:
        identity = f"{RELEASES}/{name}"
        data = self._data.get(tag) or self._make_data(tag, f"{identity}/{DATA}")
        self._data[tag] = data
        return FixedDirectory(identity, {DATA: DataDirectory(data)})
