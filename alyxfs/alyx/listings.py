"""The listings of a drive: shared, walked as far as readers go, kept across mounts, and served old in bad times."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import trio

from alyxfs import documents, errors
from alyxfs.alyx import rows
from alyxfs.alyx.freshness import DOWN, Freshness
from alyxfs.alyx.listing import Listing, Row
from alyxfs.alyx.quirks import quirk_of
from alyxfs.alyx.walk import Walk

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from alyxfs.alyx.api import Api, Filters, Page
    from alyxfs.alyx.endpoints import Endpoint
    from alyxfs.alyx.saving import Saver
    from alyxfs.store import Store

MAXIMUM_ROWS = 400_000
"""Rows of all listings together kept in memory, at some 300 bytes each; listings used longest ago go first."""


class Listings:
    """State: ``_listings`` (used last comes last) and ``_walking`` change only between awaits."""

    def __init__(
        self,
        api: Api,
        store: Store,
        saver: Saver,
        nursery: trio.Nursery,
        freshness: Freshness,
        endpoint: Callable[[str], Awaitable[Endpoint]],
    ) -> None:
        self._api = api
        self._store = store
        self._saver = saver
        self._nursery = nursery
        self._freshness = freshness
        self._endpoint = endpoint
        self._listings: dict[tuple[str, Filters], Listing] = {}
        self._walking: set[Listing] = set()

    def get(self, endpoint: str, filters: Filters) -> Listing:
        """The shared walk of a list; a new one when the last is too old, failed, or was served stale."""
        known = self._listings.pop((endpoint, filters), None)
        if known is None or not self._is_current(known):
            fresh = Listing(endpoint, filters, self._want_more)
            fresh.previous = known
            if known is not None:
                fresh.previous = known if known.complete else known.previous
            known = fresh
        self._listings[endpoint, filters] = known
        self._shed()
        return known

    def known(self, endpoint: str, filters: Filters) -> Listing | None:
        """The listing in memory, however old."""
        return self._listings.get((endpoint, filters))

    def all(self) -> list[Listing]:
        """Those in memory."""
        return list(self._listings.values())

    def _is_current(self, listing: Listing) -> bool:
        if listing.failure is not None or listing.stale:
            return self._freshness.is_down
        return self._freshness.is_fresh(listing.endpoint, None, listing.fetched_at) and not self._freshness.is_outdated(
            listing.endpoint, None, listing.begun_at
        )

    def _shed(self) -> None:
        total = sum(len(listing.rows) for listing in self._listings.values())
        while total > MAXIMUM_ROWS and len(self._listings) > 1:
            total -= len(self._listings.pop(next(iter(self._listings))).rows)

    def _want_more(self, listing: Listing) -> None:
        if listing not in self._walking:
            self._walking.add(listing)
            self._nursery.start_soon(self._walk_on, listing)

    async def _walk_on(self, listing: Listing) -> None:
        """Fetch pages as long as a reader is on the newest one."""
        try:
            while listing.hungry:
                await self._advance(listing)
        except DOWN as error:
            self._freshness.note_failure(error)
            await self._end_with_what_is_known(listing, error)
        except errors.AlyxfsError as error:
            listing.end(error)
        except trio.Cancelled:
            listing.end(errors.Unreachable("The drive is being taken down."))
            raise
        finally:
            self._walking.discard(listing)

    async def _advance(self, listing: Listing) -> None:
        endpoint = await self._endpoint(listing.endpoint)
        walk = listing.walk
        if walk is None:
            if await self._load(listing):
                return
            walk = listing.walk = self._new_walk(endpoint, listing)
        asked_at = time.time()
        page = await walk.more()
        self._freshness.note_answer()
        new: list[Row] = []
        if page:
            new = await trio.to_thread.run_sync(rows.keep_page, self._store, endpoint, page, asked_at, listing.rows)
        listing.remarks = walk.remarks
        listing.extend(new, asked_at)
        if walk.ended:
            listing.end()
            if not self._freshness.is_outdated(endpoint.name, None, listing.begun_at):
                self._saver.add(lambda: self._save(listing))

    def _new_walk(self, endpoint: Endpoint, listing: Listing) -> Walk:
        if unknown := [name for name, _ in listing.filters if name not in endpoint.filters]:
            # The server would ignore it and list everything (BEHAVIOUR of Alyx 3.6.1, "Filters").
            raise errors.NotFound(f"{endpoint.name} has no filter {unknown[0]!r}.")

        async def fetch(filters: Filters, limit: int, offset: int) -> Page:
            return await self._api.page(endpoint.name, filters, limit, offset)

        return Walk(
            fetch,
            listing.filters,
            identify=lambda row: rows.identity_of(endpoint, row),
            has_ranges="django" in endpoint.filters,
            unordered=quirk_of(endpoint.name).unordered,
        )

    def _save(self, listing: Listing) -> None:
        body = rows.pack_rows(listing.rows)
        self._store.put_listing(listing.endpoint, _name_of(listing.filters), body, listing.fetched_at)

    async def _load(self, listing: Listing, *, stale: bool = False) -> bool:
        """Complete a listing from the store if that is fresh, or need not be; False where it cannot."""
        stored = await trio.to_thread.run_sync(self._store.listing, listing.endpoint, _name_of(listing.filters))
        if stored is None:
            return False
        if not stale and not self._freshness.is_fresh(listing.endpoint, None, stored.fetched_at):
            return False
        _complete(listing, await trio.to_thread.run_sync(rows.unpack_rows, stored.body), stored.fetched_at, stale)
        return True

    async def _end_with_what_is_known(self, listing: Listing, error: errors.AlyxfsError) -> None:
        if (previous := listing.previous) is not None:
            _complete(listing, previous.rows, previous.fetched_at, stale=True)
        elif not await self._load(listing, stale=True):
            listing.end(_of_query(error) if listing.filters and not listing.rows else error)


def _complete(listing: Listing, known: list[Row], fetched_at: float, stale: bool) -> None:
    """Add the rows that are known from before and end; what a broken walk brought stays."""
    seen = {row.identity for row in listing.rows}
    listing.extend([row for row in known if row.identity not in seen], fetched_at)
    listing.end(stale=stale)


def _of_query(error: errors.AlyxfsError) -> errors.AlyxfsError:
    """Bad values of dates, qc and django are a 500 (BEHAVIOUR of Alyx 3.6.1, "Filters"): the query's fault."""
    if isinstance(error, errors.ServerFault) and error.status == 500:  # noqa: PLR2004
        return errors.Invalid(f"The server fails on this query: {error}", status=500, url=error.url)
    return error


def _name_of(filters: Filters) -> str:
    return documents.compact(filters).decode()
