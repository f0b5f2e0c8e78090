"""Watching for changes that others make, with ``--watch``: the server tells of them when asked, so it is polled.

A poll costs one request for each watched endpoint that was looked at since the mount, and one more for the number of
its records, in which deletions show. It asks by ``auto_datetime`` for what is newer than the newest change seen (see
stamps), and at times for what is an hour older, in which changes show that others made after clocks were set back.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import trio

from alyxfs import clock, errors
from alyxfs.alyx.identities import identity_of
from alyxfs.alyx.metadata.stamps import EASTERNMOST, SET_BACK, WESTERNMOST, newer_than, newest_stamp, stamp_of, utc
from alyxfs.alyx.quirks.reading import QUIRKS

if TYPE_CHECKING:
    from collections.abc import Callable

    from alyxfs.alyx.metadata.cache import MetadataCache
    from alyxfs.alyx.rest import Api, Page

log = logging.getLogger(__name__)

MARGIN = timedelta(seconds=2)
"""How far a poll looks back behind the newest change seen: the server stamps a record before others can see it."""
WIDE_EVERY = 10
"""Polls, of which one looks back farther."""
LOOK_BACK = SET_BACK + timedelta(minutes=5)
"""How far a wide poll looks back behind the newest change seen."""
REMEMBERED = 2 * LOOK_BACK
"""How far back changes are remembered that were told: as far as a wide poll looks after clocks were set back."""
ZONE_STEP = timedelta(minutes=15)
"""All time zones are multiples of this."""
MOST_CHANGES = 1000
"""Changed records that one poll takes one by one; more mean that the whole endpoint is asked again."""
COUNTED_EVERY = 3.0
"""Seconds at least between two looks at the number of records: deletions show in nothing else, at a request each."""


async def watch(
    api: Api,
    metadata: MetadataCache,
    seconds: float,
    changed: Callable[[str, str | None], None],
    polls: dict[str, Polled],
) -> None:
    """Poll for ever, every so many seconds; each change is forgotten by the library and told to ``changed``.

    ``changed`` gets the endpoint and the record's look-up, None for the endpoint's lists, "" for all its records.
    ``polls``, empty at first, keeps how far each endpoint was looked at: begun again with it, no change is missed.
    """
    offered = (await metadata.schema()).endpoints
    telling = [name for name, quirk in QUIRKS.items() if quirk.tells_changes]
    watched = [name for name in telling if name in offered and "django" in offered[name].filters]
    for name in watched:
        polls.setdefault(name, Polled(name, trio.current_time()))
    while True:
        await trio.sleep(seconds)
        for polled in polls.values():
            now = trio.current_time()
            if metadata.was_asked_for(polled.endpoint):
                try:
                    await _poll(api, metadata, polled, changed)
                except errors.AlyxfsError as error:
                    log.info("changes of %s could not be asked for: %s", polled.endpoint, error)
                    continue
            polled.looked_at = now


@dataclass
class Polled:
    """How far the changes of an endpoint are known."""

    endpoint: str
    looked_at: float
    """Trio time."""
    newest: datetime | None = None
    """The newest change seen, by the server's clock; None before the first look."""
    seen: dict[str, datetime] = field(default_factory=dict)
    """The changes seen of late: record and stamp."""
    polls: int = 0
    count: int | None = None
    counted_at: float = -COUNTED_EVERY
    """Trio time."""

    def take(self, rows: list[dict[str, Any]], now: float) -> list[str]:
        """Take note of changed records, and return the look-ups of those that are news."""
        assert self.newest is not None
        news = []
        for row in rows:
            key, stamp = identity_of(row) or "", stamp_of(row)
            if stamp is None or self.seen.get(key) != stamp:
                news.append(key)
            if stamp is not None:
                self.seen[key] = stamp
        # After clocks were set back, the newest change is the one made last, not the one that a later time stands at.
        self.newest = newest_stamp([row for row in rows if (identity_of(row) or "") in news], now) or self.newest
        oldest = self.newest - REMEMBERED
        self.seen = {key: stamp for key, stamp in self.seen.items() if stamp > oldest}
        return news


async def _poll(api: Api, metadata: MetadataCache, polled: Polled, changed: Callable[[str, str | None], None]) -> None:
    endpoint = polled.endpoint
    now = clock.now() + api.clock_offset
    page = await (_first_look(api, polled, now) if polled.newest is None else _changes(api, polled))
    news = polled.take(page.rows, now)
    if await _count_differs(api, polled, at_once=bool(news)) or news:
        metadata.outdate(endpoint)
        changed(endpoint, None)
    if _is_cut(page):
        metadata.outdate_details(endpoint)
        changed(endpoint, "")
        return
    for key in news:
        metadata.outdate(endpoint, key)
        changed(endpoint, key)


async def _changes(api: Api, polled: Polled) -> Page:
    """What may have changed since the last look."""
    assert polled.newest is not None
    polled.polls += 1
    if polled.polls % WIDE_EVERY == 0:
        page = await _newer_than(api, polled.endpoint, polled.newest - LOOK_BACK)
        if not _is_cut(page):
            return page
    return await _newer_than(api, polled.endpoint, polled.newest - MARGIN)


async def _first_look(api: Api, polled: Polled, now: float) -> Page:
    """What may have changed since the endpoint is watched: what is not much older than the newest change of all.

    That is looked for within the farthest time zones: mostly one request. ``now``: Unix seconds by the server.
    """
    gap = timedelta(seconds=trio.current_time() - polled.looked_at) + MARGIN
    earliest, latest = utc(now) - WESTERNMOST - REMEMBERED - gap, utc(now) + EASTERNMOST
    page = await _newer_than(api, polled.endpoint, earliest)
    if _is_cut(page):
        while latest - earliest > ZONE_STEP:
            middle = earliest + (latest - earliest) / 2
            if (await _newer_than(api, polled.endpoint, middle, limit=1)).count:
                earliest = middle
            else:
                latest = middle
        page = await _newer_than(api, polled.endpoint, earliest - REMEMBERED - gap)
        if _is_cut(page):
            page = await _newer_than(api, polled.endpoint, earliest - gap)
    polled.newest = newest_stamp(page.rows, now) or earliest
    polled.seen = {
        identity_of(row) or "": stamp for row in page.rows if (stamp := stamp_of(row)) and stamp <= polled.newest - gap
    }
    return page


async def _newer_than(api: Api, endpoint: str, moment: datetime, limit: int = MOST_CHANGES) -> Page:
    return await api.page(endpoint, (("django", newer_than(moment)),), limit, 0)


def _is_cut(page: Page) -> bool:
    """Whether there are more changes than were asked for."""
    return (page.count or 0) > len(page.rows)


async def _count_differs(api: Api, polled: Polled, *, at_once: bool) -> bool:
    """Whether records came or went since the last look, where it is time for another one.

    ``at_once`` where records changed: one that came must not make up for one that went.
    """
    if not at_once and trio.current_time() < polled.counted_at + COUNTED_EVERY:
        return False
    count = (await api.page(polled.endpoint, (), 1, 0)).count
    known, polled.count, polled.counted_at = polled.count, count, trio.current_time()
    return known not in {None, count}
