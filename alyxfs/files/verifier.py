"""When complete files are compared with the database: one after the other, while nobody reads, and none twice."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

from alyxfs.files.disk.block_file import Verdict
from alyxfs.files.verify import verify
from alyxfs.tasks import nobody_waits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from alyxfs.files.cached_file import CachedFile
    from alyxfs.files.memory.buffers import Buffers
    from alyxfs.net import Network
    from alyxfs.tasks import Tasks

QUIET = 0.3
"""Seconds without a read after which a complete file is verified, some MiB at a time."""
LONGEST_QUIET = 5.0
"""Seconds after which the next of these is hashed although somebody reads all the time."""
HEARD_WITHIN = 10.0
"""Seconds that somebody waits for what a hash tells."""


class Verifier:
    """See the module.

    State: ``_under_way`` has the files that are being hashed, or are to be, and ``_with_others`` those that a program
    hashes as it copies them (see delivery). Both change here alone.
    """

    def __init__(
        self,
        network: Network,
        tasks: Tasks,
        buffers: Buffers,
        read_at: Callable[[], float],
        closed: Callable[[CachedFile], None],
    ) -> None:
        self._network = network
        self._tasks = tasks
        self._buffers = buffers
        self._read_at = read_at
        """Trio time of the last read."""
        self._closed = closed
        self._one_at_a_time = trio.CapacityLimiter(1)
        self._under_way: set[int] = set()
        self._with_others: set[int] = set()

    @property
    def is_busy(self) -> bool:
        """Whether any file is being verified."""
        return bool(self._under_way)

    def begin(self, file: CachedFile) -> None:
        """Every block of the file is on disk: see in the background whether they are right."""
        if file.source.digest is None or id(file) in self._under_way | self._with_others:
            return
        self._under_way.add(id(file))
        file.handles += 1

        def ended() -> None:
            self._under_way.discard(id(file))
            self._closed(file)

        self._tasks.start(self._verify, file, failed=nobody_waits, ended=ended)

    async def heard(self, files: Iterable[CachedFile]) -> None:
        """Wait until it is known whether these are what the database says, as far as that does not take long."""
        with trio.move_on_after(HEARD_WITHIN):
            for file in files:
                while id(file) in self._under_way:  # noqa: ASYNC110 - the end of a task tells nobody
                    await trio.sleep(0.01)

    @contextmanager
    def left_to_reader(self, file: CachedFile) -> Iterator[None]:
        """Who has the file open hashes it, and tells :meth:`take_hash`: without that it is verified afterwards."""
        is_first = id(file) not in self._with_others
        self._with_others.add(id(file))
        file.handles += 1
        try:
            yield
        finally:
            if is_first:
                self._with_others.discard(id(file))
            if file.blocks is not None and file.blocks.verdict is Verdict.UNKNOWN and file.is_recorded_whole:
                self.begin(file)
            self._closed(file)

    async def take_hash(self, file: CachedFile, found: str) -> None:
        """Whoever has read all of the file from the disk found this MD5. What differs is looked into as any file is."""
        blocks = file.blocks
        is_right = file.source.digest is not None and found == file.source.digest.lower()
        if blocks is not None and is_right and blocks.verdict is Verdict.UNKNOWN and not file.absent:
            await blocks.in_thread(blocks.set_verdict, Verdict.VERIFIED)

    async def _verify(self, file: CachedFile) -> None:
        async with self._one_at_a_time:
            await verify(file, self._network, self._buffers, self._quiet)

    async def _quiet(self) -> None:
        """Wait until nobody has read for a moment, at most LONGEST_QUIET."""
        with trio.move_on_after(LONGEST_QUIET):
            while (wait := self._read_at() + QUIET - trio.current_time()) > 0:  # noqa: ASYNC110 - it may grow meanwhile
                await trio.sleep(wait)
