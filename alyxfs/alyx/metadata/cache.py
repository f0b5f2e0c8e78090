"""What is known of one Alyx: memory, then the store, then one request.

Freshness: what is younger than the time to live is served without asking. What is older is asked for again, and
served all the same, marked stale, when the server cannot be reached or fails. A refusal (AccessDenied) is never
hidden behind what was known: after one new log-in the user has to know that the token is no longer good.
"""

from __future__ import annotations

import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import trio

from alyxfs import errors, json_text
from alyxfs.alyx.metadata import rows
from alyxfs.alyx.metadata.freshness import DOWN, Freshness
from alyxfs.alyx.metadata.listing import Listing, whole
from alyxfs.alyx.metadata.listings import Listings
from alyxfs.alyx.metadata.records import Record, Records
from alyxfs.alyx.metadata.row_list import Row
from alyxfs.alyx.metadata.shared import Shared
from alyxfs.alyx.metadata.write_behind import WriteBehind
from alyxfs.alyx.omissions import Omissions
from alyxfs.alyx.quirks.reading import quirk_of
from alyxfs.alyx.schema.read import Endpoint, Schema, read_schema
from alyxfs.tasks import background_tasks

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from alyxfs.alyx.metadata.measures import Measure
    from alyxfs.alyx.rest import Api, Filters
    from alyxfs.store import Store
    from alyxfs.tasks import Tasks

__all__ = ["Listing", "MetadataCache", "Record", "Row", "open_metadata_cache"]

TIME_TO_LIVE = 300.0
"""Seconds for which an answer counts as fresh, unless the caller says otherwise."""

_SCHEMA = "schema"


class MetadataCache:
    """Made with :func:`open_metadata_cache`. All methods may be called from any task of the loop."""

    def __init__(self, api: Api, store: Store, tasks: Tasks, freshness: Freshness) -> None:
        self.started_at = time.time()
        """Unix seconds: the time of things that have no other."""
        self._api = api
        self._store = store
        self._freshness = freshness
        self._saver = WriteBehind(tasks)
        self.omissions = Omissions()
        shared = Shared(api, store, self._saver, tasks, freshness, self.omissions, self._endpoint)
        self._listings = Listings(shared)
        self._records = Records(shared, self.listing)
        self._schema: Schema | None = None
        self.was_known = True
        """Whether the server was mounted before."""
        self._schema_lock = trio.Lock()
        self._asked_for: set[str] = set()
        self.on_outdated: Callable[[str, str | None], None] = lambda _endpoint, _key: None
        """Called with what is declared out of date; must not await."""

    def time_to_live_of(self, endpoint: str) -> float:
        """Seconds for which an answer of this endpoint counts as fresh."""
        return self._freshness.time_to_live_of(endpoint)

    def is_fresh(self, endpoint: str, key: str | None, asked_at: float) -> bool:
        """Whether what was asked of a record, or of a list, at this time (Unix seconds) may be served unasked."""
        self._asked_for.add(endpoint)
        return self._freshness.is_fresh(endpoint, key, asked_at)

    async def schema(self) -> Schema:
        """What the server offers: asked for once a time to live; older where the server cannot be reached."""
        async with self._schema_lock:
            if self._schema is None:
                self._schema = await self._fetch_schema()
        return self._schema

    def is_young(self, asked_at: float) -> bool:
        """Whether what no endpoint stands for, asked for at this time (Unix seconds), need not be asked again."""
        return self._freshness.is_young(asked_at)

    @property
    def is_down(self) -> bool:
        """Whether the server could not be reached a moment ago."""
        return self._freshness.is_down

    def note_failure(self, error: errors.AlyxfsError) -> None:
        """Somebody else's request met this."""
        self._freshness.note_failure(error)

    def address(self, endpoint: str, key: str | None = None) -> str:
        """The address of a record, or of a list."""
        return self._api.address(endpoint, key)

    def listing(self, endpoint: str, filters: Filters = ()) -> Listing:
        """The shared walk of a list; a new one when the last is too old, failed, or was served stale.

        Nothing is asked before a reader wants the first row. A filter that the schema does not name fails the walk
        with NotFound, a value that the server refuses with Invalid.
        """
        self._asked_for.add(endpoint)
        return self._listings.get(endpoint, filters)

    def was_asked_for(self, endpoint: str) -> bool:
        """Whether anything known of this endpoint was in use since the mount; never awaits."""
        return endpoint in self._asked_for

    async def known_listing(self, endpoint: str, filters: Filters = ()) -> Listing | None:
        """The listing that has been asked for, however old, with the rows that have come; never a request."""
        listing = self._listings.known(endpoint, filters)
        if listing is not None:
            await listing.ready()
        return listing

    def listed_at(self, endpoint: str, filters: Filters = ()) -> float | None:
        """When the newest page of this list was asked for, in Unix seconds; never awaits."""
        listing = self._listings.known(endpoint, filters)
        return None if listing is None else listing.fetched_at

    async def listed_fields(self, endpoint: str, key: str, filters: Filters = ()) -> dict[str, object]:
        """What a listing that may be served unasked keeps of the one record with this look-up; never a request.

        Nothing where there is no such listing, or no such record among the rows that have come.
        """
        listing = self._listings.current(endpoint, filters)
        if listing is None:
            return {}
        await listing.ready()
        row = listing.find(key)
        return {} if row is None else dict(zip(quirk_of(endpoint).kept, row.kept, strict=False))

    async def record(self, endpoint: str, key: str, *, identity: str | None = None, fresh: bool = False) -> Record:
        """One record; ``identity`` tells records with the same look-up apart.

        With ``fresh`` the server is asked whatever is known, and its failure is raised. Raises NotFound, AccessDenied,
        and where nothing is known Unreachable, DeadlineExceeded, Throttled or ServerFault.
        """
        self._asked_for.add(endpoint)
        return await self._records.get(endpoint, key, identity, fresh=fresh)

    async def documents(self, endpoint: str) -> dict[str, Mapping[str, Any]]:
        """All records of a list by their names: of one whose rows are whole, they cost the listing alone.

        Raises the walk's failure, and as :meth:`record` does.
        """
        found = {}
        for row in await whole(self.listing(endpoint)):
            with suppress(errors.NotFound):  # gone meanwhile
                found[row.key] = (await self.record(endpoint, row.key, identity=row.identity)).document
        return found

    def row_texts(self, endpoint: str, listed: Sequence[Row], *, as_records: bool = False) -> list[bytes]:
        """Rows of a listing as the server gave them, each as JSON on one line. Blocks: call in a thread.

        ``as_records``: without the fields that the records lack. Raises ServerFault where one could not be kept.
        """
        assert self._schema is not None, "there is no listing without it"
        return rows.texts(self._store, self._schema.endpoints[endpoint], listed, as_records=as_records)

    def known_record(self, endpoint: str, key: str, identity: str | None = None) -> Record | None:
        """The record in memory, however old; never awaits."""
        return self._records.known(endpoint, key, identity)

    async def has_record(self, endpoint: str, key: str) -> bool:
        """Whether :meth:`record` gives it without a request."""
        return await self._records.has(endpoint, key)

    def measure(self, endpoint: str, key: str, identity: str) -> Measure | None:
        """Size and time of the record as it was known last, also where it is in memory no more; never awaits."""
        return self._records.measure(endpoint, key, identity)

    async def forget_idle(self) -> bool:
        """Drop from memory what nobody has asked for lately, and the store has; whether there was some."""
        is_forgotten = self._records.forget_idle()
        is_forgotten = await self._listings.forget_idle() or is_forgotten
        if is_forgotten:
            await trio.to_thread.run_sync(self._store.release)
        return is_forgotten

    def outdate(self, endpoint: str, key: str | None = None) -> None:
        """Ask again for this record, or (no key) for the endpoint's listings and queries, before showing them.

        What was known stays in the store for times without the server.
        """
        self._freshness.outdate(endpoint, key)
        self.on_outdated(endpoint, key)
        if key is not None:
            self._records.evict(endpoint, key)
        self._saver.add(lambda: self._store.outdate(endpoint, key))

    def outdate_details(self, endpoint: str) -> None:
        """Ask again for each record of the endpoint before showing it: all may hold a name that changed."""
        self._freshness.outdate_details(endpoint)
        self._records.evict(endpoint, None)
        self._saver.add(lambda: self._store.outdate_details(endpoint))

    async def flush(self) -> None:
        """Write to the store what waits for it."""
        await self._saver.flush()

    def status(self) -> dict[str, object]:
        """For ``.alyxfs/status.json``: times in Unix seconds."""
        listings = self._listings.all()
        # 0 stands for one that was declared out of date: when it was fetched is not known any more.
        times = [listing.fetched_at for listing in listings if listing.complete and listing.fetched_at]
        return {
            **self._api.state(),
            "time_to_live": self._freshness.time_to_live,
            "time_to_live_of": self._freshness.times_to_live,
            "stale_since": self._freshness.stale_since,
            "last_error": self._freshness.last_error,
            "listings": len(listings),
            "rows": sum(len(listing.rows) for listing in listings),
            "walks": [_told(listing) for listing in listings if listing.walk is not None],
            "oldest_listing": min(times, default=None),
            "records_in_memory": len(self._records),
            "remarks": [f"{listing.endpoint}: {remark}" for listing in listings for remark in listing.remarks],
        }

    async def _endpoint(self, name: str) -> Endpoint:
        endpoint = (self._schema or await self.schema()).endpoints.get(name)
        if endpoint is None:
            raise errors.NotFound(f"The server has no endpoint {name!r}.")
        return endpoint

    async def _fetch_schema(self) -> Schema:
        stored = await trio.to_thread.run_sync(self._store.document, _SCHEMA)
        self.was_known = stored is not None
        if stored is not None and self.is_young(stored.fetched_at):
            return await _understood(stored.body)
        try:
            document = await self._api.schema_document()
        except DOWN as error:
            self._freshness.note_failure(error)
            if stored is None:
                raise
            return await _understood(stored.body)
        schema = await trio.to_thread.run_sync(read_schema, document)
        self._saver.add(lambda: self._store.put_document(_SCHEMA, json_text.compact(document)))
        return schema


def _told(listing: Listing) -> dict[str, object]:
    """A list that is not walked to its end, or not yet."""
    query = "/".join(f"{name}={value}" for name, value in listing.filters)
    where = f"{listing.endpoint}/{query}".rstrip("/")
    about = {"rows": len(listing.rows), "of": listing.count}
    return {"listing": where, **about, "begun_at": listing.begun_at, "newest_page_at": listing.fetched_at}


async def _understood(body: bytes) -> Schema:
    return await trio.to_thread.run_sync(lambda: read_schema(json_text.decode(body)))


@asynccontextmanager
async def open_metadata_cache(
    api: Api,
    store: Store,
    *,
    time_to_live: float = TIME_TO_LIVE,
    times_to_live: Mapping[str, float] | None = None,
    freshness: Freshness | None = None,
) -> AsyncGenerator[MetadataCache, None]:
    """What is known of the server behind ``api``, for as long as the block lasts.

    ``time_to_live`` in seconds; ``times_to_live`` those of the endpoints that have one of their own; ``freshness`` in
    place of both.
    """
    metadata: MetadataCache | None = None
    try:
        async with background_tasks() as tasks:
            metadata = MetadataCache(api, store, tasks, freshness or Freshness(time_to_live, times_to_live))
            yield metadata
    finally:
        if metadata is not None:
            with trio.CancelScope(shield=True):
                await metadata.flush()
