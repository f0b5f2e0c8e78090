"""Watching for changes that others make: the server tells them by ``auto_datetime`` alone, so it is polled."""

from __future__ import annotations

import logging
import time
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


async def watch(api: Api, library: Library, seconds: float, changed: Callable[[str, str | None], None]) -> None:
    """Poll for ever, every so many seconds; each change is forgotten by the library and told to ``changed``.

    ``changed`` gets the endpoint and the record's look-up, or None for the endpoint as a whole.
    """
    offered = (await library.schema()).endpoints
    watched = [name for name in WATCHED if name in offered and "django" in offered[name].filters]
    looked_at = dict.fromkeys(watched, time.time())
    counts: dict[str, int | None] = {}
    while True:
        await trio.sleep(seconds)
        for endpoint in watched:
            now = time.time()
            try:
                await _poll(api, library, endpoint, looked_at[endpoint], counts, changed)
            except errors.AlyxfsError as error:
                log.info("changes of %s could not be asked for: %s", endpoint, error)
            else:
                looked_at[endpoint] = now


async def _poll(
    api: Api,
    library: Library,
    endpoint: str,
    since: float,
    counts: dict[str, int | None],
    changed: Callable[[str, str | None], None],
) -> None:
    moment = datetime.fromtimestamp(since + api.clock_offset - MARGIN, timezone.utc)
    condition = f"auto_datetime__gt,{moment:%Y-%m-%dT%H:%M:%S}"
    page = await api.page(endpoint, (("django", condition),), MOST_CHANGES, 0)
    count = (await api.page(endpoint, (), 1, 0)).count  # a deletion shows in the count alone
    known = counts.setdefault(endpoint, count)
    counts[endpoint] = count
    if page.rows or count != known:
        library.forget(endpoint)
        changed(endpoint, None)
    for row in page.rows:
        key = str(row.get("id") or str(row.get("url", "")).rsplit("/", 1)[-1])
        library.forget(endpoint, key)
        changed(endpoint, key)
