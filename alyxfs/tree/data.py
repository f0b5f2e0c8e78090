"""``data/``: labs, subjects, dates, numbers, collections, revisions and files, laid out as a ONE cache directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alyxfs import names
from alyxfs.files import Source
from alyxfs.tree.node import Attributes, Directory, File, FixedEntries, Kind, Node, no_such_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from alyxfs.alyx.datafiles import DataFile, SessionPlace
    from alyxfs.files import FileCache, OpenFile
    from alyxfs.tree.catalogue import Catalogue

SUBJECTS = "Subjects"
SESSION_DEPTH = 5
"""Names between ``data/`` and what is in a session: lab, Subjects, subject, date, number."""
ESTIMATED_SIZE = 4096
"""Bytes shown of a file whose size the database does not know, until it has been opened."""
LIFETIME = 10.0
"""Seconds that the kernel may keep what a directory of data showed."""


class _DataDirectory(Directory):
    """A directory whose names are known as a whole once it is opened."""

    __slots__ = ("_identity", "_modified")

    def __init__(self, identity: str, modified: float) -> None:
        self._identity = identity
        self._modified = modified

    @property
    def identity(self) -> str:
        """The path below the drive."""
        return self._identity

    def attributes(self) -> Attributes:
        """Directories have the time of what they stand for."""
        return Attributes(Kind.DIRECTORY, 0, self._modified, LIFETIME)

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
    """``data/``: the labs."""

    __slots__ = ("_catalogue", "_files")

    def __init__(self, catalogue: Catalogue, files: FileCache) -> None:
        super().__init__("data", catalogue.library.started_at)
        self._catalogue = catalogue
        self._files = files

    async def children(self) -> dict[str, Node]:
        """One directory a lab."""
        return {
            names.encode(lab): _LabDirectory(self._catalogue, self._files, lab, self._modified)
            for lab in sorted(await self._catalogue.labs())
        }


class _LabDirectory(_DataDirectory):
    """``data/<lab>/``: holds ``Subjects`` alone."""

    __slots__ = ("_catalogue", "_files", "_lab")

    def __init__(self, catalogue: Catalogue, files: FileCache, lab: str, modified: float) -> None:
        super().__init__(f"data/{names.encode(lab)}", modified)
        self._catalogue = catalogue
        self._files = files
        self._lab = lab

    async def children(self) -> dict[str, Node]:
        return {SUBJECTS: _SubjectsDirectory(self._catalogue, self._files, self._lab, self._modified)}


class _SubjectsDirectory(_DataDirectory):
    """``data/<lab>/Subjects/``: the subjects that have sessions."""

    __slots__ = ("_catalogue", "_files", "_lab")

    def __init__(self, catalogue: Catalogue, files: FileCache, lab: str, modified: float) -> None:
        super().__init__(f"data/{names.encode(lab)}/{SUBJECTS}", modified)
        self._catalogue = catalogue
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

    def _subject(self, subject: str, places: Sequence[SessionPlace]) -> _SubjectDirectory:
        identity = f"{self.identity}/{names.encode(subject)}"
        return _SubjectDirectory(self._catalogue, self._files, identity, places)


class _SubjectDirectory(_DataDirectory):
    """``data/<lab>/Subjects/<subject>/``: the dates of its sessions."""

    __slots__ = ("_catalogue", "_files", "_places")

    def __init__(self, catalogue: Catalogue, files: FileCache, identity: str, places: Sequence[SessionPlace]) -> None:
        super().__init__(identity, max(place.start for place in places))
        self._catalogue = catalogue
        self._files = files
        self._places = places

    async def children(self) -> dict[str, Node]:
        by_date: dict[str, list[SessionPlace]] = {}
        for place in self._places:
            by_date.setdefault(place.date, []).append(place)
        return {
            date: _DateDirectory(self._catalogue, self._files, f"{self.identity}/{date}", by_date[date])
            for date in sorted(by_date)
        }


class _DateDirectory(_DataDirectory):
    """``data/…/<date>/``: the sessions of a day, by number; a second one of a number gets the start of its id."""

    __slots__ = ("_catalogue", "_files", "_places")

    def __init__(self, catalogue: Catalogue, files: FileCache, identity: str, places: Sequence[SessionPlace]) -> None:
        super().__init__(identity, max(place.start for place in places))
        self._catalogue = catalogue
        self._files = files
        self._places = places

    async def children(self) -> dict[str, Node]:
        return {
            name: SessionDirectory(self._catalogue, self._files, f"{self.identity}/{name}", place)
            for name, place in numbered(self._places).items()
        }


def numbered(places: Sequence[SessionPlace]) -> dict[str, SessionPlace]:
    """The directory names of the sessions of one subject and day; ids decide, so every mount gives the same."""
    named: dict[str, SessionPlace] = {}
    for place in sorted(places, key=lambda place: (place.number, place.identity)):
        name = place.number if place.number not in named else f"{place.number}~{place.identity[:8]}"
        named[name] = place
    return named


class SessionDirectory(_DataDirectory):
    """``data/…/<number>/``: the files of a session, from one request for its detail."""

    __slots__ = ("_catalogue", "_files", "place")

    def __init__(self, catalogue: Catalogue, files: FileCache, identity: str, place: SessionPlace) -> None:
        super().__init__(identity, place.start)
        self._catalogue = catalogue
        self._files = files
        self.place = place

    async def children(self) -> dict[str, Node]:
        """The collections and files at the top of the session."""
        files = await self._catalogue.files_of_session(self.place)
        return _folder_children(self, (), files, self._make_file)

    async def extended_attributes(self) -> dict[str, str]:
        """Which session this is."""
        return {"session": self.place.identity, "subject": self.place.subject, "lab": self.place.lab}

    def _make_file(self, file: DataFile, identity: str, siblings: Callable[[], Sequence[DataFile]]) -> DataFileNode:
        return DataFileNode(self._catalogue, self._files, identity, self.place, file, siblings)


class _FolderDirectory(_DataDirectory):
    """A collection or a revision of a session."""

    __slots__ = ("_folders", "_session")

    def __init__(self, session: SessionDirectory, identity: str, folders: tuple[str, ...]) -> None:
        super().__init__(identity, session.place.start)
        self._session = session
        self._folders = folders

    async def children(self) -> dict[str, Node]:
        files = await self._session._catalogue.files_of_session(self._session.place)  # noqa: SLF001 - one module
        return _folder_children(self._session, self._folders, files, self._session._make_file)  # noqa: SLF001

    async def extended_attributes(self) -> dict[str, str]:
        """The session's."""
        return await self._session.extended_attributes()


def _folder_children(
    session: SessionDirectory,
    folders: tuple[str, ...],
    files: Sequence[DataFile],
    make_file: Callable[[DataFile, str, Callable[[], Sequence[DataFile]]], DataFileNode],
) -> dict[str, Node]:
    """The folders and files that stand directly in one folder of a session."""
    depth = len(folders)
    identity = "/".join([session.identity, *(names.encode(folder) for folder in folders)])
    here = [file for file in files if file.folders == folders]
    children: dict[str, Node] = {
        names.encode(folder): _FolderDirectory(session, f"{identity}/{names.encode(folder)}", (*folders, folder))
        for folder in {
            file.folders[depth] for file in files if file.folders[:depth] == folders and len(file.folders) > depth
        }
    }
    for file in here:
        name = names.encode(file.name)
        if name in children:
            name = names.encode(file.name, f"~{file.identity[:8]}")
        children[name] = make_file(file, f"{identity}/{name}", lambda: here)
    return dict(sorted(children.items()))


class DataFileNode(File):
    """A data file; its bytes come from the file server, through the cache."""

    __slots__ = ("_catalogue", "_files", "_identity", "_place", "_siblings", "file")

    def __init__(
        self,
        catalogue: Catalogue,
        files: FileCache,
        identity: str,
        place: SessionPlace,
        file: DataFile,
        siblings: Callable[[], Sequence[DataFile]],
    ) -> None:
        self._catalogue = catalogue
        self._files = files
        self._identity = identity
        self._place = place
        self.file = file
        self._siblings = siblings

    @property
    def identity(self) -> str:
        """The path below the drive."""
        return self._identity

    def attributes(self) -> Attributes:
        """The database's size, or the file server's once that is known."""
        size = self._files.known_size(self._source())
        if size is None:
            return Attributes(Kind.FILE, ESTIMATED_SIZE, self._place.start, 0.0)
        return Attributes(Kind.FILE, size, self._place.start, LIFETIME)

    async def open(self, process: int) -> _DataReader:  # noqa: ARG002 - the same for all
        """Open through the cache; no request where the size is known."""
        source = self._source()
        return _DataReader(await self._files.open(source), source.version)

    async def extended_attributes(self) -> dict[str, str]:
        """Which dataset this is, and how much of it is on this machine."""
        source = self._source()
        attributes = {
            "id": self.file.identity,
            "endpoint": "datasets",
            "dataset": self.file.identity,
            "session": self._place.identity,
            "subject": self._place.subject,
            "hash": self.file.digest,
            "qc": self.file.qc,
            "revision": self.file.revision,
            "url": self.file.url or "",
            "cached": f"{self._files.cached_share(source):.0%}",
        }
        if remark := self._files.remark(source):
            attributes["remark"] = remark
        return attributes

    def _source(self, *, with_neighbours: bool = True) -> Source:
        file = self.file
        return Source(
            identity=file.identity,
            name=file.name,
            url=file.url,
            size=file.size,
            digest=file.md5,
            version=file.digest,
            local=self._catalogue.local_copies(self._place, file),
            neighbours=self._neighbour_sources if with_neighbours else None,
        )

    def _neighbour_sources(self) -> list[Source]:
        return [
            DataFileNode(self._catalogue, self._files, "", self._place, file, self._siblings)._source(  # noqa: SLF001
                with_neighbours=False
            )
            for file in sorted(self._siblings(), key=lambda file: file.name)
        ]


class _DataReader:
    """An open data file."""

    def __init__(self, opened: OpenFile, content_version: str) -> None:
        self._opened = opened
        self._content_version = content_version

    @property
    def content_version(self) -> str:
        return self._content_version

    @property
    def size(self) -> int:
        return self._opened.size

    async def read(self, offset: int, size: int) -> bytes:
        return await self._opened.read(offset, size)

    async def close(self) -> None:
        await self._opened.close()
