"""``.alyxfs/``: what the drive says about itself, to its owner alone. Hidden: entered by name, never listed."""

from __future__ import annotations

import hashlib
import importlib.resources
import time
from typing import TYPE_CHECKING

from alyxfs import json_text
from alyxfs.tree.metrics import metrics
from alyxfs.tree.node import Attributes, BytesReader, Directory, File, FixedEntries, Kind, Node, no_such_name
from alyxfs.visible_text import escaped_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

NAME = ".alyxfs"


class TextFile(File):
    """A file whose content is made anew whenever it is opened."""

    __slots__ = ("_identity", "_is_private", "_make", "_modified", "_size")

    def __init__(self, identity: str, make: Callable[[], bytes], *, is_private: bool = False) -> None:
        self._identity = identity
        self._is_private = is_private
        self._make = make
        self._size = 0
        self._modified = time.time()

    @property
    def identity(self) -> str:
        """See Node."""
        return self._identity

    def attributes(self) -> Attributes:
        """Lifetime 0: the next open may find another content."""
        size = self._size or len(self._make())
        return Attributes(Kind.FILE, size, self._modified, 0.0, private=self._is_private)

    async def open(self, process: int) -> BytesReader:  # noqa: ARG002 - the same for all
        """Make the content."""
        content = self._make()
        self._size = len(content)
        self._modified = time.time()
        return BytesReader(content, hashlib.blake2b(content, digest_size=16).hexdigest())


class FixedDirectory(Directory):
    """A directory with names that are known from the start."""

    __slots__ = ("_children", "_identity", "_is_private", "_modified", "_unlisted")

    def __init__(
        self,
        identity: str,
        children: Mapping[str, Node],
        unlisted: Mapping[str, Node] | None = None,
        *,
        is_private: bool = False,
    ) -> None:
        self._identity = identity
        self._is_private = is_private
        self._children = children
        self._unlisted = unlisted or {}
        self._modified = time.time()

    @property
    def identity(self) -> str:
        """See Node."""
        return self._identity

    def attributes(self) -> Attributes:
        """See Node."""
        return Attributes(Kind.DIRECTORY, 0, self._modified, 60.0, private=self._is_private)

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
        return Attributes(Kind.DIRECTORY, 0, time.time(), 0.0, 0.0, private=True)

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
        return TextFile(f"{self._identity}/{name}", (self._path / name).read_bytes, is_private=True)


def control_directory(
    status: Callable[[], dict[str, object]], error_lines: Callable[[], list[str]], rejected: Path | None
) -> FixedDirectory:
    """The files of ``.alyxfs``; ``rejected`` is where a writable drive keeps drafts that were refused."""
    contents = {
        "changes.md": lambda: help_text("changes.md"),
        "clusters.md": lambda: help_text("clusters.md"),
        "errors.log": lambda: "".join(f"{line}\n" for line in error_lines()).encode("utf-8", "backslashreplace"),
        "first-steps.md": lambda: help_text("first-steps.md"),
        "help.md": lambda: help_text("help.md"),
        "metrics": lambda: metrics(status()),
        "semantics.md": lambda: help_text("semantics.md"),
        "status.json": lambda: readable_json(status()),
        "troubleshooting.md": lambda: help_text("troubleshooting.md"),
        "trust.md": lambda: help_text("trust.md"),
        "undo.md": lambda: help_text("undo.md"),
    }
    children: dict[str, Node] = {
        name: TextFile(f"{NAME}/{name}", make, is_private=True) for name, make in contents.items()
    }
    if rejected is not None:
        children["rejected"] = LocalFolder(f"{NAME}/rejected", rejected)
    return FixedDirectory(NAME, children, is_private=True)


def readable_json(document: object) -> bytes:
    """JSON for people and programs, of which a terminal obeys nothing."""
    return escaped_json(json_text.render(document).decode()).encode()


def help_text(name: str) -> bytes:
    """One of the texts in ``alyxfs/help``."""
    return (importlib.resources.files("alyxfs") / "help" / name).read_bytes()
