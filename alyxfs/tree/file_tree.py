"""The files of a session, or the aggregates: collections, revisions and files."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alyxfs import errors, file_names
from alyxfs.alyx.datasets.layout import names_in_folder
from alyxfs.drive_paths import DATA
from alyxfs.tasks import for_each, nobody_waits
from alyxfs.tree.datafile import DataFileNode
from alyxfs.tree.inflated import InflatedNode, inflated_files
from alyxfs.tree.node import Attributes, Directory, FixedEntries, Kind, Link, Node, no_such_name
from alyxfs.tree.tables.files import FILE_TABLES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from pathlib import Path

    from alyxfs.alyx.datasets.aggregates import Aggregates
    from alyxfs.alyx.datasets.layout import DataFile, Folders, SessionPlace
    from alyxfs.alyx.datasets.releases import Releases
    from alyxfs.alyx.datasets.views import AnyCatalogue
    from alyxfs.files.cache import FileCache
    from alyxfs.tree.tables.files import FileTables


LEARNED_AT_ONCE = 8
"""Files of a folder whose sizes are asked for at the same time; the other connections stay free for readers."""


@dataclass(frozen=True)
class Data:
    """What everything in ``data/`` works with, or in another directory that is laid out as it."""

    catalogue: AnyCatalogue
    aggregates: Aggregates | None
    """None where there are none to be shown."""
    files: FileCache
    tables: FileTables
    releases: Releases
    root: str = DATA
    """Its place in the drive."""


class DataFolder(Directory):
    """A directory whose names are known as a whole once it is opened."""

    __slots__ = ("_data", "_identity", "_modified")

    def __init__(self, data: Data, identity: str, modified: float) -> None:
        self._data = data
        self._identity = identity
        self._modified = modified

    @property
    def identity(self) -> str:
        """The path below the drive."""
        return self._identity

    def attributes(self) -> Attributes:
        """Directories have the time of what they stand for."""
        return Attributes(Kind.DIRECTORY, 0, self._modified, self._data.catalogue.lifetime, self.name_lifetime)

    @property
    def name_lifetime(self) -> float:
        """Seconds that the kernel may keep the name."""
        return self._data.catalogue.lifetime

    async def children(self) -> dict[str, Node]:
        """All names, sorted."""
        raise NotImplementedError

    async def entries(self) -> FixedEntries:
        """See Directory."""
        return FixedEntries(list((await self.children()).items()))

    async def lookup(self, name: str) -> Node:
        """See Directory; a table of all files below it is not listed."""
        return await (self._data.tables.find(self._identity, name) if name in FILE_TABLES else self.child(name))

    async def child(self, name: str) -> Node:
        """One of the names; raises NotFound."""
        children = await self.children()
        shown = file_names.encode(name)
        if name not in children and shown not in children:
            raise no_such_name(name, self._identity)
        return children[name] if name in children else self.link_of(name)

    def link_of(self, name: str) -> Link:
        """A name as the server has it, and ONE gives it, leads to the one that is shown."""
        return Link(f"raw/{self.identity}/{name}", file_names.encode(name), self._modified, self.name_lifetime)


class _FilesFolder(DataFolder):
    """A directory with data files in it."""

    __slots__ = ("_is_listed",)

    def __init__(self, data: Data, identity: str, modified: float) -> None:
        super().__init__(data, identity, modified)
        self._is_listed = False
        """Since a name was looked up whose size had to be asked for."""

    @property
    def files(self) -> FileCache:
        """Where the bytes come from."""
        return self._data.files

    async def entries(self) -> FixedEntries:
        """See Directory; costs no file server a request."""
        return self._listed(await self.children())

    def entries_at_hand(self) -> FixedEntries | None:
        """See Directory."""
        children = self.children_at_hand()
        return None if children is None else self._listed(children)

    def children_at_hand(self) -> dict[str, Node] | None:
        """All names, where they are in memory."""
        raise NotImplementedError

    def _listed(self, children: dict[str, Node]) -> FixedEntries:
        self._is_listed = True
        return FixedEntries([(name, node) for name, node in children.items() if not _is_unusable(node)])

    async def child(self, name: str) -> Node:
        """See DataFolder. Where nobody knows the size yet it is asked for, so that no program sees an estimate.

        Who has listed the folder will look at the other files, too: their sizes are asked for at the same time.
        """
        node = await super().child(name)
        if isinstance(node, DataFileNode | InflatedNode) and not node.knows_size:
            if self._is_listed:
                self._is_listed = False
                others = [one for one in (await self.children()).values() if one is not node]
                self.files.tasks.start(_learn_sizes, others, failed=nobody_waits)
            await node.learn_size()
        return node


def _is_unusable(node: Node) -> bool:
    return isinstance(node, InflatedNode) and node.is_unusable


async def _learn_sizes(nodes: Iterable[Node]) -> None:
    unknown = [node for node in nodes if isinstance(node, DataFileNode | InflatedNode) and not node.knows_size]
    await for_each(unknown, _learn_size, at_once=LEARNED_AT_ONCE, failed=lambda _node, error: nobody_waits(error))


async def _learn_size(node: DataFileNode | InflatedNode) -> None:
    await node.learn_size()


class FileTree(_FilesFolder):
    """The top of a tree of data files: a session, or the aggregates."""

    __slots__ = ()

    @property
    def data(self) -> Data:
        """What everything in it works with."""
        return self._data

    @property
    def catalogue(self) -> AnyCatalogue:
        """Where everything in the tree is looked up."""
        return self._data.catalogue

    @property
    def modified(self) -> float:
        """Unix seconds, of everything in the tree."""
        return self._modified

    @property
    def lifetime(self) -> float:
        """Seconds that the kernel may keep names and sizes of the tree."""
        return self.catalogue.lifetime

    @property
    def shows_inflated(self) -> bool:
        """Whether compressed recordings show as raw files, too."""
        return False

    async def contents(self) -> Folders:
        """All folders and files of the tree."""
        raise NotImplementedError

    def contents_at_hand(self) -> Folders | None:
        """The same where it is in memory, and nobody need be asked."""
        return None

    def about(self) -> dict[str, str]:
        """Extended attributes of everything in the tree."""
        raise NotImplementedError

    async def tags(self, file: DataFile) -> str:  # noqa: ARG002 - for those whose tags can be known
        """The tags of a file, with commas between them; nothing where none are known without a request."""
        return ""

    def local_copies(self, file: DataFile) -> tuple[Path, ...]:
        """Where the user may have a file already."""
        raise NotImplementedError

    def neighbours(self, file: DataFile) -> Sequence[DataFile]:
        """The files of the same folder with their addresses, as far as they are known; never awaits."""
        raise NotImplementedError

    async def with_address(self, file: DataFile, is_here: Callable[[], Awaitable[bool]]) -> DataFile:
        """The file as it can be opened; ``is_here``: some of it is on this machine, which must do if need be."""
        raise NotImplementedError

    async def addresses(self, file: DataFile) -> Sequence[str]:
        """Where servers offer the file, best first; at most one request, and of a file that is gone one more."""
        return await self.catalogue.addresses(file)

    async def children(self) -> dict[str, Node]:
        """The folders and files at the top."""
        return _folder_children(self, (), await self.contents())

    def children_at_hand(self) -> dict[str, Node] | None:
        """See above."""
        contents = self.contents_at_hand()
        return None if contents is None else _folder_children(self, (), contents)

    async def extended_attributes(self) -> dict[str, str]:
        """What it is, and how much of it is on this machine."""
        return {**self.about(), "cached": await cached_below(self)}


class SessionDirectory(FileTree):
    """``data/…/<number>/``: the files of a session."""

    __slots__ = ("place",)

    is_found_again = True

    def __init__(self, data: Data, identity: str, place: SessionPlace) -> None:
        super().__init__(data, identity, place.start)
        self.place = place

    @property
    def name_lifetime(self) -> float:
        """See above."""
        return self._data.catalogue.session_name_lifetime

    @property
    def shows_inflated(self) -> bool:
        """See FileTree."""
        return self._data.catalogue.shows_inflated

    async def contents(self) -> Folders:
        """See FileTree: from the tables, or one request for the session's detail."""
        return await self._data.catalogue.files_of_session(self.place)

    def contents_at_hand(self) -> Folders | None:
        """See FileTree."""
        return self._data.catalogue.ready_files(self.place)

    def about(self) -> dict[str, str]:
        """See FileTree."""
        return {"session": self.place.identity, "subject": self.place.subject, "lab": self.place.lab}

    async def tags(self, file: DataFile) -> str:
        """See FileTree."""
        return (await self._data.releases.tags_of(self.place.identity)).get(file.identity, "")

    def local_copies(self, file: DataFile) -> tuple[Path, ...]:
        """See FileTree."""
        return self._data.catalogue.local_copies(self.place, file)

    def neighbours(self, file: DataFile) -> Sequence[DataFile]:
        """See FileTree."""
        return self._data.catalogue.known_neighbours(self.place, file)

    async def with_address(self, file: DataFile, is_here: Callable[[], Awaitable[bool]]) -> DataFile:
        """See FileTree."""
        return await self._data.catalogue.file_or_as_known(self.place, file, is_here)

    async def addresses(self, file: DataFile) -> Sequence[str]:
        """See FileTree; what turns out to be gone is no longer shown."""
        try:
            return await super().addresses(file)
        except errors.NotFound:
            await self._data.catalogue.look_again(self.place)
            raise


class _FolderDirectory(_FilesFolder):
    """A folder in a tree of files: a collection or a revision."""

    __slots__ = ("_folders", "_tree", "number")

    is_found_again = True

    def __init__(self, data: Data, tree: FileTree, identity: str, folders: tuple[str, ...]) -> None:
        self.number = 0
        super().__init__(data, identity, tree.modified)
        self._tree = tree
        self._folders = folders

    def keep_number(self, number: int) -> None:
        """See Node."""
        self.number = number

    async def children(self) -> dict[str, Node]:
        return _folder_children(self._tree, self._folders, await self._tree.contents())

    def children_at_hand(self) -> dict[str, Node] | None:
        contents = self._tree.contents_at_hand()
        return None if contents is None else _folder_children(self._tree, self._folders, contents)

    async def extended_attributes(self) -> dict[str, str]:
        """The session's, and how much of the folder is on this machine."""
        return {**self._tree.about(), "cached": await cached_below(self)}


async def cached_below(directory: DataFolder) -> str:
    """How much of all data files at and below a directory is on this machine, as those of a single file tell it."""
    total, here = 0, 0.0
    folders = [directory]
    for folder in folders:
        for node in (await folder.children()).values():
            if isinstance(node, DataFolder):
                folders.append(node)
            elif isinstance(node, DataFileNode):
                size = node.attributes().size
                total += size
                here += size * (await node.files.state(node.source())).share
    return f"{math.floor(100 * here / total) if total else 100}%"


def _folder_children(tree: FileTree, path: tuple[str, ...], contents: Folders) -> dict[str, Node]:
    """The folders and files that stand directly in one folder of a tree; those made of the same contents serve."""
    known: dict[str, Node] | None = contents.nodes.get((tree.identity, path))
    if known is not None:
        return known
    folder = contents.get(path)
    if folder is None:
        return {}
    identity = "/".join([tree.identity, *map(file_names.encode, path)])
    children: dict[str, Node] = {}
    folders, files = names_in_folder(folder)
    for name, inner in folders.items():
        children[name] = _FolderDirectory(tree.data, tree, f"{identity}/{name}", (*path, inner))
    for name, file in files.items():
        children[name] = DataFileNode(tree, identity, name, file)
    if tree.shows_inflated:
        children.update(inflated_files(children))
    contents.nodes[tree.identity, path] = children
    return children
