"""Walks of a list: every record once, none lacking that was there throughout, one page a step.

Pages go by offset, so rows that come or go in front of the reader shift what follows. Each page therefore begins one
row early: meeting a row that was seen shows that none was skipped; meeting a new one sends the walk back. What is
still lacking at the end, by the server's own count, is found by ranges of id, each small enough for one page.
"""

from __future__ import annotations

import hashlib
import uuid
from bisect import bisect_left
from typing import TYPE_CHECKING, Any

import trio

from alyxfs import errors, json_text
from alyxfs.alyx.id_ranges import ALL_IDS, IdRange, Run, WalkState
from alyxfs.alyx.identities import UUID
from alyxfs.alyx.identity_table import IdentityTable
from alyxfs.alyx.rest import MAXIMUM_PAGE, Page, combined

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from alyxfs.alyx.rest import Filters

FIRST_PAGES = (25, 250)
"""Rows of the first pages: names come soon, and a reader that stops has cost little; then 1000."""

PAGE_BYTES = 16 * 1024**2
"""Bytes a page may have, judged by the one before: rows of tasks can hold logs of 300 kB each."""

PAGE_SECONDS = 10.0
"""Seconds a page may take, judged by the one before: well below the deadline of a request."""

TIMED_ROWS = 200
"""Rows from which on the time of a page counts."""

RANGE_ROWS = 925
"""Rows aimed at in a range of id, where they come in no order.

With random UUIDs one range in 150 exceeds a page of 1000 and is split.
"""

BAD_ROWS_IN_A_ROW = 3
"""Single rows that fail one after the other before the whole list counts as failing."""

PAST_ANY_END = 1_000_000_000
"""An offset at which no list has a row."""

SPARE_REQUESTS = 64
"""Requests of ranges that may bring nothing new, beside two for each range: halvings around a few failing rows."""

STEPS_BACK = 20
"""Times a walk goes back because rows moved; after that the count at the end decides."""

MORE_WALKS = 1
"""Further walks of a list without ranges of id in which rows lack."""

IDLE_PAGES = 64
"""Pages that may bring nothing new, beside two for each that did: a server may give the same ones for ever."""

MOST_ROWS = 2_000_000
"""Rows of a list whose number the server does not tell."""

_FAULTS_OF_A_RANGE = 22
"""Halvings after which a range of a thousand ids holds, but for one case in 4,000, the failing row and no other."""


class PageWalk:
    """One walk, a page at a time; stopping is just not asking for more."""

    def __init__(
        self,
        fetch: Callable[[Filters, int, int], Awaitable[Page]],
        filters: Filters = (),
        *,
        identify: Callable[[dict[str, Any]], str | None],
        has_ranges: bool,
        unordered: bool = False,
    ) -> None:
        self.ended = False
        self.count: int | None = None
        """Rows in the list by the server's last word."""
        self.remarks: list[str] = []
        """Sentences on what could not be had."""
        self._fetch = fetch
        self._filters = filters
        self._identify: Callable[[dict[str, Any]], str] = lambda row: identify(row) or _fingerprint(row)
        self._id = _free_name_of_id(filters) if has_ranges else None
        self._unordered = unordered
        self._seen = IdentityTable()
        self._next = 0  # offset of the first row that was not asked for
        self._pages = 0
        self._overlap = False
        self._bearable = MAXIMUM_PAGE  # rows that a page may have by the size and time of the last one
        self._careful = MAXIMUM_PAGE  # new rows that a page may have after failures
        self._is_query_tested = False
        self._skipped = 0
        self._bad_in_a_row = 0
        self._steps_back = 0
        self._ahead: set[str] = set()  # identities met behind a gap that is not closed yet
        self._last: str | None = None  # identity of the last row of the last page
        self._disturbed = False  # rows moved since the front of the list was seen
        self._at_front = False
        self._walks_left = MORE_WALKS
        self._ranges: list[IdRange] | None = None
        self._idle_pages_left = IDLE_PAGES
        self._idle_requests_left = 0
        self._parts = 1
        """Ranges of about a page each, where rows come in no order."""
        self._reason = "it gives the same ones again and again"
        self._known: list[int] = []
        self._is_resumed = False

    async def more(self) -> list[dict[str, Any]]:
        """The new rows of one more page, at times none; sets ``ended`` when there is no more to come.

        Raises what the requests raise, and the walk can be continued after that. Raises ServerFault where rows are
        known to lack and cannot be had: what it gave until then is good, and not the whole list.
        """
        if self._ranges is not None:
            return await self._more_of_ranges(self._ranges)
        return await self._more_of_pages()

    def state(self) -> WalkState | None:
        """Where the walk is, for :meth:`resume`; None while it is looking for rows that moved, or lack."""
        if self.ended or self._ahead or self._known or self.count is None:
            return None
        ranges = None if self._ranges is None else tuple(self._ranges)
        return WalkState(
            self._next, self._overlap, self._skipped, self._last, self.count, self._parts, ranges, tuple(self.remarks)
        )

    def resume(self, state: WalkState, identities: Iterable[str]) -> None:
        """Go on behind rows that an earlier walk of the list had given, of these identities; before the first page.

        What came in front of them since is met at the front, where this walk looks in the end, and what lacks by the
        server's count is found as in any walk. What went meanwhile is still shown, as in a walk that took as long.
        """
        for identity in identities:
            self._seen.add(identity)
        self._next, self._overlap, self._skipped = state.next, state.overlap, state.skipped
        self._last, self.count, self._parts = state.last, state.count, state.parts
        self.remarks = list(state.remarks)
        self._pages, self._is_resumed = len(FIRST_PAGES), True
        if state.ranges is None:
            self._disturbed = True
        else:
            self._ranges, self._idle_requests_left = list(state.ranges), 2 * self._parts + SPARE_REQUESTS

    # By offset

    async def _more_of_pages(self) -> list[dict[str, Any]]:
        planned = FIRST_PAGES[self._pages] if self._pages < len(FIRST_PAGES) else MAXIMUM_PAGE
        limit = min(planned, self._bearable, self._careful + self._overlap)
        page = await self._page_or_smaller(limit)
        if page is None:
            return []
        self._pages += 1
        self.count = page.count
        first = self._identify(page.rows[0]) if page.rows and self._overlap else self._last
        # The row of the overlap is none of those before it, or so many went that there is no such row. Before the front
        # there is none: lists without an order begin with another row for each size of a page.
        moved_up = self._overlap and self._next > 1 and not (page.rows and self._follows(first))
        self._disturbed = self._disturbed or moved_up or first != self._last
        fresh = self._unseen(page.rows)
        if page.rows:
            self._last = self._identify(page.rows[-1])
        if moved_up and self._steps_back < STEPS_BACK:
            self._steps_back += 1
            self._ahead.update(map(self._identify, fresh))
            self._next = max(1, self._next - (limit - 1))
            return fresh
        self._ahead.difference_update(map(self._identify, page.rows))
        self._next += len(page.rows) - self._overlap
        self._overlap = bool(page.rows)
        self._idle_pages_left += 2 if fresh else -1
        if self._idle_pages_left < 0 or (page.count is None and len(self._seen) > MOST_ROWS):
            raise self._incomplete("it gives the same ones again and again, or more than can be")
        past_end = len(page.rows) < limit if page.count is None else self._next >= page.count
        if self._at_front or not page.rows or past_end:
            self._finish_pages()
        elif self._unordered and self._id and self._pages == 1 and page.count is not None:
            self._begin_ranges(page.count, known_matter=False)
        return fresh

    def _follows(self, first: str | None) -> bool:
        """Whether all rows before this one were seen: it is part of the pages that join without a gap."""
        return first is not None and first in self._seen and first not in self._ahead

    async def _page_or_smaller(self, limit: int) -> Page | None:
        """The next page, or None after a failure that one bad row can explain: the next try is smaller, or one on."""
        try:
            page = await self._timed(self._filters, limit, self._next - self._overlap)
        except errors.ServerFault as fault:
            if not _can_be_of_a_row(fault):
                raise
            await self._test_query()
            if limit > 1 + self._overlap:
                self._careful = max(1, limit // (4 if isinstance(fault, errors.AnswerTooLarge) else 2))
            elif self._overlap:
                self._overlap = False
            else:
                self._bad_in_a_row += 1
                if self._bad_in_a_row >= BAD_ROWS_IN_A_ROW:
                    del self.remarks[-(BAD_ROWS_IN_A_ROW - 1) :]  # not these rows fail, but the list
                    raise
                self._skip_row(fault)
            return None
        self._bad_in_a_row = 0
        self._careful = min(MAXIMUM_PAGE, self._careful * 2)
        return page

    async def _test_query(self) -> None:
        """Ask past the end, where the server renders no row: what fails there, too, is the query and not a row."""
        if self._filters and not self._is_query_tested:
            self._is_query_tested = True
            await self._fetch(self._filters, 1, PAST_ANY_END)

    async def _timed(self, filters: Filters, limit: int, offset: int) -> Page:
        """A page; how large and slow it was says how many rows the next one may have."""
        started = trio.current_time()
        page = await self._fetch(filters, limit, offset)
        seconds = max(trio.current_time() - started, 1e-6)
        if page.rows:
            by_size = PAGE_BYTES * len(page.rows) // max(1, page.size)
            # The time of a small page is the way to the server and back, and says little of a large one.
            by_time = int(PAGE_SECONDS * len(page.rows) / seconds) if len(page.rows) >= TIMED_ROWS else MAXIMUM_PAGE
            self._bearable = max(2, min(MAXIMUM_PAGE, by_size, by_time))
        return page

    def _skip_row(self, fault: errors.ServerFault) -> None:
        self.remarks.append(f"Row {self._next} of the list is left out, the server fails on it: {fault}")
        self._skipped += 1
        self._next += 1

    def _finish_pages(self) -> None:
        lacking = (self.count or 0) - self._skipped - len(self._seen)
        if self._disturbed and not self._at_front:
            # Most lists show the newest first, so what came or moved during the walk is at the front: one page more.
            self._at_front = True
            self._begin_again()
        elif lacking <= 0:
            self.ended = True
        elif self._id and self._is_by_uuid():
            self._begin_ranges(self.count or 0, known_matter=True)
        elif self._walks_left > 0:
            self._walks_left -= 1
            self._at_front = False
            self._begin_again()
        elif self._is_by_uuid():
            raise self._incomplete("it gives them in no order, and the query leaves no condition on the id to add")
        else:
            self.ended = True  # rows without an id of their own: equal ones count as one

    def _is_by_uuid(self) -> bool:
        return self._seen.are_uuids

    def _incomplete(self, reason: str) -> errors.ServerFault:
        lacking = max(1, (self.count or 0) - self._skipped - len(self._seen))
        return errors.ServerFault(f"{lacking} of the {self.count} records could not be had from the server: {reason}.")

    def _begin_again(self) -> None:
        self._next, self._overlap, self._disturbed = 0, False, False
        self._pages = len(FIRST_PAGES)

    # By ranges of id

    def _begin_ranges(self, count: int, *, known_matter: bool) -> None:
        self._known = self._seen.numbers() if known_matter else []
        parts = max(1, -(-count // max(1, RANGE_ROWS * self._bearable // MAXIMUM_PAGE)))
        self._idle_requests_left = 2 * parts + SPARE_REQUESTS
        self._ranges = [IdRange(0, ALL_IDS, count - self._skipped if known_matter else None)]
        self._parts = parts

    async def _more_of_ranges(self, ranges: list[IdRange]) -> list[dict[str, Any]]:
        """One request for the ranges that are left; the last of the list comes first."""
        while ranges and ranges[-1].count is not None and self._count_known(ranges[-1]) >= ranges[-1].count:
            ranges.pop()  # nothing lacks here
        if not ranges:
            return await self._end_of_ranges()
        if self._idle_requests_left <= 0:
            raise self._incomplete(self._reason)
        fresh = await self._of_range(ranges, ranges[-1])
        self._idle_requests_left -= not fresh
        return fresh

    async def _end_of_ranges(self) -> list[dict[str, Any]]:
        """What came into ranges that were done before a pause lacks; of a walk without one nothing does."""
        page = await self._fetch(self._filters, 1, 0) if self._is_resumed else None
        self._is_resumed = False
        self.count = self.count if page is None else page.count
        if page is not None and (page.count or 0) - self._skipped > len(self._seen):
            self._begin_ranges(page.count or 0, known_matter=True)
        else:
            self.ended = True
        return []

    async def _of_range(self, ranges: list[IdRange], current: IdRange) -> list[dict[str, Any]]:
        if current.count is not None and current.count > self._bearable:
            return await self._split_by_count(ranges, current)
        try:
            page = await self._timed(self._within(current), self._bearable, 0)
        except errors.ServerFault as fault:
            if not _can_be_of_a_row(fault):
                raise
            self._split_failing(ranges, fault)
            return []
        if any(not current.may_hold(self._identify(row)) for row in page.rows):
            raise self._incomplete("it ignores conditions on the id")
        ranges.pop()
        self._bad_in_a_row = 0
        if current.goes_on is not None and page.count != current.goes_on.left:
            ranges.append(IdRange(current.goes_on.low, current.low))  # rows came or went, or were not the first ones
        if page.count is not None and page.count > len(page.rows):
            ranges.extend(self._rest_of(current, page.rows, page.count))
        return self._unseen(page.rows)

    def _rest_of(self, current: IdRange, rows: list[dict[str, Any]], count: int) -> list[IdRange]:
        """What is left of a range that has more than a page, the last to be asked for first."""
        found = list(map(self._identify, rows))
        # Many servers sort rows to tell the different ones: then each page begins behind the last one, and is full.
        if found and all(map(UUID.fullmatch, found)) and found == sorted(found):
            run = Run(current.low, count - len(rows))
            return [IdRange(uuid.UUID(found[-1]).int + 1, current.high, goes_on=run)]
        if self._parts == 1 or (current.low, current.high) != (0, ALL_IDS):
            return list(reversed(current.halves()))
        bounds = [ALL_IDS * part // self._parts for part in range(self._parts + 1)]
        return [IdRange(low, high) for low, high in zip(bounds[-2::-1], bounds[:0:-1], strict=True)]

    def _within(self, part: IdRange) -> Filters:
        return combined(self._filters, part.conditions(self._id or ""))

    async def _split_by_count(self, ranges: list[IdRange], current: IdRange) -> list[dict[str, Any]]:
        """Ask only for the count of one half; the other half's follows."""
        first, second = current.halves()
        page = await self._fetch(self._within(first), 1, 0)
        first.count = page.count or 0
        second.count = (current.count or 0) - first.count
        ranges.pop()
        ranges.extend([second, first])
        return self._unseen(page.rows)

    def _split_failing(self, ranges: list[IdRange], fault: errors.ServerFault) -> None:
        current = ranges[-1]
        if current.goes_on is not None:
            ranges.insert(-1, IdRange(current.goes_on.low, current.low))
        self._reason = str(fault).rstrip(".")
        if current.faults >= _FAULTS_OF_A_RANGE:
            self._bad_in_a_row += 1
            if self._bad_in_a_row >= BAD_ROWS_IN_A_ROW:
                raise fault
            ranges.pop()
            self._skipped += 1
            self.remarks.append(f"A row is left out, the server fails on it: {fault}")
            return
        ranges.pop()
        for half in reversed(current.halves()):
            half.faults += 1
            ranges.append(half)

    def _count_known(self, part: IdRange) -> int:
        return bisect_left(self._known, part.high) - bisect_left(self._known, part.low)

    def _unseen(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [row for row in rows if self._seen.add(self._identify(row))]


def _free_name_of_id(filters: Filters) -> str | None:
    """The name under which bounds of the id can be added to the query's own conditions.

    The server refuses a field that stands twice in one ``django`` value (measured on Alyx 3.6.1); ``pk`` is the same
    column under another name.
    """
    own = ",".join(value for name, value in filters if name == "django")
    return next((name for name in ("id", "pk") if f"{name}__gte" not in own and f"{name}__lt" not in own), None)


def _can_be_of_a_row(fault: errors.ServerFault) -> bool:
    """Whether fewer rows may do: a gateway's failure says nothing of rows."""
    return fault.status == 500 or isinstance(fault, errors.AnswerTooLarge)  # noqa: PLR2004


def _fingerprint(row: Mapping[str, Any]) -> str:
    """What tells a row without any identity from others."""
    return "?" + hashlib.blake2b(json_text.compact(row), digest_size=16).hexdigest()
