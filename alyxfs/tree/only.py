"""``alyxfs mount --only``: a drive that shows what a manifest or a list names, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alyxfs import errors, file_names
from alyxfs.drive_paths import below_data
from alyxfs.tasks import for_each
from alyxfs.tree.datafile import DataFileNode
from alyxfs.tree.dot_alyxfs import NAME as CONTROL
from alyxfs.tree.inflated import COMPRESSED, HEADER, RAW
from alyxfs.tree.node import Attributes, Directory, FixedEntries, Node

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

LOOKED_UP_AT_ONCE = 8
"""Names of a directory."""


class Only:
    """What is shown. It never changes."""

    def __init__(self, name: str, paths: Mapping[str, Mapping[str, object]]) -> None:
        """``paths`` in the drive, of directories with all that is below them, with what a manifest says of the file.

        ``name`` is that of the manifest, for people.
        """
        self.name = name
        self.data = {path: one for path, one in paths.items() if below_data(path)}
        """What is to be in ``data/``, or in a release or a date."""
        self._paths = paths.keys() | _inflated(paths.keys())
        self._below: dict[str, set[str]] = {}
        for path in self._paths:
            parts = path.split("/")
            for depth, part in enumerate(parts):
                self._below.setdefault("/".join(parts[:depth]), set()).add(part)

    def __len__(self) -> int:
        """How many paths were named."""
        return len(self._paths)

    def names(self, directory: str) -> set[str]:
        """The names that lead from this path of the drive to what is shown."""
        return self._below.get(directory, set())

    def is_named(self, path: str) -> bool:
        """Whether this path itself was named, so that all below it is shown."""
        return path in self._paths


def _inflated(paths: Collection[str]) -> set[str]:
    """A manifest names the files that an inflated recording is made of, and who has read it needs it again."""
    stems = {path[: -len(COMPRESSED)] for path in paths if path.endswith(COMPRESSED)}
    return {stem + RAW for stem in stems if stem + HEADER in paths}


class OnlyDirectory(Directory):
    """A directory of which some names are shown."""

    __slots__ = ("_only", "_path", "whole")

    def __init__(self, whole: Directory, only: Only, path: str = "") -> None:
        self.whole = whole
        """With all its names."""
        self._only = only
        self._path = path

    @property
    def identity(self) -> str:
        """See Node."""
        return self.whole.identity

    def attributes(self) -> Attributes:
        """See Node."""
        return self.whole.attributes()

    async def extended_attributes(self) -> dict[str, str]:
        """See Node."""
        return await self.whole.extended_attributes()

    async def lookup(self, name: str) -> Node:
        """See Directory; a name as the server has it leads to the one that is shown, as in the whole directory."""
        if not self._path and name == CONTROL:
            return await self.whole.lookup(name)
        path = f"{self._path}/{name}".lstrip("/")
        shown = self._only.names(self._path)
        if name not in shown and file_names.encode(name) not in shown:
            raise errors.NotFound(f"{path} is not in {self._only.name}, and this drive shows nothing else.")
        node = await self.whole.lookup(name)
        if isinstance(node, Directory) and not self._only.is_named(path):
            return OnlyDirectory(node, self._only, path)
        return node

    async def entries(self) -> FixedEntries:
        """See Directory: what is not there (any more) is left out."""
        found: dict[str, Node] = {}
        failures: list[errors.AlyxfsError] = []

        async def look_up(name: str) -> None:
            found[name] = await self.lookup(name)

        def failed(_name: str, error: errors.AlyxfsError) -> None:
            if not isinstance(error, errors.NotFound):
                failures.append(error)

        names = sorted(self._only.names(self._path))
        await for_each(names, look_up, at_once=LOOKED_UP_AT_ONCE, failed=failed)
        if failures:
            raise failures[0]
        return FixedEntries([(name, found[name]) for name in names if name in found])


async def differences(root: Directory, only: Only, told: list[str]) -> None:
    """Put a sentence into ``told`` for each file that is not on the server as the manifest has it, or not at all.

    Costs what looking all of them up does: nothing where the server has cache tables, else a request a session.
    """
    folders: dict[str, list[str]] = {}
    for path in only.data:
        folder, _, name = path.rpartition("/")
        folders.setdefault(folder, []).append(name)

    async def compare(folder: str) -> None:
        directory: Node = root
        for part in folder.split("/"):
            directory = await _named(directory, part)
        for name in folders[folder]:
            path = f"{folder}/{name}"
            try:
                sentence = _difference(await _named(directory, name), only.data[path])
            except errors.AlyxfsError as error:
                sentence = _failed(error)
            if sentence:
                told.append(f"{path} {sentence}")

    def failed(folder: str, error: errors.AlyxfsError) -> None:
        told.extend(f"{folder}/{name} {_failed(error)}" for name in folders[folder])

    await for_each(folders, compare, at_once=LOOKED_UP_AT_ONCE, failed=failed)
    told.sort()


async def _named(directory: Node, name: str) -> Node:
    if not isinstance(directory, Directory):
        raise errors.NotFound(f"{name!r} is in no directory.")
    return await directory.lookup(name)


def _failed(error: errors.AlyxfsError) -> str:
    return "is gone." if isinstance(error, errors.NotFound) else f"was not compared: {error}"


def _difference(node: Node, was: Mapping[str, object]) -> str:
    """What is to be told of a file that ``was`` read; nothing where it is the same, or nobody said what it was."""
    if not was:
        return ""
    if not isinstance(node, DataFileNode):
        return "is no data file any more."
    now = {"dataset": node.file.identity, "hash": node.file.digest}
    told = [f"its {name} was {was.get(name)}, and is {value}" for name, value in now.items() if was.get(name) != value]
    return f"is not what was read: {'; '.join(told)}." if told else ""
