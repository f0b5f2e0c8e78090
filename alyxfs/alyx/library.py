"""What is known of one Alyx: memory, then the store, then one request.

Freshness: what is younger than the time to live is served without asking. What is older is asked for again, and
served all the same, marked stale, when the server cannot be reached or fails. A refusal (AccessDenied) is never
hidden behind what was known: after one new log-in the user has to know that the token is no longer good.
"""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from alyxfs import documents, errors
from alyxfs.alyx.freshness import DOWN, Freshness
from alyxfs.alyx.listing import Listing, Row
from alyxfs.alyx.listings import Listings
from alyxfs.alyx.records import Record, Records
from alyxfs.alyx.saving import Saver
from alyxfs.alyx.schema import Endpoint, Schema, read_schema

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from alyxfs.alyx.api import Api, Filters
    from alyxfs.store import Store

__all__ = ["Library", "Listing", "Record", "Row", "open_library"]

TIME_TO_LIVE = 300.0
"""Seconds for which an answer counts as fresh, unless the caller says otherwise."""

TRIED_AT_MOUNT = 3
"""Lists: one that the server always fails on does not mean that it fails on all."""

_SCHEMA = "schema"


class Library:
    """Made with :func:`open_library`. All methods may be called from any task of the loop."""

    def __init__(self, api: Api, store: Store, nursery: trio.Nursery, freshness: Freshness) -> None:
        self.started_at = time.time()
        """Unix seconds: the time of things that have no other."""
        self._api = api
        self._store = store
        self._freshness = freshness
        self._saver = Saver(nursery)
        self._listings = Listings(api, store, self._saver, nursery, self._freshness, self._endpoint)
        self._records = Records(api, store, self._saver, nursery, self._freshness, self._endpoint, self.listing)
        self._schema: Schema | None = None
        self._is_known = True  # from an earlier mount
        self._schema_lock = trio.Lock()
        self._asked_for: set[str] = set()
        self.on_forget: Callable[[str, str | None], None] = lambda _endpoint, _key: None
        """Called with what is forgotten; must not await."""

    def time_to_live_of(self, endpoint: str) -> float:
        """Seconds for which an answer of this endpoint counts as fresh."""
        return self._freshness.time_to_live_of(endpoint)

    def is_fresh(self, endpoint: str, key: str | None, asked_at: float) -> bool:
        """Whether what was asked of a record, or of a list, at this time (Unix seconds) may be served unasked."""
        self._asked_for.add(endpoint)
        return self._freshness.is_fresh(endpoint, key, asked_at)

    async def schema(self) -> Schema:
        """What the server offers: asked once a mount, else as it was when the server was last reached."""
        async with self._schema_lock:
            if self._schema is None:
                self._schema = await self._fetch_schema()
        return self._schema

    async def check_access(self) -> None:
        """One small request, so that a wrong token shows at mount; passes when offline.

        Raises AccessDenied, and ServerFault where the server fails on all it is asked and was never mounted before.
        """
        listed = [endpoint.name for endpoint in (await self.schema()).endpoints.values() if endpoint.listed]
        fault: errors.ServerFault | None = None
        for endpoint in listed[:TRIED_AT_MOUNT]:
            if self._freshness.is_down:
                return
            try:
                await self._api.page(endpoint, (), 1, 0)
            except DOWN as error:
                self._freshness.note_failure(error)
                if not isinstance(error, errors.ServerFault):
                    return
                fault = error
            else:
                return
        if fault is not None and not self._is_known:
            raise fault

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

    def known_listing(self, endpoint: str, filters: Filters = ()) -> Listing | None:
        """The listing in memory, however old; never awaits."""
        return self._listings.known(endpoint, filters)

    async def record(self, endpoint: str, key: str, *, identity: str | None = None, fresh: bool = False) -> Record:
        """One record; ``identity`` tells records with the same look-up apart.

        With ``fresh`` the server is asked whatever is known, and its failure is raised. Raises NotFound, AccessDenied,
        and where nothing is known Unreachable, DeadlineExceeded, Throttled or ServerFault.
        """
        self._asked_for.add(endpoint)
        return await self._records.get(endpoint, key, identity, fresh=fresh)

    def known_record(self, endpoint: str, key: str, identity: str | None = None) -> Record | None:
        """The record in memory, however old; never awaits."""
        return self._records.known(endpoint, key, identity)

    def forget(self, endpoint: str, key: str | None = None) -> None:
        """Ask again for this record, or (no key) for the endpoint's listings and queries, before showing them.

        What was known stays in the store for times without the server.
        """
        self._freshness.outdate(endpoint, key)
        self.on_forget(endpoint, key)
        if key is not None:
            self._records.forget(endpoint, key)
        self._saver.add(lambda: self._store.outdate(endpoint, key))

    def forget_details(self, endpoint: str) -> None:
        """Ask again for each record of the endpoint before showing it: all may hold a name that changed."""
        self._freshness.outdate_details(endpoint)
        self._records.forget(endpoint, None)
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
            "server": self._api.base_url,
            "requests": self._api.requests,
            "time_to_live": self._freshness.time_to_live,
            "time_to_live_of": self._freshness.times_to_live,
            "stale_since": self._freshness.stale_since,
            "last_error": self._freshness.last_error,
            "listings": len(listings),
            "rows": sum(len(listing.rows) for listing in listings),
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
        try:
            document = await self._api.schema_document()
        except DOWN as error:
            self._freshness.note_failure(error)
            stored = await trio.to_thread.run_sync(self._store.document, _SCHEMA)
            if stored is None:
                raise
            document = await trio.to_thread.run_sync(documents.decode, stored.body)
            return await trio.to_thread.run_sync(read_schema, document)
        schema = await trio.to_thread.run_sync(read_schema, document)
        self._is_known = await trio.to_thread.run_sync(self._store.document, _SCHEMA) is not None
        self._saver.add(lambda: self._store.put_document(_SCHEMA, documents.compact(document)))
        return schema


@asynccontextmanager
async def open_library(
    api: Api,
    store: Store,
    *,
    time_to_live: float = TIME_TO_LIVE,
    times_to_live: Mapping[str, float] | None = None,
) -> AsyncGenerator[Library, None]:
    """What is known of the server behind ``api``, for as long as the block lasts.

    ``time_to_live`` in seconds; ``times_to_live`` those of the endpoints that have one of their own.
    """
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        library = Library(api, store, nursery, Freshness(time_to_live, times_to_live))
        try:
            yield library
        except Exception as error:  # noqa: BLE001 - carried out of the nursery, which would wrap it in a group
            failure = error
        finally:
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await library.flush()
    if failure is not None:
        raise failure
