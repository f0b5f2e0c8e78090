"""All sessions and their files without a request for each: the server's cache tables and what changed since.

The tables are read once and kept on disk. What they leave out, and what changed since they were made, comes from the
API and is merged in. Where the server has no tables, or the packages that read them are not installed, there is no
inventory, and the API gives the same, session by session.

The server tells no deletion and no new name of a subject. That a record was deleted shows in the number of records;
which one is then looked for, unless there are too many. What turns out to be gone, or elsewhere, when somebody opens
it is corrected at once, and what this drive changed, or was told to refresh, is asked for by name.
"""

from __future__ import annotations

import logging
import re
import time
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import trio

from alyxfs import documents, errors
from alyxfs.alyx.changes import Changes, unpack_changes
from alyxfs.alyx.contents import Contents, number_of_files
from alyxfs.alyx.gone import Rows, Search
from alyxfs.alyx.tables import (
    Tables,
    TablesUnusableError,
    can_read_tables,
    newest_folder,
    read_tables,
    unpack_tables,
)
from alyxfs.alyx.walk import Walk, identity_of
from alyxfs.nursery import background_tasks

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Mapping
    from pathlib import Path

    from alyxfs.alyx.api import Api, Filters, Page
    from alyxfs.alyx.datafiles import SessionPlace
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
COMPARISON_PATIENCE = 100.0
"""Seconds that who asks for a comparison waits: the command that orders it gives up a little later."""
MOST_COMPARED = 20_000
"""Records of an endpoint that are listed unasked, to see which of them were deleted: 20 requests."""

_DOCUMENT = "changes since the cache tables"
_PLAIN_NAME = re.compile(r"[A-Za-z_][\w.-]*")
"""Names that may stand in brackets, which the server evaluates (BEHAVIOUR of Alyx 3.6.1, "Filters")."""


class Inventory:
    """Made with :func:`open_inventory`.

    State: ``_contents``, ``_tables`` and ``_changes`` are replaced by refreshes, and by searches when they end, one at
    a time (``_turn``); ``_contents`` also learns by ``saw`` and ``saw_gone``. ``_doubtful`` grows whenever the library
    forgets a record, and is taken by the next refresh.
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
        self._fresh_until = 0.0  # Unix seconds
        self._complete_at = 0.0  # Unix seconds from which on what a record tells is newer than all of this
        self._not_before = 0.0  # Unix seconds
        self._turn = trio.Lock()
        self._doubtful: dict[str, set[str]] = {}
        self._refreshed: trio.Event | None = None
        self._note = ""
        library.on_forget = self._was_forgotten

    def fresh(self) -> Contents | None:
        """What is there, where that need not be asked for; never awaits."""
        return self._contents if time.time() < self._fresh_until else None

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

    # What records tell

    def saw(self, place: SessionPlace | None, session: str, datasets: Collection[str], asked_at: float) -> None:
        """A session's record was read, asked for at this time (Unix seconds): its place, and its datasets' ids."""
        contents = self._contents
        if contents is None or session not in contents or asked_at < self._complete_at:
            return
        has_moved = contents.place(session) != place
        if has_moved:
            contents.move(session, place)
        gone = [file.identity for file in contents.files(session) if file.identity not in datasets]
        for dataset in gone:
            contents.drop(dataset, session)
        if has_moved or gone:
            self._nursery.start_soon(self._keep)

    def saw_gone(self, session: str) -> None:
        """A session turned out to be gone."""
        if self._contents is not None and session in self._contents:
            self._contents.move(session, None)
            self._nursery.start_soon(self._keep)

    def saw_places(self, places: Collection[SessionPlace]) -> None:
        """Sessions were found at these places, which are news."""
        for place in places:
            if self._contents is not None and self._contents.place(place.identity) != place:
                self._contents.move(place.identity, place)

    async def compare(self, lab: str | None, subject: str | None) -> None:
        """Find out what was deleted or moved below a subject, a lab, or all; raises where that cannot be asked.

        What takes longer than COMPARISON_PATIENCE goes on in the background.
        """
        failure: errors.AlyxfsError | None = None
        compared = trio.Event()

        async def search() -> None:
            nonlocal failure
            try:
                await self._search(("sessions", "datasets"), lab, subject)
            except errors.AlyxfsError as error:
                failure = error
                log.info("what was deleted on the server may still show: %s", error)
            finally:
                compared.set()

        await self.current()
        self._nursery.start_soon(search)
        with trio.move_on_after(COMPARISON_PATIENCE):
            await compared.wait()
        if failure is not None:
            raise failure

    def _was_forgotten(self, endpoint: str, key: str | None) -> None:
        if endpoint in {"sessions", "datasets"} and key is None:
            self._fresh_until = 0.0
        elif endpoint in {"sessions", "datasets", "subjects", "labs"} and key is not None:
            self._doubtful.setdefault(endpoint, set()).add(key)

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
                async with self._turn:
                    await self._fetch_newer()
                    if self._tables is not None:
                        await self._ask_for_changes(self._tables)
            self._asked_at = asked_at
            lifetimes = (self._library.time_to_live_of(endpoint) for endpoint in ("sessions", "datasets"))
            self._fresh_until = asked_at + min(lifetimes) if self._is_fresh(asked_at) else 0.0
        except (errors.AlyxfsError, TablesUnusableError) as error:
            if isinstance(error, errors.AccessDenied):
                self._contents = None
            self._note = str(error)
            self._not_before = time.time() + FAILURE_PAUSE
            log.info("the cache tables are used as they were, if at all: %s", error)
        else:
            if self._tables is None:
                self._note = "The server has no cache tables."
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
        personal = _personal(repositories)
        told: set[str] = set()

        def take_sessions(rows: Rows) -> None:
            told.update(map(identity_of, rows))
            changes.add_sessions(rows)

        def take_datasets(rows: Rows) -> None:
            told.update(map(identity_of, rows))
            changes.add_datasets(rows, personal)

        if not changes.since:
            await self._walk_changed("sessions", "number__isnull,True", take_sessions)
            others = sorted(name for name, is_server in repositories.items() if is_server and not _in_tables(name))
            if listed := ",".join(f"'{name}'" for name in others if _PLAIN_NAME.fullmatch(name)):
                condition = f"session__isnull,False,file_records__data_repository__name__in,[{listed}]"
                await self._walk_changed("datasets", condition, take_datasets)
        await self._walk_changed("sessions", f"auto_datetime__gt,{since}", take_sessions)
        await self._walk_changed("datasets", f"auto_datetime__gt,{since}", take_datasets)
        moment = datetime.fromtimestamp(server_now, timezone.utc) - POLL_MARGIN
        changes.since, changes.asked_at = f"{moment:%Y-%m-%dT%H:%M:%S}", now
        contents = await trio.to_thread.run_sync(Contents, tables, changes)
        doubtful, self._doubtful = self._doubtful, {}
        try:
            if await Search(self._walk, contents, changes, personal).doubtful(doubtful, told):
                contents = await trio.to_thread.run_sync(Contents, tables, changes)
            expected = await self._count(tables, contents, changes)
        except BaseException:
            for endpoint, keys in doubtful.items():
                self._doubtful.setdefault(endpoint, set()).update(keys)
            raise
        await self._publish(tables, changes, contents)
        if expected:
            self._nursery.start_soon(self._look_for_deleted, expected)

    async def _publish(self, tables: Tables, changes: Changes, contents: Contents) -> None:
        await self._put(tables, changes)
        self._changes, self._contents = changes, contents
        self._complete_at = time.time()

    async def _put(self, tables: Tables, changes: Changes) -> None:
        """For the next mount; ``changes`` must be nobody else's."""
        body = await trio.to_thread.run_sync(changes.pack, tables.made)
        await trio.to_thread.run_sync(self._store.put_document, _DOCUMENT, body)

    async def _keep(self) -> None:
        """Let the next mount know what records have told."""
        async with self._turn:
            if self._tables is not None:
                await self._put(self._tables, self._changes.copy())

    async def _count(self, tables: Tables, contents: Contents, changes: Changes) -> dict[str, int]:
        """See from their number whether records went that are still shown here: the surplus expected, by endpoint."""
        large, expected = [], {}
        for endpoint, number in (await _known(tables, contents, changes)).items():
            count = (await self._api.page(endpoint, (), 1, 0)).count
            if count is None:
                continue
            surplus, before = count - number, changes.surplus.get(endpoint, 0)
            if surplus < before and count > MOST_COMPARED:
                large.append(endpoint)
            elif surplus < before:
                expected[endpoint] = before
            changes.surplus[endpoint] = surplus
        self._note = "".join(
            f"Some {endpoint} were deleted, and may show until the server makes new tables; `alyxfs refresh` looks. "
            for endpoint in large
        ).strip()
        return expected

    async def _look_for_deleted(self, expected: Mapping[str, int]) -> None:
        """Search until the surplus is what is expected: with a session its datasets went, and need no search."""
        try:
            for endpoint, surplus in expected.items():
                if self._changes.surplus.get(endpoint, 0) < surplus:
                    await self._search((endpoint,), None, None)
        except (errors.AlyxfsError, TablesUnusableError) as error:
            log.info("what was deleted on the server may still show: %s", error)

    async def _search(self, endpoints: Collection[str], lab: str | None, subject: str | None) -> None:
        """Compare what is shown with what the server lists; refreshes may go on meanwhile."""
        tables, contents, before = self._tables, self._contents, self._changes.copy()
        if tables is None or contents is None:
            return
        found = Changes()
        search = Search(self._walk, contents, found, _personal(await self._repositories()))
        if "sessions" in endpoints:
            await search.among_sessions(lab, subject)
        if "datasets" in endpoints:
            await search.among_datasets(lab, subject)
        async with self._turn:
            if self._tables is not tables or self._contents is None:
                return  # newer tables know, or there is nothing to correct any more
            known = await _known(tables, self._contents, self._changes.copy())
            changes = self._changes.copy()
            changes.take(found, before)
            contents = await trio.to_thread.run_sync(Contents, tables, changes)
            for endpoint, number in (await _known(tables, contents, changes)).items():
                changes.surplus[endpoint] = changes.surplus.get(endpoint, 0) + known[endpoint] - number
            await self._publish(tables, changes, contents)

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

    async def _walk_changed(self, endpoint: str, condition: str, take: Callable[[Rows], None]) -> None:
        """The same of a ``django`` condition that few rows must match, or the tables are of no use."""
        await self._walk(endpoint, (("django", condition),), take, most=MOST_CHANGES)

    async def _walk(
        self, endpoint: str, filters: Filters, take: Callable[[Rows], None], most: int | None = None
    ) -> None:
        """Give the rows that match to ``take``, page by page."""

        async def fetch(filters: Filters, limit: int, offset: int) -> Page:
            return await self._api.page(endpoint, filters, limit, offset)

        walk = Walk(fetch, filters, identify=identity_of, has_ranges=True)
        while not walk.ended:
            take(await walk.more())
            if most is not None and (walk.count or 0) > most:
                raise TablesUnusableError(
                    f"The server's cache tables lack {walk.count} {endpoint}: they are too old, or not made for it."
                )


async def _known(tables: Tables, contents: Contents, changes: Changes) -> dict[str, int]:
    """How many records are shown, by endpoint; ``changes`` must be nobody else's meanwhile."""
    files = await trio.to_thread.run_sync(number_of_files, tables, changes)
    return {"sessions": len(contents), "datasets": files}


def _personal(repositories: Mapping[str, bool]) -> frozenset[str]:
    return frozenset(name for name, is_server in repositories.items() if not is_server)


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
