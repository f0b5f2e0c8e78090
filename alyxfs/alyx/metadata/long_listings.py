"""Long listings on this machine: kept page by page as they come, so that a walk that was interrupted goes on.

By then it may have taken an hour, of requests that a server counts. What is sound in going on stands in
``alyxfs.alyx.pagination.PageWalk.resume``, how long it may have paused in ``Freshness.may_go_on``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from alyxfs.alyx.id_ranges import unpack_state
from alyxfs.alyx.metadata import rows
from alyxfs.alyx.metadata.row_list import RowList
from alyxfs.alyx.pagination import PageWalk

if TYPE_CHECKING:
    from alyxfs.alyx.metadata.listing import Listing
    from alyxfs.alyx.metadata.shared import Shared
    from alyxfs.alyx.walk import Walk
    from alyxfs.store_walks import StoredWalk

LONG = 20_000
"""Rows from which on a listing is kept page by page, and a walk that has stopped is gone on with: 20 requests."""
_WHOLE = b""


class LongListings:
    """What the store has of them.

    State: ``kept_rows`` and ``kept_pages`` of a listing change in :meth:`keep` and :meth:`go_on`, and begin
    anew with its walk.
    """

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    def keep(self, listing: Listing, name: str, walk: Walk) -> None:
        """Have the store keep what has come since the last time; never awaits. ``name`` is that of its filters."""
        if not isinstance(walk, PageWalk):
            return
        state = None if walk.ended else walk.state()
        if state is None and not walk.ended:
            return
        number, new = listing.kept_pages, listing.rows[listing.kept_rows :]
        listing.kept_pages, listing.kept_rows = number + 1, len(listing.rows)
        endpoint, begun_at, asked_at = listing.endpoint, listing.begun_at, listing.fetched_at

        def put() -> None:
            kept = _WHOLE if state is None else state.pack()
            walks = self._shared.store.walks
            walks.put(endpoint, name, begun_at, number, rows.pack_rows(new), kept, asked_at)
            if state is None:
                self._shared.store.forget_listing(endpoint, name)
            if state is None or number == 0:
                walks.forget(endpoint, name, begun_at, only_unfinished=state is not None)

        self._shared.saver.add(put)

    async def whole(self, listing: Listing, name: str) -> StoredWalk | None:
        """The newest walk of the list that came to its end."""
        return next((walk for walk in await self._stored(listing, name) if walk.state == _WHOLE), None)

    async def rows_of(self, listing: Listing, name: str, stored: StoredWalk) -> RowList | None:
        """All rows of a walk; None where some are damaged, or went meanwhile."""
        return await trio.to_thread.run_sync(self._read, listing.endpoint, name, stored)

    async def go_on(self, listing: Listing, name: str, walk: Walk) -> None:
        """Give a new listing, and its walk, what an unfinished one had brought, where that is gone on with."""
        stored = next(iter(await self._stored(listing, name)), None)
        if stored is None or stored.state == _WHOLE or not isinstance(walk, PageWalk):
            return
        if not self._shared.freshness.may_go_on(listing.endpoint, stored.begun_at, stored.fetched_at):
            return
        state = unpack_state(stored.state)
        known = await self.rows_of(listing, name, stored)
        if state is None or known is None or listing.rows:
            return
        await trio.to_thread.run_sync(walk.resume, state, (row.identity for row in known))
        listing.begun_at = stored.begun_at
        listing.kept_pages, listing.kept_rows = stored.pages, len(known)
        listing.take(known, stored.fetched_at)

    async def _stored(self, listing: Listing, name: str) -> list[StoredWalk]:
        return await trio.to_thread.run_sync(self._shared.store.walks.of, listing.endpoint, name)

    def _read(self, endpoint: str, name: str, stored: StoredWalk) -> RowList | None:
        found = RowList()
        for number in range(stored.pages):
            body = self._shared.store.walks.page(endpoint, name, stored.begun_at, number)
            some = None if body is None else rows.unpack_rows(body)
            if some is None:
                return None
            found.extend(some)
        return found
