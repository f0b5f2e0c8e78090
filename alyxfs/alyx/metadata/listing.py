"""One walk of one list, shared by all its readers: rows grow as readers want them, and one page ahead of them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import trio

from alyxfs import clock
from alyxfs.alyx.metadata.row_list import Row, RowList

if TYPE_CHECKING:
    from collections.abc import Callable

    from alyxfs.alyx.rest import Filters
    from alyxfs.alyx.walk import Walk
    from alyxfs.errors import AlyxfsError


class Listing:
    """The rows of a list, as far as they are known.

    ``rows`` only grows, ``_by_key`` after it in :meth:`find`; and with ``complete``, ``failure``, ``stale`` and
    ``fetched_at`` it changes only in :meth:`extend`, :meth:`take` and :meth:`end`, which never await and wake the
    readers, and in :meth:`lay_aside`. ``walk`` and ``previous`` belong to whoever fetches the pages. Rows that nobody
    asks for are laid aside, all at once and between two awaits: after one, a row is looked for by :meth:`has` or after
    :meth:`ready`.
    """

    def __init__(self, endpoint: str, filters: Filters, want_more: Callable[[Listing], None]) -> None:
        self.endpoint = endpoint
        self.filters = filters
        self.rows = RowList()
        self.made: dict[str, Any] = {}
        """What readers have made of the rows, by a name of theirs: it goes when the rows are laid aside."""
        self.asked_at = time.monotonic()
        """Monotonic seconds at which a reader last wanted it."""
        self.laid_aside: int | None = None
        """How many rows the store has that were here; None while they are here."""
        self.complete = False
        self.failure: AlyxfsError | None = None
        self.stale = False
        self.begun_at = clock.now()
        """Unix seconds at which the first page was asked for."""
        self.fetched_at = self.begun_at
        """Unix seconds at which the newest page was asked for."""
        self.walk: Walk | None = None
        """Where the pages come from; None before the first and after the last."""
        self.previous: Listing | None = None
        """What was known before, for when the server is gone."""
        self.remarks: list[str] = []
        """Sentences on what the server could not give."""
        self.kept_pages = self.kept_rows = 0
        """How much of a long listing is in the store, or on its way there."""
        self._want_more = want_more
        self._wanted = -1
        self._newest_page = 0
        self._changed = trio.Event()
        self._by_key: dict[str, Row | None] = {}
        self._numbered = 0

    @property
    def ended(self) -> bool:
        """Whether no more rows will come."""
        return self.complete or self.failure is not None

    @property
    def count(self) -> int | None:
        """Rows in the list, by the server's last word, as far as it is known."""
        if self.complete:
            return len(self.rows)
        return self.walk.count if self.walk is not None else self.laid_aside

    @property
    def hungry(self) -> bool:
        """Whether a reader has come to the newest page, so that the next one should be fetched."""
        return not self.ended and self._wanted >= self._newest_page

    @property
    def is_in_the_middle(self) -> bool:
        """Whether a reader that had rows of it waits for more, which must follow those that it had."""
        return self._wanted > 0

    async def has(self, index: int) -> bool:
        """Wait until ``rows[index]`` is there, or return False once the walk ended; raises the walk's failure."""
        self.asked_at = time.monotonic()
        while index >= len(self.rows):
            if self.failure is not None:
                raise self.failure.again()
            if self.complete:
                return False
            self._want(index)
            await self._changed.wait()
        self._want(index)
        return True

    async def ready(self) -> None:
        """Wait until the rows are back, where they were laid aside; raises as :meth:`has`."""
        if self.laid_aside is not None:
            await self.has(0)

    def find(self, key: str) -> Row | None:
        """The one row with this look-up among those that have come; None also where there are several."""
        if self.rows.are_named_by_id:
            position = self.rows.position(key)
            return None if position is None else self.rows[position]
        for row in self.rows[self._numbered :]:
            self._by_key[row.key] = None if row.key in self._by_key else row
        self._numbered = len(self.rows)
        return self._by_key.get(key)

    def extend(self, rows: list[Row], fetched_at: float) -> None:
        """Add the rows of a page."""
        if rows:
            self._newest_page = len(self.rows)
            self.rows.extend(rows)
        self.fetched_at = fetched_at
        self._wake()

    def take(self, rows: RowList, fetched_at: float) -> None:
        """Begin with rows that were kept; before any other."""
        assert not self.rows
        self.rows, self.made = rows, {}
        self.fetched_at = fetched_at
        self._wake()

    def begin(self) -> None:
        """A walk begins, of which nothing is in the store yet."""
        self.begun_at = clock.now()
        self.kept_pages = self.kept_rows = 0

    def end(self, failure: AlyxfsError | None = None, *, stale: bool = False) -> None:
        """No more rows will come."""
        self.failure = failure and failure.again()
        self.complete = failure is None
        self.stale = stale
        self.walk = self.previous = self.laid_aside = None
        self._wake()

    def lay_aside(self) -> None:
        """The rows go, and come again from where a first reader has them from: the store, if it has them."""
        self.laid_aside = len(self.rows)
        self.rows, self.made, self._by_key, self._numbered = RowList(), {}, {}, 0
        self.walk = self.previous = None
        self.complete = False
        self._wanted, self._newest_page = -1, 0

    def _want(self, index: int) -> None:
        self._wanted = max(self._wanted, index)
        if self.hungry:
            self._want_more(self)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


async def whole(listing: Listing) -> RowList:
    """All rows of a listing; raises the walk's failure."""
    while await listing.has(len(listing.rows)):
        await trio.lowlevel.checkpoint()
    return listing.rows
