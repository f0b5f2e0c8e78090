"""``alyxfs mount --trace FILE``: the manifest of all that a drive serves, written while it does."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import trio

from alyxfs import clock, crate, errors, json_text
from alyxfs.private_files import open_file, write_whole
from alyxfs.tasks import background_tasks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from alyxfs.kernel.traces import Trace

WRITTEN_EVERY = 2.0
"""Seconds: what a drive loses of its manifest that is killed."""
SHARE = 20
"""A manifest so long that writing it takes longer than a 20th of that is written so much less often."""


class TraceFile:
    """State: ``_written`` changes in :meth:`write`, which is called by one task at a time."""

    def __init__(self, path: Path, trace: Trace, server: str, mount_point: Path, tell: Callable[[str], object]) -> None:
        """``tell`` is called with what fails later on. Raises ConfigurationError where there can be no such file."""
        if path.is_relative_to(mount_point):
            raise errors.ConfigurationError(f"{path} would be in the drive itself: name another place for --trace.")
        try:
            os.close(open_file(path, os.O_WRONLY))
        except OSError as error:
            raise errors.ConfigurationError(f"{path} cannot be written (--trace): {error.strerror}.") from error
        self._path = path
        self._trace = trace
        self._server = server
        self._name = f"all that was read from the drive of {server} at {mount_point}"
        self._tell = tell
        self._written = -1

    @contextlib.asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Written now, again and again while the block lasts, and at its end."""
        await self.write(is_active=True)
        try:
            async with background_tasks() as tasks:
                tasks.keep(self._write_for_ever)
                yield
        finally:
            with trio.CancelScope(shield=True):
                await self.write(is_active=False)

    async def _write_for_ever(self) -> None:
        while True:
            began = trio.current_time()
            if self._trace.changes != self._written:
                await self.write(is_active=True)
            await trio.sleep(max(WRITTEN_EVERY, SHARE * (trio.current_time() - began)))

    async def write(self, *, is_active: bool) -> None:
        """Write it whole; a disk that does not take it is told of, and tried again."""
        trace = self._trace
        changes, read = trace.changes, trace.so_far()
        run = crate.Run(self._name, trace.began, clock.now(), is_active=is_active, left_out=trace.left_out)
        try:
            await trio.to_thread.run_sync(self._write, run, read)
        except OSError as error:
            self._tell(f"The manifest of what is read cannot be written (--trace): {error.strerror}.")
        else:
            self._written = changes

    def _write(self, run: crate.Run, read: list[dict[str, object]]) -> None:
        write_whole(self._path, json_text.render(crate.manifest(run, [(self._server, one) for one in read])))
