"""A record's name without ``.json`` is a link to its files in ``data/``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from alyxfs import errors, names
from alyxfs.alyx.datafiles import aggregate_file, file_of_dataset, session_place
from alyxfs.tree.aggregates import NAME as AGGREGATES
from alyxfs.tree.data import SUBJECTS
from alyxfs.tree.node import Link, no_such_name

if TYPE_CHECKING:
    from alyxfs.alyx.datafiles import SessionPlace
    from alyxfs.alyx.schema import Endpoint
    from alyxfs.tree.catalogue import Catalogue
    from alyxfs.tree.endpoint import Query

LINKED = frozenset({"sessions", "subjects", "datasets", "insertions"})
"""Endpoints whose records have files."""

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Links:
    """Finds the target of a link; the records it asks for are those that ``data/`` asks for, too."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    async def find(self, endpoint: Endpoint, name: str, query: Query) -> Link:
        """The link of this name; raises NotFound, without a request where no record can have the name."""
        key = names.decode(name)
        if endpoint.name not in LINKED or not key or not self._possible(endpoint, key):
            raise no_such_name(name, endpoint.name)
        parts = await self._target(endpoint.name, key)
        up = [".."] * (1 + len(query))
        where = "/".join([endpoint.name, *(f"{filter_name}={value}" for filter_name, value in query), name])
        return Link(f"link/{where}", "/".join([*up, "data", *parts]))

    def _possible(self, endpoint: Endpoint, key: str) -> bool:
        """Programs look for many names that are no records: a dot makes one so unless it was listed."""
        if endpoint.lookup == "id":
            return _UUID.fullmatch(key) is not None
        listing = self._catalogue.library.known_listing(endpoint.name)
        if listing is not None and any(row.key == key for row in listing.rows):
            return True
        return "." not in key and not key.endswith("~") and (listing is None or not listing.complete)

    async def _target(self, endpoint: str, key: str) -> list[str]:
        record = (await self._catalogue.library.record(endpoint, key)).document
        if endpoint == "subjects":
            return self._subject_parts(record, key)
        if endpoint == "sessions":
            return _session_parts(await self._place(key))
        if endpoint == "insertions":
            return await self._insertion_parts(record)
        return await self._dataset_parts(record, key)

    def _subject_parts(self, subject: Any, nickname: str) -> list[str]:
        lab = subject.get("lab")
        if not lab:
            raise errors.NeverFound(f"The subject {nickname} has no lab, so it has no place in data/.")
        return [names.encode(lab), SUBJECTS, names.encode(nickname)]

    async def _place(self, session: str) -> SessionPlace:
        detail = (await self._catalogue.library.record("sessions", session)).document
        fields = (detail.get(field) for field in ("lab", "subject", "start_time", "number"))
        place = session_place(session, *fields)
        if place is None:
            raise errors.NeverFound(f"The session {session} has no lab, subject or date, so it has no place in data/.")
        return place

    async def _insertion_parts(self, insertion: Any) -> list[str]:
        """The probe's folder where the session has one, else the session."""
        session = insertion.get("session")
        if not session:
            raise errors.NeverFound("This insertion belongs to no session, so it has no place in data/.")
        place = await self._place(str(session))
        folder = ("alf", str(insertion.get("name")))
        parts = _session_parts(place)
        if folder in await self._catalogue.files_of_session(place):
            parts += [names.encode(part) for part in folder]
        return parts

    async def _dataset_parts(self, dataset: Any, key: str) -> list[str]:
        session = str(dataset.get("session") or "").rsplit("/", 1)[-1]
        if not session:
            return await self._aggregate_parts(dataset, key)
        place = await self._place(session)
        file = file_of_dataset({**dataset, "id": key})
        parts = _session_parts(place)
        return [*parts, *(names.encode(folder) for folder in file.folders), names.encode(file.name)]

    async def _aggregate_parts(self, dataset: Any, key: str) -> list[str]:
        file = aggregate_file(dataset, file_of_dataset({**dataset, "id": key}))
        if file is None:
            raise errors.NeverFound(
                f"The dataset {key} belongs to no session and is no aggregate: it has no place in data/."
            )
        return [AGGREGATES, *(names.encode(folder) for folder in file.folders), names.encode(file.name)]


def _session_parts(place: SessionPlace) -> list[str]:
    return [names.encode(place.lab), SUBJECTS, names.encode(place.subject), place.date, place.number]
