"""The listings of a drive: shared, walked as far as readers go, kept across mounts, and served old in bad times."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import trio

from alyxfs import clock, errors, json_text
from alyxfs.alyx.metadata import rows
from alyxfs.alyx.metadata.freshness import DOWN
from alyxfs.alyx.metadata.listing import Listing
from alyxfs.alyx.metadata.long_listings import LONG, LongListings
from alyxfs.alyx.pagination import PageWalk
from alyxfs.alyx.quirks.reading import quirk_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from alyxfs.alyx.metadata.row_list import Row
    from alyxfs.alyx.metadata.shared import Shared
    from alyxfs.alyx.rest import Fetch, Filters
    from alyxfs.alyx.schema.model import Endpoint
    from alyxfs.alyx.walk import Walk

MAXIMUM_ROWS = 160 * 1024**2
"""Bytes of rows of all listings together kept in memory, about; listings used longest ago go first."""


class Listings:
    """State: ``_listings`` (used last comes last) and ``_walking`` change only between awaits."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._listings: dict[tuple[str, Filters], Listing] = {}
        self._walking: set[Listing] = set()
        self._long = LongListings(shared)

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

    def current(self, endpoint: str, filters: Filters) -> Listing | None:
        """The listing in memory, where it may be served without asking."""
        listing = self.known(endpoint, filters)
        return listing if listing is not None and self._is_current(listing) else None

    def all(self) -> list[Listing]:
        """Those in memory."""
        return list(self._listings.values())

    def _is_current(self, listing: Listing) -> bool:
        if listing.failure is not None or listing.stale:
            return self._shared.freshness.is_down
        if listing.walk is not None and len(listing.rows) >= LONG:
            return self._shared.freshness.may_go_on(listing.endpoint, listing.begun_at, listing.fetched_at)
        return self._shared.freshness.is_fresh(
            listing.endpoint, None, listing.fetched_at
        ) and not self._shared.freshness.is_outdated(listing.endpoint, None, listing.begun_at)

    def _shed(self) -> None:
        total = sum(listing.rows.weight for listing in self._listings.values())
        while total > MAXIMUM_ROWS and len(self._listings) > 1:
            total -= self._listings.pop(next(iter(self._listings))).rows.weight

    def _want_more(self, listing: Listing) -> None:
        if listing not in self._walking:
            self._walking.add(listing)
            self._shared.tasks.start(
                self._walk_on, listing, failed=listing.end, ended=lambda: self._walking.discard(listing)
            )

    async def _walk_on(self, listing: Listing) -> None:
        """Fetch pages as long as a reader is on the newest one."""
        try:
            while listing.hungry:
                await self._advance_or_wait(listing)
        except DOWN as error:
            self._shared.freshness.note_failure(error)
            listing.end(_of_query(error) if listing.filters and not listing.rows else error)
        except trio.Cancelled:
            listing.end(errors.Unreachable("The drive is being taken down."))
            raise

    async def _advance_or_wait(self, listing: Listing) -> None:
        """Fetch a page; where the server is away end with what is known, or wait for it if that is nothing."""
        began = trio.current_time()
        try:
            await self._advance(listing)
        except DOWN as error:
            self._shared.freshness.note_failure(error)
            if not await self._end_with_what_is_known(listing):
                await self._shared.api.once_it_is_back(partial(self._advance, listing), error, began)

    async def _advance(self, listing: Listing) -> None:
        endpoint = await self._shared.endpoint(listing.endpoint)
        walk = listing.walk
        if walk is None:
            if await self._load(listing):
                return
            walk = self._new_walk(endpoint, listing)
            await self._long.go_on(listing, _name_of(listing.filters), walk)
            listing.walk = walk
        asked_at = clock.now()
        page = await walk.more()
        self._shared.freshness.note_answer()
        new: list[Row] = []
        if page:
            keep = rows.keep_page
            new, left_out = await trio.to_thread.run_sync(
                keep, self._shared.store, endpoint, page, asked_at, listing.rows
            )
            if left_out:
                remark = "Some rows of the list are left out: they hold nothing by which a record could be named."
                if remark not in walk.remarks:
                    walk.remarks.append(remark)
        listing.remarks = walk.remarks
        for remark in walk.remarks:
            self._shared.omissions.note(listing.endpoint, remark)
        listing.extend(new, asked_at)
        if not self._shared.freshness.is_outdated(endpoint.name, None, listing.begun_at):
            self._keep(listing, walk)
        if walk.ended:
            listing.end()

    def _keep(self, listing: Listing, walk: Walk) -> None:
        """Have the store keep it: as a whole at its end, or page by page."""
        if len(listing.rows) >= LONG:
            self._long.keep(listing, _name_of(listing.filters), walk)
        elif walk.ended:
            self._shared.saver.add(lambda: self._save(listing))

    def _new_walk(self, endpoint: Endpoint, listing: Listing) -> Walk:
        if unknown := [name for name, _ in listing.filters if name not in endpoint.filters]:
            # The server would ignore it and list everything (BEHAVIOUR of Alyx 3.6.1, "Filters").
            raise errors.NotFound(f"{endpoint.name} has no filter {unknown[0]!r}.")

        def begin(fetch: Fetch) -> PageWalk:
            return PageWalk(
                fetch,
                listing.filters,
                identify=lambda row: rows.identity_of(endpoint, row),
                has_ranges="django" in endpoint.filters,
                unordered=quirk_of(endpoint.name).unordered,
            )

        return self._shared.api.walk(endpoint.name, listing.filters, begin)

    def _save(self, listing: Listing) -> None:
        body = rows.pack_rows(listing.rows)
        name = _name_of(listing.filters)
        self._shared.store.put_listing(listing.endpoint, name, body, listing.fetched_at)
        self._shared.store.walks.forget(listing.endpoint, name, listing.begun_at)

    async def _load(self, listing: Listing, *, stale: bool = False) -> bool:
        """Complete a listing from the store if that is fresh, or need not be; False where it cannot."""
        stored = await trio.to_thread.run_sync(self._shared.store.listing, listing.endpoint, _name_of(listing.filters))
        if stored is None:
            return await self._long.load(listing, _name_of(listing.filters), stale=stale)
        if not stale and not self._shared.freshness.is_fresh(listing.endpoint, None, stored.fetched_at):
            return False
        known = await trio.to_thread.run_sync(rows.unpack_rows, stored.body)
        if known is None:
            return False
        _complete(listing, known, stored.fetched_at, stale)
        return True

    async def _end_with_what_is_known(self, listing: Listing) -> bool:
        """Whether anything was known from before."""
        if (previous := listing.previous) is None:
            return await self._load(listing, stale=True)
        _complete(listing, previous.rows, previous.fetched_at, stale=True)
        return True


def _complete(listing: Listing, known: Iterable[Row], fetched_at: float, stale: bool) -> None:
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
    return json_text.compact(filters).decode()
