"""Unlinks: what a program means by one, and the moment in which it may be called off."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from alyxfs import errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from alyxfs.edits import Editor, SaveResult

UNLINK_GRACE = 3.0
"""Seconds between an unlink and its DELETE: programs that save by unlink and create make the file anew within it."""
DELETING_PROGRAMS = frozenset({"rm", "unlink", "find", "rmdir"})
"""Programs (their names in /proc) that unlink in order to delete: they get the server's answer at once."""
REPLACING_PROGRAMS = frozenset({"mv", "cp", "install", "git", "patch", "rsync", "sed", "perl"})
"""Programs that unlink in order to make the file anew: nothing that hangs from the record is in their way."""


@dataclass
class _Deletion:
    """An unlink that has been answered, but not yet sent."""

    endpoint: str
    key: str
    counted: bool
    """Whether the brake has counted it."""
    promise: int
    """Its number in the journal, where a drive that is killed meanwhile leaves it."""
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)


class Deletions:
    """Deletes records. ``_waiting`` changes only between awaits.

    ``deleted`` is told what came of each, ``note_error`` (operation, path, sentence) why one that had been answered
    failed.
    """

    def __init__(
        self,
        editor: Editor,
        nursery: trio.Nursery,
        deleted: Callable[[str, SaveResult], None],
        note_error: Callable[[str, str, str], None],
    ) -> None:
        self._editor = editor
        self._nursery = nursery
        self._deleted = deleted
        self._note_error = note_error
        self._waiting: dict[tuple[str, str], _Deletion] = {}

    def refuse_stopped(self, path: str, process: int) -> None:
        """Raise NotAllowed where a program that means to delete would be refused whatever the name leads to.

        ``rm -rf`` of thousands of records then costs the server nothing once the brake is pulled.
        """
        if program_name(process) in DELETING_PROGRAMS:
            self._editor.refuse_stopped(path)

    async def delete(self, directory: str, name: str, endpoint: str, key: str, process: int) -> None:
        """DELETE, at once for programs that mean it, else after a moment in which the name may be made anew."""
        program = program_name(process)
        if program in DELETING_PROGRAMS:
            self._deleted(f"{endpoint}/{name}", await self._editor.delete(endpoint, key))
            return
        is_replacing = program in REPLACING_PROGRAMS
        if not is_replacing:
            await self._editor.check_delete(endpoint, key)
        promise = await self._editor.promise_delete(endpoint, key)
        deletion = _Deletion(endpoint, key, counted=not is_replacing, promise=promise)
        self._waiting[directory, name] = deletion
        self._nursery.start_soon(self._delete_soon, directory, name, deletion)

    def key(self, directory: str, name: str) -> str | None:
        """The key of the record that is about to be deleted under this name."""
        deletion = self._waiting.get((directory, name))
        return None if deletion is None else deletion.key

    def call_off(self, directory: str, name: str) -> str | None:
        """The name is made anew: the record, whose key this is, stays."""
        deletion = self._waiting.pop((directory, name), None)
        if deletion is None:
            return None
        deletion.scope.cancel()
        self._nursery.start_soon(self._editor.withdraw, deletion.promise)
        return deletion.key

    async def finish(self) -> None:
        """At the unmount: send what was answered."""
        for directory, name in list(self._waiting):
            await self._delete_now(directory, name)

    async def _delete_soon(self, directory: str, name: str, deletion: _Deletion) -> None:
        with deletion.scope:
            await trio.sleep(UNLINK_GRACE)
        if self._waiting.get((directory, name)) is deletion:
            with trio.CancelScope(shield=True):  # it was answered; the deadlines of its requests bound it
                await self._delete_now(directory, name)

    async def _delete_now(self, directory: str, name: str) -> None:
        """From here on it cannot be called off: the name is free, and made anew it is a new record."""
        deletion = self._waiting.pop((directory, name))
        path = f"{deletion.endpoint}/{name}"
        try:
            result = await self._editor.delete(
                deletion.endpoint, deletion.key, checked=deletion.counted, promise=deletion.promise
            )
        except errors.AlyxfsError as error:
            self._note_error("unlink", path, f"{error} The record is still there.")
        else:
            self._deleted(path, result)


def program_name(process: int) -> str:
    """What /proc calls the program, or nothing where it has ended already."""
    try:
        return pathlib.Path(f"/proc/{process}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
