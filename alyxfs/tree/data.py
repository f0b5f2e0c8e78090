"""``data/``: labs, subjects, dates, numbers, collections, revisions and files, laid out as a ONE cache directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alyxfs import names
from alyxfs.alyx.datafiles import date_seconds
from alyxfs.alyx.freshness import DOWN
from alyxfs.alyx.tables import TABLES
from alyxfs.tree.aggregates import NAME as AGGREGATES
from alyxfs.tree.aggregates import Aggregates
from alyxfs.tree.catalogue import Folders
from alyxfs.tree.datafile import DataFileNode
from alyxfs.tree.inflated import inflated_files
from alyxfs.tree.node import Attributes, Directory, FixedEntries, Kind, Node, no_such_name
from alyxfs.tree.one_tables import table_files

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from alyxfs.alyx.datafiles import DataFile, SessionPlace
    from alyxfs.files import FileCache
    from alyxfs.tree.catalogue import Catalogue

SUBJECTS = "Subjects"
SESSION_DEPTH = 5
"""Names between ``data/`` and what is in a session: lab, Subjects, subject, date, number."""


class _DataDirectory(Directory):
    """A directory whose names are known as a whole once it is opened."""

    __slots__ = ("_catalogue", "_identity", "_modified")

    def __init__(self, catalogue: Catalogue, identity: str, modified: float) -> None:
        self._catalogue = catalogue
        self._identity = identity
        self._modified = modified

    @property
    def identity(self) -> str:
        """The path below the drive."""
        return self._identity

    def attributes(self) -> Attributes:
        """Directories have the time of what they stand for."""
        return Attributes(Kind.DIRECTORY, 0, self._modified, self._catalogue.lifetime, self.name_lifetime)

    @property
    def name_lifetime(self) -> float:
        """Seconds that the kernel may keep the name."""
        return self._catalogue.lifetime

    async def children(self) -> dict[str, Node]:
        """All names, sorted."""
        raise NotImplementedError

    async def entries(self) -> FixedEntries:
        """See Directory."""
        return FixedEntries(list((await self.children()).items()))

    async def lookup(self, name: str) -> Node:
        """See Directory."""
        children = await self.children()
        if name not in children:
            raise no_such_name(name, self._identity)
        return children[name]


class DataDirectory(_DataDirectory):
    """``data/``: the labs, the aggregates, and ONE's tables where the server makes them."""

    __slots__ = ("_aggregates", "_files")

    def __init__(self, catalogue: Catalogue, files: FileCache) -> None:
        super().__init__(catalogue, "data", catalogue.library.started_at)
        self._aggregates = Aggregates(catalogue)
        self._files = files

    async def children(self) -> dict[str, Node]:
        """One directory a lab, and what else there is."""
        found: dict[str, Node] = dict(await self._tables())
        try:
            if await self._aggregates.folders():
                found[AGGREGATES] = self._aggregates_directory()
        except DOWN:  # they were never listed; the labs may be known all the same
            pass
        found |= await self._labs()
        return dict(sorted(found.items()))

    async def lookup(self, name: str) -> Node:
        """A lab does not cost the list of aggregates, nor the tables that of labs."""
        found = await self._tables() if name in TABLES else await self._labs()
        if name in found:
            return found[name]
        if name == AGGREGATES and await self._aggregates.folders():
            return self._aggregates_directory()
        raise no_such_name(name, self.identity)

    async def _labs(self) -> Mapping[str, Node]:
        return {
            names.encode(lab): _LabDirectory(self._catalogue, self._files, lab, self._modified)
            for lab in await self._catalogue.labs()
        }

    async def _tables(self) -> Mapping[str, Node]:
        return table_files(await self._catalogue.inventory.table_folder())

    def _aggregates_directory(self) -> _AggregatesDirectory:
        return _AggregatesDirectory(self._aggregates, self._files)


class _LabDirectory(_DataDirectory):
    """``data/<lab>/``: holds ``Subjects`` alone."""

    __slots__ = ("_files", "_lab")

    def __init__(self, catalogue: Catalogue, files: FileCache, lab: str, modified: float) -> None:
        super().__init__(catalogue, f"data/{names.encode(lab)}", modified)
        self._files = files
        self._lab = lab

    async def children(self) -> dict[str, Node]:
        return {SUBJECTS: _SubjectsDirectory(self._catalogue, self._files, self._lab, self._modified)}

    async def extended_attributes(self) -> dict[str, str]:
        """Whose it is."""
        return {"lab": self._lab}


class _SubjectsDirectory(_DataDirectory):
    """``data/<lab>/Subjects/``: the subjects that have sessions."""

    __slots__ = ("_files", "_lab")

    def __init__(self, catalogue: Catalogue, files: FileCache, lab: str, modified: float) -> None:
        super().__init__(catalogue, f"data/{names.encode(lab)}/{SUBJECTS}", modified)
        self._files = files
        self._lab = lab

    async def children(self) -> dict[str, Node]:
        sessions = await self._catalogue.sessions_of_lab(self._lab)
        return {names.encode(subject): self._subject(subject, sessions[subject]) for subject in sorted(sessions)}

    async def lookup(self, name: str) -> Node:
        """A subject costs one small request where its lab was never listed."""
        subject = names.decode(name)
        places = await self._catalogue.sessions_of_subject(self._lab, subject) if subject else []
        if not subject or not places:
            raise no_such_name(name, self.identity)
        return self._subject(subject, places)

    async def extended_attributes(self) -> dict[str, str]:
        """Whose they are."""
        return {"lab": self._lab}

    def _subject(self, subject: str, places: Sequence[SessionPlace]) -> _SubjectDirectory:
        identity = f"{self.identity}/{names.encode(subject)}"
        modified = date_seconds(max(place.date for place in places))
        return _SubjectDirectory(self._catalogue, self._files, identity, (self._lab, subject), modified)


class _SubjectDirectory(_DataDirectory):
    """``data/<lab>/Subjects/<subject>/``: the dates of its sessions."""

    __slots__ = ("_files", "_subject")

    def __init__(
        self, catalogue: Catalogue, files: FileCache, identity: str, subject: tuple[str, str], modified: float
    ) -> None:
        super().__init__(catalogue, identity, modified)
        self._files = files
        self._subject = subject

    @property
    def name_lifetime(self) -> float:
        """See above."""
        return self._catalogue.session_name_lifetime

    async def children(self) -> dict[str, Node]:
        places = await self._catalogue.sessions_of_subject(*self._subject)
        return {
            date: _DateDirectory(self._catalogue, self._files, f"{self.identity}/{date}", self._subject, date)
            for date in sorted({place.date for place in places})
        }

    async def extended_attributes(self) -> dict[str, str]:
        """Which subject it is."""
        lab, subject = self._subject
        return {"lab": lab, "subject": subject}


class _DateDirectory(_DataDirectory):
    """``data/…/<date>/``: the sessions of a day, by number."""

    __slots__ = ("_date", "_files", "_subject")

    def __init__(
        self, catalogue: Catalogue, files: FileCache, identity: str, subject: tuple[str, str], date: str
    ) -> None:
        super().__init__(catalogue, identity, date_seconds(date))
        self._files = files
        self._subject = subject
        self._date = date

    @property
    def name_lifetime(self) -> float:
        """See above."""
        return self._catalogue.session_name_lifetime

    async def children(self) -> dict[str, Node]:
        places = await self._catalogue.sessions_of_subject(*self._subject)
        return {
            number: SessionDirectory(self._catalogue, self._files, f"{self.identity}/{number}", sessions)
            for number, sessions in numbered([place for place in places if place.date == self._date]).items()
        }

    async def extended_attributes(self) -> dict[str, str]:
        """Which sessions these are."""
        lab, subject = self._subject
        places = await self._catalogue.sessions_of_subject(lab, subject)
        sessions = sorted(place.identity for place in places if place.date == self._date)
        return {"lab": lab, "subject": subject, "session": " ".join(sessions)}


def numbered(places: Sequence[SessionPlace]) -> dict[str, list[SessionPlace]]:
    """The sessions of one subject and day by number; ids give the order, so every mount shows the same."""
    found: dict[str, list[SessionPlace]] = {}
    for place in sorted(places, key=lambda place: (place.number, place.identity)):
        found.setdefault(place.number, []).append(place)
    return found


class FileTree(_DataDirectory):
    """The top of a tree of data files: a session, or the aggregates."""

    __slots__ = ("files",)

    def __init__(self, catalogue: Catalogue, files: FileCache, identity: str, modified: float) -> None:
        super().__init__(catalogue, identity, modified)
        self.files = files

    @property
    def catalogue(self) -> Catalogue:
        """Where everything in the tree is looked up."""
        return self._catalogue

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

    def about(self) -> dict[str, str]:
        """Extended attributes of everything in the tree."""
        raise NotImplementedError

    def local_copies(self, file: DataFile) -> tuple[Path, ...]:
        """Where the user may have a file already."""
        raise NotImplementedError

    def neighbours(self, file: DataFile) -> Sequence[DataFile]:
        """The files of the same folder with their addresses, as far as they are known; never awaits."""
        raise NotImplementedError

    async def with_address(self, file: DataFile, *, is_here: bool) -> DataFile:
        """The file as it can be opened; ``is_here``: some of it is on this machine, which must do if need be."""
        raise NotImplementedError

    async def children(self) -> dict[str, Node]:
        """The folders and files at the top."""
        return _folder_children(self, (), await self.contents())

    async def extended_attributes(self) -> dict[str, str]:
        """What it is."""
        return self.about()


class SessionDirectory(FileTree):
    """``data/…/<number>/``: the files of a session.

    Alyx lets several sessions have one subject, day and number; as in a ONE cache, they share a directory.
    """

    __slots__ = ("_owners", "places")

    def __init__(self, catalogue: Catalogue, files: FileCache, identity: str, places: Sequence[SessionPlace]) -> None:
        super().__init__(catalogue, files, identity, places[0].start)
        self.places = places
        self._owners: dict[str, SessionPlace] = {}
        """The session of a file, by the file's identity, where there are several; filled by ``contents``."""

    @property
    def name_lifetime(self) -> float:
        """See above."""
        return self._catalogue.session_name_lifetime

    @property
    def shows_inflated(self) -> bool:
        """See FileTree."""
        return self._catalogue.shows_inflated

    async def contents(self) -> Folders:
        """See FileTree: from the tables, or one request for the session's detail."""
        if len(self.places) == 1:
            return await self._catalogue.files_of_session(self.places[0])
        files: list[DataFile] = []
        for place in self.places:
            own = [file for folder in (await self._catalogue.files_of_session(place)).values() for file in folder.files]
            self._owners.update((file.identity, place) for file in own)
            files += own
        return Folders(files)

    def about(self) -> dict[str, str]:
        """See FileTree."""
        first = self.places[0]
        return {
            "session": " ".join(place.identity for place in self.places),
            "subject": first.subject,
            "lab": first.lab,
        }

    def local_copies(self, file: DataFile) -> tuple[Path, ...]:
        """See FileTree."""
        return self._catalogue.local_copies(self._owner(file), file)

    def neighbours(self, file: DataFile) -> Sequence[DataFile]:
        """See FileTree."""
        return self._catalogue.known_neighbours(self._owner(file), file)

    async def with_address(self, file: DataFile, *, is_here: bool) -> DataFile:
        """See FileTree."""
        return await self._catalogue.file_or_as_known(self._owner(file), file, is_here=is_here)

    def _owner(self, file: DataFile) -> SessionPlace:
        return self._owners.get(file.identity, self.places[0])


class _AggregatesDirectory(FileTree):
    """``data/aggregates/``."""

    __slots__ = ("_aggregates",)

    def __init__(self, aggregates: Aggregates, files: FileCache) -> None:
        super().__init__(aggregates.catalogue, files, f"data/{AGGREGATES}", aggregates.modified)
        self._aggregates = aggregates

    async def contents(self) -> Folders:
        return await self._aggregates.folders()

    def about(self) -> dict[str, str]:
        return {}

    def local_copies(self, file: DataFile) -> tuple[Path, ...]:
        return self.catalogue.local_copy([AGGREGATES, *file.folders, file.name])

    def neighbours(self, file: DataFile) -> Sequence[DataFile]:  # noqa: ARG002 - folders of aggregates have one file
        return ()

    async def with_address(self, file: DataFile, *, is_here: bool) -> DataFile:  # noqa: ARG002 - the list has it
        return file


class _FolderDirectory(_DataDirectory):
    """A folder in a tree of files: a collection or a revision."""

    __slots__ = ("_folders", "_tree")

    def __init__(self, tree: FileTree, identity: str, folders: tuple[str, ...]) -> None:
        super().__init__(tree.catalogue, identity, tree.modified)
        self._tree = tree
        self._folders = folders

    async def children(self) -> dict[str, Node]:
        return _folder_children(self._tree, self._folders, await self._tree.contents())

    async def extended_attributes(self) -> dict[str, str]:
        """The session's."""
        return self._tree.about()


def _folder_children(tree: FileTree, path: tuple[str, ...], contents: Folders) -> dict[str, Node]:
    """The folders and files that stand directly in one folder of a tree; those made of the same contents serve."""
    known = contents.nodes.get((tree.identity, path))
    if known is not None:
        return known
    folder = contents.get(path)
    if folder is None:
        return {}
    identity = "/".join([tree.identity, *map(names.encode, path)])
    children: dict[str, Node] = {}
    for inner in folder.folders:
        name = names.encode(inner)
        children[name] = _FolderDirectory(tree, f"{identity}/{name}", (*path, inner))
    for file in folder.files:
        name = names.encode(file.name)
        if name in children:
            name = names.encode(file.name, f"~{file.identity[:8]}")
        children[name] = DataFileNode(tree, f"{identity}/{name}", file)
    if tree.shows_inflated:
        children.update(inflated_files(children))
    contents.nodes[tree.identity, path] = children
    return children
