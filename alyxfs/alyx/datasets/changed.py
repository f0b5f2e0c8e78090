"""What the API tells beyond the cache tables: what they leave out, and what changed since they were made."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from alyxfs import clock
from alyxfs.alyx.datasets.cache_tables import TablesUnusableError
from alyxfs.alyx.identities import identity_of
from alyxfs.alyx.metadata.stamps import SET_BACK, WESTERNMOST, newer_than, newest_stamp
from alyxfs.alyx.pagination import PageWalk
from alyxfs.moments import naive_utc

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from alyxfs.alyx.datasets.delta import Delta
    from alyxfs.alyx.datasets.reconcile import Rows
    from alyxfs.alyx.metadata.cache import MetadataCache
    from alyxfs.alyx.rest import Api, Fetch, Filters

MARGIN = timedelta(hours=1)
"""How far behind the time of the tables changes are looked for: making them takes a while, and clocks are moved."""
POLL_MARGIN = timedelta(seconds=5)
"""The same behind the newest change seen: the server stamps a record before others can see it."""
MOST_CHANGES = 20_000
"""Rows of the API on top of the tables; where there are more, the tables are too old to be of use."""

_PLAIN_NAME = re.compile(r"[A-Za-z_][\w.-]*")
"""Names that may stand in brackets, which the server evaluates (BEHAVIOUR of Alyx 3.6.1, "Filters")."""


class ChangedRecords:
    """Asks the API for them."""

    def __init__(self, api: Api, metadata: MetadataCache) -> None:
        self._api = api
        self._metadata = metadata

    async def add_to(self, changes: Delta, made: str) -> set[str]:
        """Add what is not in ``changes`` yet, on top of the tables of this time; return the ids of all that were told.

        Raises TablesUnusableError where that is too much.
        """
        now = clock.now()
        since = datetime.fromisoformat(changes.since) if changes.since else before_tables(made)
        newest = since
        repositories = await self._repositories()
        personal = _personal(repositories)
        told: set[str] = set()

        def note(rows: Rows) -> None:
            nonlocal newest
            told.update(filter(None, map(identity_of, rows)))
            newest = max(newest, newest_stamp(rows, now + self._api.clock_offset) or newest)

        def take_sessions(rows: Rows) -> None:
            note(rows)
            changes.add_sessions(rows)

        def take_datasets(rows: Rows) -> None:
            note(rows)
            changes.add_datasets(rows, personal)

        if not changes.since and (listed := ",".join(f"'{name}'" for name in _not_in_tables(repositories))):
            condition = f"session__isnull,False,file_records__data_repository__name__in,[{listed}]"
            await self._walk_changed("datasets", condition, take_datasets)
        await self._walk_changed("sessions", newer_than(since), take_sessions)
        await self._walk_changed("datasets", newer_than(since), take_datasets)
        changes.since = f"{max(since, newest - SET_BACK - POLL_MARGIN):%Y-%m-%dT%H:%M:%S}"
        changes.asked_at = now
        return told

    async def add_numberless(self, changes: Delta) -> None:
        """Add the sessions without a number, which the tables leave out. Raises TablesUnusableError for too many."""
        await self._walk_changed("sessions", "number__isnull,True", changes.add_sessions)

    async def personal_repositories(self) -> frozenset[str]:
        """The data repositories that are machines at a rig, and no servers."""
        return _personal(await self._repositories())

    async def walk(
        self, endpoint: str, filters: Filters, take: Callable[[Rows], None], most: int | None = None
    ) -> None:
        """Give the rows that match to ``take``, page by page; raises TablesUnusableError for more than ``most``."""

        def begin(fetch: Fetch) -> PageWalk:
            return PageWalk(fetch, filters, identify=identity_of, has_ranges=True)

        walk = self._api.walk(endpoint, filters, begin)
        while not walk.ended:
            take(await walk.more())
            if most is not None and (walk.count or 0) > most:
                raise TablesUnusableError(
                    f"The server's cache tables lack {walk.count} {endpoint}: they are too old, or not made for it."
                )

    async def _walk_changed(self, endpoint: str, condition: str, take: Callable[[Rows], None]) -> None:
        """The same of a ``django`` condition that few rows must match, or the tables are of no use."""
        await self.walk(endpoint, (("django", condition),), take, most=MOST_CHANGES)

    async def _repositories(self) -> Mapping[str, bool]:
        """Whether each data repository is a server, and not a machine at a rig."""
        found = await self._metadata.documents("data-repository")
        return {name: repository.get("globus_is_personal") is False for name, repository in found.items()}


def before_tables(made: str) -> datetime:
    """From which time of the server's stamps on changes are looked for; raises TablesUnusableError for no time.

    ``made`` is in UTC, or in the server's own time as the stamps are: nothing tells.
    """
    try:
        if (moment := naive_utc(made)) is not None:
            return moment - MARGIN - WESTERNMOST
    except OverflowError:
        pass  # before the year 1
    raise TablesUnusableError(f"The server's cache tables were made at {made!r}, which is no time.")


def _personal(repositories: Mapping[str, bool]) -> frozenset[str]:
    return frozenset(name for name, is_server in repositories.items() if not is_server)


def _not_in_tables(repositories: Mapping[str, bool]) -> list[str]:
    """The servers of whose files the tables tell nothing (BEHAVIOUR of Alyx 3.6.1, "Cache tables")."""
    return sorted(
        name
        for name, is_server in repositories.items()
        if is_server and not name.startswith(("flatiron", "aws")) and _PLAIN_NAME.fullmatch(name)
    )
