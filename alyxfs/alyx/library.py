"""What is known of one Alyx: memory, then the store, then one request.

Freshness: what is younger than the time to live is served without asking. What is older is asked for again, and
served all the same, marked stale, when the server cannot be reached or fails. A refusal (AccessDenied) is never
hidden behind what was known: the user has to know that the token is no longer good.
"""

from __future__ import annotations

import logging
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import trio
from cachetools import LRUCache

from alyxfs import documents, errors
from alyxfs.alyx import rows
from alyxfs.alyx.listing import Listing, Row
from alyxfs.alyx.quirks import quirk_of
from alyxfs.alyx.schema import Endpoint, Schema, read_schema
from alyxfs.alyx.walk import Walk
from alyxfs.nursery import background_tasks
from alyxfs.store import StoredRecord

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from alyxfs.alyx.api import Api, Filters, Page
    from alyxfs.store import Store

__all__ = ["Library", "Listing", "Record", "Row", "open_library"]

log = logging.getLogger(__name__)

TIME_TO_LIVE = 300.0
"""Seconds for which an answer counts as fresh, unless the caller says otherwise."""

NEGATIVE_TIME_TO_LIVE = 10.0
"""Seconds for which "there is no such record" is believed."""

MEMORY_LIMIT = 32 * 1024**2
"""Bytes of records kept in memory, as estimated by :func:`_weight`."""

MAXIMUM_ROWS = 400_000
"""Rows of all listings together kept in memory, at some 300 bytes each; listings used longest ago go first."""

DOWN_PAUSE = 2.0
"""Seconds after a failure to reach the server during which what is known is served without asking."""

_SCHEMA = "schema"
_DOWN = (errors.Unreachable, errors.DeadlineExceeded, errors.ServerFault)


@dataclass(frozen=True)
class Record:
    """A record and the content of its file."""

    identity: str
    document: Any
    content: bytes
    fetched_at: float
    """Unix seconds."""
    modified: float
    """Unix seconds: the server's field, else the first sight of this content."""
    stale: bool = False
    """Older than the time to live, and the server could not be asked."""
    partial: bool = False
    """A row of the list where the detail cannot be had (a doubled look-up): it holds fewer fields."""


@dataclass
class _Flight:
    """A request under way, shared by all who want its answer."""

    landed: trio.Event
    record: Record | None = None
    failure: Exception | None = None


class Library:
    """Made with :func:`open_library`.

    State: ``_memory``, ``_missing``, ``_flights``, ``_listings`` and ``_walks`` change only between awaits, in the
    methods that name them; all methods may be called from any task of the loop.
    """

    def __init__(self, api: Api, store: Store, nursery: trio.Nursery, time_to_live: float) -> None:
        self.time_to_live = time_to_live
        """Seconds."""
        self.started_at = time.time()
        """Unix seconds: the time of things that have no other."""
        self._api = api
        self._store = store
        self._nursery = nursery
        self._schema: Schema | None = None
        self._memory: LRUCache[tuple[str, str, str | None], Record] = LRUCache(MEMORY_LIMIT, _weight)
        self._missing: dict[tuple[str, str], tuple[float, errors.NotFound]] = {}
        self._outdated: dict[tuple[str, str | None], float] = {}
        self._flights: dict[tuple[str, str, str | None], _Flight] = {}
        self._listings: dict[tuple[str, Filters], Listing] = {}
        self._walks: dict[Listing, Walk | None] = {}
        self._walking: set[Listing] = set()
        self._previous: dict[Listing, Listing] = {}
        self._unsaved: dict[tuple[str, str], tuple[str, StoredRecord]] = {}
        self._saving = False
        self._down_until = 0.0
        self._stale_since: float | None = None
        self._last_error: str | None = None

    # The schema

    async def schema(self) -> Schema:
        """What the server offers: asked once a mount, else as it was when the server was last reached."""
        if self._schema is None:
            try:
                document = await self._api.schema_document()
            except _DOWN as error:
                self._note_down(error)
                stored = await trio.to_thread.run_sync(self._store.document, _SCHEMA)
                if stored is None:
                    raise
                document = await trio.to_thread.run_sync(documents.decode, stored.body)
            else:
                await trio.to_thread.run_sync(self._store.put_document, _SCHEMA, documents.compact(document))
            self._schema = await trio.to_thread.run_sync(read_schema, document)
        return self._schema

    async def check_access(self) -> None:
        """One small request, so that a wrong token shows at mount; raises AccessDenied, and passes when offline."""
        endpoints = (await self.schema()).endpoints.values()
        first = next((endpoint.name for endpoint in endpoints if endpoint.listed), None)
        if first is None:
            return
        try:
            await self._api.page(first, (), 1, 0)
        except _DOWN as error:
            self._note_down(error)

    def address(self, endpoint: str, key: str | None = None) -> str:
        """The address of a record, or of a list."""
        return self._api.address(endpoint, key)

    # Listings

    def listing(self, endpoint: str, filters: Filters = ()) -> Listing:
        """The shared walk of a list; a new one when the last is too old, failed, or was served stale."""
        name = (endpoint, filters)
        known = self._listings.pop(name, None)
        if known is None or not self._is_current(known):
            fresh = Listing(endpoint, filters, self._want_more)
            self._walks[fresh] = None
            if known is not None:
                self._drop(known)
                self._previous[fresh] = known
            known = fresh
        self._listings[name] = known  # at the end: used last
        self._shed_listings()
        return known

    def known_listing(self, endpoint: str, filters: Filters = ()) -> Listing | None:
        """The listing in memory, however old."""
        return self._listings.get((endpoint, filters))

    def _is_current(self, listing: Listing) -> bool:
        if listing.fetched_at == 0 and not listing.ended:
            return True  # begun, nothing there yet
        if listing.failure is not None or listing.stale:
            return trio.current_time() < self._down_until
        age = time.time() - listing.fetched_at
        return age < self.time_to_live and not self._is_outdated(listing.endpoint, None, listing.fetched_at)

    def _drop(self, listing: Listing) -> None:
        self._walks.pop(listing, None)
        self._previous.pop(listing, None)

    def _shed_listings(self) -> None:
        total = sum(len(listing.rows) for listing in self._listings.values())
        while total > MAXIMUM_ROWS and len(self._listings) > 1:
            oldest = next(iter(self._listings))
            listing = self._listings.pop(oldest)
            total -= len(listing.rows)
            if listing not in self._walking:
                self._drop(listing)

    def _want_more(self, listing: Listing) -> None:
        if listing not in self._walking:
            self._walking.add(listing)
            self._nursery.start_soon(self._walk_on, listing)

    async def _walk_on(self, listing: Listing) -> None:
        """Fetch pages as long as a reader is on the newest one."""
        try:
            while listing.hungry:
                await self._advance(listing)
        except _DOWN as error:
            self._note_down(error)
            await self._end_with_what_is_known(listing, error)
        except errors.AlyxfsError as error:
            listing.end(error)
        finally:
            self._walking.discard(listing)

    async def _advance(self, listing: Listing) -> None:
        endpoint = await self._endpoint(listing.endpoint)
        walk = self._walks.get(listing)
        if walk is None:
            if await self._load_listing(listing):
                return
            walk = self._walks[listing] = self._new_walk(endpoint, listing.filters)
        page = await walk.more()
        self._note_up()
        now = time.time()
        fresh = []
        if page:
            fresh = await trio.to_thread.run_sync(rows.keep_page, self._store, endpoint, page, now, listing.rows)
        listing.remarks = walk.remarks
        listing.extend(fresh, now)
        if walk.ended:
            listing.end()
            self._drop(listing)
            await trio.to_thread.run_sync(self._save_listing, listing)

    def _new_walk(self, endpoint: Endpoint, filters: Filters) -> Walk:
        async def fetch(filters: Filters, limit: int, offset: int) -> Page:
            return await self._api.page(endpoint.name, filters, limit, offset)

        return Walk(
            fetch,
            filters,
            identify=lambda row: rows.identity_of(endpoint, row),
            has_ranges="django" in endpoint.filters,
            unordered=quirk_of(endpoint.name).unordered,
        )

    def _save_listing(self, listing: Listing) -> None:
        name = documents.compact(listing.filters).decode()
        self._store.put_listing(listing.endpoint, name, rows.pack_rows(listing.rows), listing.fetched_at)

    async def _load_listing(self, listing: Listing, *, stale: bool = False) -> bool:
        """Fill a listing that has no rows from the store, if that is fresh enough (or need not be)."""
        name = documents.compact(listing.filters).decode()
        stored = await trio.to_thread.run_sync(self._store.listing, listing.endpoint, name)
        if stored is None:
            return False
        fresh = time.time() - stored.fetched_at < self.time_to_live
        if not stale and (not fresh or self._is_outdated(listing.endpoint, None, stored.fetched_at)):
            return False
        _append_unseen(listing, await trio.to_thread.run_sync(rows.unpack_rows, stored.body), stored.fetched_at)
        listing.end(stale=stale)
        self._drop(listing)
        return True

    async def _end_with_what_is_known(self, listing: Listing, error: errors.AlyxfsError) -> None:
        previous = self._previous.get(listing)
        if previous is not None and previous.complete:
            _append_unseen(listing, previous.rows, previous.fetched_at)
            listing.end(stale=True)
            self._drop(listing)
        elif not await self._load_listing(listing, stale=True):
            if isinstance(error, errors.ServerFault) and error.status == 500 and listing.filters and not listing.rows:  # noqa: PLR2004
                # Bad values of dates, qc and django are a 500 (BEHAVIOUR of Alyx 3.6.1, "Filters").
                listing.end(errors.Invalid(f"The server fails on this query: {error}", status=500, url=error.url))
            else:
                listing.end(error)

    # Records

    async def record(self, endpoint: str, key: str, *, identity: str | None = None, fresh: bool = False) -> Record:
        """One record; ``identity`` tells records with the same look-up apart.

        With ``fresh`` the server is asked whatever is known, and its failure is raised. Raises NotFound, AccessDenied,
        and the network's errors where nothing is known.
        """
        known = None
        if not fresh:
            known = self.known_record(endpoint, key, identity)
            if known is None or not self._is_fresh(endpoint, key, known):
                known = await self._stored_record(endpoint, key, identity) or known
            if known is not None and (self._is_fresh(endpoint, key, known) or self._is_down()):
                return self._served(endpoint, key, known)
            self._raise_if_missing(endpoint, key)
        try:
            record = await self._shared_request(endpoint, key, identity, known)
        except _DOWN as error:
            self._note_down(error)
            if known is None:
                raise
            return self._served(endpoint, key, known)
        self._note_up()
        return record

    def known_record(self, endpoint: str, key: str, identity: str | None = None) -> Record | None:
        """The record in memory, however old; never awaits."""
        record = self._memory.get((endpoint, key, identity)) or self._memory.get((endpoint, key, None))
        return record if record is not None and _is_it(record, key, identity) else None

    def forget(self, endpoint: str, key: str | None = None) -> None:
        """Ask again for this record, or (no key) for the endpoint's listings and queries, before showing them."""
        now = time.time()
        self._outdated[endpoint, key] = now
        if key is not None:
            self._missing.pop((endpoint, key), None)
            for name in [name for name in self._memory if name[:2] == (endpoint, key)]:
                del self._memory[name]
        self._nursery.start_soon(trio.to_thread.run_sync, self._store.outdate, endpoint, key)

    async def _stored_record(self, endpoint: str, key: str, identity: str | None) -> Record | None:
        stored = self._unsaved[endpoint, key][1] if (endpoint, key) in self._unsaved else None
        if stored is None:
            wanted = None if identity == key else identity
            stored = await trio.to_thread.run_sync(self._store.record, endpoint, key, wanted)
        if stored is None or not _is_it(stored, key, identity):
            return None
        return self._remember(endpoint, key, await trio.to_thread.run_sync(_record_of, endpoint, stored))

    async def _shared_request(self, endpoint: str, key: str, identity: str | None, known: Record | None) -> Record:
        """One request for all who ask at the same time; it goes on when one of them gives up."""
        name = (endpoint, key, identity)
        flight = self._flights.get(name)
        if flight is None:
            flight = self._flights[name] = _Flight(trio.Event())
            self._nursery.start_soon(self._fly, name, flight, known)
        await flight.landed.wait()
        if flight.failure is not None:
            raise _copy(flight.failure)
        assert flight.record is not None
        return flight.record

    async def _fly(self, name: tuple[str, str, str | None], flight: _Flight, known: Record | None) -> None:
        try:
            flight.record = await self._request(*name, known)
        except errors.NotFound as error:
            self._missing[name[:2]] = (trio.current_time() + NEGATIVE_TIME_TO_LIVE, error)
            flight.failure = error
        except errors.AlyxfsError as error:
            flight.failure = error
        finally:
            self._flights.pop(name, None)
            flight.landed.set()

    async def _request(self, endpoint_name: str, key: str, identity: str | None, known: Record | None) -> Record:
        endpoint = await self._endpoint(endpoint_name)
        if not endpoint.detailed:
            return await self._from_list(endpoint, key, identity)
        try:
            document = await self._api.detail(endpoint_name, key)
        except errors.NotFound:
            if "/" not in key or not endpoint.listed:
                raise
            return await self._from_list(endpoint, key, identity)  # BEHAVIOUR: names with "/" have no detail address
        except errors.ServerFault as fault:
            if fault.status == 500 and "more than one" in str(fault) and endpoint.listed:  # noqa: PLR2004
                return await self._partial(endpoint, key, identity)
            raise
        if key in {".", ".."} and document.get(endpoint.lookup or "") != key:
            return await self._partial(endpoint, key, identity)  # something on the way folded the address
        return await self._keep(endpoint, key, document, known)

    async def _keep(self, endpoint: Endpoint, key: str, document: dict[str, Any], known: Record | None) -> Record:
        now = time.time()
        identity = rows.identity_of(endpoint, document, key)
        body, content = await trio.to_thread.run_sync(_texts, document)
        modified = rows.modified_of(endpoint.name, document)
        if modified is None:
            modified = known.modified if known is not None and known.content == content else now
        stored = StoredRecord(identity, key, True, body, now, modified)
        self._unsaved[endpoint.name, key] = (endpoint.name, stored)
        if not self._saving:
            self._saving = True
            self._nursery.start_soon(self._save_records)
        return self._remember(endpoint.name, key, Record(identity, document, content, now, modified))

    async def _save_records(self) -> None:
        """Write what has gathered, one endpoint at a time, until nothing is left."""
        try:
            while self._unsaved:
                batch = dict(self._unsaved)
                by_endpoint: dict[str, list[StoredRecord]] = {}
                for endpoint, record in batch.values():
                    by_endpoint.setdefault(endpoint, []).append(record)
                for endpoint, records in by_endpoint.items():
                    with trio.CancelScope(shield=True):
                        await trio.to_thread.run_sync(self._store.put_records, endpoint, records)
                for name, value in batch.items():
                    if self._unsaved.get(name) is value:
                        del self._unsaved[name]
        finally:
            self._saving = False

    async def _partial(self, endpoint: Endpoint, key: str, identity: str | None) -> Record:
        """The row of a doubled look-up: its detail is a 500, the list filtered by the look-up has it."""
        lookup = endpoint.lookup or ""
        if lookup not in endpoint.filters:
            return await self._from_list(endpoint, key, identity)
        page = await self._api.page(endpoint.name, ((lookup, key),), 1000, 0)
        for document in page.rows:
            if document.get(lookup) == key and identity in {None, rows.identity_of(endpoint, document)}:
                now = time.time()
                found = rows.identity_of(endpoint, document)
                modified = rows.modified_of(endpoint.name, document) or now
                content = documents.render(document)
                is_partial = not rows.row_is_record(endpoint)
                record = Record(found, document, content, now, modified, partial=is_partial)
                self._memory_put((endpoint.name, key, found), record)
                return record
        raise errors.NotFound(f"{endpoint.name} has no record {key!r}.", status=404)

    async def _from_list(self, endpoint: Endpoint, key: str, identity: str | None) -> Record:
        """A record without an address of its own: its row, found by walking the list."""
        listing = self.listing(endpoint.name)
        index = 0
        while await listing.has(index):
            row = listing.rows[index]
            if row.key == key and identity in {None, row.identity}:
                whole = rows.row_is_record(endpoint)
                read = partial(self._store.record, endpoint.name, key, row.identity, whole=whole)
                stored = await trio.to_thread.run_sync(read)
                if stored is not None:
                    record = replace(
                        await trio.to_thread.run_sync(_record_of, endpoint.name, stored), partial=not whole
                    )
                    return self._remember(endpoint.name, key, record)
            index += 1
        raise errors.NotFound(f"{endpoint.name} has no record {key!r}.", status=404)

    def _remember(self, endpoint: str, key: str, record: Record) -> Record:
        self._memory_put((endpoint, key, None), record)
        return record

    def _memory_put(self, name: tuple[str, str, str | None], record: Record) -> None:
        if _weight(record) < MEMORY_LIMIT // 4:
            self._memory[name] = record

    def _raise_if_missing(self, endpoint: str, key: str) -> None:
        until, error = self._missing.get((endpoint, key), (0.0, None))
        if error is not None and trio.current_time() < until:
            raise _copy(error)
        self._missing.pop((endpoint, key), None)

    def _is_fresh(self, endpoint: str, key: str, record: Record) -> bool:
        age = time.time() - record.fetched_at
        return age < self.time_to_live and not self._is_outdated(endpoint, key, record.fetched_at)

    def _is_outdated(self, endpoint: str, key: str | None, fetched_at: float) -> bool:
        return fetched_at <= self._outdated.get((endpoint, key), 0.0)

    def _served(self, endpoint: str, key: str, record: Record) -> Record:
        return record if self._is_fresh(endpoint, key, record) else replace(record, stale=True)

    async def _endpoint(self, name: str) -> Endpoint:
        endpoint = (await self.schema()).endpoints.get(name)
        if endpoint is None:
            raise errors.NotFound(f"The server has no endpoint {name!r}.")
        return endpoint

    # How the server does

    def _is_down(self) -> bool:
        return trio.current_time() < self._down_until

    def _note_down(self, error: errors.AlyxfsError) -> None:
        self._last_error = str(error)
        if not isinstance(error, errors.ServerFault):
            self._down_until = trio.current_time() + DOWN_PAUSE
            if self._stale_since is None:
                self._stale_since = time.time()
                log.info("the server cannot be reached; what is known is served: %s", error)

    def _note_up(self) -> None:
        if self._stale_since is not None:
            log.info("the server answers again")
        self._stale_since = None
        self._down_until = 0.0

    def status(self) -> dict[str, object]:
        """For ``.alyxfs/status.json``: times in Unix seconds."""
        listings = list(self._listings.values())
        return {
            "server": self._api.base_url,
            "requests": self._api.requests,
            "time_to_live": self.time_to_live,
            "stale_since": self._stale_since,
            "last_error": self._last_error,
            "listings": len(listings),
            "rows": sum(len(listing.rows) for listing in listings),
            "records_in_memory": len(self._memory),
            "remarks": [f"{listing.endpoint}: {remark}" for listing in listings for remark in listing.remarks],
        }


@asynccontextmanager
async def open_library(api: Api, store: Store, *, time_to_live: float = TIME_TO_LIVE) -> AsyncGenerator[Library, None]:
    """What is known of the server behind ``api``, for as long as the block lasts; ``time_to_live`` in seconds."""
    async with background_tasks() as nursery:
        yield Library(api, store, nursery, time_to_live)


def _record_of(endpoint: str, stored: StoredRecord) -> Record:
    document = documents.decode(stored.body)
    modified = rows.modified_of(endpoint, document)
    return Record(
        stored.identity,
        document,
        documents.render(document),
        stored.fetched_at,
        stored.changed_at if modified is None else modified,
    )


def _is_it(record: Record | StoredRecord, key: str, identity: str | None) -> bool:
    """Whether this is the record meant; callers that know no identity but the look-up give that, or none."""
    return identity in {None, key, record.identity}


def _texts(document: Any) -> tuple[bytes, bytes]:
    return documents.compact(document), documents.render(document)


def _weight(record: Record) -> int:
    """Bytes of memory: parsed JSON takes some six times its text (measured on session details)."""
    return 7 * len(record.content) + 1000


def _append_unseen(listing: Listing, known: list[Row], fetched_at: float) -> None:
    seen = {row.identity for row in listing.rows}
    listing.extend([row for row in known if row.identity not in seen], fetched_at)


def _copy(error: Exception) -> Exception:
    """The same failure as a new exception: tracebacks of several readers must not pile up on one."""
    if isinstance(error, errors.AlyxfsError):
        return type(error)(str(error), status=error.status, url=error.url)
    return error
