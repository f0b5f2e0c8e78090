"""Unlinks: what a program means by one, and the moment in which it may be called off."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import trio

from alyxfs import errors
from alyxfs.processes import program_name
from alyxfs.tasks import nobody_waits

if TYPE_CHECKING:
    from collections.abc import Callable

    from alyxfs.edits import Editor, SaveResult, WriteTasks
    from alyxfs.tasks import Tasks

UNLINK_GRACE = 3.0
"""Seconds between an unlink and its DELETE: programs that save by unlink and create make the file anew within it."""
DELETING_PROGRAMS = frozenset({"rm", "unlink", "find", "rmdir"})
"""Programs (their names in /proc) that unlink in order to delete: they get the server's answer at once."""
REPLACING_PROGRAMS = frozenset(
    {"mv", "cp", "install", "git", "patch", "rsync", "sed", "perl"}
    | {"tar", "bsdtar", "cpio", "bsdcpio", "pax", "unzip", "bsdunzip", "7z", "7za", "7zr", "ar", "rcs", "ci", "co"}
)
"""Programs that unlink in order to make the file anew: nothing that hangs from the record is in their way."""


@dataclass
class _Deletion:
    """An unlink that has been answered, but not yet sent."""

    endpoint: str
    key: str
    counted: bool
    """Whether the limit on deletes has counted it."""
    promise: int
    """Its number in the journal, where a drive that is killed meanwhile leaves it."""
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)


class Deletions:
    """Deletes records. ``_waiting`` and ``_sent``, which has those that cannot be called off, change between awaits.

    ``deleted`` is told what came of each, ``note_error`` (operation, path, sentence) why one that had been answered
    failed.
    """

    def __init__(
        self,
        editor: Editor,
        tasks: Tasks,
        writes: WriteTasks,
        deleted: Callable[[str, SaveResult], None],
        note_error: Callable[[str, str, str], None],
    ) -> None:
        self._editor = editor
        self._tasks = tasks
        self._writes = writes
        self._deleted = deleted
        self._note_error = note_error
        self._waiting: dict[tuple[str, str], _Deletion] = {}
        self._sent: dict[tuple[str, str], str] = {}

    def __len__(self) -> int:
        """How many were answered and are not sent yet."""
        return len(self._waiting)

    def refuse_stopped(self, path: str, process: int) -> None:
        """Raise NotAllowed where a program that means to delete would be refused whatever the name leads to.

        ``rm -rf`` of thousands of records then costs the server nothing once the limit on deletes is reached.
        """
        if program_name(process) in DELETING_PROGRAMS:
            self._editor.guard.refuse_stopped(path)

    async def delete(self, directory: str, name: str, endpoint: str, key: str, process: int) -> None:
        """DELETE, at once for programs that mean it, else after a moment in which the name may be made anew."""
        program = program_name(process)
        if program in DELETING_PROGRAMS:
            await self._writes.run(f"{endpoint}/{name}", partial(self._delete_at_once, endpoint, name, key))
            return
        is_replacing = program in REPLACING_PROGRAMS
        if not is_replacing:
            await self._editor.check_delete(endpoint, key)
        promise = await self._editor.promise_delete(endpoint, key)
        deletion = _Deletion(endpoint, key, counted=not is_replacing, promise=promise)
        self._waiting[directory, name] = deletion

        def failed(error: errors.AlyxfsError) -> None:
            if self._waiting.get((directory, name)) is deletion:
                del self._waiting[directory, name]
            self._note_error("unlink", f"{endpoint}/{name}", str(error))

        self._tasks.start(self._delete_soon, directory, name, deletion, failed=failed)

    def key(self, directory: str, name: str) -> str | None:
        """The key of the record that is about to be deleted, or is being deleted, under this name."""
        deletion = self._waiting.get((directory, name))
        return self._sent.get((directory, name)) if deletion is None else deletion.key

    def call_off(self, directory: str, name: str) -> str | None:
        """The name is made anew: the record, whose key this is, stays."""
        deletion = self._waiting.pop((directory, name), None)
        if deletion is None:
            return None
        deletion.scope.cancel()
        self._tasks.start(self._editor.withdraw, deletion.promise, failed=nobody_waits)
        return deletion.key

    async def finish(self) -> None:
        """At the unmount: send what was answered."""
        for directory, name in list(self._waiting):
            await self._delete_now(directory, name)

    async def _delete_at_once(self, endpoint: str, name: str, key: str) -> None:
        self._deleted(f"{endpoint}/{name}", await self._editor.delete(endpoint, key))

    async def _delete_soon(self, directory: str, name: str, deletion: _Deletion) -> None:
        with deletion.scope:
            await trio.sleep(UNLINK_GRACE)
        if self._waiting.get((directory, name)) is deletion:
            with trio.CancelScope(shield=True):  # it was answered; the deadlines of its requests bound it
                await self._delete_now(directory, name)

    async def _delete_now(self, directory: str, name: str) -> None:
        """From here on it cannot be called off: the name is free, and made anew it is a new record."""
        deletion = self._waiting.pop((directory, name))
        self._sent[directory, name] = deletion.key
        path = f"{deletion.endpoint}/{name}"
        try:
            result = await self._editor.delete(
                deletion.endpoint, deletion.key, checked=deletion.counted, promise=deletion.promise
            )
        except errors.AlyxfsError as error:
            self._note_error("unlink", path, f"{error} The record is still there.")
        else:
            self._deleted(path, result)
        finally:
            self._sent.pop((directory, name), None)
