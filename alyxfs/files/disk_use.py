"""The disk of the cache: when what was written is safely there, how full it may become, and what if it refuses."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import trio

from alyxfs import free_space
from alyxfs.files.disk import eviction
from alyxfs.net import release_unused
from alyxfs.tasks import for_each
from alyxfs.worker_threads import WorkerThreads

if TYPE_CHECKING:
    import pathlib

    from alyxfs import errors
    from alyxfs.files.cached_file import CachedFile
    from alyxfs.files.memory.limiter import Memory
    from alyxfs.files.pool import FilePool

log = logging.getLogger(__name__)

GIB = 1 << 30
TIDY_PAUSE = 60.0
"""Seconds between two looks at how full the disk is, if nothing is written."""
RECORDED_AT_ONCE = 8
"""Files that are put on disk at the same time: one commit of the file system's journal serves them all."""
READY_TO_RECORD = 64
"""Files that wait for that: threads then take one after the other."""
RECORD_PAUSE = 5.0
"""Seconds between two rounds that put blocks on disk and mark them: what a power cut or kill may cost."""
DISK_PAUSE = 30.0
"""Seconds without caching after the disk refused a write."""


class DiskUse:
    """See the module. One for a cache; :meth:`record_for_ever` and :meth:`tidy_for_ever` are its tasks.

    State: ``_unrecorded`` has the files whose maps on disk do not mark all that was written to them.
    """

    def __init__(self, directory: pathlib.Path, limit_bytes: int, pool: FilePool, memory: Memory) -> None:
        self._directory = directory
        self.limit_bytes = limit_bytes
        """Bytes that data files may take on disk."""
        self.trouble = ""
        """Why data files are not cached, or were not when it was tried last, as a sentence; empty where they are."""
        self.occupied = 0
        """Bytes that they took when it was looked at last, and those that were written since."""
        self._pool = pool
        self._memory = memory
        self._unrecorded: dict[int, CachedFile] = {}
        self._recording = trio.Lock()
        self._threads = WorkerThreads(at_once=RECORDED_AT_ONCE, most=RECORDED_AT_ONCE)
        self._write_again_at = 0.0
        """Trio time."""
        self._written = 0
        """Bytes since the last look at how full the disk is, or some more."""
        self._tidy_now = trio.Event()

    def may_write(self) -> bool:
        """Whether the disk takes more."""
        return trio.current_time() >= self._write_again_at

    def refused(self, error: OSError) -> None:
        """Serve without caching for a while."""
        if self.may_write():
            log.info("data files are not cached for %g s: %s", DISK_PAUSE, error)
        self.trouble = (
            f"At {time.strftime('%H:%M:%S')} the disk of the cache refused to take data files "
            f"({error.strerror or error}): they come from the server until it does."
        )
        self._write_again_at = trio.current_time() + DISK_PAUSE
        self._tidy_now.set()

    def wrote(self, count: int) -> None:
        """So many bytes went to the disk: look at its limit now and then."""
        self.trouble = ""
        self.occupied += count
        self._written += count
        if self._written > min(self.limit_bytes // 20, GIB):
            self._written = 0
            self._tidy_now.set()

    def to_record(self, file: CachedFile) -> None:
        """The file has written blocks that its map does not mark yet."""
        self._unrecorded[id(file)] = file

    async def record_for_ever(self) -> None:
        """Put blocks on disk and mark them, off every reader's way."""
        was_busy, written = False, 0
        while True:
            await trio.sleep(RECORD_PAUSE)
            await self.record()
            is_busy = any(not item.done for file in self._pool.all() for item in file.fetches)
            if was_busy and not is_busy:
                self._memory.release()
                await trio.to_thread.run_sync(release_unused)
            was_busy = is_busy or self._written != written
            written = self._written

    async def record(self) -> None:
        """Put on disk and mark what has been written, and note what was used; also what another round has begun."""
        # What was begun must be ended: the runs are no longer noted anywhere else.
        with trio.CancelScope(shield=True):
            async with self._recording:
                files, self._unrecorded = self._unrecorded, {}
                files |= {id(file): file for file in self._pool.all() if file.is_used}
                await for_each(files.values(), self._record, at_once=READY_TO_RECORD, failed=_not_recorded)

    async def _record(self, file: CachedFile) -> None:
        await file.record(self._threads)

    async def tidy_for_ever(self) -> None:
        """Keep the directory within its limit."""
        while True:
            self._tidy_now = trio.Event()
            await self.tidy()
            with trio.move_on_after(TIDY_PAUSE):
                await self._tidy_now.wait()
            await trio.sleep(1)

    async def tidy(self) -> None:
        """Evict what was not used for long, if the disk is too full."""
        await self.record()
        self._pool.forget_recorded()
        try:
            room = await trio.to_thread.run_sync(eviction.evict, self._directory, self.limit_bytes)
        except OSError as error:
            log.info("the cache directory cannot be looked through: %s", error)
            return
        self.occupied = room.occupied
        if room.is_there and self.trouble:
            refusal = await trio.to_thread.run_sync(free_space.refusal, self._directory)
            if refusal is not None:
                log.info("the disk still takes no data files: %s", refusal)
                return
        if room.is_there:
            self._write_again_at = 0.0
            self.trouble = ""
        else:
            self._write_again_at = trio.current_time() + DISK_PAUSE
            self.trouble = "Data files are not cached for now: all room is taken by open and pinned files."
            log.info("data files are not cached for now: all room is taken by open and pinned files")


def _not_recorded(file: CachedFile, error: errors.AlyxfsError) -> None:
    log.info("what is on disk of %s is not marked, and is fetched again next time: %s", file.source.name, error)
