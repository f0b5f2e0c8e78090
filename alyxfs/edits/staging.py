"""What is staged: reviewed, sent or forgotten, on the drive that shows it or on another one of its server.

What is staged changes under a lock of its server alone: a drive with ``--stage`` holds it as long as it lasts, another
one for as long as it sends or forgets something.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

import trio

from alyxfs import errors, file_locks
from alyxfs.edits import sets
from alyxfs.edits.entry import State
from alyxfs.edits.proposals import kept, order
from alyxfs.edits.request import SaveResult
from alyxfs.edits.write import in_thread
from alyxfs.private_files import open_file
from alyxfs.tasks import for_each

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Iterator
    from pathlib import Path

    from alyxfs.alyx.metadata.cache import MetadataCache
    from alyxfs.alyx.rest import Api
    from alyxfs.edits.editor import Editor
    from alyxfs.edits.entry import Entry
    from alyxfs.edits.journal import Journal
    from alyxfs.edits.proposals import ProposedApi
    from alyxfs.edits.proposals.overlay import Overlay

LOCK = "staging.lock"


@contextmanager
def having(lock: Path) -> Iterator[None]:
    """Be the one who changes what is staged; raises ConfigurationError where another process is."""
    descriptor = open_file(lock, os.O_WRONLY)
    try:
        try:
            file_locks.lock(descriptor, lock, alone=True)
        except BlockingIOError as error:
            raise errors.ConfigurationError(
                "Another drive of this server is mounted with --stage, or is sending what is staged, which is one "
                "list: review, apply and discard it there, or unmount that drive."
            ) from error
        yield
    finally:
        file_locks.close(descriptor)


class Staging:
    """The staged writes of one server.

    ``editor`` sends them by ``api``; ``shown`` is what a drive with ``--stage`` shows them with, which has the lock.
    It is None on others.
    """

    def __init__(
        self, editor: Editor, api: Api, metadata: MetadataCache, journal: Journal, lock: Path, shown: ProposedApi | None
    ) -> None:
        self.editor = editor
        self._api = api
        self._metadata = metadata
        self._journal = journal
        self._lock = lock
        self._shown = shown
        self._count = 0
        self._one_command = trio.Lock()
        self._building: dict[int, set[int]] = {}
        """Which staged writes build on which, as :meth:`in_order` has found it: later ones change nothing of it."""

    async def load(self) -> list[str]:
        """Find out what earlier drives have staged, and show it; returns a sentence for each that cannot be shown."""
        entries = await self.entries()
        overlay, sentences = await self._laid_out(entries)
        if self._shown is not None:
            self._shown.overlay = overlay
            self._shown.besides = {each.number for each in entries} - {each.number for each in overlay}
        return sentences

    async def entries(self) -> list[Entry]:
        """What is staged, oldest first, with its documents."""
        schema = await self._metadata.schema()
        found = await in_thread(kept.staged_entries, self._journal, self._api.base_url, schema)
        self._count = len(found)
        return found

    @property
    def count(self) -> int:
        """How many writes are staged, as far as this drive knows."""
        return self._count if self._shown is None else len(list(self._shown.overlay)) + len(self._shown.besides)

    async def in_order(self, numbers: Collection[int]) -> list[list[int]]:
        """These, or all, in groups: those of one group are independent of each other, and come after earlier ones.

        Raises NotFound and NotAllowed for a number that is not staged.
        """
        chosen = await self._chosen(numbers)
        self._building = order.builds_on(await self._overlay())
        return order.levels(chosen, self._building)

    async def apply(
        self, numbers: Collection[int], in_set: int
    ) -> tuple[list[SaveResult], dict[int, errors.AlyxfsError]]:
        """Send these; returns what came of those that were, and by number why each of the others was not."""
        results: list[SaveResult] = []
        refused: dict[int, errors.AlyxfsError] = {}
        async with self._alone():
            if not self._building.keys() >= set(numbers):
                self._building = order.builds_on(await self._overlay())

            async def send_one(number: int) -> None:
                await self._refuse_too_early(self._building.get(number, ()))
                kept.refuse_not_staged(await self.editor.entry(number), self._api.base_url)
                result = await self.editor.apply(number)
                if self._shown is not None:
                    self._shown.overlay.sent(number, result.document)
                    self._shown.besides.discard(number)
                results.append(result)

            def failed(number: int, error: errors.AlyxfsError) -> None:
                refused[number] = error

            with sets.writing_in(in_set):
                await for_each(numbers, send_one, at_once=sets.AT_ONCE, failed=failed)
            for number, error in refused.items():
                await in_thread(self._journal.note_staged, number, str(error))
            self._count -= len(results)
        return results, refused

    async def discard(self, numbers: Collection[int]) -> tuple[list[SaveResult], dict[int, errors.AlyxfsError]]:
        """Forget these, or all, the newest first; the journal still knows them.

        Returns what was, and by number a Conflict for each on which later ones build that stay.
        """
        results: list[SaveResult] = []
        refused: dict[int, errors.AlyxfsError] = {}
        async with self._alone():
            overlay = await self._overlay()
            for number in reversed(await self._chosen(numbers)):
                try:
                    results.append(await self._discard(overlay, number))
                except errors.AlyxfsError as error:
                    refused[number] = error
            self._count -= len(results)
        return results, refused

    async def _discard(self, overlay: Overlay, number: int) -> SaveResult:
        entry = await self.editor.entry(number)
        sentence = f"The {entry.operation} of {entry.endpoint}/{entry.key} is staged no longer."
        found = overlay.record_of(number)
        if found is None:  # of no record, or of one that the server has no endpoint for
            await in_thread(partial(self._journal.record, number, State.WITHDRAWN, remark=sentence))
            if self._shown is not None:
                self._shown.besides.discard(number)
            return SaveResult(number, entry.endpoint, entry.key, None, {}, sentence)
        record, proposal = found
        in_the_way = overlay.in_the_way(record, proposal, record.first_before)
        if in_the_way:
            writes = ", ".join(f"write {each}" for each in sorted(in_the_way))
            raise errors.Conflict(f"Later ones build on write {number} ({writes}): discard those, too.")
        others = list(record.takes_with_it) if proposal.method == "DELETE" else []
        overlay.withdraw(record, proposal)
        if self._shown is not None:
            self._shown.forget_all(others)
        return await self.editor.note_withdrawn(entry, proposal, sentence)

    async def _chosen(self, numbers: Collection[int]) -> list[int]:
        """Oldest first."""
        if not numbers:
            return [entry.number for entry in await self.entries()]
        for number in numbers:
            kept.refuse_not_staged(await self.editor.entry(number), self._api.base_url)
        return sorted(set(numbers))

    @asynccontextmanager
    async def _alone(self) -> AsyncGenerator[None, None]:
        """One command at a time, so that nothing is sent by two; a drive that shows what is staged has the lock."""
        async with self._one_command:
            with nullcontext() if self._shown is not None else having(self._lock):
                yield

    async def _overlay(self) -> Overlay:
        if self._shown is not None:
            return self._shown.overlay
        return (await self._laid_out(await self.entries()))[0]

    async def _laid_out(self, entries: list[Entry]) -> tuple[Overlay, list[str]]:
        return kept.overlay_of(entries, await self._metadata.schema(), self._api.address)

    async def _refuse_too_early(self, needed: Collection[int]) -> None:
        waiting = [number for number in sorted(needed) if (await self.editor.entry(number)).state is State.STAGED]
        if waiting:
            writes = ", ".join(f"write {number}" for number in waiting)
            raise errors.Conflict(f"It builds on {writes}, still staged: apply that first.")
