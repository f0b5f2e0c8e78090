"""What stands in ``data/``: which labs, sessions and files there are, each from the fewest requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from cachetools import LRUCache

from alyxfs.alyx.datafiles import DataFile, SessionPlace, files_of_session, session_place

if TYPE_CHECKING:
    from pathlib import Path

    from alyxfs.alyx.library import Library, Listing, Row

REMEMBERED_SESSIONS = 256
"""Sessions whose files are kept ready; a session has some 50 files and at most a few thousand."""


class Catalogue:
    """Answers from the API.

    ``_places`` and ``_files`` are replaced whole, after the last await of the method that fills them.
    """

    def __init__(self, library: Library, one_directory: Path | None = None) -> None:
        self.library = library
        self._one_directory = one_directory
        self._places: dict[str, tuple[Listing, dict[str, list[SessionPlace]]]] = {}
        self._files: LRUCache[str, tuple[bytes, list[DataFile]]] = LRUCache(REMEMBERED_SESSIONS)

    async def labs(self) -> list[str]:
        """The names of all labs."""
        return [row.key for row in await _whole(self.library.listing("labs"))]

    async def sessions_of_lab(self, lab: str) -> dict[str, list[SessionPlace]]:
        """The sessions of a lab by subject, from one walk of its sessions."""
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
        """The sessions of a subject: from its lab's walk where that is known, else from a small one of its own."""
        known = self.library.known_listing("sessions", (("lab", lab),))
        if known is not None and known.complete:
            return (await self.sessions_of_lab(lab)).get(subject, [])
        listing = self.library.listing("sessions", (("subject", subject), ("lab", lab)))
        return [place for place in await _places(listing) if (place.lab, place.subject) == (lab, subject)]

    async def files_of_session(self, place: SessionPlace) -> list[DataFile]:
        """The files of a session, from its detail."""
        record = await self.library.record("sessions", place.identity)
        known = self._files.get(place.identity)
        if known is not None and known[0] is record.content:
            return known[1]
        revisions: dict[str, str] = {}
        files = files_of_session(record.document, revisions)
        if any(file.revision and file.url is None for file in files):
            for row in await _whole(self.library.listing("revisions")):
                revisions[row.identity] = row.key
            files = files_of_session(record.document, revisions)
        self._files[place.identity] = (record.content, files)
        return files

    def local_copies(self, place: SessionPlace, file: DataFile) -> tuple[Path, ...]:
        """Where the user's ONE directory would hold this file, if there is such a directory."""
        if self._one_directory is None:
            return ()
        parts = [place.lab, "Subjects", place.subject, place.date, place.number, *file.folders, file.name]
        if any(part in {"", ".", ".."} or "/" in part or "\0" in part for part in parts):
            return ()  # a server's name must not lead out of the directory
        return (self._one_directory.joinpath(*parts),)


async def _whole(listing: Listing) -> list[Row]:
    """All rows of a listing."""
    while await listing.has(len(listing.rows)):
        await trio.lowlevel.checkpoint()
    return listing.rows


async def _places(listing: Listing) -> list[SessionPlace]:
    places = (session_place(row.identity, *_kept(row)) for row in await _whole(listing))
    return [place for place in places if place is not None]


def _kept(row: Row) -> tuple[object, object, object, object]:
    lab, subject, start_time, number = row.kept
    return lab, subject, start_time, number
