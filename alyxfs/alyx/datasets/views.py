"""What ``data/`` looks like elsewhere in the drive: other sessions or files, the same bytes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from cachetools import LRUCache

from alyxfs.alyx.datasets.catalogue import REMEMBERED_SECONDS, Catalogue
from alyxfs.alyx.datasets.layout import Folders
from alyxfs.alyx.datasets.revisions import last_before
from alyxfs.alyx.datasets.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from alyxfs.alyx.datasets.cache_tables import Tables
    from alyxfs.alyx.datasets.delta import Delta
    from alyxfs.alyx.datasets.layout import DataFile, SessionPlace
    from alyxfs.alyx.datasets.releases import Releases
    from alyxfs.alyx.metadata.cache import MetadataCache

REMEMBERED_FILES = 50_000
"""Files that are kept ready for all views of a drive, at some 700 bytes each."""

Basis = TypeVar("Basis")
"""What the files of a session are made of."""


class ViewedFiles:
    """The files of sessions that were looked at in views, kept ready; one for a drive. Changed without awaiting."""

    def __init__(self) -> None:
        self._known: LRUCache[tuple[object, str], tuple[object, Folders]] = LRUCache(REMEMBERED_FILES, _count)
        self._asked_at = 0.0
        """Monotonic seconds."""

    def get(self, view: object, session: str) -> tuple[object, Folders] | None:
        """What the files of a session were made of, and the files."""
        self._asked_at = time.monotonic()
        return self._known.get((view, session))

    def put(self, view: object, session: str, basis: object, folders: Folders) -> None:
        """Keep them, where there is room."""
        if _count((basis, folders)) <= REMEMBERED_FILES:
            self._known[view, session] = basis, folders

    def forget_idle(self) -> bool:
        """Drop all of it, once nobody asks for any; whether there was some."""
        if not self._known or time.monotonic() - self._asked_at < REMEMBERED_SECONDS:
            return False
        self._known.clear()
        return True


class View(Generic[Basis]):
    """Answers as the catalogue does, which it asks for the addresses of files."""

    def __init__(self, catalogue: Catalogue, files: ViewedFiles) -> None:
        self.catalogue = catalogue
        self._files = files

    @property
    def metadata(self) -> MetadataCache:
        """What is known of the server."""
        return self.catalogue.metadata

    @property
    def shows_inflated(self) -> bool:
        """See Catalogue."""
        return self.catalogue.shows_inflated

    @property
    def lifetime(self) -> float:
        """See Catalogue."""
        return self.catalogue.lifetime

    @property
    def session_name_lifetime(self) -> float:
        """See Catalogue."""
        return self.catalogue.session_name_lifetime

    async def labs(self) -> list[str]:
        """See Catalogue."""
        return await self.catalogue.labs()

    async def sessions_of_lab(self, lab: str) -> dict[str, list[SessionPlace]]:
        """See Catalogue."""
        return await self.catalogue.sessions_of_lab(lab)

    async def sessions_of_subject(self, lab: str, subject: str) -> list[SessionPlace]:
        """See Catalogue."""
        return await self.catalogue.sessions_of_subject(lab, subject)

    async def basis(self) -> object:
        """See Catalogue."""
        return await self.catalogue.basis()

    async def copied_tables(self) -> tuple[Tables, Delta] | None:
        """See Catalogue; None also where files come one by one, as they do here."""
        return None

    async def table_folder(self) -> Path | None:
        """See Catalogue; where no tables of ONE say what is shown here there are none."""
        return None

    async def files_of_session(self, place: SessionPlace) -> Folders:
        """See Catalogue."""
        basis = await self._basis_of(place)
        known = self._files.get(self, place.identity)
        if known is not None and known[0] is basis:
            return known[1]
        folders = self._made_of(basis, place)
        self._files.put(self, place.identity, basis, folders)
        return folders

    def ready_files(self, place: SessionPlace) -> Folders | None:  # noqa: ARG002 - what they are made of is awaited
        """See Catalogue."""
        return None

    async def _basis_of(self, place: SessionPlace) -> Basis:
        raise NotImplementedError

    def _made_of(self, basis: Basis, place: SessionPlace) -> Folders:
        raise NotImplementedError

    def known_neighbours(self, place: SessionPlace, file: DataFile) -> Sequence[DataFile]:
        """See Catalogue."""
        known = self._files.get(self, place.identity)
        folders = () if known is None else known[1].values()
        folder = next((one for one in folders if file in one.files), None)
        return self.catalogue.with_known_addresses(place, folder)

    async def file_or_as_known(
        self, place: SessionPlace, file: DataFile, is_here: Callable[[], Awaitable[bool]]
    ) -> DataFile:
        """See Catalogue."""
        return await self.catalogue.file_or_as_known(place, file, is_here)

    def local_copies(self, place: SessionPlace, file: DataFile) -> tuple[Path, ...]:
        """See Catalogue."""
        return self.catalogue.local_copies(place, file)

    def local_copy(self, parts: Sequence[str]) -> tuple[Path, ...]:
        """See Catalogue."""
        return self.catalogue.local_copy(parts)

    async def addresses(self, file: DataFile) -> list[str]:
        """See Catalogue."""
        return await self.catalogue.addresses(file)

    async def look_again(self, place: SessionPlace) -> None:
        """See Catalogue."""
        await self.catalogue.look_again(place)


class ReleaseView(View[Snapshot]):
    """The datasets of a tag and nothing else, as the tables of the tag say."""

    def __init__(self, catalogue: Catalogue, files: ViewedFiles, releases: Releases, tag: str) -> None:
        super().__init__(catalogue, files)
        self._releases = releases
        self._tag = tag

    async def labs(self) -> list[str]:
        """See Catalogue."""
        return (await self._contents()).labs

    async def sessions_of_lab(self, lab: str) -> dict[str, list[SessionPlace]]:
        """See Catalogue."""
        contents = await self._contents()
        return {subject: contents.sessions(lab, subject) for subject in contents.subjects(lab)}

    async def sessions_of_subject(self, lab: str, subject: str) -> list[SessionPlace]:
        """See Catalogue."""
        return (await self._contents()).sessions(lab, subject)

    async def basis(self) -> object:
        """See Catalogue."""
        return await self._contents()

    async def copied_tables(self) -> tuple[Tables, Delta] | None:
        """See Catalogue."""
        return (await self._contents()).copied()

    async def table_folder(self) -> Path | None:
        """See Catalogue."""
        return await self._releases.folder(self._tag)

    async def _contents(self) -> Snapshot:
        return await self._releases.contents(self._tag)

    async def _basis_of(self, place: SessionPlace) -> Snapshot:  # noqa: ARG002 - the same for all
        return await self._contents()

    def _made_of(self, basis: Snapshot, place: SessionPlace) -> Folders:
        return Folders(basis.files(place.identity))


class AsOfView(View[Folders]):
    """Of each dataset the last revision before a date, at its plain path."""

    def __init__(self, catalogue: Catalogue, files: ViewedFiles, date: str) -> None:
        super().__init__(catalogue, files)
        self._date = date

    async def _basis_of(self, place: SessionPlace) -> Folders:
        return await self.catalogue.files_of_session(place)

    def _made_of(self, basis: Folders, place: SessionPlace) -> Folders:  # noqa: ARG002 - it has them all
        files = [file for folder in basis.values() for file in folder.files]
        return Folders(last_before(files, self._date), is_plain=True)


AnyCatalogue: TypeAlias = Catalogue | View[Any]
"""What a tree of data files is shown from."""


def _count(known: tuple[object, Folders]) -> int:
    return 1 + sum(len(folder.files) for folder in known[1].values())
