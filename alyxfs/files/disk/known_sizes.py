"""True sizes of the files whose size in the database is wrong or missing, kept across mounts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alyxfs.files.disk.kept_values import KeptValues
from alyxfs.files.extents import LARGEST

if TYPE_CHECKING:
    import pathlib


class KnownSizes:
    """By identity and version of a file."""

    def __init__(self, path: pathlib.Path) -> None:
        self._sizes = KeptValues(path, names=2)

    def get(self, identity: str, version: str, otherwise: int | None) -> int | None:
        """The true size in bytes if it was learned, else what the database says."""
        text = self._sizes.get(identity, version)
        if not text:
            return otherwise
        size = int(text) if text.isdecimal() and len(text) <= len(str(LARGEST)) else None
        return size if size is not None and size <= LARGEST else otherwise

    def learn(self, identity: str, version: str, size: int) -> None:
        """Remember a size that the file server told."""
        self._sizes.put(identity, version, value=str(size))

    def forget(self, identity: str, version: str) -> None:
        """Believe the database again."""
        if self.get(identity, version, None) is not None:
            self._sizes.put(identity, version, value="")
