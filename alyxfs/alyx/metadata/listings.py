"""The listings of a drive: shared, walked as far as readers go, kept across mounts, and served old in bad times."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import trio

from alyxfs import clock, errors, json_text
from alyxfs.alyx.metadata import rows
from alyxfs.alyx.metadata.freshness import DOWN
from alyxfs.alyx.metadata.listing import Listing
from alyxfs.alyx.metadata.long_listings import LONG, LongListings
from alyxfs.alyx.metadata.row_list import RowList
from alyxfs.alyx.pagination import PageWalk
from alyxfs.alyx.quirks.reading import quirk_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from alyxfs.alyx.metadata.row_list import Row
    from alyxfs.alyx.metadata.shared import Shared
    from alyxfs.alyx.rest import Fetch, Filters
    from alyxfs.alyx.schema.model import Endpoint
    from alyxfs.alyx.walk import Walk

MEMORY_LIMIT = 256 * 1024**2
"""Bytes of all listings together kept in memory: some 400,000 rows, or four million that are named by their ids.
Listings used longest ago go first."""
REMEMBERED_SECONDS = 30.0
"""How long rows are in memory that nobody asks for: the store gives some 100,000 a second."""


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
        known.asked_at = time.monotonic()
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

    async def forget_idle(self) -> bool:
        """Lay aside the rows that nobody asks for, where that costs no request; whether there were some."""
        found = False
        for listing in filter(_is_idle, self.all()):
            stored_at = await self._stored_at(listing)
            if _is_idle(listing) and self._may_go(listing, stored_at):
                listing.lay_aside()
                found = True
        return found

    async def _stored_at(self, listing: Listing) -> float | None:
        name = _name_of(listing.filters)
        stored_at = await trio.to_thread.run_sync(self._shared.store.listing_time, listing.endpoint, name)
        if stored_at is None and len(listing.rows) >= LONG and (walk := await self._long.whole(listing, name)):
            return walk.fetched_at
        return stored_at

    def _may_go(self, listing: Listing, stored_at: float | None) -> bool:
        """Whether the store has what is to be shown: the same rows, or, for times without the server, some."""
        if self._is_current(listing):
            return listing.complete and listing.fetched_at == stored_at
        return stored_at is not None or not (listing.complete or listing.previous)

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
        while total > MEMORY_LIMIT and len(self._listings) > 1:
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
            listing.begin()
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
        """Complete a listing from the store if that is fresh, or need not be; False where it cannot.

        Rows that were laid aside come again however old.
        """
        name = _name_of(listing.filters)
        stored = await trio.to_thread.run_sync(self._shared.store.listing, listing.endpoint, name)
        walk = await self._long.whole(listing, name) if stored is None else None
        kept = stored or walk
        is_again = self._comes_again(listing, None if kept is None else kept.fetched_at)
        if kept is None:
            return False
        if not (stale or is_again or self._shared.freshness.is_fresh(listing.endpoint, None, kept.fetched_at)):
            return False
        known: Iterable[Row] | None = None
        if stored is not None:
            known = await trio.to_thread.run_sync(rows.unpack_rows, stored.body)
        elif walk is not None:
            known = await self._long.rows_of(listing, name, walk)
        if known is None:
            return False
        _complete(listing, known, kept.fetched_at, stale or (is_again and listing.stale))
        return True

    def _comes_again(self, listing: Listing, stored_at: float | None) -> bool:
        """Whether the store has the rows that were laid aside. Raises FileChanged for who had some of others.

        Where others have replaced them the listing is no longer the one of its name: what was made of it is not to be
        taken for new.
        """
        if listing.laid_aside is None or stored_at == listing.fetched_at:
            return listing.laid_aside is not None
        if self.known(listing.endpoint, listing.filters) is listing:
            del self._listings[listing.endpoint, listing.filters]
        if listing.is_in_the_middle:
            raise errors.FileChanged(f"The list of {listing.endpoint} was fetched anew meanwhile: list it again.")
        return False

    async def _end_with_what_is_known(self, listing: Listing) -> bool:
        """Whether anything was known from before."""
        if (previous := listing.previous) is None:
            return await self._load(listing, stale=True)
        _complete(listing, previous.rows, previous.fetched_at, stale=True)
        return True


def _complete(listing: Listing, known: Iterable[Row], fetched_at: float, stale: bool) -> None:
    """Add the rows that are known from before and end; what a broken walk brought stays."""
    if isinstance(known, RowList) and not listing.rows:
        listing.take(known, fetched_at)
    else:
        seen = {row.identity for row in listing.rows}
        listing.extend([row for row in known if row.identity not in seen], fetched_at)
    listing.end(stale=stale)


def _is_idle(listing: Listing) -> bool:
    """Whether nobody has asked for its rows lately, and no page of them is on its way."""
    is_walking = not listing.ended and listing.hungry
    return bool(listing.rows) and not is_walking and time.monotonic() - listing.asked_at > REMEMBERED_SECONDS


def _of_query(error: errors.AlyxfsError) -> errors.AlyxfsError:
    """Bad values of dates, qc and django are a 500 (BEHAVIOUR of Alyx 3.6.1, "Filters"): the query's fault."""
    if isinstance(error, errors.ServerFault) and error.status == 500:  # noqa: PLR2004
        return errors.Invalid(f"The server fails on this query: {error}", status=500, url=error.url)
    return error


def _name_of(filters: Filters) -> str:
    return json_text.compact(filters).decode()
