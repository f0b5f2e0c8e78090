"""The tables of a drive: each is made once for all who read it, while what it was made of is the newest."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

import trio

from alyxfs.tasks import nobody_waits
from alyxfs.tree.tables.spool import Source, Spool

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from alyxfs.tasks import Tasks

MOST_KEPT = 12
"""Tables that are kept ready on the disk; those that programs have open stay besides."""


class Tables:
    """State: ``_kept`` (used last comes last) changes in :meth:`spool`, which never awaits."""

    def __init__(self, directory: Path, tasks: Tasks) -> None:
        self._directory = directory
        self._tasks = tasks
        self._kept: dict[str, tuple[object, Spool]] = {}

    def basis(self, identity: str, is_current: Callable[[Spool], bool]) -> object | None:
        """What the table of this identity was made of, if there is one that is still current."""
        known = self._kept.get(identity)
        return known[0] if known is not None and is_current(known[1]) else None

    def spool(self, identity: str, basis: object, source: Callable[[], Source]) -> Spool:
        """The table of this identity, made of ``basis``; begun anew where it was made of another one, or failed."""
        known = self._kept.pop(identity, None)
        if known is not None and (known[0] != basis or known[1].failure is not None):
            known[1].drop()
            known = None
        known = known or (basis, Spool(self._directory, source(), self._close))
        self._kept[identity] = known
        while len(self._kept) > MOST_KEPT:
            self._kept.pop(next(iter(self._kept)))[1].drop()
        return known[1]

    def status(self) -> list[dict[str, object]]:
        """For ``.alyxfs/status.json``."""
        return [{"path": identity, **spool.progress()} for identity, (_, spool) in self._kept.items()]

    def _close(self, descriptor: int) -> None:
        """In a thread: the room of a large file is not given back in a moment."""
        self._tasks.start(trio.to_thread.run_sync, partial(os.close, descriptor), failed=nobody_waits)
