"""Watching for changes that others make: the server tells them by ``auto_datetime`` alone, so it is polled.

A poll costs one request for each watched endpoint that was looked at since the mount, and one more for the number of
its records, in which deletions show.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import trio

from alyxfs import errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from alyxfs.alyx.api import Api
    from alyxfs.alyx.library import Library

log = logging.getLogger(__name__)

WATCHED = ("sessions", "datasets", "insertions")
"""Endpoints whose lists can be filtered by ``auto_datetime`` (measured on Alyx 3.6.1)."""
MARGIN = 2.0
"""Seconds that a poll looks back behind the one before: the server stamps a record before others can see it."""
MOST_CHANGES = 1000
"""Changed records that one poll takes one by one; more mean that the whole endpoint is asked again."""
COUNTED_EVERY = 3.0
"""Seconds at least between two looks at the number of records: deletions show in nothing else, at a request each."""


async def watch(api: Api, library: Library, seconds: float, changed: Callable[[str, str | None], None]) -> None:
    """Poll for ever, every so many seconds; each change is forgotten by the library and told to ``changed``.

    ``changed`` gets the endpoint and the record's look-up, None for the endpoint's lists, "" for all its records.
    """
    offered = (await library.schema()).endpoints
    watched = [name for name in WATCHED if name in offered and "django" in offered[name].filters]
    polls = [_Polled(name, time.time()) for name in watched]
    while True:
        await trio.sleep(seconds)
        for polled in polls:
            now = time.time()
            if library.was_asked_for(polled.endpoint):
                try:
                    await _poll(api, library, polled, changed)
                except errors.AlyxfsError as error:
                    log.info("changes of %s could not be asked for: %s", polled.endpoint, error)
                    continue
            polled.looked_at = now


@dataclass
class _Polled:
    endpoint: str
    looked_at: float
    """Unix seconds."""
    count: int | None = None
    counted_at: float = -COUNTED_EVERY
    """Trio time."""


async def _poll(api: Api, library: Library, polled: _Polled, changed: Callable[[str, str | None], None]) -> None:
    endpoint = polled.endpoint
    moment = datetime.fromtimestamp(polled.looked_at + api.clock_offset - MARGIN, timezone.utc)
    condition = f"auto_datetime__gt,{moment:%Y-%m-%dT%H:%M:%S}"
    page = await api.page(endpoint, (("django", condition),), MOST_CHANGES, 0)
    if await _count_differs(api, polled, at_once=bool(page.rows)) or page.rows:
        library.forget(endpoint)
        changed(endpoint, None)
    if (page.count or 0) > len(page.rows):
        library.forget_details(endpoint)
        changed(endpoint, "")
        return
    for row in page.rows:
        key = str(row.get("id") or str(row.get("url", "")).rsplit("/", 1)[-1])
        library.forget(endpoint, key)
        changed(endpoint, key)


async def _count_differs(api: Api, polled: _Polled, *, at_once: bool) -> bool:
    """Whether records came or went since the last look, where it is time for another one.

    ``at_once`` where records changed: one that came must not make up for one that went.
    """
    if not at_once and trio.current_time() < polled.counted_at + COUNTED_EVERY:
        return False
    count = (await api.page(polled.endpoint, (), 1, 0)).count
    known, polled.count, polled.counted_at = polled.count, count, trio.current_time()
    return known not in {None, count}
