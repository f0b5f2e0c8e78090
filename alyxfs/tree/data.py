"""``data/``, and what is laid out as it: labs, subjects, dates, numbers, collections, revisions and files.

The layout is that of a ONE cache directory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from alyxfs import file_names
from alyxfs.alyx.datasets.aggregates import NAME as AGGREGATES
from alyxfs.alyx.datasets.layout import date_seconds, folder_names
from alyxfs.alyx.datasets.table_form import TABLES
from alyxfs.alyx.metadata.freshness import NOT_HAD
from alyxfs.drive_paths import SUBJECTS
from alyxfs.tree import one_answers
from alyxfs.tree.file_tree import Data, DataFolder, FileTree, SessionDirectory, cached_below
from alyxfs.tree.node import Node, no_such_name
from alyxfs.tree.one_tables import table_files

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from alyxfs.alyx.datasets.aggregates import Aggregates
    from alyxfs.alyx.datasets.layout import DataFile, Folders, SessionPlace


class DataDirectory(DataFolder):
    """``data/``: the labs, the aggregates, and ONE's tables where the server makes them."""

    __slots__ = ("_aggregates",)

    def __init__(self, data: Data) -> None:
        super().__init__(data, data.root, data.catalogue.metadata.started_at)
        self._aggregates = data.aggregates

    async def children(self) -> dict[str, Node]:
        """One directory a lab, and what else there is."""
        found: dict[str, Node] = dict(await self._tables())
        try:
            if self._aggregates is not None and await self._aggregates.folders():
                found[AGGREGATES] = _AggregatesDirectory(self._data, self._aggregates)
        except NOT_HAD:  # they were never listed; the labs may be known all the same
            pass
        found |= await self._labs()
        return dict(sorted(found.items()))

    async def child(self, name: str) -> Node:
        """A lab does not cost the list of aggregates, nor the tables that of labs."""
        found = await self._tables() if name in TABLES else await self._labs()
        if name in found:
            return found[name]
        if name == AGGREGATES and self._aggregates is not None and await self._aggregates.folders():
            return _AggregatesDirectory(self._data, self._aggregates)
        if name == one_answers.NAME:
            return await one_answers.answers_of_one(self._data.files, self._data.root, self._modified)
        if file_names.encode(name) in found:
            return self.link_of(name)
        raise no_such_name(name, self.identity)

    async def _labs(self) -> Mapping[str, Node]:
        return {
            file_names.encode(lab): _LabDirectory(self._data, lab, self._modified)
            for lab in await self._data.catalogue.labs()
        }

    async def _tables(self) -> Mapping[str, Node]:
        return table_files(self.identity, await self._data.catalogue.table_folder())


class _LabDirectory(DataFolder):
    """``data/<lab>/``: holds ``Subjects`` alone."""

    __slots__ = ("_lab",)

    def __init__(self, data: Data, lab: str, modified: float) -> None:
        super().__init__(data, f"{data.root}/{file_names.encode(lab)}", modified)
        self._lab = lab

    async def children(self) -> dict[str, Node]:
        return {SUBJECTS: _SubjectsDirectory(self._data, self._lab, self._modified)}

    async def extended_attributes(self) -> dict[str, str]:
        """Whose it is."""
        return {"lab": self._lab}


class _SubjectsDirectory(DataFolder):
    """``data/<lab>/Subjects/``: the subjects that have sessions."""

    __slots__ = ("_lab",)

    def __init__(self, data: Data, lab: str, modified: float) -> None:
        super().__init__(data, f"{data.root}/{file_names.encode(lab)}/{SUBJECTS}", modified)
        self._lab = lab

    async def children(self) -> dict[str, Node]:
        sessions = await self._data.catalogue.sessions_of_lab(self._lab)
        return {file_names.encode(subject): self._subject(subject, sessions[subject]) for subject in sorted(sessions)}

    async def child(self, name: str) -> Node:
        """A subject costs one small request where its lab was never listed."""
        for subject in file_names.meanings(name):
            if places := await self._data.catalogue.sessions_of_subject(self._lab, subject):
                return self._subject(subject, places) if file_names.encode(subject) == name else self.link_of(name)
        raise no_such_name(name, self.identity)

    async def extended_attributes(self) -> dict[str, str]:
        """Whose they are."""
        return {"lab": self._lab}

    def _subject(self, subject: str, places: Sequence[SessionPlace]) -> _SubjectDirectory:
        identity = f"{self.identity}/{file_names.encode(subject)}"
        modified = date_seconds(max(place.date for place in places))
        return _SubjectDirectory(self._data, identity, (self._lab, subject), modified)


class _SubjectDirectory(DataFolder):
    """``data/<lab>/Subjects/<subject>/``: the dates of its sessions."""

    __slots__ = ("_subject",)

    def __init__(self, data: Data, identity: str, subject: tuple[str, str], modified: float) -> None:
        super().__init__(data, identity, modified)
        self._subject = subject

    @property
    def name_lifetime(self) -> float:
        """See above."""
        return self._data.catalogue.session_name_lifetime

    async def children(self) -> dict[str, Node]:
        places = await self._data.catalogue.sessions_of_subject(*self._subject)
        return {
            date: _DateDirectory(self._data, f"{self.identity}/{date}", self._subject, date)
            for date in sorted({place.date for place in places})
        }

    async def extended_attributes(self) -> dict[str, str]:
        """Which subject it is."""
        lab, subject = self._subject
        return {"lab": lab, "subject": subject}


class _DateDirectory(DataFolder):
    """``data/…/<date>/``: the sessions of a day, by number."""

    __slots__ = ("_date", "_subject")

    is_found_again = True

    def __init__(self, data: Data, identity: str, subject: tuple[str, str], date: str) -> None:
        super().__init__(data, identity, date_seconds(date))
        self._subject = subject
        self._date = date

    @property
    def name_lifetime(self) -> float:
        """See above."""
        return self._data.catalogue.session_name_lifetime

    async def children(self) -> dict[str, Node]:
        places = await self._data.catalogue.sessions_of_subject(*self._subject)
        named = folder_names([place for place in places if place.date == self._date])
        names = {file_names.encode(name): place for name, place in sorted(named.items())}
        return {name: SessionDirectory(self._data, f"{self.identity}/{name}", place) for name, place in names.items()}

    async def extended_attributes(self) -> dict[str, str]:
        """Which sessions these are, and how much of them is on this machine."""
        lab, subject = self._subject
        places = await self._data.catalogue.sessions_of_subject(lab, subject)
        sessions = sorted(place.identity for place in places if place.date == self._date)
        about = {"lab": lab, "subject": subject, "session": " ".join(sessions)}
        return {**about, "cached": await cached_below(self)}


class _AggregatesDirectory(FileTree):
    """``data/aggregates/``."""

    __slots__ = ("_aggregates",)

    def __init__(self, data: Data, aggregates: Aggregates) -> None:
        super().__init__(data, f"{data.root}/{AGGREGATES}", aggregates.modified)
        self._aggregates = aggregates

    async def contents(self) -> Folders:
        return await self._aggregates.folders()

    def about(self) -> dict[str, str]:
        return {}

    def local_copies(self, file: DataFile) -> tuple[Path, ...]:
        return self.catalogue.local_copy([AGGREGATES, *file.folders, file.name])

    def neighbours(self, file: DataFile) -> Sequence[DataFile]:  # noqa: ARG002 - folders of aggregates have one file
        return ()

    async def with_address(self, file: DataFile, is_here: Callable[[], Awaitable[bool]]) -> DataFile:  # noqa: ARG002 - the list has it
        return file
