"""The newest cache tables of the server, kept on this machine: with few requests, and none while they are young."""

from __future__ import annotations

import contextlib
import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import trio

from alyxfs import clock, errors
from alyxfs.alyx.datasets.cache_archive import fetch_tables
from alyxfs.alyx.datasets.cache_tables import TablesUnusableError, made_at, newest_folder
from alyxfs.alyx.datasets.changed import before_tables
from alyxfs.alyx.lookups import quote_key
from alyxfs.alyx.metadata.stamps import utc

if TYPE_CHECKING:
    from pathlib import Path

    from alyxfs.alyx.metadata.cache import MetadataCache
    from alyxfs.alyx.rest import Api

MOST_AHEAD = timedelta(days=2)
"""How far ahead of the server's clock its tables may have been made: their time may be one of another zone."""
_NO_TABLES = frozenset({404, 500})
"""Statuses with which older and small servers say that they have no tables (BEHAVIOUR of Alyx 3.6.1)."""


class KeptTables:
    """State: ``folder`` and ``_asked_at`` change in :meth:`load` and :meth:`look`, one at a time (``_turn``).

    A folder has the time at which the server was last asked whether it has newer tables, for the next mount.
    """

    def __init__(self, api: Api, metadata: MetadataCache, directory: Path) -> None:
        self._api = api
        self._metadata = metadata
        self._directory = directory
        self.folder: Path | None = None
        """Where the files of the newest tables lie, if there are any."""
        self._asked_at = 0.0
        self._turn = trio.Lock()

    @property
    def is_gone(self) -> bool:
        """Whether somebody has removed the cache."""
        return self.folder is not None and not self.folder.exists()

    @property
    def are_young(self) -> bool:
        """Whether the server need not be asked."""
        return not self.is_gone and all(
            self._metadata.is_fresh(endpoint, None, self._asked_at) for endpoint in ("sessions", "datasets")
        )

    async def load(self) -> Path | None:
        """What an earlier mount, or another drive of this server, has put on the disk; asks nobody."""
        async with self._turn:
            await self._load()
        return self.folder

    async def look(self) -> Path | None:
        """The newest there are: one request where some are kept, or there are none, and one to fetch them.

        Raises TablesUnusableError, and what the requests raise.
        """
        async with self._turn:
            await self._load()
            if not self.are_young:
                asked_at = clock.now()
                await self._fetch_newer()
                self._asked_at = asked_at
                if self.folder is not None:
                    await trio.to_thread.run_sync(_note_time, self.folder, asked_at)
        return self.folder

    async def _load(self) -> None:
        folder = await trio.to_thread.run_sync(newest_folder, self._directory)
        if folder != self.folder:
            self.folder = folder
            self._asked_at = 0.0 if folder is None else await trio.to_thread.run_sync(_time_of, folder)

    async def _fetch_newer(self) -> None:
        if self.folder is not None:
            made = (await self._info()).get("date_created")
            if not isinstance(made, str) or made == await trio.to_thread.run_sync(made_at, self.folder):
                return
        try:
            self.folder = await fetch_tables(self._api, self._directory, self._refuse_from_the_future)
        except (errors.ServerFault, errors.NotFound) as error:
            if error.status not in _NO_TABLES:
                raise

    async def _info(self, tag: str = "") -> dict[str, Any]:
        """What the server says of its tables, or of those of a tag; nothing where it has none, or none any more."""
        try:
            info = await self._api.get(f"/cache/info/{quote_key(tag)}/" if tag else "/cache/info/")
        except (errors.ServerFault, errors.NotFound) as error:
            if error.status in _NO_TABLES:
                return {}
            raise
        return info if isinstance(info, dict) else {}

    def _refuse_from_the_future(self, made: str) -> None:
        if before_tables(made) > utc(clock.now() + self._api.clock_offset) + MOST_AHEAD:
            raise TablesUnusableError(f"The server's cache tables were made at {made}, which is still to come.")


def _time_of(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:  # another drive has just removed it
        return 0.0


def _note_time(folder: Path, asked_at: float) -> None:
    with contextlib.suppress(OSError):  # the next mount asks once more
        os.utime(folder, (asked_at, asked_at))
