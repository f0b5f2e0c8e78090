"""All sessions and their files as of one moment: the cache tables with what changed since."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from cachetools import LRUCache

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from alyxfs.alyx.datasets.cache_tables import Tables
    from alyxfs.alyx.datasets.delta import Delta
    from alyxfs.alyx.datasets.layout import DataFile, SessionPlace


READY_SUBJECTS = 1000
"""Subjects whose sessions are kept ready, at some 2 kB each."""


class Snapshot:
    """The sessions by lab and subject, and their files; only ``move``, ``put`` and ``drop`` change them."""

    def __init__(self, tables: Tables, changes: Delta) -> None:
        self._tables = tables
        self._changes = changes
        self._told: dict[str, SessionPlace | None] = {}
        """Where sessions stand of which something else is known than their tables say; None: in no place."""
        self._moved: dict[str, dict[str, dict[str, SessionPlace]]] = {}
        """Those with a place, by lab, subject and id."""
        self._replaced: Counter[tuple[str, str]] = Counter()
        """How many sessions of a subject in the tables these are."""
        self.version = 0
        """Counts what it has learnt since it was made."""
        self._ready: LRUCache[tuple[str, str], list[SessionPlace]] = LRUCache(READY_SUBJECTS)
        """Sessions by lab and subject: a walk asks for those of a subject at each of its days."""
        for session, place in changes.places.items():
            self._tell(session, place)

    def _tell(self, session: str, place: SessionPlace | None) -> None:
        self._ready.clear()
        if session in self._told:
            before = self._told[session]
            if before is not None:
                del self._moved[before.lab][before.subject][session]
        elif (row := self._tables.row(session)) is not None:
            known = self._tables.place(row)
            self._replaced[known.lab, known.subject] += 1
        self._told[session] = place
        if place is not None:
            self._moved.setdefault(place.lab, {}).setdefault(place.subject, {})[session] = place

    def __contains__(self, session: str) -> bool:
        return self._told[session] is not None if session in self._told else self._tables.row(session) is not None

    def is_gone(self, session: str) -> bool:
        """Whether a session, which may be in the tables, turned out to be gone or in no place."""
        return session in self._told and self._told[session] is None

    def __len__(self) -> int:
        told = sum(place is not None for place in self._told.values())
        return self._tables.number_of_sessions - self._replaced.total() + told

    def place(self, session: str) -> SessionPlace | None:
        """Where a session stands; None where it is none of these."""
        if session in self._told:
            return self._told[session]
        row = self._tables.row(session)
        return None if row is None else self._tables.place(row)

    @property
    def labs(self) -> list[str]:
        """The labs that have sessions."""
        return [lab for lab in self._known_labs() if next(self._subjects(lab), None) is not None]

    def labs_of(self, subject: str) -> list[str]:
        """The labs that have a subject of this name with sessions."""
        return [lab for lab in self._known_labs() if self.has_sessions(lab, subject)]

    def subjects(self, lab: str) -> list[str]:
        """The subjects of a lab that have sessions."""
        return list(self._subjects(lab))

    def has_sessions(self, lab: str, subject: str) -> bool:
        """Whether a subject has any."""
        rows = self._tables.subjects.get(lab, {}).get(subject, ())
        return len(rows) > self._replaced[lab, subject] or bool(self._moved.get(lab, {}).get(subject))

    def sessions(self, lab: str, subject: str) -> list[SessionPlace]:
        """The sessions of a subject."""
        known = self._ready.get((lab, subject))
        if known is None:
            in_tables = [place for place in self._tables.places(lab, subject) if place.identity not in self._told]
            known = [*in_tables, *self._moved.get(lab, {}).get(subject, {}).values()]
            self._ready[lab, subject] = known
        return known

    def places(self, lab: str | None, subject: str | None) -> Iterator[SessionPlace]:
        """The sessions of a subject, of a lab, or all."""
        for one in self.labs if lab is None else [lab]:
            for name in self.subjects(one) if subject is None else [subject]:
                yield from self.sessions(one, name)

    def files(self, session: str) -> list[DataFile]:
        """The files of a session, without addresses."""
        return self._changes.merged(session, self._tables.files(session))

    def forget_idle(self) -> None:
        """Drop what is kept ready for walks."""
        self._ready.clear()

    def copied(self) -> tuple[Tables, Delta]:
        """The tables, and what changed since as of now."""
        return self._tables, self._changes.copy()

    def move(self, session: str, place: SessionPlace | None) -> None:
        """A session turned out to stand elsewhere, or (None) to be gone."""
        self.version += 1
        self._changes.places[session] = place
        self._tell(session, place)

    def _known_labs(self) -> Collection[str]:
        return self._tables.subjects.keys() | self._moved.keys()

    def _subjects(self, lab: str) -> Iterator[str]:
        names = {**self._tables.subjects.get(lab, {}), **self._moved.get(lab, {})}
        return (subject for subject in names if self.has_sessions(lab, subject))

    def put(self, file: DataFile, session: str) -> None:
        """A dataset turned out to be there."""
        self.version += 1
        self._changes.put(file.identity, session, file)

    def is_told_anew(self, dataset: str) -> bool:
        """Whether something else is known of a dataset than its tables say, as that it is gone."""
        return dataset in self._changes.files

    def drop(self, dataset: str, session: str) -> None:
        """A dataset turned out to be gone."""
        self.version += 1
        self._changes.put(dataset, session, None)


def number_of_files(tables: Tables, changes: Delta) -> int:
    """How many files all sessions have together, about: some of a session that is gone may count twice. Blocks."""
    gone = sum(tables.count(session) for session, place in changes.places.items() if place is None)
    in_tables = tables.holds(list(changes.files))
    changed = sum((file is not None) - (identity in in_tables) for identity, (_, file) in changes.files.items())
    return len(tables) - gone + changed
