"""What stands in ``data/``: which labs, sessions and files there are, each from the fewest requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio
from cachetools import LRUCache

from alyxfs import errors
from alyxfs.alyx.buckets import MIRRORS, is_private
from alyxfs.alyx.datafiles import (
    DataFile,
    Folder,
    SessionPlace,
    by_folder,
    file_of_dataset,
    files_of_session,
    path_of_record,
    session_place,
)
from alyxfs.alyx.freshness import DOWN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from alyxfs.alyx.buckets import Buckets
    from alyxfs.alyx.contents import Contents
    from alyxfs.alyx.inventory import Inventory
    from alyxfs.alyx.library import Library, Listing, Record, Row
    from alyxfs.tree.node import Node


class Folders(dict[tuple[str, ...], Folder]):
    """The folders of a session or of the aggregates, by the names that lead to them; never changed.

    Empty where there are no files.
    """

    def __init__(self, files: Sequence[DataFile]) -> None:
        super().__init__(by_folder(files) if files else ())
        self.nodes: dict[tuple[str, tuple[str, ...]], dict[str, Node]] = {}
        """What the tree has made of them, by the identity of its top and the names of the folder."""


LIFETIME = 10.0
"""Seconds that the kernel may keep names and sizes in ``data/``, where the time to live is not shorter."""
REMEMBERED_SESSIONS = 256
"""Sessions whose files are kept ready; a session has some 50 files and at most a few thousand."""
REMEMBERED_FILES = 100_000
"""Files of the tables that are kept ready, at some 300 bytes each: the kernel holds as many nodes of them anyway."""


class Catalogue:
    """Answers from the inventory where the server has cache tables, else from the API.

    ``_places``, ``_files`` and ``_details`` are replaced whole, after the last await of the method that fills them.
    """

    def __init__(
        self,
        library: Library,
        inventory: Inventory,
        buckets: Buckets,
        one_directory: Path | None = None,
        preferred: tuple[str, ...] = (),
        *,
        shows_inflated: bool = True,
    ) -> None:
        self.library = library
        self.shows_inflated = shows_inflated
        self.lifetime = min(LIFETIME, library.time_to_live_of("sessions"), library.time_to_live_of("datasets"))
        """Seconds that the kernel may keep what a directory of data showed."""
        self.session_name_lifetime = self.lifetime
        """The same of the names of subjects, days and sessions; 0 on a drive that can delete and rename them."""
        self.inventory = inventory
        self._buckets = buckets
        self._one_directory = one_directory
        self._preferred = preferred
        self._places: dict[str, tuple[Listing, dict[str, list[SessionPlace]]]] = {}
        self._files: LRUCache[str, tuple[Contents, Folders]] = LRUCache(REMEMBERED_FILES, _count)
        self._details: LRUCache[str, tuple[bytes, Folders]] = LRUCache(REMEMBERED_SESSIONS)

    async def labs(self) -> list[str]:
        """The names of all labs; where they cannot be had, of those that have sessions."""
        try:
            return [row.key for row in await whole(self.library.listing("labs"))]
        except DOWN:
            contents = await self._contents()
            if contents is None:
                raise
            return list(contents.labs)

    async def sessions_of_lab(self, lab: str) -> dict[str, list[SessionPlace]]:
        """The sessions of a lab by subject, from the tables or one walk of its sessions."""
        contents = await self._contents()
        if contents is not None:
            return contents.labs.get(lab, {})
        listing = self.library.listing("sessions", (("lab", lab),))
        known = self._places.get(lab)
        if known is not None and known[0] is listing:
            return known[1]
        places: dict[str, list[SessionPlace]] = {}
        for place in await _places(listing):
            if place.lab == lab:  # the server's filter ignores case
                places.setdefault(place.subject, []).append(place)
        self._places[lab] = (listing, places)
        return places

    async def sessions_of_subject(self, lab: str, subject: str) -> list[SessionPlace]:
        """The sessions of a subject: from the tables, its lab's walk if that is known, else one of its own."""
        contents = await self._contents()
        if contents is not None:
            places = contents.labs.get(lab, {}).get(subject)
            return await self._under_new_name(lab, subject) if places is None else places
        known = self.library.known_listing("sessions", (("lab", lab),))
        if known is not None and known.complete:
            return (await self.sessions_of_lab(lab)).get(subject, [])
        return await self._asked_for_subject(lab, subject)

    async def _asked_for_subject(self, lab: str, subject: str) -> list[SessionPlace]:
        listing = self.library.listing("sessions", (("subject", subject), ("lab", lab)))
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
        self.inventory.saw_places(places)
        return places

    async def files_of_session(self, place: SessionPlace) -> Folders:
        """The files of a session: from its detail where that is known, from the tables, else by asking for the detail.

        Those of the tables have no address; :meth:`with_address` finds it.
        """
        contents = await self._contents()
        if contents is None or place.identity not in contents:
            return await self._files_of_detail(place)
        record = self.library.known_record("sessions", place.identity)
        if record is not None and self.library.is_fresh("sessions", place.identity, record.fetched_at):
            return await self._files_of_detail(place)
        known = self._files.get(place.identity)
        if known is None or known[0] is not contents:
            known = (contents, Folders(contents.files(place.identity)))
            if _count(known) <= REMEMBERED_FILES:
                self._files[place.identity] = known
        return known[1]

    async def with_address(self, place: SessionPlace, file: DataFile) -> DataFile:
        """A file as it can be opened: with the address that the server, or the user, prefers.

        One request for all files of a session, its detail; one for each file where repositories are preferred, or
        where its address has to be made from the repository's bucket. Raises NotFound where the dataset is gone, and
        NotDownloadable where requests to its bucket cannot be signed here.
        """
        if self._preferred:
            return await self._from_repositories(file)
        if file.url is not None:
            return file
        found = _find(await self._files_of_detail(place), file)
        if found is None:  # what is known of the session may be older than what is known of the file
            await self.look_again(place)
            found = _find(await self._files_of_detail(place), file)
        if found is not None:
            return found if found.url is not None else await self._from_repositories(found)
        raise errors.NotFound(f"The dataset {file.identity} ({file.name}) is no longer in its session.")

    async def file_or_as_known(self, place: SessionPlace, file: DataFile, *, is_here: bool) -> DataFile:
        """The same; where the server is away, the file as it is known, if some of it is on this machine."""
        try:
            return await self.with_address(place, file)
        except DOWN:
            if not is_here:
                raise
            return file

    def known_neighbours(self, place: SessionPlace, file: DataFile) -> Sequence[DataFile]:
        """The files of the same folder with their addresses, as far as they are known; never awaits."""
        known = self._details.get(place.identity)
        folder = None if known is None or self._preferred else known[1].get(file.folders)
        return () if folder is None else folder.files

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

    async def look_again(self, place: SessionPlace) -> None:
        """Ask for a session anew; raises NotFound where it is gone."""
        self.library.forget("sessions", place.identity)
        await self._files_of_detail(place)

    async def _contents(self) -> Contents | None:
        return self.inventory.fresh() or await self.inventory.current()

    async def _files_of_detail(self, place: SessionPlace) -> Folders:
        try:
            record = await self.library.record("sessions", place.identity)
        except errors.NotFound:
            self.inventory.saw_gone(place.identity)
            raise
        known = self._details.get(place.identity)
        if known is not None and known[0] is record.content:
            return known[1]
        files = await self._parsed(record)
        if not record.stale:
            self._tell_inventory(place.identity, record, files)
        folders = Folders(files)
        self._details[place.identity] = (record.content, folders)
        return folders

    def _tell_inventory(self, session: str, record: Record, files: Sequence[DataFile]) -> None:
        """What the server says of a session now corrects what its tables said."""
        fields = (record.document.get(name) for name in ("lab", "subject", "start_time", "number"))
        datasets = {file.identity for file in files}
        self.inventory.saw(session_place(session, *fields), session, datasets, record.fetched_at)
        self._files.pop(session, None)

    async def _parsed(self, record: Record) -> list[DataFile]:
        files = files_of_session(record.document, {})
        if any(file.revision and file.url is None for file in files):
            rows = await whole(self.library.listing("revisions"))
            files = files_of_session(record.document, {row.identity: row.key for row in rows})
        return files

    async def _from_repositories(self, file: DataFile) -> DataFile:
        """The file with the best address among those of its repositories, as the dataset's own record tells them."""
        dataset = (await self.library.record("datasets", file.identity)).document
        return await self.file_with_buckets({**dataset, "id": file.identity})

    async def file_with_buckets(self, dataset: Mapping[str, Any]) -> DataFile:
        """The file of a dataset's record, with the address of its bucket where it is private or has no other.

        Raises NotDownloadable where it is in a private bucket alone whose requests cannot be signed here.
        """
        found: dict[str, str] = {}
        refusal: errors.NotDownloadable | None = None
        for record in dataset.get("file_records") or ():
            name, has_address = str(record.get("data_repository")), bool(record.get("data_url"))
            if not record.get("exists") or (has_address and not name.startswith(MIRRORS)):
                continue
            bucket = (await self.library.record("data-repository", name)).document.get("json")
            if has_address and not is_private(bucket):
                continue
            try:
                address = await self._buckets.address(bucket, path_of_record(record), str(dataset["id"]))
            except errors.NotDownloadable as error:
                refusal = error
            else:
                found |= {name: address} if address else {}
        file = file_of_dataset(dataset, self._preferred, found)
        if file.url is None and refusal is not None:
            raise refusal
        return file


def _find(folders: Folders, file: DataFile) -> DataFile | None:
    return next((one for folder in folders.values() for one in folder.files if one.identity == file.identity), None)


def _count(known: tuple[Contents, Folders]) -> int:
    return 1 + sum(len(folder.files) for folder in known[1].values())


async def whole(listing: Listing) -> list[Row]:
    """All rows of a listing."""
    while await listing.has(len(listing.rows)):
        await trio.lowlevel.checkpoint()
    return listing.rows


async def _places(listing: Listing) -> list[SessionPlace]:
    places = (session_place(row.identity, *_kept(row)) for row in await whole(listing))
    return [place for place in places if place is not None]


def _kept(row: Row) -> tuple[object, object, object, object]:
    lab, subject, start_time, number = row.kept
    return lab, subject, start_time, number
