"""``.alyxfs/``: what the drive says about itself. Hidden: entered by name, never listed."""

from __future__ import annotations

import hashlib
import importlib.resources
import time
from typing import TYPE_CHECKING

from alyxfs import documents
from alyxfs.tree.node import Attributes, BytesReader, Directory, File, FixedEntries, Kind, Node, no_such_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

NAME = ".alyxfs"


class TextFile(File):
    """A file whose content is made anew whenever it is opened."""

    __slots__ = ("_identity", "_make", "_modified", "_size")

    def __init__(self, identity: str, make: Callable[[], bytes]) -> None:
        self._identity = identity
        self._make = make
        self._size = 0
        self._modified = time.time()

    @property
    def identity(self) -> str:
        """See Node."""
        return self._identity

    def attributes(self) -> Attributes:
        """Lifetime 0: the next open may find another content."""
        return Attributes(Kind.FILE, self._size or len(self._make()), self._modified, 0.0)

    async def open(self, process: int) -> BytesReader:  # noqa: ARG002 - the same for all
        """Make the content."""
        content = self._make()
        self._size = len(content)
        self._modified = time.time()
        return BytesReader(content, hashlib.blake2b(content, digest_size=16).hexdigest())


class FixedDirectory(Directory):
    """A directory with names that are known from the start."""

    __slots__ = ("_children", "_identity", "_modified", "_unlisted")

    def __init__(self, identity: str, children: Mapping[str, Node], unlisted: Mapping[str, Node] | None = None) -> None:
        self._identity = identity
        self._children = children
        self._unlisted = unlisted or {}
        self._modified = time.time()

    @property
    def identity(self) -> str:
        """See Node."""
        return self._identity

    def attributes(self) -> Attributes:
        """See Node."""
        return Attributes(Kind.DIRECTORY, 0, self._modified, 60.0)

    async def entries(self) -> FixedEntries:
        """See Directory."""
        return FixedEntries(list(self._children.items()))

    async def lookup(self, name: str) -> Node:
        """See Directory."""
        node = self._children.get(name) or self._unlisted.get(name)
        if node is None:
            raise no_such_name(name, self._identity or "the drive")
        return node


class LocalFolder(Directory):
    """A directory of this machine, shown read-only: the drafts that were refused."""

    def __init__(self, identity: str, path: Path) -> None:
        self._identity = identity
        self._path = path

    @property
    def identity(self) -> str:
        """See Node."""
        return self._identity

    def attributes(self) -> Attributes:
        """See Node."""
        return Attributes(Kind.DIRECTORY, 0, time.time(), 0.0, 0.0)

    async def entries(self) -> FixedEntries:
        """See Directory."""
        names = sorted(path.name for path in self._path.iterdir()) if self._path.exists() else []
        return FixedEntries([(name, self._file(name)) for name in names])

    async def lookup(self, name: str) -> Node:
        """See Directory."""
        if not (self._path / name).is_file():
            raise no_such_name(name, self._identity)
        return self._file(name)

    def _file(self, name: str) -> TextFile:
        return TextFile(f"{self._identity}/{name}", (self._path / name).read_bytes)


def control_directory(
    status: Callable[[], dict[str, object]], error_lines: Callable[[], str], rejected: Path | None
) -> FixedDirectory:
    """The files of ``.alyxfs``; ``rejected`` is where a writable drive keeps drafts that were refused."""
    children: dict[str, Node] = {
        "changes.md": TextFile(f"{NAME}/changes.md", lambda: help_text("changes.md")),
        "errors.log": TextFile(f"{NAME}/errors.log", lambda: error_lines().encode()),
        "help.md": TextFile(f"{NAME}/help.md", lambda: help_text("help.md")),
        "status.json": TextFile(f"{NAME}/status.json", lambda: documents.render(status())),
    }
    if rejected is not None:
        children["rejected"] = LocalFolder(f"{NAME}/rejected", rejected)
    return FixedDirectory(NAME, children)


def help_text(name: str) -> bytes:
    """One of the texts in ``alyxfs/help``."""
    return (importlib.resources.files("alyxfs") / "help" / name).read_bytes()
