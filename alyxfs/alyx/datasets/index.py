"""All sessions and their files without a request for each: the server's cache tables and what changed since.

The tables are read once and kept on disk. What they leave out, and what changed since they were made, comes from the
API and is merged in. Where the server has no tables, or the packages that read them are not installed, there is no
index, and the API gives the same, session by session.

The server tells no deletion and no new name of a subject. That a record was deleted shows in the number of records;
which one is then looked for, unless there are too many. What turns out to be gone, or elsewhere, when somebody opens
it is corrected at once, and what this drive changed, or was told to refresh, is asked for by name.
"""

from __future__ import annotations

import logging
import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from alyxfs import clock, errors
from alyxfs.alyx.datasets.cache_tables import Tables, TablesUnusableError, can_read_tables, read_tables
from alyxfs.alyx.datasets.changed import ChangedRecords
from alyxfs.alyx.datasets.delta import Delta, unpack_delta
from alyxfs.alyx.datasets.kept_tables import KeptTables
from alyxfs.alyx.datasets.reconcile import Search
from alyxfs.alyx.datasets.snapshot import Snapshot, number_of_files
from alyxfs.alyx.metadata.freshness import DOWN
from alyxfs.single_flight import SingleFlight
from alyxfs.tasks import background_tasks, nobody_waits

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Mapping
    from pathlib import Path

    from alyxfs.alyx.datasets.layout import DataFile, SessionPlace
    from alyxfs.alyx.metadata.cache import MetadataCache
    from alyxfs.alyx.rest import Api
    from alyxfs.store import Store
    from alyxfs.tasks import Tasks

log = logging.getLogger(__name__)

ONE_WALK = 1.0
"""Seconds for which all of this serves, however short the time to live: for one path the kernel asks for each name."""
PATIENCE = 12.0
"""Seconds from the first reader on that all wait for the tables before the API, or what was known, has to do."""
FAILURE_PAUSE = 30.0
"""Seconds after a failure before the server is asked again."""
COMPARISON_PATIENCE = 100.0
"""Seconds that who asks for a comparison waits: the command that orders it gives up a little later."""
MOST_COMPARED = 20_000
"""Records of an endpoint that are listed unasked, to see which of them were deleted: 20 requests."""

_DOCUMENT = "changes since the cache tables"
_COUNTED = ("sessions", "datasets")


class DatasetIndex:
    """Made with :func:`open_dataset_index`.

    State: ``_contents``, ``_tables`` and ``_changes`` are replaced by refreshes, and by searches when they end, one at
    a time (``_turn``); ``_contents`` also learns by ``saw`` and ``saw_gone``. ``_doubtful`` grows whenever the library
    forgets a record, and is taken by the next refresh.
    """

    def __init__(self, api: Api, store: Store, metadata: MetadataCache, directory: Path, tasks: Tasks) -> None:
        self._api = api
        self._store = store
        self._metadata = metadata
        self._tasks = tasks
        self._kept = KeptTables(api, metadata, directory)
        self._flights: SingleFlight[str, None] = SingleFlight(tasks)
        self._changed = ChangedRecords(api, metadata)
        self._can_read = can_read_tables()
        self._contents: Snapshot | None = None
        self._tables: Tables | None = None
        self._changes = Delta()
        self._asked_at = 0.0  # Unix seconds at which the last refresh that succeeded began
        self._fresh_until = 0.0  # Unix seconds
        self._complete_at = 0.0  # Unix seconds from which on what a record tells is newer than all of this
        self._not_before = 0.0  # Unix seconds
        self._tables_not_before = 0.0  # Unix seconds
        self._turn = trio.Lock()
        self._searches: list[Search] = []
        """Under way."""
        self._doubtful: dict[str, set[str]] = {}
        self._refreshed: trio.Event | None = None
        self._patience_ends = 0.0  # trio time
        self._note = ""
        metadata.on_outdated = self._was_outdated

    def fresh(self) -> Snapshot | None:
        """What is there, where that need not be asked for; never awaits."""
        return self._contents if clock.now() < self._fresh_until else None

    async def current(self) -> Snapshot | None:
        """What is there, at most one time to live old; None where there are no tables: ask the API.

        Older where the server cannot be reached. Where it refuses the user there is nothing: the API will say so.
        """
        now = clock.now()
        if not self._can_read or now < max(self._not_before, self._fresh_until) or self._is_fresh(self._asked_at):
            return self._contents
        if self._refreshed is None:
            self._refreshed = trio.Event()
            self._patience_ends = trio.current_time() + PATIENCE
            self._tasks.start(self._refresh, failed=self._refresh_failed, ended=self._refresh_ended)
        with trio.move_on_at(self._patience_ends):
            await self._refreshed.wait()
        return self._contents

    async def hold(self) -> None:
        """Of a snapshot, which may be damaged in any way: what is on the disk is all there is, and stays so."""
        await self._use(await self._kept.load())
        await trio.to_thread.run_sync(self._changes.check)
        if self._tables is not None:
            self._contents = await trio.to_thread.run_sync(Snapshot, self._tables, self._changes)
        self._fresh_until = self._complete_at = float("inf")

    async def table_folder(self) -> Path | None:
        """Where the files of the tables lie, if there are any; what changed since is not asked for."""
        is_early = clock.now() < max(self._tables_not_before, self._fresh_until)
        if self._kept.is_gone or not (self._kept.are_young or is_early):
            with trio.move_on_after(PATIENCE):
                await self._flights.result("tables", self._look_for_tables)
        return self._kept.folder

    async def _look_for_tables(self) -> None:
        try:
            await self._kept.look()
        except (errors.AlyxfsError, TablesUnusableError) as error:  # what is kept may be read all the same
            self._note = str(error)
            self._tables_not_before = clock.now() + FAILURE_PAUSE

    def forget_idle(self) -> None:
        """Give back the memory of what was looked at in the tables."""
        if self._contents is not None:
            self._contents.forget_idle()
        if self._tables is not None:
            self._tables.release()

    # What records tell

    def saw(self, place: SessionPlace | None, session: str, files: Collection[DataFile], asked_at: float) -> None:
        """A session's record was read, asked for at this time (Unix seconds): its place and its files, all of them."""
        contents = self._contents
        if contents is None or session not in contents or asked_at < self._complete_at:
            return
        has_moved = contents.place(session) != place
        if has_moved:
            contents.move(session, place)
        shown = {file.identity for file in contents.files(session)}
        gone = shown - {file.identity for file in files}
        for dataset in gone:
            contents.drop(dataset, session)
        come = [file for file in files if file.identity not in shown]  # also those once taken for gone
        for file in come:
            contents.put(file, session)
        if has_moved or gone or come:
            self._tasks.start(self._keep, failed=nobody_waits)

    def saw_gone(self, session: str) -> None:
        """A session turned out to be gone."""
        if self._contents is not None and session in self._contents:
            self._contents.move(session, None)
            self._tasks.start(self._keep, failed=nobody_waits)

    def saw_places(self, places: Collection[SessionPlace]) -> None:
        """Sessions were found at these places, which are news."""
        for place in places:
            if self._contents is not None and self._contents.place(place.identity) != place:
                self._contents.move(place.identity, place)

    async def compare(self, lab: str | None, subject: str | None) -> None:
        """Find out what was deleted or moved below a subject, a lab, or all; raises where that cannot be asked.

        Of all, tables that the server has made anew tell as much as a comparison. What takes longer than
        COMPARISON_PATIENCE goes on in the background.
        """
        failure: errors.AlyxfsError | None = None
        compared = trio.Event()

        async def search() -> None:
            await self._search(("sessions", "datasets"), lab, subject)

        def failed(error: errors.AlyxfsError) -> None:
            nonlocal failure
            failure = error
            _log_not_compared(error)

        before = await self._kept.load()
        await self.current()
        if lab is None and self._kept.folder != before and self._note == "":
            return
        self._tasks.start(search, failed=failed, ended=compared.set)
        with trio.move_on_after(COMPARISON_PATIENCE):
            await compared.wait()
        if failure is not None:
            raise failure

    def _was_outdated(self, endpoint: str, key: str | None) -> None:
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
            "sessions": self._tables.number_of_sessions,
            "datasets": len(self._tables),
            "compared": [search.compared for search in self._searches],
            "changed_since": len(self._changes),
            "asked_at": self._changes.asked_at,
            "note": self._note,
        }

    def _is_fresh(self, asked_at: float) -> bool:
        return all(self._metadata.is_fresh(endpoint, None, asked_at) for endpoint in ("sessions", "datasets"))

    async def _refresh(self) -> None:
        asked_at = clock.now()
        try:
            await self._use_kept(await self._kept.load())
            if self._is_fresh(self._changes.asked_at):
                asked_at = self._changes.asked_at  # an earlier mount, or another drive, has just asked
            else:
                async with self._turn:
                    await self._use(await self._kept.look())
                    if self._tables is not None:
                        await self._ask_for_changes(self._tables)
            self._asked_at = asked_at
            lifetimes = (self._metadata.time_to_live_of(endpoint) for endpoint in ("sessions", "datasets"))
            until = max(asked_at + min(lifetimes), clock.now() + ONE_WALK)
            self._fresh_until = until if self._is_fresh(asked_at) else 0.0
            self._note = self._note if self._tables is not None else "The server has no cache tables."
        except (errors.AlyxfsError, TablesUnusableError) as error:
            self._refresh_failed(error)
            if self._contents is None and self._tables is not None and isinstance(error, DOWN):
                self._contents = await trio.to_thread.run_sync(Snapshot, self._tables, self._changes)

    def _refresh_failed(self, error: Exception) -> None:
        if isinstance(error, errors.AccessDenied):
            self._contents = None
        self._note = str(error)
        self._not_before = clock.now() + FAILURE_PAUSE
        log.info("the cache tables are used as they were, if at all: %s", error)

    def _refresh_ended(self) -> None:
        refreshed, self._refreshed = self._refreshed, None
        assert refreshed is not None
        refreshed.set()

    async def _use_kept(self, folder: Path | None) -> None:
        """Use what is on the disk; what is damaged there, or of an older version, is removed and fetched again."""
        try:
            await self._use(folder)
        except TablesUnusableError as error:
            log.info("%s is removed: %s", folder, error)
            await trio.to_thread.run_sync(lambda: shutil.rmtree(str(folder), ignore_errors=True))

    async def _use(self, folder: Path | None) -> None:
        """Read the tables in this folder, and what an earlier mount, or another drive, found out beside them."""
        if folder is None or (self._tables is not None and self._tables.folder == folder):
            return
        tables = await trio.to_thread.run_sync(read_tables, folder)
        if tables.left_out:
            words = "rows of the server's cache tables are left out: they name no file or session."
            self._metadata.omissions.note("data", f"{tables.left_out} {words}")
        stored = await trio.to_thread.run_sync(self._store.document, _DOCUMENT)
        changes = Delta()
        if stored is not None:
            changes = await trio.to_thread.run_sync(unpack_delta, stored.body, tables.made)
        self._tables, self._changes = tables, changes
        if changes.since:  # else nothing is known of what the tables leave out
            self._contents = await trio.to_thread.run_sync(Snapshot, tables, changes)

    # What the tables do not have

    async def _ask_for_changes(self, tables: Tables) -> None:
        changes = self._changes.copy()  # a refresh that fails half-way leaves no trace
        is_first = not changes.since
        told = await self._changed.add_to(changes, tables.made)
        personal = await self._changed.personal_repositories()
        contents = await trio.to_thread.run_sync(Snapshot, tables, changes)
        counts = {endpoint: (await self._api.page(endpoint, (), 1, 0)).count for endpoint in _COUNTED}
        if is_first and counts["sessions"] != len(contents) + list(changes.places.values()).count(None):
            await self._changed.add_numberless(changes)
            contents = await trio.to_thread.run_sync(Snapshot, tables, changes)
        doubtful, self._doubtful = self._doubtful, {}
        for dataset, sentence in changes.odd.items():
            self._metadata.omissions.note("data", sentence)
            self._doubtful.setdefault("datasets", set()).add(dataset)  # asked for again the next time
        try:
            if await Search(self._changed.walk, contents, changes, personal).doubtful(doubtful, told):
                contents = await trio.to_thread.run_sync(Snapshot, tables, changes)
            expected = self._expected(counts, await _known(tables, contents, changes), changes)
        except BaseException:
            for endpoint, keys in doubtful.items():
                self._doubtful.setdefault(endpoint, set()).update(keys)
            raise
        await self._publish(tables, changes, contents)
        if expected:
            self._tasks.start(self._look_for_deleted, expected, failed=_log_not_compared)

    async def _publish(self, tables: Tables, changes: Delta, contents: Snapshot) -> None:
        await self._put(tables, changes)
        self._changes, self._contents = changes, contents
        self._complete_at = clock.now()

    async def _put(self, tables: Tables, changes: Delta) -> None:
        """For the next mount; ``changes`` must be nobody else's."""
        body = await trio.to_thread.run_sync(changes.pack, tables.made)
        await trio.to_thread.run_sync(self._store.put_document, _DOCUMENT, body)

    async def _keep(self) -> None:
        """Let the next mount know what records have told."""
        async with self._turn:
            if self._tables is not None:
                await self._put(self._tables, self._changes.copy())

    def _expected(self, counts: Mapping[str, int | None], known: Mapping[str, int], changes: Delta) -> dict[str, int]:
        """See from their number whether records went that are still shown here: the surplus expected, by endpoint."""
        large, expected = [], {}
        for endpoint, count in counts.items():
            if count is None:
                continue
            surplus, before = count - known[endpoint], changes.surplus.get(endpoint, 0)
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
        for endpoint, surplus in expected.items():
            if self._changes.surplus.get(endpoint, 0) < surplus:
                try:
                    await self._search((endpoint,), None, None)
                except TablesUnusableError as error:
                    _log_not_compared(error)

    async def _search(self, endpoints: Collection[str], lab: str | None, subject: str | None) -> None:
        """Compare what is shown with what the server lists; refreshes may go on meanwhile."""
        tables, contents, before = self._tables, self._contents, self._changes.copy()
        if tables is None or contents is None:
            return
        found = Delta()
        search = Search(self._changed.walk, contents, found, await self._changed.personal_repositories())
        self._searches.append(search)
        try:
            if "sessions" in endpoints:
                await search.among_sessions(lab, subject)
            if "datasets" in endpoints:
                await search.among_datasets(lab, subject)
        finally:
            self._searches.remove(search)
        async with self._turn:
            if self._tables is not tables or self._contents is None:
                return  # newer tables know, or there is nothing to correct any more
            known = await _known(tables, self._contents, self._changes.copy())
            changes = self._changes.copy()
            changes.take(found, before)
            contents = await trio.to_thread.run_sync(Snapshot, tables, changes)
            for endpoint, number in (await _known(tables, contents, changes)).items():
                changes.surplus[endpoint] = changes.surplus.get(endpoint, 0) + known[endpoint] - number
            await self._publish(tables, changes, contents)


def _log_not_compared(error: Exception) -> None:
    log.info("what was deleted on the server may still show: %s", error)


async def _known(tables: Tables, contents: Snapshot, changes: Delta) -> dict[str, int]:
    """How many records are shown, by endpoint; ``changes`` must be nobody else's meanwhile."""
    files = await trio.to_thread.run_sync(number_of_files, tables, changes)
    return {"sessions": len(contents), "datasets": files}


@asynccontextmanager
async def open_dataset_index(
    api: Api, store: Store, metadata: MetadataCache, directory: Path
) -> AsyncGenerator[DatasetIndex, None]:
    """The index of the server behind ``api``, with its tables in ``directory``, for as long as the block lasts."""
    async with background_tasks() as tasks:
        yield DatasetIndex(api, store, metadata, directory, tasks)
