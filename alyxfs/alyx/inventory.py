"""All sessions and their files without a request for each: the server's cache tables and what changed since.

The tables are read once and kept on disk. What they leave out, and what changed since they were made, comes from the
API and is merged in. Where the server has no tables, or the packages that read them are not installed, there is no
inventory, and the API gives the same, session by session.

What it cannot know: a deletion, and a subject's new name, show when the server makes its next tables. A session or a
dataset that turns out to be gone when somebody opens it is dropped at once.
"""

from __future__ import annotations

import logging
import re
import time
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import trio

from alyxfs import documents, errors
from alyxfs.alyx.changes import Changes, unpack_changes
from alyxfs.alyx.tables import (
    Tables,
    TablesUnusableError,
    can_read_tables,
    newest_folder,
    read_tables,
    unpack_tables,
)
from alyxfs.alyx.walk import Walk, identity_in_url
from alyxfs.nursery import background_tasks

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping
    from pathlib import Path

    from alyxfs.alyx.api import Api, Filters, Page
    from alyxfs.alyx.datafiles import DataFile, SessionPlace
    from alyxfs.alyx.library import Library
    from alyxfs.store import Store

log = logging.getLogger(__name__)

PATIENCE = 15.0
"""Seconds that a reader waits for the tables before the API, or what was known before, has to do."""
ARCHIVE_DEADLINE = 600.0
"""Seconds that fetching the tables may take, in the background: those of a large database have 100 MB."""
FAILURE_PAUSE = 30.0
"""Seconds after a failure before the server is asked again."""
MARGIN = timedelta(hours=1)
"""How far behind the time of the tables changes are looked for: making them takes a while, and clocks are moved."""
POLL_MARGIN = timedelta(seconds=5)
"""The same between two polls: the server stamps a record before others can see it."""
MOST_CHANGES = 20_000
"""Rows of the API on top of the tables; where there are more, the tables are too old to be of use."""

_DOCUMENT = "changes since the cache tables"
_PLAIN_NAME = re.compile(r"[A-Za-z_][\w.-]*")
"""Names that may stand in brackets, which the server evaluates (BEHAVIOUR of Alyx 3.6.1, "Filters")."""


class Contents:
    """The sessions by lab and subject, and their files, as of one moment; never changed but by :meth:`drop`."""

    def __init__(self, tables: Tables, changes: Changes) -> None:
        self._tables = tables
        self._changes = changes
        self.labs: dict[str, dict[str, list[SessionPlace]]] = {}
        self._sessions: set[str] = set()
        for place in tables.places:
            if place.identity not in changes.places:
                self._add(place)
        for changed in changes.places.values():
            if changed is not None:
                self._add(changed)

    def _add(self, place: SessionPlace) -> None:
        self.labs.setdefault(place.lab, {}).setdefault(place.subject, []).append(place)
        self._sessions.add(place.identity)

    def __contains__(self, session: str) -> bool:
        return session in self._sessions

    def files(self, session: str) -> list[DataFile]:
        """The files of a session, without addresses."""
        return self._changes.merged(session, self._tables.files(session))

    def drop(self, dataset: str, session: str) -> None:
        """A dataset turned out to be gone."""
        self._changes.put(dataset, session, None)


class Inventory:
    """Made with :func:`open_inventory`.

    State: ``_contents``, ``_tables`` and ``_changes`` are replaced by refreshes, of which one runs at a time.
    """

    def __init__(self, api: Api, store: Store, library: Library, directory: Path, nursery: trio.Nursery) -> None:
        self._api = api
        self._store = store
        self._library = library
        self._directory = directory
        self._nursery = nursery
        self._can_read = can_read_tables()
        self._contents: Contents | None = None
        self._tables: Tables | None = None
        self._changes = Changes()
        self._asked_at = 0.0  # Unix seconds at which the last refresh that succeeded began
        self._not_before = 0.0  # Unix seconds
        self._refreshed: trio.Event | None = None
        self._note = ""

    async def current(self) -> Contents | None:
        """What is there, at most one time to live old; None where there are no tables: ask the API.

        Older where the server cannot be reached. Where it refuses the user there is nothing: the API will say so.
        """
        if not self._can_read or time.time() < self._not_before or self._is_fresh(self._asked_at):
            return self._contents
        if self._refreshed is None:
            self._refreshed = trio.Event()
            self._nursery.start_soon(self._refresh, self._refreshed)
        with trio.move_on_after(PATIENCE):
            await self._refreshed.wait()
        return self._contents

    async def table_folder(self) -> Path | None:
        """Where the files of the tables lie, if there are any."""
        await self.current()
        return None if self._tables is None else self._tables.folder

    def status(self) -> dict[str, object]:
        """For ``.alyxfs/status.json``."""
        if not self._can_read:
            return {"used": False, "note": "The packages of the extra `tables` are not installed."}
        if self._tables is None:
            return {"used": False, "note": self._note}
        return {
            "used": self._contents is not None,
            "made": self._tables.made,
            "sessions": len(self._tables.places),
            "datasets": len(self._tables),
            "changed_since": len(self._changes),
            "asked_at": self._changes.asked_at,
            "note": self._note,
        }

    def _is_fresh(self, asked_at: float) -> bool:
        return all(self._library.is_fresh(endpoint, None, asked_at) for endpoint in ("sessions", "datasets"))

    async def _refresh(self, refreshed: trio.Event) -> None:
        asked_at = time.time()
        try:
            await self._load_kept()
            if self._is_fresh(self._changes.asked_at):
                asked_at = self._changes.asked_at  # an earlier mount, or another drive, has just asked
            else:
                await self._fetch_newer()
                if self._tables is not None:
                    await self._ask_for_changes(self._tables)
            self._asked_at = asked_at
        except (errors.AlyxfsError, TablesUnusableError) as error:
            if isinstance(error, errors.AccessDenied):
                self._contents = None
            self._note = str(error)
            self._not_before = time.time() + FAILURE_PAUSE
            log.info("the cache tables are used as they were, if at all: %s", error)
        else:
            self._note = "" if self._tables is not None else "The server has no cache tables."
        finally:
            self._refreshed = None
            refreshed.set()

    async def _load_kept(self) -> None:
        """What an earlier mount, or another drive of this server, has put on the disk."""
        folder = await trio.to_thread.run_sync(newest_folder, self._directory)
        if folder is None or (self._tables is not None and self._tables.folder == folder):
            return
        await self._use(folder)

    async def _use(self, folder: Path) -> None:
        tables = await trio.to_thread.run_sync(read_tables, folder)
        stored = await trio.to_thread.run_sync(self._store.document, _DOCUMENT)
        changes = Changes()
        if stored is not None:
            changes = await trio.to_thread.run_sync(unpack_changes, stored.body, tables.made)
        self._tables, self._changes = tables, changes
        if changes.since:  # else nothing is known of what the tables leave out
            self._contents = await trio.to_thread.run_sync(Contents, tables, changes)

    async def _fetch_newer(self) -> None:
        made = await self._made_on_server()
        if made is None or (self._tables is not None and made <= self._tables.made):
            return
        archive = await self._api.get("/cache.zip", deadline=ARCHIVE_DEADLINE)
        await self._use(await trio.to_thread.run_sync(unpack_tables, archive, made, self._directory))

    async def _made_on_server(self) -> str | None:
        """When the server made its tables; None where it has none, which older and small servers answer with a 500."""
        try:
            info = documents.decode(await self._api.get("/cache/info/"))
        except (errors.ServerFault, errors.NotFound) as error:
            if error.status in {404, 500}:
                return None
            raise
        except ValueError as error:
            raise TablesUnusableError("/cache/info/ did not answer with JSON.") from error
        made = info.get("date_created") if isinstance(info, dict) else None
        return made if isinstance(made, str) else None

    # What the tables do not have

    async def _ask_for_changes(self, tables: Tables) -> None:
        now, server_now = time.time(), time.time() + self._api.clock_offset
        changes = self._changes.copy()  # a refresh that fails half-way leaves no trace
        since = changes.since or _before_tables(tables.made)
        repositories = await self._repositories()
        personal = frozenset(name for name, is_server in repositories.items() if not is_server)

        def take_datasets(rows: list[dict[str, Any]]) -> None:
            changes.add_datasets(rows, personal)

        if not changes.since:
            await self._walk("sessions", "number__isnull,True", changes.add_sessions)
            others = sorted(name for name, is_server in repositories.items() if is_server and not _in_tables(name))
            if listed := ",".join(f"'{name}'" for name in others if _PLAIN_NAME.fullmatch(name)):
                condition = f"session__isnull,False,file_records__data_repository__name__in,[{listed}]"
                await self._walk("datasets", condition, take_datasets)
        await self._walk("sessions", f"auto_datetime__gt,{since}", changes.add_sessions)
        await self._walk("datasets", f"auto_datetime__gt,{since}", take_datasets)
        moment = datetime.fromtimestamp(server_now, timezone.utc) - POLL_MARGIN
        changes.since, changes.asked_at = f"{moment:%Y-%m-%dT%H:%M:%S}", now
        body = await trio.to_thread.run_sync(changes.pack, tables.made)
        await trio.to_thread.run_sync(self._store.put_document, _DOCUMENT, body)
        self._changes = changes
        self._contents = await trio.to_thread.run_sync(Contents, tables, changes)

    async def _repositories(self) -> Mapping[str, bool]:
        """Whether each data repository is a server, and not a machine at a rig."""
        listing = self._library.listing("data-repository")
        while await listing.has(len(listing.rows)):
            await trio.lowlevel.checkpoint()
        found = {}
        for row in listing.rows:
            document = (await self._library.record("data-repository", row.key, identity=row.identity)).document
            found[row.key] = document.get("globus_is_personal") is False
        return found

    async def _walk(self, endpoint: str, condition: str, take: Callable[[list[dict[str, Any]]], None]) -> None:
        """Give the rows that match to ``take``, page by page."""

        async def fetch(filters: Filters, limit: int, offset: int) -> Page:
            return await self._api.page(endpoint, filters, limit, offset)

        walk = Walk(fetch, (("django", condition),), identify=_identity, has_ranges=True)
        while not walk.ended:
            take(await walk.more())
            if (walk.count or 0) > MOST_CHANGES:
                raise TablesUnusableError(
                    f"The server's cache tables lack {walk.count} {endpoint}: they are too old, or not made for it."
                )


def _identity(row: Mapping[str, Any]) -> str:
    return str(row.get("id") or identity_in_url(row))


def _in_tables(repository: str) -> bool:
    """Whether the tables have what lies there (BEHAVIOUR of Alyx 3.6.1, "Cache tables")."""
    return repository.startswith(("flatiron", "aws"))


def _before_tables(made: str) -> str:
    """The time from which on changes are looked for; raises TablesUnusableError where ``made`` is none."""
    try:
        moment = datetime.fromisoformat(made.replace("Z", "+00:00")) - MARGIN
    except ValueError as error:
        raise TablesUnusableError(f"The server's cache tables were made at {made!r}, which is no time.") from error
    return f"{moment:%Y-%m-%dT%H:%M:%S}"


@asynccontextmanager
async def open_inventory(api: Api, store: Store, library: Library, directory: Path) -> AsyncGenerator[Inventory, None]:
    """The inventory of the server behind ``api``, with its tables in ``directory``, for as long as the block lasts."""
    async with background_tasks() as nursery:
        yield Inventory(api, store, library, directory, nursery)
