"""Where in the cache directory what lies: named by hashes, so that no name of a server's can lead elsewhere."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pathlib


class Places:
    """Of the data files of one server (its address): no other one can say what a dataset of this one holds."""

    def __init__(self, directory: pathlib.Path, server: str) -> None:
        self._directory = directory
        self.server = server
        """Its address."""

    def blocks(self, identity: str) -> pathlib.Path:
        """Of the cache file of this dataset."""
        return self._blocks(f"{self.server}\n{identity}" if self.server else identity)

    def pinned_by_earlier_versions(self, identity: str) -> pathlib.Path:
        """The same as it was when a dataset was pinned for all servers."""
        return self._blocks(identity)

    def values(self, kind: str) -> pathlib.Path:
        """Of what is remembered of the server's files."""
        return self._directory / f"{kind}-{_short_hash(self.server, 8)}"

    def _blocks(self, name: str) -> pathlib.Path:
        key = _short_hash(name, 20)
        return self._directory / "blocks-1" / key[:2] / key[2:]


def _short_hash(name: str, size: int) -> str:
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=size).hexdigest()
