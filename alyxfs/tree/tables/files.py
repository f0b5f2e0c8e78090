"""``.files.tsv`` and ``.files.parquet`` of any directory in ``data/``: all files below it, as one table."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

import trio

from alyxfs import errors, file_names, free_space
from alyxfs.alyx.datasets import file_table
from alyxfs.alyx.datasets.aggregates import NAME as AGGREGATES
from alyxfs.alyx.datasets.cache_tables import can_read_tables
from alyxfs.alyx.datasets.layout import folder_names
from alyxfs.alyx.metadata.freshness import DOWN
from alyxfs.drive_paths import DATA, SUBJECTS
from alyxfs.tree.tables.file import TableFile
from alyxfs.tree.tables.spool import append

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alyxfs.alyx.datasets.aggregates import Aggregates
    from alyxfs.alyx.datasets.file_table import FileRow
    from alyxfs.alyx.datasets.layout import SessionPlace
    from alyxfs.alyx.datasets.releases import Releases
    from alyxfs.alyx.datasets.views import AnyCatalogue
    from alyxfs.tree.tables.kept import Tables

TABBED, PARQUET = ".files.tsv", ".files.parquet"
FILE_TABLES = frozenset({TABBED, PARQUET})
SESSION_DEPTH = 5
"""Names between ``data/`` and what is in a session: lab, Subjects, subject, date, number."""
AT_ONCE = 1000
"""Sessions whose files are written at a time: some 50,000 files."""
ASKED_AT_ONCE = 20
"""The same where each may cost a request."""


class FileTables:
    """The tables of the files of a drive."""

    def __init__(
        self,
        catalogue: AnyCatalogue,
        aggregates: Aggregates | None,
        tables: Tables,
        releases: Releases,
        root: str = DATA,
    ) -> None:
        """``root``: the place of their directory in the drive."""
        self._catalogue = catalogue
        self._aggregates = aggregates
        self._tables = tables
        self._releases = releases
        self._root = root

    async def find(self, directory: str, name: str) -> TableFile:
        """The table of this name (one of FILE_TABLES) in a directory, by the identity of that.

        It is made anew with what it is made from. Raises NeverFound for a Parquet file that cannot be written here.
        """
        if name == PARQUET and not can_read_tables():
            raise errors.NeverFound(f"{name} needs pyarrow: pip install 'alyxfs[tables]'; {TABBED} holds the same.")
        identity = f"{directory}/{name}"
        basis = await self._catalogue.basis()
        parts = [part for part in directory[len(self._root) :].split("/") if part]

        def source() -> FilesBelow:
            return FilesBelow(self._catalogue, self._aggregates, parts, file_rows(name), self._releases)

        spool = self._tables.spool(identity, (basis, self._releases.version), source)
        return TableFile(identity, spool, is_streamed=False)


class Tagged(Protocol):
    """Tells the tags of the datasets of a session by their ids, with commas between them (see Releases)."""

    async def tags_of(self, session: str) -> dict[str, str]:
        """Without a request."""

    def known_tags(self, session: str) -> dict[str, str]:
        """Without awaiting."""


class FilesBelow:
    """The files below a directory, by session, in the order of their paths.

    State: what :meth:`write_more` has still to write changes after its last await.
    """

    def __init__(
        self,
        catalogue: AnyCatalogue,
        aggregates: Aggregates | None,
        parts: Sequence[str],
        rows: FileRows,
        tagged: Tagged,
    ) -> None:
        """``parts``: the names that lead to the directory in ``data/``; ``tagged`` tells the tags of datasets."""
        self._catalogue = catalogue
        self._aggregates = aggregates
        self._parts = parts
        self._rows = rows
        self._tagged = tagged
        self._sessions: list[tuple[SessionPlace, str]] | None = None
        self._known: file_table.KnownFiles | None = None
        self._next = 0
        self._has_aggregates = False
        self._is_ended = False

    async def write_more(self, descriptor: int) -> int | None:
        """See Source."""
        if self._sessions is None:
            sessions, known = await self._found()
            written = await trio.to_thread.run_sync(self._rows.begin, descriptor)
            self._sessions, self._known = sessions, known
        elif self._next < len(self._sessions):
            chunk = self._sessions[self._next : self._next + (AT_ONCE if self._known else ASKED_AT_ONCE)]
            if self._known is not None and len(self._parts) <= SESSION_DEPTH:
                written = await trio.to_thread.run_sync(self._rows.write_known, descriptor, self._known, chunk)
            else:
                written = await trio.to_thread.run_sync(self._rows.write, descriptor, await self._asked(chunk))
            self._next += len(chunk)
        elif not self._has_aggregates:
            rows = await self._aggregate_rows()
            written = await trio.to_thread.run_sync(self._rows.write, descriptor, rows)
            self._has_aggregates = True
        elif not self._is_ended:
            written = await trio.to_thread.run_sync(self._rows.end, descriptor)
            self._is_ended = True
        else:
            return None
        return written

    async def _found(self) -> tuple[list[tuple[SessionPlace, str]], file_table.KnownFiles | None]:
        """The sessions below the directory with the paths of their folders, and the tables if there are any."""
        await self._tagged.tags_of("")  # what is known of tags is in memory from here on
        copied = await self._catalogue.copied_tables()
        known = None
        if copied is not None:
            known = await trio.to_thread.run_sync(file_table.KnownFiles, *copied, self._tagged.known_tags)
        found = []
        for lab in sorted(await self._catalogue.labs()):
            if not self._leads_to(file_names.encode(lab), SUBJECTS):
                continue
            subjects = await self._catalogue.sessions_of_lab(lab)
            for subject in sorted(subjects):
                if self._leads_to(file_names.encode(lab), SUBJECTS, file_names.encode(subject)):
                    found += self._of_subject(lab, subject, subjects[subject])
            await trio.lowlevel.checkpoint()
        return found, known

    def _of_subject(self, lab: str, subject: str, places: Sequence[SessionPlace]) -> list[tuple[SessionPlace, str]]:
        days: dict[str, list[SessionPlace]] = {}
        for place in places:
            days.setdefault(place.date, []).append(place)
        found = []
        for date in sorted(days):
            for name, place in sorted(folder_names(days[date]).items()):
                parts = (file_names.encode(lab), SUBJECTS, file_names.encode(subject), date, file_names.encode(name))
                if self._leads_to(*parts):
                    found.append((place, "/".join(parts[len(self._parts) :])))
        return found

    def _leads_to(self, *parts: str) -> bool:
        """Whether this path and that of the directory are one, as far as both go."""
        return all(own == part for own, part in zip(self._parts, parts, strict=False))

    async def _asked(self, sessions: Sequence[tuple[SessionPlace, str]]) -> list[FileRow]:
        """The files of these sessions: of a directory inside one, those below it."""
        rows: list[FileRow] = []
        for place, prefix in sessions:
            folders = await self._catalogue.files_of_session(place)
            tags = await self._tagged.tags_of(place.identity)
            rows += file_table.rows_of_folders(folders, place, prefix, self._parts[SESSION_DEPTH:], tags)
        return rows

    async def _aggregate_rows(self) -> list[FileRow]:
        if self._aggregates is None or not self._leads_to(AGGREGATES):
            return []
        try:
            folders = await self._aggregates.folders()
        except DOWN:  # as in the directory
            return []
        return file_table.rows_of_folders(folders, None, "" if self._parts else AGGREGATES, self._parts[1:])

    def progress(self) -> dict[str, object]:
        """See Source."""
        return {"sessions": self._next, "of": len(self._sessions or ())}

    def close(self) -> None:
        """See Source."""


class FileRows:
    """How rows are written: all of it blocks, and returns how many bytes it wrote."""

    def begin(self, descriptor: int) -> int:
        """What comes before the first row."""
        raise NotImplementedError

    def write(self, descriptor: int, rows: list[FileRow]) -> int:
        """Some more rows."""
        raise NotImplementedError

    def write_known(
        self, descriptor: int, known: file_table.KnownFiles, sessions: Sequence[tuple[SessionPlace, str]]
    ) -> int:
        """Those of some more sessions."""
        return self.write(descriptor, known.rows(sessions))

    def end(self, descriptor: int) -> int:
        """What comes after the last row."""
        raise NotImplementedError


class _Lines(FileRows):
    def begin(self, descriptor: int) -> int:
        return append(descriptor, file_table.header())

    def write(self, descriptor: int, rows: list[FileRow]) -> int:
        return append(descriptor, file_table.tab_separated(rows))

    def write_known(
        self, descriptor: int, known: file_table.KnownFiles, sessions: Sequence[tuple[SessionPlace, str]]
    ) -> int:
        return append(descriptor, known.lines(sessions))

    def end(self, descriptor: int) -> int:  # noqa: ARG002 - nothing comes after the last line
        return 0


class _Parquet(FileRows):
    def begin(self, descriptor: int) -> int:
        self._file = os.fdopen(os.dup(descriptor), "wb")
        self._writer = file_table.parquet_writer(self._file)
        return self._written(descriptor, 0)

    def write(self, descriptor: int, rows: list[FileRow]) -> int:
        before = os.fstat(descriptor).st_size
        batch = file_table.batch_of_rows(rows)
        with free_space.taking(descriptor, batch.nbytes):
            self._writer.write_batch(batch)
        return self._written(descriptor, before)

    def end(self, descriptor: int) -> int:
        before = os.fstat(descriptor).st_size
        self._writer.close()
        written = self._written(descriptor, before)
        self._file.close()
        return written

    def _written(self, descriptor: int, before: int) -> int:
        self._file.flush()
        return os.fstat(descriptor).st_size - before


def file_rows(name: str) -> FileRows:
    """How the table of this name is written."""
    return _Parquet() if name == PARQUET else _Lines()
