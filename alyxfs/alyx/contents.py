"""All sessions and their files as of one moment: the cache tables with what changed since."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alyxfs.alyx.changes import Changes
    from alyxfs.alyx.datafiles import DataFile, SessionPlace
    from alyxfs.alyx.tables import Tables


class Contents:
    """The sessions by lab and subject, and their files; changed only by ``move`` and ``drop``, which never await."""

    def __init__(self, tables: Tables, changes: Changes) -> None:
        self._tables = tables
        self._changes = changes
        self.labs: dict[str, dict[str, list[SessionPlace]]] = {}
        self._places: dict[str, SessionPlace] = {}
        for place in tables.places:
            if place.identity not in changes.places:
                self._add(place)
        for changed in changes.places.values():
            if changed is not None:
                self._add(changed)

    def _add(self, place: SessionPlace) -> None:
        self.labs.setdefault(place.lab, {}).setdefault(place.subject, []).append(place)
        self._places[place.identity] = place

    def __contains__(self, session: str) -> bool:
        return session in self._places

    def __len__(self) -> int:
        return len(self._places)

    def place(self, session: str) -> SessionPlace | None:
        """Where a session stands; None where it is none of these."""
        return self._places.get(session)

    def places(self, lab: str | None, subject: str | None) -> Iterator[SessionPlace]:
        """The sessions of a subject, of a lab, or all."""
        for place in self._places.values():
            if lab in {None, place.lab} and subject in {None, place.subject}:
                yield place

    def files(self, session: str) -> list[DataFile]:
        """The files of a session, without addresses."""
        return self._changes.merged(session, self._tables.files(session))

    def move(self, session: str, place: SessionPlace | None) -> None:
        """A session turned out to stand elsewhere, or (None) to be gone."""
        self._changes.places[session] = place
        before = self._places.pop(session, None)
        if before is not None:
            subjects = self.labs[before.lab]
            subjects[before.subject] = [each for each in subjects[before.subject] if each.identity != session]
            if not subjects[before.subject]:
                del subjects[before.subject]
        if place is not None:
            self._add(place)

    def drop(self, dataset: str, session: str) -> None:
        """A dataset turned out to be gone."""
        self._changes.put(dataset, session, None)


def number_of_files(tables: Tables, changes: Changes) -> int:
    """How many files all sessions have together, about: some of a session that is gone may count twice. Blocks."""
    gone = sum(tables.count(session) for session, place in changes.places.items() if place is None)
    in_tables = tables.holds(list(changes.files))
    changed = sum((file is not None) - (identity in in_tables) for identity, (_, file) in changes.files.items())
    return len(tables) - gone + changed
