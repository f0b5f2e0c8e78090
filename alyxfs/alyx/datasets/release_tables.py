"""The tables of one dataset tag, as those of all sessions are kept: from the server's archive, else from its lists.

The server makes an archive for a tag only where it is told to, and names the address: of its own it gives one of all
sessions alone (BEHAVIOUR of Alyx 3.6.1, "Cache tables"). Its lists give the same, a page of a thousand at a time.
"""

from __future__ import annotations

import contextlib
import json
import os
from datetime import datetime
from typing import TYPE_CHECKING, Any

import trio

from alyxfs import clock, errors, json_text
from alyxfs.alyx.datasets import fields
from alyxfs.alyx.datasets.cache_archive import (
    convert_tables,
    fetch_tables,
    publish_tables,
    refuse_full_disk,
    run_on_tables,
    scratch_folder,
)
from alyxfs.alyx.datasets.cache_tables import TablesUnusableError
from alyxfs.alyx.datasets.changed import ChangedRecords
from alyxfs.alyx.datasets.kept_tables import KeptTables
from alyxfs.alyx.datasets.layout import date_seconds, file_of_dataset, session_place
from alyxfs.alyx.datasets.one_form import DATASETS, SESSIONS
from alyxfs.alyx.datasets.table_form import ABOUT_LINES, INFO, LINES
from alyxfs.alyx.identities import identity_of
from alyxfs.alyx.metadata.stamps import newer_than, newest_stamp, utc
from alyxfs.alyx.pagination import PageWalk
from alyxfs.private_files import open_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from alyxfs.alyx.datasets.reconcile import Rows
    from alyxfs.alyx.metadata.cache import MetadataCache
    from alyxfs.alyx.rest import Api, Fetch, Filters

HIGHEST_NUMBER = (1 << 16) - 1
"""Of a session, in ONE's tables."""
_WRITER = "alyxfs.alyx.datasets.table_writer"


class ReleaseTables(KeptTables):
    """See KeptTables. State: ``listed`` and ``of`` change while the lists are walked."""

    def __init__(self, api: Api, metadata: MetadataCache, directory: Path, tag: str) -> None:
        super().__init__(api, metadata, directory)
        self._changed = ChangedRecords(api, metadata)
        self._tag = tag
        self.listed = 0
        """Datasets that have come from the list."""
        self.of = 0
        """How many there are."""

    async def _fetch_newer(self) -> None:
        info = await self._info(self._tag)
        address, made, tags = (info.get(name) for name in ("location", "date_created", "database_tags"))
        if isinstance(address, str) and isinstance(made, str) and isinstance(tags, list) and self._tag in tags:
            if self.folder is not None and (await self._about()).get("date_created") == made:
                return
            try:
                about = {"tag": self._tag}
                self.folder = await fetch_tables(
                    self._api, self._directory, self._refuse_from_the_future, address, about
                )
            except (errors.AlyxfsError, TablesUnusableError) as error:  # the server's lists have the same
                self._note(f"The tables at {address} cannot be used: {error}")
            else:
                return
        if self.folder is None or not await self._is_unchanged(await self._about()):
            try:
                self.folder = await self._listed()
            except OSError as error:
                raise TablesUnusableError(
                    f"The tables cannot be kept in {self._directory}: {error.strerror}."
                ) from error

    async def _about(self) -> Mapping[str, Any]:
        """What is kept with the tables."""
        return {} if self.folder is None else await trio.to_thread.run_sync(about_tables, self.folder)

    async def _is_unchanged(self, about: Mapping[str, Any]) -> bool:
        """Whether the list of the tag is as it was when it was walked, as far as two requests tell."""
        with contextlib.suppress(KeyError, TypeError, ValueError):
            newest = (("tag", self._tag), ("django", newer_than(datetime.fromisoformat(about["newest"]))))
            counts = [(await self._api.page("datasets", each, 1, 0)).count for each in (newest[:1], newest)]
            return counts == [about["count"], about["of_newest"]]
        return False

    async def _listed(self) -> Path:
        """Put tables into a folder that are made of the lists of the tag's sessions and datasets."""
        endpoints = (await self._metadata.schema()).endpoints
        filters_of = {name: set(endpoint.filters) for name, endpoint in endpoints.items()}
        if "sessions" not in filters_of or not {"tag", "django"} <= filters_of.get("datasets", set()):
            raise errors.NeverFound(f"The server has no tables of {self._tag!r}, and cannot list its datasets.")
        filters = (("tag", self._tag),)
        began = clock.now()
        self.of = (await self._api.page("datasets", filters, 1, 0)).count or 0
        personal = await self._changed.personal_repositories()
        async with scratch_folder(self._directory) as scratch:
            with contextlib.closing(_Walked(scratch, personal, began + self._api.clock_offset)) as walked:
                await self._walk("datasets", filters, walked, walked.take_datasets)
                # This filter also finds tags that hold the name: what was not asked for is left out.
                of_sessions = filters if "tag" in filters_of["sessions"] else ()
                await self._walk("sessions", of_sessions, walked, walked.take_sessions)
                for session in walked.missing():
                    with contextlib.suppress(errors.NotFound):
                        record = await self._metadata.record("sessions", session)
                        await trio.to_thread.run_sync(walked.take_sessions, [record.document])
            made = f"{utc(began):%Y-%m-%d %H:%M:%S.%f}"
            await trio.to_thread.run_sync(_write_about, scratch, {"made": made, "tag": self._tag})
            await run_on_tables(_WRITER, scratch)
            await convert_tables(scratch)
            told = {"tag": self._tag, "count": walked.count, "newest": walked.newest, "of_newest": walked.of_newest}
            return await trio.to_thread.run_sync(publish_tables, scratch, made, self._directory, told)

    async def _walk(self, endpoint: str, filters: Filters, walked: _Walked, take: Callable[[Rows], list[str]]) -> None:
        """Give all rows to ``take``, in a thread."""

        def begin(fetch: Fetch) -> PageWalk:
            return PageWalk(fetch, filters, identify=identity_of, has_ranges=True)

        walk = self._api.walk(endpoint, filters, begin)
        while not walk.ended:
            for sentence in await trio.to_thread.run_sync(take, await walk.more()):
                self._note(sentence)
            self.listed = walked.count
        for sentence in walk.remarks:
            self._note(sentence)

    def _note(self, sentence: str) -> None:
        self._metadata.omissions.note(f"releases/{self._tag}", sentence)


class _Walked:
    """Rows on their way to the disk. Taking them blocks, and returns sentences on those that are left out."""

    def __init__(self, folder: Path, personal: frozenset[str], now: float) -> None:
        self._folder = folder
        self._personal = personal
        self._now = now
        self._files = [os.fdopen(open_file(folder / name, os.O_WRONLY | os.O_EXCL), "wb") for name in LINES]
        self._wanted: set[str] = set()
        """Sessions of datasets that have come, until they come themselves."""
        self.count = 0
        """Rows of the list of datasets."""
        self.newest: str | None = None
        """The second of the server's clock in which one of them was changed last."""
        self.of_newest = 0
        """How many of them were changed later than at its beginning."""

    def take_datasets(self, rows: Rows) -> list[str]:
        """Those that a server offers as files of sessions."""
        found, odd = [], []
        for row in rows:
            self.count += 1
            self._note_stamp(row)
            try:
                session = fields.session_of(row)
                if not session or not fields.is_offered(row, self._personal):
                    continue
                file = file_of_dataset(row)
                path = "/".join([*file.folders, file.name])
                _refuse_half_characters(path, file.qc)
            except (fields.OddRecordError, UnicodeEncodeError) as error:
                odd.append(f"The dataset {identity_of(row)} is left out: {error}.")
                continue
            self._wanted.add(session)
            found.append((session, file.identity, path, file.size, file.digest, True, file.qc, file.is_default))
        self._write(1, DATASETS, found)
        return odd

    def take_sessions(self, rows: Rows) -> list[str]:
        """Those that datasets were told of, where they have a place."""
        found, odd = [], []
        for row in rows:
            identity = identity_of(row)
            if identity is None or identity not in self._wanted:
                continue
            self._wanted.discard(identity)
            place = session_place(identity, *(row.get(name) for name in ("lab", "subject", "start_time", "number")))
            if place is None or int(place.number) > HIGHEST_NUMBER or not date_seconds(place.date):
                odd.append(f"The session {identity} is left out: it has no place in ONE's layout.")
                continue
            projects = row.get("projects")
            named = ",".join(map(str, projects)) if isinstance(projects, list) else ""
            protocol = fields.plain(row.get("task_protocol"))
            try:
                _refuse_half_characters(place.lab, place.subject, protocol, named)
            except UnicodeEncodeError as error:
                odd.append(f"The session {identity} is left out: {error}.")
                continue
            found.append((identity, place.lab, place.subject, place.date, int(place.number), protocol, named))
        self._write(0, SESSIONS, found)
        return odd

    def missing(self) -> list[str]:
        """The sessions that have not come."""
        return sorted(self._wanted)

    def close(self) -> None:
        """All is written."""
        for file in self._files:
            file.close()

    def _note_stamp(self, row: Mapping[str, Any]) -> None:
        stamp = newest_stamp((row,), self._now)
        if stamp is None:
            return
        second = f"{stamp:%Y-%m-%dT%H:%M:%S}"
        if self.newest is None or second > self.newest:
            self.newest, self.of_newest = second, 0
        self.of_newest += second == self.newest and stamp.microsecond > 0

    def _write(self, which: int, names: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """A page, as its columns by these names."""
        if not rows:
            return
        body = json_text.compact(dict(zip(names, zip(*rows, strict=True), strict=True))) + b"\n"
        refuse_full_disk(self._folder, len(body))
        self._files[which].write(body)


def _write_about(folder: Path, about: Mapping[str, str]) -> None:
    with os.fdopen(open_file(folder / ABOUT_LINES, os.O_WRONLY | os.O_EXCL), "wb") as file:
        file.write(json_text.compact(about))


def _refuse_half_characters(*texts: str) -> None:
    """Raise UnicodeEncodeError where a table cannot hold a text: JSON lets half of a character stand alone."""
    "".join(texts).encode()


def about_tables(folder: Path) -> dict[str, Any]:
    """What is kept with the tables in a folder; nothing where there are none. Blocks."""
    try:
        about = json.loads((folder / INFO).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return about if isinstance(about, dict) else {}
