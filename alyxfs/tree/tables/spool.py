"""A file that grows while it is read: private, without a name, gone with the drive."""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import trio

from alyxfs import clock, errors, free_space
from alyxfs.private_files import open_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Source(Protocol):
    """Where the bytes of a spool come from."""

    async def write_more(self, descriptor: int) -> int | None:
        """Write the next bytes at the end of the file, and return how many; None when there are no more.

        A call that raises, or is cancelled, may be made again and then goes on where the last one ended.
        """

    def progress(self) -> dict[str, object]:
        """For ``.alyxfs/status.json``: how much has come."""

    def close(self) -> None:
        """Nothing more is wanted."""


class Spool:
    """State: ``size``, ``is_whole`` and ``failure`` change in :meth:`_grow`, one at a time (``_turn``).

    ``_users`` are calls and open files; the last one closes a spool that was dropped.
    """

    def __init__(self, directory: Path, source: Source, close: Callable[[int], None]) -> None:
        self.version = secrets.token_hex(8)
        """Tells its content from any other."""
        self.begun_at = self.grown_at = clock.now()
        """Unix seconds; and when it grew last."""
        self.size = 0
        """Bytes that have come."""
        self.is_whole = False
        self.failure: errors.AlyxfsError | None = None
        """Why it can never be whole."""
        self.is_closed = False
        self._directory = directory
        self._source = source
        self._close = close
        self._descriptor: int | None = None
        self._turn = trio.Lock()
        self._users = 0
        self._is_dropped = False

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep the file open in the block."""
        self.hold()
        try:
            yield
        finally:
            self.release()

    def hold(self) -> None:
        """Keep the file open until it is released. Raises FileChanged where it is closed already."""
        if self.is_closed:
            raise errors.FileChanged("There is a newer table: open it again.")
        self._users += 1

    def release(self) -> None:
        """See :meth:`hold`."""
        self._users -= 1
        self._close_if_unused()

    def drop(self) -> None:
        """Nobody will open it any more."""
        self._is_dropped = True
        self._close_if_unused()

    def progress(self) -> dict[str, object]:
        """For ``.alyxfs/status.json``."""
        return {"bytes": self.size, "whole": self.is_whole, **self._source.progress()}

    async def read(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes as soon as there are any; none at the end alone."""
        with self.in_use():
            while offset >= self.size and not self.is_whole:
                await self._grow(offset)
            count = min(size, self.size - offset)
            if count <= 0 or self._descriptor is None:
                return b""
            return await trio.to_thread.run_sync(os.pread, self._descriptor, count, offset)

    async def begin(self) -> None:
        """Wait for the first bytes."""
        await self.read(0, 1)

    async def finish(self) -> None:
        """Wait for all bytes."""
        with self.in_use():
            while not self.is_whole:
                await self.grow()

    async def grow(self) -> None:
        """Wait for some more bytes, or the end."""
        await self._grow(self.size)

    def lines(self) -> Iterator[bytes]:
        """All lines of a whole file of lines, without their ends. Blocks; the caller holds it."""
        if self._descriptor is None:
            return
        with open(self._descriptor, "rb", closefd=False) as file:
            file.seek(0)
            for line in file:
                yield line.rstrip(b"\n")

    async def _grow(self, beyond: int) -> None:
        async with self._turn:
            if self.failure is not None:
                raise self.failure.again()
            if self.is_whole or self.size > beyond:
                return
            try:
                if self._descriptor is None:
                    self._descriptor = await trio.to_thread.run_sync(_new_file, self._directory)
                written = await self._source.write_more(self._descriptor)
            except OSError as error:
                self.failure = errors.NotKept(f"A table could not be written in {self._directory}: {error.strerror}.")
                raise self.failure.again() from error
            self.size += written or 0
            self.grown_at = clock.now()
            self.is_whole = written is None

    def _close_if_unused(self) -> None:
        if self._is_dropped and not self._users and not self.is_closed:
            self.is_closed = True
            self._source.close()
            if self._descriptor is not None:
                self._close(self._descriptor)


def append(descriptor: int, content: bytes) -> int:
    """Write at the end of the file; returns the number of bytes. Blocks. Raises OSError where no room would be left."""
    with free_space.taking(descriptor, len(content)):
        left = memoryview(content)
        while left:
            left = left[os.write(descriptor, left) :]
    return len(content)


def _new_file(directory: Path) -> int:
    """A file that no name leads to: it goes when it is closed, or its process ends."""
    path = directory / f"table-{secrets.token_hex(8)}"
    descriptor = open_file(path, os.O_RDWR | os.O_EXCL | os.O_APPEND)
    path.unlink()
    return descriptor
