"""``data/sessions.pqt`` and ``data/datasets.pqt``: the server's cache tables, which ONE in local mode starts from."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import trio

from alyxfs import errors
from alyxfs.alyx.datasets.table_form import TABLES
from alyxfs.tree.node import Attributes, File, Kind

if TYPE_CHECKING:
    from pathlib import Path

LIFETIME = 10.0
"""Seconds that the kernel may keep size and time: the server makes other tables now and then."""


class TableFile(File):
    """One of the files, byte for byte as in the server's ``/cache.zip``."""

    __slots__ = ("_identity", "_path", "_state")

    def __init__(self, identity: str, path: Path) -> None:
        self._identity = identity
        self._path = path
        self._state = path.stat()

    @property
    def identity(self) -> str:
        """See Node."""
        return self._identity

    @property
    def content(self) -> str:
        """When the server made it."""
        return self._path.parent.name

    def attributes(self) -> Attributes:
        """See Node."""
        return Attributes(Kind.FILE, self._state.st_size, self._state.st_mtime, LIFETIME)

    async def open(self, process: int) -> _TableReader:  # noqa: ARG002 - the same for all
        """See File."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise errors.FileChanged(f"{self._path.name}: there are newer tables; open it again.") from error
        return _TableReader(descriptor, self._path.parent.name)


class _TableReader:
    """An open table; it stays as it is when newer ones come."""

    def __init__(self, descriptor: int, made: str) -> None:
        self._descriptor = descriptor
        self.content_version = made

    @property
    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    async def read(self, offset: int, size: int) -> bytes:
        return await trio.to_thread.run_sync(os.pread, self._descriptor, size, offset)

    async def close(self) -> None:
        os.close(self._descriptor)


def table_files(directory: str, folder: Path | None) -> dict[str, TableFile]:
    """The tables in this folder by their names, as files of a directory of the drive.

    None where somebody has just removed the folder.
    """
    if folder is None:
        return {}
    try:
        return {name: TableFile(f"{directory}/{name}", folder / name) for name in sorted(TABLES)}
    except FileNotFoundError:
        return {}
