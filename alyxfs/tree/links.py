"""A record's name without ``.json`` is a link to its files in ``data/``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alyxfs import errors, file_names
from alyxfs.alyx.datasets import fields
from alyxfs.alyx.datasets.aggregates import NAME as AGGREGATES
from alyxfs.alyx.datasets.layout import aggregate_file, file_of_dataset
from alyxfs.alyx.identities import UUID
from alyxfs.drive_paths import SUBJECTS
from alyxfs.tree.node import Link, no_such_name

if TYPE_CHECKING:
    from alyxfs.alyx.datasets.catalogue import Catalogue
    from alyxfs.alyx.datasets.layout import SessionPlace
    from alyxfs.alyx.schema.read import Endpoint
    from alyxfs.tree.endpoint import Query

LINKED = frozenset({"sessions", "subjects", "datasets", "insertions"})
"""Endpoints whose records have files."""

_LOOKED_FOR = (".inf", ".ini", ".lnk", ".lock", ".log", ".swo", ".swp", ".swx", ".tmp")
"""Endings of names that file managers and editors look for everywhere."""

LONGEST_TARGET = 4095
"""Bytes (PATH_MAX of Linux, less the end)."""


class Links:
    """Finds the target of a link; the records it asks for are those that ``data/`` asks for, too."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    async def find(self, endpoint: Endpoint, name: str, query: Query) -> Link:
        """The link of this name; raises NotFound, without a request where no record can have the name."""
        key = next(iter(file_names.meanings(name)), "")
        if endpoint.name not in LINKED or not key or not await self._is_possible(endpoint, key):
            raise no_such_name(name, endpoint.name)
        try:
            parts, modified = await self._target(endpoint.name, key, query)
        except fields.OddRecordError as error:
            raise errors.NeverFound(f"{endpoint.name}/{key} has no place in data/: {error}.") from error
        up = [".."] * (1 + len(query))
        where = "/".join([endpoint.name, *(f"{filter_name}={value}" for filter_name, value in query), name])
        lifetime = self._catalogue.session_name_lifetime  # another session of the same number changes the folder
        target = "/".join([*up, "data", *parts])
        if len(target.encode()) > LONGEST_TARGET:
            raise errors.NeverFound(f"The path of {endpoint.name}/{key} in data/ is too long for a link.")
        return Link(f"link/{where}", target, modified, lifetime)

    async def _is_possible(self, endpoint: Endpoint, key: str) -> bool:
        """Programs look for many names that are no records: such a one is none unless it is known already."""
        if endpoint.lookup == "id":
            return UUID.fullmatch(key) is not None
        if self._catalogue.known_lab_of_subject(key) is not None:
            return True
        is_looked_for = key.startswith(".") or key.endswith(("~", *_LOOKED_FOR))
        listing = await self._catalogue.metadata.known_listing(endpoint.name)
        if listing is not None and (listing.complete or is_looked_for):
            return any(row.key == key for row in listing.rows)
        return not is_looked_for

    async def _target(self, endpoint: str, key: str, query: Query) -> tuple[list[str], float]:
        """The names below ``data/``, and the Unix seconds that the link shows."""
        if endpoint == "subjects":
            lab = await self._lab_of_subject(key, query)
            return [file_names.encode(lab), SUBJECTS, file_names.encode(key)], self._catalogue.metadata.started_at
        if endpoint == "sessions":
            place = await self._place(key, query)
            return await self._session_parts(place), place.start
        metadata = self._catalogue.metadata
        record = await metadata.listed_fields(endpoint, key, query) or (await metadata.record(endpoint, key)).document
        session = fields.session_of(record)
        if not session and endpoint == "insertions":
            raise errors.NeverFound("This insertion belongs to no session, so it has no place in data/.")
        if not session:
            return self._aggregate_parts(record, key), self._catalogue.metadata.started_at
        place = await self._place(session)
        if endpoint == "insertions":
            return await self._insertion_parts(record, place), place.start
        return await self._dataset_parts(record, key, place), place.start

    async def _lab_of_subject(self, nickname: str, query: Query) -> str:
        lab = self._catalogue.known_lab_of_subject(nickname)
        if lab is None:
            metadata = self._catalogue.metadata
            listed = await metadata.listed_fields("subjects", nickname, query)
            lab = fields.text(listed or (await metadata.record("subjects", nickname)).document, "lab")
        if not lab:
            raise errors.NeverFound(f"The subject {nickname} has no lab, so it has no place in data/.")
        return lab

    async def _place(self, session: str, query: Query = ()) -> SessionPlace:
        place = await self._catalogue.place_of_session(session, query)
        if place is None:
            raise errors.NeverFound(f"The session {session} has no lab, subject or date, so it has no place in data/.")
        return place

    async def _insertion_parts(self, insertion: Any, place: SessionPlace) -> list[str]:
        """The probe's folder where the session has one, else the session."""
        folder = ("alf", fields.text(insertion, "name"))
        parts = await self._session_parts(place)
        if folder in await self._catalogue.files_of_session(place):
            parts += [file_names.encode(part) for part in folder]
        return parts

    async def _dataset_parts(self, dataset: Any, key: str, place: SessionPlace) -> list[str]:
        file = file_of_dataset({**dataset, "id": key})
        folder = (await self._catalogue.files_of_session(place)).get(file.folders)
        if folder is None or all(one.identity != key for one in folder.files):
            raise errors.NotDownloadable(f"The dataset {key} ({file.name}) has no file on any server.")
        parts = await self._session_parts(place)
        return [*parts, *(file_names.encode(folder) for folder in file.folders), file_names.encode(file.name)]

    def _aggregate_parts(self, dataset: Any, key: str) -> list[str]:
        file = aggregate_file(dataset, file_of_dataset({**dataset, "id": key}))
        if file is None:
            raise errors.NeverFound(
                f"The dataset {key} belongs to no session and is no aggregate: it has no place in data/."
            )
        return [AGGREGATES, *(file_names.encode(folder) for folder in file.folders), file_names.encode(file.name)]

    async def _session_parts(self, place: SessionPlace) -> list[str]:
        folder = file_names.encode(await self._catalogue.folder_name(place))
        return [file_names.encode(place.lab), SUBJECTS, file_names.encode(place.subject), place.date, folder]
