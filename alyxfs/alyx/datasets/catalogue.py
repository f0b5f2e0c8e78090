"""What stands in ``data/``: which labs, sessions and files there are, each from the fewest requests."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from cachetools import LRUCache

from alyxfs import errors
from alyxfs.alyx.datasets import fields, layout
from alyxfs.alyx.datasets.addresses import LabAddresses
from alyxfs.alyx.datasets.layout import (
    DataFile,
    Folder,
    Folders,
    SessionPlace,
    addresses_of_dataset,
    file_of_dataset,
    files_of_session,
    folder_names,
    session_place,
)
from alyxfs.alyx.datasets.s3 import MIRRORS, is_private
from alyxfs.alyx.metadata.freshness import DOWN, NOT_HAD
from alyxfs.alyx.metadata.listing import whole

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from alyxfs.alyx.datasets.cache_tables import Tables
    from alyxfs.alyx.datasets.delta import Delta
    from alyxfs.alyx.datasets.index import DatasetIndex
    from alyxfs.alyx.datasets.s3 import Buckets
    from alyxfs.alyx.datasets.snapshot import Snapshot
    from alyxfs.alyx.metadata.cache import Listing, MetadataCache, Record, Row
    from alyxfs.alyx.rest import Filters

SESSION_FIELDS = ("lab", "subject", "start_time", "number")
"""Of a session's record: what its place in ``data/`` follows from."""
LIFETIME = 10.0
"""Seconds that the kernel may keep names and sizes in ``data/``, where the time to live is not shorter."""
PLACES = "places"
"""By which a listing has the sessions of a lab by subject."""
REMEMBERED_SESSIONS = 256
"""Sessions whose files are kept ready; a session has some 50 files and at most a few thousand."""
REMEMBERED_FILES = 100_000
"""Files of the tables that are kept ready, at some 700 bytes each: of fewer than a walk goes through, the next walk in
the same order would find none."""
REMEMBERED_SECONDS = 30.0
"""How long they are, once nobody looks at any files: to make them anew takes some 10 µs a file."""


class Catalogue:
    """Answers from the index where the server has cache tables, else from the API.

    ``_files`` and ``_details`` are replaced whole, after the last await of the method that fills them.
    """

    def __init__(
        self,
        metadata: MetadataCache,
        index: DatasetIndex,
        buckets: Buckets,
        one_directory: Path | None = None,
        preferred: tuple[str, ...] = (),
        *,
        shows_inflated: bool = True,
    ) -> None:
        self.metadata = metadata
        self.shows_inflated = shows_inflated
        self.lifetime = min(LIFETIME, metadata.time_to_live_of("sessions"), metadata.time_to_live_of("datasets"))
        """Seconds that the kernel may keep what a directory of data showed."""
        self.session_name_lifetime = self.lifetime
        """The same of the names of subjects, days and sessions; 0 on a drive that can delete and rename them."""
        self.index = index
        self._buckets = buckets
        self._lab_addresses = LabAddresses(metadata)
        self._one_directory = one_directory
        self._preferred = preferred
        self._files: LRUCache[str, tuple[Snapshot, Folders]] = LRUCache(REMEMBERED_FILES, _count)
        self._details: LRUCache[str, tuple[bytes, Folders]] = LRUCache(REMEMBERED_SESSIONS)
        self._asked_at = 0.0
        """Monotonic seconds at which files of a session were last asked for."""

    async def labs(self) -> list[str]:
        """The names of all labs; where they cannot be had, of those that have sessions."""
        try:
            return [row.key for row in await whole(self.metadata.listing("labs"))]
        except NOT_HAD:
            contents = await self._contents()
            if contents is None:
                raise
            return contents.labs

    async def sessions_of_lab(self, lab: str) -> dict[str, list[SessionPlace]]:
        """The sessions of a lab by subject, from the tables or one walk of its sessions."""
        contents = await self._contents()
        if contents is not None:
            return {subject: contents.sessions(lab, subject) for subject in contents.subjects(lab)}
        listing = self.metadata.listing("sessions", (("lab", lab),))
        places: dict[str, list[SessionPlace]] = listing.made.get(PLACES, {})
        if places:
            return places
        for place in await _places(listing):
            if place.lab == lab:  # the server's filter ignores case
                places.setdefault(place.subject, []).append(place)
        listing.made[PLACES] = places
        return places

    async def sessions_of_subject(self, lab: str, subject: str) -> list[SessionPlace]:
        """The sessions of a subject: from the tables, its lab's walk if that is known, else one of its own."""
        contents = await self._contents()
        if contents is not None:
            return contents.sessions(lab, subject) or await self._under_new_name(lab, subject)
        known = await self.metadata.known_listing("sessions", (("lab", lab),))
        if known is not None and known.complete:
            return (await self.sessions_of_lab(lab)).get(subject, [])
        return await self._asked_for_subject(lab, subject)

    async def basis(self) -> object:
        """What all sessions and files are taken from: it is equal to an earlier one where they are the same.

        Without tables nobody knows of changes, and it lasts for one time to live, as a list that nobody has read.
        """
        contents = await self._contents()
        return self.metadata.listing("sessions") if contents is None else (contents, contents.version)

    async def copied_tables(self) -> tuple[Tables, Delta] | None:
        """The cache tables with a copy of what changed since; None where there are none."""
        contents = await self._contents()
        return None if contents is None else contents.copied()

    async def table_folder(self) -> Path | None:
        """Where ONE's tables lie, if there are any."""
        return await self.index.table_folder()

    async def place_of_session(self, session: str, filters: Filters = ()) -> SessionPlace | None:
        """Where a session stands: from the tables, else from its row in a listing, else from its detail.

        None where it lacks a lab, a subject or a date. Raises NotFound where there is no such session.
        """
        contents = await self._contents()
        place = contents.place(session) if contents is not None else None
        if place is not None:
            return place
        listed = await self.metadata.listed_fields("sessions", session, filters)
        session_fields = listed or (await self.metadata.record("sessions", session)).document
        return session_place(session, *(session_fields.get(field) for field in SESSION_FIELDS))

    def known_lab_of_subject(self, nickname: str) -> str | None:
        """The lab of a subject that is known to have sessions, where no other lab has one of its name; never asks."""
        contents = self.index.fresh()
        if contents is None:
            return None
        labs = contents.labs_of(nickname)
        return labs[0] if len(labs) == 1 else None

    async def folder_name(self, session: SessionPlace) -> str:
        """The name of a session's folder among those of its subject and day."""
        places = await self.sessions_of_subject(session.lab, session.subject)
        of_day = {place.identity: place for place in places if place.date == session.date}
        named = folder_names((of_day | {session.identity: session}).values())
        return next(name for name, place in named.items() if place.identity == session.identity)

    async def _asked_for_subject(self, lab: str, subject: str) -> list[SessionPlace]:
        listing = self.metadata.listing("sessions", (("subject", subject), ("lab", lab)))
        return [place for place in await _places(listing) if (place.lab, place.subject) == (lab, subject)]

    async def _under_new_name(self, lab: str, subject: str) -> list[SessionPlace]:
        """The sessions of a subject that the tables do not know: the server tells nobody that one was renamed.

        Names that programs look for everywhere begin with a dot.
        """
        if subject.startswith("."):
            return []
        try:
            places = await self._asked_for_subject(lab, subject)
        except DOWN:
            return []
        self.index.saw_places(places)
        return places

    async def files_of_session(self, place: SessionPlace) -> Folders:
        """The files of a session: from its detail where that is known, from the tables, else by asking for the detail.

        Those of the tables have no address; :meth:`with_address` finds it.
        """
        if (ready := self.ready_files(place)) is not None:
            return ready
        contents = await self._contents()
        if contents is None or place.identity not in contents or self._has_young_record(place.identity):
            return await self._files_of_detail(place)
        known = (contents, Folders(contents.files(place.identity)))
        if _count(known) <= REMEMBERED_FILES:
            self._files[place.identity] = known
        return known[1]

    def ready_files(self, place: SessionPlace) -> Folders | None:
        """The same where they are ready, and neither tables nor detail need be asked for; never awaits."""
        self._asked_at = time.monotonic()
        session, contents = place.identity, self.index.fresh()
        known = self._files.get(session)
        if contents is None or known is None or known[0] is not contents or contents.is_gone(session):
            return None
        return None if self._has_young_record(session) else known[1]

    def _has_young_record(self, session: str) -> bool:
        """Whether more is known of a session than what the tables say."""
        record = self.metadata.known_record("sessions", session)
        return record is not None and self.metadata.is_fresh("sessions", session, record.fetched_at)

    async def with_address(self, place: SessionPlace, file: DataFile) -> DataFile:
        """A file as it can be opened: with the address that the server, or the user, prefers.

        None where it follows from the lab's repository; else one request for all files of a session, its detail; one
        for each file where repositories are preferred, or where its address has to be made from the repository's
        bucket. Raises NotFound where the dataset is gone, and NotDownloadable where requests to its bucket cannot be
        signed here.
        """
        if self._preferred:
            with suppress(errors.NotInSnapshot):  # any address does
                return await self._from_repositories(file)
        if file.url is not None:
            return file
        await self._lab_addresses.learn()
        as_usual = self._lab_addresses.known(place, file)
        if as_usual.url is not None:
            return as_usual
        found = _find(await self._files_of_detail(place), file)
        if found is None:  # what is known of the session may be older than what is known of the file
            await self.look_again(place)
            found = _find(await self._files_of_detail(place), file)
        if found is not None:
            return found if found.url is not None else await self._from_repositories(found)
        raise errors.NotFound(f"The dataset {file.identity} ({file.name}) is no longer in its session.")

    async def learn_addresses(self) -> None:
        """Ask for what the addresses of data files follow from, where that is not known."""
        await self._contents()
        await self._lab_addresses.learn()

    async def file_or_as_known(
        self, place: SessionPlace, file: DataFile, is_here: Callable[[], Awaitable[bool]]
    ) -> DataFile:
        """The same; where the server is away, the file as it is known, if some of it is on this machine."""
        try:
            return await self.with_address(place, file)
        except DOWN:
            if not await is_here():
                raise
            return file

    def known_neighbours(self, place: SessionPlace, file: DataFile) -> Sequence[DataFile]:
        """The files of the same folder with their addresses, as far as they are known; never awaits."""
        known = self._details.get(place.identity) or self._files.get(place.identity)
        folder = None if known is None else known[1].get(file.folders)
        return self.with_known_addresses(place, folder)

    def with_known_addresses(self, place: SessionPlace, folder: Folder | None) -> Sequence[DataFile]:
        """The files of a folder with their addresses, as far as they follow from the lab; never awaits."""
        if folder is None or self._preferred:
            return ()
        return [self._lab_addresses.known(place, one) for one in folder.files]

    def local_copies(self, place: SessionPlace, file: DataFile) -> tuple[Path, ...]:
        """Where the user's ONE directory would hold this file, if there is such a directory."""
        return self.local_copy(
            [place.lab, "Subjects", place.subject, place.date, place.number, *file.folders, file.name]
        )

    def local_copy(self, parts: Sequence[str]) -> tuple[Path, ...]:
        """The file of this path below the user's ONE directory, if there is such a directory."""
        if self._one_directory is None:
            return ()
        if any(part in {"", ".", ".."} or "/" in part or "\0" in part for part in parts):
            return ()  # a server's name must not lead out of the directory
        return (self._one_directory.joinpath(*parts),)

    def forget_idle(self) -> bool:
        """Drop the files that are kept ready, once nobody asks for any; whether there were some."""
        if not (self._files or self._details) or time.monotonic() - self._asked_at < REMEMBERED_SECONDS:
            return False
        self._files.clear()
        self._details.clear()
        self.index.forget_idle()
        layout.forget_idle()
        return True

    async def look_again(self, place: SessionPlace) -> None:
        """Ask for a session anew; raises NotFound where it is gone."""
        self.metadata.outdate("sessions", place.identity)
        await self._files_of_detail(place)

    async def _contents(self) -> Snapshot | None:
        contents = self.index.fresh()
        return await self.index.current() if contents is None else contents

    async def _files_of_detail(self, place: SessionPlace) -> Folders:
        self._asked_at = time.monotonic()
        try:
            record = await self.metadata.record("sessions", place.identity)
        except errors.NotFound:
            self.index.saw_gone(place.identity)
            raise
        known = self._details.get(place.identity)
        if known is not None and known[0] is record.content:
            return known[1]
        files, odd = await self._parsed(record)
        for sentence in odd:
            self.metadata.omissions.note(f"sessions/{place.identity}", f"A file is left out: {sentence}.")
        if not record.stale and not odd:  # a dataset told in an odd way is not gone
            self._tell_index(place.identity, record, files)
        self._lab_addresses.compare(place, files)
        folders = Folders(files)
        self._details[place.identity] = (record.content, folders)
        return folders

    def _tell_index(self, session: str, record: Record, files: Sequence[DataFile]) -> None:
        """What the server says of a session now corrects what its tables said."""
        fields = (record.document.get(field) for field in SESSION_FIELDS)
        self.index.saw(session_place(session, *fields), session, files, record.fetched_at)
        self._files.pop(session, None)

    async def _parsed(self, record: Record) -> tuple[list[DataFile], list[str]]:
        files, odd = files_of_session(record.document, {})
        if any(file.revision and file.url is None for file in files):
            rows = await whole(self.metadata.listing("revisions"))
            files, odd = files_of_session(record.document, {row.identity: row.key for row in rows})
        return files, odd

    async def _from_repositories(self, file: DataFile) -> DataFile:
        """The file with the best address among those of its repositories, as the dataset's own record tells them."""
        dataset = (await self.metadata.record("datasets", file.identity)).document
        return await self.file_with_buckets({**dataset, "id": file.identity})

    async def file_with_buckets(self, dataset: Mapping[str, Any]) -> DataFile:
        """The file of a dataset's record, with the address of its bucket where it is private or has no other.

        Raises NotDownloadable where it is in a private bucket alone whose requests cannot be signed here.
        """
        found, refusal = await self._in_buckets(dataset)
        try:
            file = file_of_dataset(dataset, self._preferred, found)
        except fields.OddRecordError as error:
            raise errors.ServerFault(f"The record of the dataset {dataset['id']} cannot be used: {error}.") from error
        if file.url is None and refusal is not None:
            raise refusal
        return file

    async def addresses(self, file: DataFile) -> list[str]:
        """Where servers offer a file: preferred repositories, then mirrors in S3, then the web, as ONE does."""
        dataset = {**(await self.metadata.record("datasets", file.identity)).document, "id": file.identity}
        found, _ = await self._in_buckets(dataset)
        return addresses_of_dataset(dataset, (*self._preferred, MIRRORS), found)

    async def _in_buckets(self, dataset: Mapping[str, Any]) -> tuple[dict[str, str], errors.NotDownloadable | None]:
        """The addresses of a dataset's file in buckets, by repository, and why one of them cannot be asked."""
        found: dict[str, str] = {}
        refusal: errors.NotDownloadable | None = None
        for copy in fields.copies(dataset):
            if not copy.exists or not copy.repository or (copy.url and not copy.repository.startswith(MIRRORS)):
                continue
            try:
                bucket = (await self.metadata.record("data-repository", copy.repository)).document.get("json")
            except errors.NotFound:
                continue
            if copy.url and not is_private(bucket):
                continue
            try:
                address = await self._buckets.address(bucket, copy.path, str(dataset["id"]))
            except errors.NotDownloadable as error:
                refusal = error
            else:
                found |= {copy.repository: address} if address else {}
        return found, refusal


def _find(folders: Folders, file: DataFile) -> DataFile | None:
    return next((one for folder in folders.values() for one in folder.files if one.identity == file.identity), None)


def _count(known: tuple[Snapshot, Folders]) -> int:
    return 1 + sum(len(folder.files) for folder in known[1].values())


async def _places(listing: Listing) -> list[SessionPlace]:
    places = (session_place(row.identity, *_kept(row)) for row in await whole(listing))
    return [place for place in places if place is not None]


def _kept(row: Row) -> tuple[object, object, object, object]:
    lab, subject, start_time, number = row.kept
    return lab, subject, start_time, number
