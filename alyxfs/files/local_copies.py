"""The user's own copies of data files, as those in a ONE directory: found, compared with the database, and read.

Such a directory is often on a server (NFS) and may stop to answer. So everything that touches it is done in a few
threads of its own, each step for a bounded time. One step that takes longer, and the directory is left alone until it
answers again: its files come from the file server meanwhile.

A copy of the right size may yet be an old one. It is hashed before it is used for the first time, and used only if it
has the MD5 of the database; the hash is kept for as long as the file is the same, over remounts, too.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import stat
import threading
import time
from typing import TYPE_CHECKING, TypeVar

import trio

from alyxfs.files.disk.kept_values import KeptValues
from alyxfs.files.local_file import LocalFile, State, state_of
from alyxfs.tasks import nobody_waits

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Awaitable, Callable, Sequence

    from alyxfs.files.source import OpenFile, Source
    from alyxfs.tasks import Tasks

log = logging.getLogger(__name__)

Result = TypeVar("Result")

PATIENCE = 2.0
"""Seconds that a step may take. A disk that has to spin up takes longer, once."""
PAUSE = 10.0
"""Seconds between two tries whether a directory that did not answer does so again."""
THREADS = 4
"""Steps at a time; each that hangs keeps its thread."""
HASHED_AT_ONCE = 4 * 1024 * 1024
"""Bytes of a step of hashing."""
HASHERS = 2
"""Copies that are hashed at the same time."""
HASH_PATIENCE = 2.0
"""Seconds that who opens a copy waits for its hash, some GB on a disk of this machine: then the server has to do."""
SETTLED = 2.0
"""Seconds after a change for which a file's times may not show another one (FAT counts in these steps)."""


class LocalCopies:
    """State: ``_hashing`` changes only between awaits."""

    def __init__(self, tasks: Tasks, known: pathlib.Path, directory: pathlib.Path | None) -> None:
        """``known``: where hashes are kept; ``directory``: where all copies are, if that is one place."""
        self._tasks = tasks
        self._directory = directory
        self._hashes = KeptValues(known, names=4)
        self._threads = trio.CapacityLimiter(THREADS)
        self._closing = trio.CapacityLimiter(THREADS)
        self._hashers = trio.CapacityLimiter(HASHERS)
        self._hashing: dict[State, trio.Event] = {}
        self._is_away = False

    async def open(self, source: Source, otherwise: Callable[[], Awaitable[OpenFile]]) -> LocalFile | None:
        """The user's copy of this file, if there is one that is what the database means.

        ``otherwise`` opens the file in another way, for a copy that turns out not to do while it is read.
        """
        if source.digest is None or not source.local or self._is_away:
            return None
        descriptor = await self._open_any(source)
        if descriptor is None:
            return None
        try:
            state = await self.step(state_of, descriptor)
            digest = await self._digest(descriptor, state)
        except OSError as error:
            log.info("the local copy of %s is not used: %s", source.name, error)
            digest = None
        except BaseException:
            self.close_soon(descriptor)
            raise
        if digest != source.digest.lower():
            if digest is not None:
                log.info("the local copy of %s has MD5 %s, the database says %s", source.name, digest, source.digest)
            self.close_soon(descriptor)
            return None
        return LocalFile(self, descriptor, state, source.name, otherwise)

    async def has_size(self, paths: Sequence[pathlib.Path], size: int) -> bool:
        """Whether one of these is a file of this size; False where that cannot be found out in time."""
        try:
            return bool(paths) and await self.step(_has_size, paths, size)
        except OSError:
            return False

    async def step(self, work: Callable[..., Result], *arguments: object) -> Result:
        """Do a piece of work that touches the directory; raises OSError as that does, TimeoutError if it takes long."""
        if self._is_away:
            raise TimeoutError("the directory does not answer")
        with trio.move_on_after(PATIENCE):
            return await trio.to_thread.run_sync(work, *arguments, limiter=self._threads, abandon_on_cancel=True)
        if not self._is_away:
            self._is_away = True
            log.info("the ONE directory does not answer: its files come from the file server meanwhile")
            self._tasks.start(self._wait_until_back, failed=nobody_waits)
        raise TimeoutError("the directory does not answer")

    def close_soon(self, descriptor: int) -> None:
        """Let go of an open file, which may take its time as well."""

        async def close() -> None:
            with trio.CancelScope(shield=True), trio.move_on_after(PATIENCE):
                await trio.to_thread.run_sync(os.close, descriptor, limiter=self._closing, abandon_on_cancel=True)

        self._tasks.start(close, failed=nobody_waits)

    async def _wait_until_back(self) -> None:
        """Ask the directory for its free space, which no system answers from memory, until it tells, or fails to."""
        scope: trio.CancelScope | None = None
        while scope is None or scope.cancelled_caught:
            await trio.sleep(PAUSE)
            with trio.move_on_after(PATIENCE) as scope, contextlib.suppress(OSError):
                if self._directory is not None:
                    await trio.to_thread.run_sync(
                        os.statvfs, self._directory, limiter=self._threads, abandon_on_cancel=True
                    )
        self._is_away = False
        log.info("the ONE directory answers again")

    async def _open_any(self, source: Source) -> int | None:
        """A descriptor of the first candidate of the right size."""
        attempt = _Attempt()
        try:
            return await self.step(attempt.open_any, source.local, source.size)
        except OSError:
            return attempt.cancel()
        except BaseException:
            if (descriptor := attempt.cancel()) is not None:
                self.close_soon(descriptor)
            raise

    async def _digest(self, descriptor: int, state: State) -> str | None:
        """The MD5 of this content; None where that is not known yet."""
        known = self._hashes.get(*map(str, state))
        if known is not None:
            return known
        if state not in self._hashing:
            self._hashing[state] = hashed = trio.Event()
            self._tasks.start(self._hash, os.dup(descriptor), state, failed=nobody_waits, ended=hashed.set)
        with trio.move_on_after(HASH_PATIENCE):
            await self._hashing[state].wait()
        return self._hashes.get(*map(str, state))

    async def _hash(self, descriptor: int, state: State) -> None:
        began, digest, offset = time.time(), hashlib.md5(usedforsecurity=False), 0

        def add() -> int:
            piece = os.pread(descriptor, HASHED_AT_ONCE, offset)
            digest.update(piece)
            return len(piece)

        try:
            async with self._hashers:
                while count := await self.step(add):
                    offset += count
                is_same = await self.step(state_of, descriptor) == state and offset == state.size
        except OSError as error:
            log.info("a local copy could not be hashed: %s", error)
            return
        finally:
            self._hashing.pop(state, None)
            self.close_soon(descriptor)
        if is_same:
            is_settled = abs(began - max(state.modified, state.changed) / 1e9) > SETTLED
            self._hashes.put(*map(str, state), value=digest.hexdigest(), is_kept=is_settled)


class _Attempt:
    """Opening a file in a thread that may be left alone meanwhile: then it closes again what it has opened."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_abandoned = False
        self._descriptor: int | None = None

    def open_any(self, paths: Sequence[pathlib.Path], size: int | None) -> int | None:
        for path in paths:
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            except OSError:
                continue
            found = os.fstat(descriptor)
            is_it = stat.S_ISREG(found.st_mode) and found.st_size == (found.st_size if size is None else size)
            with self._lock:
                if is_it and not self._is_abandoned:
                    self._descriptor = descriptor
                    return descriptor
            os.close(descriptor)
        return None

    def cancel(self) -> int | None:
        """Nobody waits any more; returns what was opened in the last moment."""
        with self._lock:
            self._is_abandoned = True
            return self._descriptor


def _has_size(paths: Sequence[pathlib.Path], size: int) -> bool:
    for path in paths:
        try:
            found = path.stat()
        except OSError:
            continue
        if stat.S_ISREG(found.st_mode) and found.st_size == size:
            return True
    return False
