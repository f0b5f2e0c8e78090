"""The datasets of each tag: what a paper was made from. Nothing of it is asked for until somebody looks at it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import trio

from alyxfs import clock, errors, file_names
from alyxfs.alyx.datasets.cache_tables import TablesUnusableError, can_read_tables, newest_folder, read_tables
from alyxfs.alyx.datasets.delta import Delta
from alyxfs.alyx.datasets.release_tables import ReleaseTables, about_tables
from alyxfs.alyx.datasets.snapshot import Snapshot
from alyxfs.alyx.metadata.freshness import DOWN
from alyxfs.single_flight import SingleFlight

if TYPE_CHECKING:
    from pathlib import Path

    from alyxfs.alyx.datasets.cache_tables import Tables
    from alyxfs.alyx.metadata.cache import MetadataCache
    from alyxfs.alyx.rest import Api
    from alyxfs.tasks import Tasks

PATIENCE = 25.0
"""Seconds that who looks waits for the tables of a tag; they go on coming meanwhile."""
FAILURE_PAUSE = 10.0
"""Seconds after a failure before the server is asked again: what is known serves meanwhile."""


class _Release:
    """State: ``contents`` is replaced by the one refresh under way, the rest by those who wait for it."""

    def __init__(self, kept: ReleaseTables) -> None:
        self.kept = kept
        self.contents: tuple[Tables, Snapshot] | None = None
        self.failure: errors.AlyxfsError | None = None
        """Why the last refresh brought nothing."""
        self.not_before = 0.0
        """Unix seconds before which the server is not asked again after a failure."""


class Releases:
    """State: ``_known`` grows; ``_has_looked`` is set once, when what earlier mounts have kept is there.

    ``_named`` and ``version`` change when tables have come.
    """

    def __init__(self, api: Api, metadata: MetadataCache, directory: Path, tasks: Tasks) -> None:
        self._api = api
        self._metadata = metadata
        self._directory = directory
        self._flights: SingleFlight[str, None] = SingleFlight(tasks)
        self._known: dict[str, _Release] = {}
        self._named: list[tuple[str, Tables]] = []
        """The tables that are there, by the tags as they are spelled in paths; replaced with each of them."""
        self._can_read = can_read_tables()
        self._has_looked = False
        self.version = 0
        """Counts what is known anew."""

    async def contents(self, tag: str) -> Snapshot:
        """The sessions and files of a tag, at most one time to live old, or older where the server is away.

        Raises NeverFound where they cannot be read here, DeadlineExceeded where they are still coming, and what the
        requests raise.
        """
        if not self._can_read:
            raise errors.NeverFound("The data of a tag need pyarrow: pip install 'alyxfs[tables]'.")
        release = self._release(tag)
        if not (release.contents is not None and release.kept.are_young) and release.not_before <= clock.now():
            await self._refresh(tag, release)
        if release.contents is None and release.failure is not None:
            raise release.failure.again()
        if release.contents is None:
            raise errors.DeadlineExceeded(
                f"The datasets of {tag!r} are still coming: {release.kept.listed:,} of {release.kept.of:,} are here. "
                "Look again in a while."
            )
        return release.contents[1]

    async def folder(self, tag: str) -> Path | None:
        """Where the tables of a tag lie."""
        await self.contents(tag)
        known = self._release(tag).contents
        return None if known is None else known[0].folder

    async def tags_of(self, session: str) -> dict[str, str]:
        """The tags of a session's datasets by their ids, with commas between them: of the tags that were entered here.

        They are spelled as in ``releases/``, a comma in a tag as ``%2C``. Costs no request.
        """
        if not self._has_looked and self._can_read:
            await self._look_for_kept()
        return self.known_tags(session)

    def known_tags(self, session: str) -> dict[str, str]:
        """The same of what is in memory; never awaits, and may be called in a thread."""
        found: dict[str, str] = {}
        for name, tables in self._named:
            datasets = tables.datasets_of(session)
            if not found:
                found = dict.fromkeys(datasets, name)
                continue
            for dataset in datasets:
                found[dataset] = f"{found[dataset]},{name}" if dataset in found else name
        return found

    def forget_idle(self) -> None:
        """Give back the memory of what was looked at."""
        for release in self._known.values():
            if release.contents is not None:
                tables, contents = release.contents
                contents.forget_idle()
                tables.release()

    def status(self) -> dict[str, object]:
        """For ``.alyxfs/status.json``."""
        return {
            tag: {"made": release.contents[0].made, "datasets": len(release.contents[0])}
            if release.contents is not None
            else {"listed": release.kept.listed, "of": release.kept.of}
            for tag, release in self._known.items()
        }

    def _release(self, tag: str) -> _Release:
        if tag not in self._known:
            folder = hashlib.blake2b(tag.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
            self._known[tag] = _Release(ReleaseTables(self._api, self._metadata, self._directory / folder, tag))
        return self._known[tag]

    async def _refresh(self, tag: str, release: _Release) -> None:
        async def look() -> None:
            try:
                if release.contents is None:
                    await self._use(release, await release.kept.load())
                await self._use(release, await release.kept.look())
            except TablesUnusableError as error:
                raise errors.ServerFault(f"The datasets of {tag!r} cannot be shown: {error}") from error

        release.failure = None
        try:
            with trio.move_on_after(PATIENCE):
                await self._flights.result(tag, look)
        except DOWN as error:
            release.failure = error.again()
            release.not_before = clock.now() + FAILURE_PAUSE

    async def _use(self, release: _Release, folder: Path | None) -> None:
        if folder is None or (release.contents is not None and release.contents[0].folder == folder):
            return
        tables = await trio.to_thread.run_sync(read_tables, folder)
        release.contents = tables, Snapshot(tables, Delta())
        self._named = [
            (file_names.encode(tag).replace(",", "%2C"), known.contents[0])
            for tag, known in sorted(self._known.items())
            if known.contents is not None
        ]
        self.version += 1

    async def _look_for_kept(self) -> None:
        """Use what earlier mounts have kept, as far as it can be read."""
        for tag in await trio.to_thread.run_sync(_kept_tags, self._directory):
            release = self._release(tag)
            try:
                if release.contents is None:
                    await self._use(release, await release.kept.load())
            except TablesUnusableError:  # told to who enters it
                continue
        self._has_looked = True


def _kept_tags(directory: Path) -> list[str]:
    folders = [newest_folder(each) for each in directory.glob("*/")]
    tags = [about_tables(folder).get("tag") for folder in folders if folder is not None]
    return [tag for tag in tags if isinstance(tag, str)]
