"""What the API tells beyond the cache tables: sessions and files that these leave out, or that changed since."""

from __future__ import annotations

from dataclasses import astuple
from typing import TYPE_CHECKING, Any

from alyxfs import json_text
from alyxfs.alyx.datasets import fields
from alyxfs.alyx.datasets.layout import DataFile, SessionPlace, file_of_dataset, session_place
from alyxfs.alyx.identities import identity_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Delta:
    """By id; what is said here replaces what the tables say of the same session or dataset."""

    def __init__(self) -> None:
        self.since = ""
        """What changed after this time of the server's clock is not in here yet."""
        self.asked_at = 0.0
        """Unix seconds, by our clock, at which it was last asked what changed."""
        self.places: dict[str, SessionPlace | None] = {}
        """None: a session without a place in the tree."""
        self.files: dict[str, tuple[str, DataFile | None]] = {}
        """The session of a dataset and its file; None: no server offers it, or it is gone."""
        self.surplus: dict[str, int] = {}
        """By endpoint, how many more records the server counts than are known here."""
        self.odd: dict[str, str] = {}
        """Datasets that were told in an odd way, each with a sentence; neither kept nor copied."""
        self._of_session: dict[str, set[str]] = {}

    def __len__(self) -> int:
        return len(self.places) + len(self.files)

    def sessions(self) -> set[str]:
        """Those of whose files something is said."""
        return set(self._of_session)

    def add_sessions(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take rows of the list of sessions."""
        for row in rows:
            identity = identity_of(row)
            if identity is not None:
                values = (row.get(name) for name in ("lab", "subject", "start_time", "number"))
                self.places[identity] = session_place(identity, *values)

    def add_datasets(self, rows: Iterable[Mapping[str, Any]], personal: frozenset[str]) -> None:
        """Take rows of the list of datasets; ``personal`` names the repositories that are no servers.

        A dataset is shown where the server's own list of a session's files has it: with an existing file on a server.
        One that is told in an odd way stays as it was known.
        """
        for row in rows:
            identity = identity_of(row)
            if identity is None:
                continue
            try:
                session = fields.session_of(row)
                file = file_of_dataset(row) if session and fields.is_offered(row, personal) else None
            except fields.OddRecordError as error:
                self.odd[identity] = f"The dataset {identity} is not shown as it is now: {error}."
                continue
            self.put(identity, session, file)

    def put(self, identity: str, session: str, file: DataFile | None) -> None:
        """Say what a dataset is."""
        before = self.files.get(identity)
        if before is not None:
            self._of_session[before[0]].discard(identity)
        self.files[identity] = (session, file)
        self._of_session.setdefault(session, set()).add(identity)

    def take(self, found: Delta, before: Delta) -> None:
        """Add what a search found that began when this was as ``before``: what changed since is newer."""
        for session, place in found.places.items():
            if self.places.get(session) == before.places.get(session):
                self.places[session] = place
        for dataset, (session, file) in found.files.items():
            if self.files.get(dataset) == before.files.get(dataset):
                self.put(dataset, session, file)

    def copy(self) -> Delta:
        """The same anew."""
        copied = Delta()
        copied.since, copied.asked_at = self.since, self.asked_at
        copied.surplus = dict(self.surplus)
        copied.places, copied.files = dict(self.places), dict(self.files)
        copied._of_session = {session: set(own) for session, own in self._of_session.items()}
        return copied

    def merged(self, session: str, known: Iterable[DataFile]) -> list[DataFile]:
        """The files of a session: those of the tables, with what changed."""
        files = [file for file in known if file.identity not in self.files]
        for identity in self._of_session.get(session, ()):
            file = self.files[identity][1]
            if file is not None:
                files.append(file)
        return files

    def check(self) -> None:
        """Raise ValueError where something in it could not come from an answer of the server. Blocks."""
        for session, place in self.places.items():
            fields.identity(session, "a session")
            if place is not None and place != session_place(
                session, place.lab, place.subject, place.date, int(place.number)
            ):
                raise ValueError(f"the session {session} stands where none can")
        for dataset, (session, file) in self.files.items():
            texts = (dataset, session) if file is None else (dataset, session, file.identity)
            for text in filter(None, texts):
                fields.identity(text, "a dataset")
            if file is None:
                continue
            told = {"name": file.name, "collection": file.collection, "revision": file.revision, "url": file.url}
            for field in ("name", "revision"):
                fields.text(told, field)
            fields.text(told, "url", fields.LONGEST_ADDRESS)
            fields.collection(told)
            if (file.size, file.digest, file.qc) != (
                fields.size(file.size),
                fields.digest(file.digest),
                fields.plain(file.qc),
            ):
                raise ValueError(f"the dataset {dataset} is told as none can be")

    def pack(self, made: str) -> bytes:
        """As the store keeps it, with the tables (by their time) that it adds to. Blocks: call in a thread."""
        return json_text.compact(
            {
                "made": made,
                "since": self.since,
                "asked_at": self.asked_at,
                "surplus": self.surplus,
                "places": [[key, None if place is None else astuple(place)] for key, place in self.places.items()],
                "files": [
                    [key, session, None if file is None else astuple(file)]
                    for key, (session, file) in self.files.items()
                ],
            }
        )


def unpack_delta(body: bytes, made: str) -> Delta:
    """What :meth:`Delta.pack` packed; nothing where it adds to other tables. Blocks: call in a thread."""
    document = json_text.decode(body)
    changes = Delta()
    if document.get("made") != made:
        return changes
    changes.since = document["since"]
    changes.asked_at = document["asked_at"]
    changes.surplus = document.get("surplus", {})
    changes.places = {key: None if place is None else SessionPlace(*place) for key, place in document["places"]}
    for key, session, file in document["files"]:
        changes.put(key, session, None if file is None else DataFile(*file))
    return changes
