"""What is being written: drafts of records, local files beside them, and names that editors moved away.

Editors save by writing scratch files and renaming. So a record's name may be away for a moment, or stand under
another name, while the record itself stays untouched on the server; only a draft that is a whole JSON object is sent.
"""

from __future__ import annotations

import logging
import pathlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import trio

from alyxfs import documents, errors
from alyxfs.tree.draft import OpenDraft, RecordHandle
from alyxfs.tree.scratch import ScratchFile, ScratchLink

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from alyxfs.alyx.library import Library
    from alyxfs.alyx.schema import Endpoint
    from alyxfs.edits import Editor, SaveResult
    from alyxfs.tree.node import File

log = logging.getLogger(__name__)

UNLINK_GRACE = 1.0
"""Seconds between an unlink and its DELETE: programs that save by unlink and create make the file anew within it."""
AWAY_SECONDS = 30.0
"""Editors make a name anew at once; after this the record shows under it again, whatever became of the editor."""
DELETING_PROGRAMS = frozenset({"rm", "unlink", "find", "rmdir"})
"""Programs (their names in /proc) that unlink in order to delete: they get the server's answer at once."""
SERVER_GIVEN = ("id", "url")
"""Fields that only the server fills in: a new file that holds one is a copy of a record, not a new record."""


@dataclass
class Target:
    """What a draft is saved to."""

    endpoint: Endpoint
    key: str | None
    """The record's look-up; None for a record that is still to be made."""
    name: str
    """The name of its file without ``.json``."""
    directory: str
    """Identity of the directory it stands in."""
    defaults: dict[str, Any] = field(default_factory=dict)
    """Values of a query's directory for fields that a new record leaves out."""

    @property
    def path(self) -> str:
        """For messages."""
        return f"{self.endpoint.name}/{self.name}.json"


@dataclass
class _Deletion:
    """An unlink that has been answered, but not yet sent."""

    endpoint: str
    key: str
    scope: trio.CancelScope


class Workbench:
    """The writing side of one drive.

    Its dictionaries change only between awaits. ``changed`` tells which nodes (by the beginning of their identity) the
    kernel must ask for again; ``note_error`` takes operation, path and sentence.
    """

    def __init__(
        self,
        editor: Editor,
        library: Library,
        nursery: trio.Nursery,
        changed: Callable[[Collection[str]], None],
        note_error: Callable[[str, str, str], None],
    ) -> None:
        self.editor = editor
        self.note_error = note_error
        self._library = library
        self._nursery = nursery
        self._changed = changed
        self._local: dict[tuple[str, str], File | ScratchLink] = {}
        self._away: dict[tuple[str, str], tuple[str, float]] = {}
        """Names whose record was moved away, with its key and the trio time at which it shows again by itself."""
        self._made: dict[tuple[str, str], str] = {}
        """Names under which records were made, by endpoint and name, with the key that the server gave."""
        self._drafts: dict[tuple[str, str], OpenDraft] = {}
        self._deletions: dict[tuple[str, str], _Deletion] = {}

    # Names

    def local(self, directory: str, name: str) -> File | ScratchLink | None:
        """The local file of this name."""
        return self._local.get((directory, name))

    def local_names(self, directory: str) -> list[str]:
        """The names of all local files in a directory."""
        return [name for where, name in self._local if where == directory]

    def is_away(self, directory: str, name: str) -> bool:
        """Whether the record of this name was moved away or unlinked."""
        return self.away_key(directory, name) is not None

    def made_as(self, endpoint: str, name: str) -> str | None:
        """The key of the record that was made under this name."""
        return self._made.get((endpoint, name))

    def put(self, directory: str, name: str, file: File | ScratchLink) -> None:
        """A local file appears."""
        self._local[directory, name] = file

    def take(self, directory: str, name: str) -> None:
        """A local file goes; a record that was moved away to it has its own name again."""
        file = self._local.pop((directory, name))
        if isinstance(file, ScratchFile) and file.stands_for is not None:
            self._away.pop((directory, file.stands_for), None)

    def move_away(self, directory: str, name: str, key: str, new_name: str, content: bytes) -> None:
        """``X.json`` becomes ``X.json~``: the record stays where it is, its content is kept under the new name."""
        file = ScratchFile(content)
        file.stands_for = name
        self._local[directory, new_name] = file
        self._away[directory, name] = (key, trio.current_time() + AWAY_SECONDS)

    def away_key(self, directory: str, name: str) -> str | None:
        """The key of the record whose name was moved away or unlinked."""
        deletion = self._deletions.get((directory, name))
        if deletion is not None:
            return deletion.key
        key, until = self._away.get((directory, name), (None, 0.0))
        return key if trio.current_time() < until else None

    def move(self, directory: str, name: str, new_name: str) -> None:
        """Rename a local file; one that has the new name already is replaced."""
        file = self._local.pop((directory, name))
        if (directory, new_name) in self._local:
            self.take(directory, new_name)
        self._local[directory, new_name] = file

    def replaced(self, directory: str, name: str, new_name: str, target: Target) -> None:
        """A local file was saved under a record's name: it is gone, and the name is the record's again."""
        self._local.pop((directory, name), None)
        self.come_back(directory, new_name)
        if target.key is not None:
            self._changed(self._nodes(target.endpoint, target.key))

    def come_back(self, directory: str, name: str) -> str | None:
        """The name is made anew: the key of the record that it stood for, whose deletion is called off."""
        deletion = self._deletions.pop((directory, name), None)
        if deletion is not None:
            deletion.scope.cancel()
            return deletion.key
        key = self.away_key(directory, name)
        self._away.pop((directory, name), None)
        return key

    # Drafts

    def draft_of(self, endpoint: str, key: str) -> OpenDraft | None:
        """The draft of a record that somebody has open for writing."""
        return self._drafts.get((endpoint, key))

    async def open_record(self, target: Target, process: int, *, truncate: bool) -> RecordHandle:
        """Open an existing record for writing."""
        assert target.key is not None
        opened = self.draft_of(target.endpoint.name, target.key)
        if opened is None:
            record = await self._library.record(target.endpoint.name, target.key)
            if not truncate:
                self.editor.bases.served(process, target.endpoint.name, target.key, record.document)
            # Another program may have opened it while the record was fetched.
            opened = self.draft_of(target.endpoint.name, target.key)
        if opened is None:
            opened = OpenDraft(self, target, record.content)
            self._drafts[target.endpoint.name, target.key] = opened
        if truncate and opened.draft.size:
            opened.draft.truncate(0)
        return RecordHandle(self, opened, process)

    def handle_of(self, opened: OpenDraft, process: int) -> RecordHandle:
        """Another handle of an open draft."""
        return RecordHandle(self, opened, process)

    def open_new(self, target: Target, process: int) -> tuple[OpenDraft, RecordHandle]:
        """Open a record that is still to be made."""
        opened = OpenDraft(self, target, b"")
        return opened, RecordHandle(self, opened, process)

    def forget_draft(self, opened: OpenDraft) -> None:
        """The last writer has gone: the record is again what the server says."""
        target = opened.target
        if target.key is not None:
            self._drafts.pop((target.endpoint.name, target.key), None)
            self._changed(self._nodes(target.endpoint, target.key))

    # Saving

    async def save(self, target: Target, content: bytes, process: int) -> None:
        """PATCH or POST; raises what refuses it. A copy of a record under a new name stays on this machine."""
        name = target.endpoint.name
        if target.key is None and (field_name := server_given(content)):
            self.note_error(
                "save",
                target.path,
                f"The file holds the {field_name} of a record, so it was not sent as a new one; it stays here. "
                f"Rename it over the record to save it there, or take {' and '.join(SERVER_GIVEN)} out for a new one.",
            )
            return
        if target.key is None:
            result = await self.editor.create(name, target.name, content, defaults=target.defaults)
        else:
            base = self.editor.bases.base_of(process, name, target.key)
            if base is None:
                base = (await self._library.record(name, target.key)).document
            result = await self.editor.save(name, target.key, base, content, writer=process)
        await self._saved(target, result)

    async def _saved(self, target: Target, result: SaveResult) -> None:
        """Have the record as it is now at hand, so that its size is right when the program looks at it next."""
        log.info("%s", result.sentence)
        if result.dry_run:
            self.note_error("dry run", target.path, f"{result.sentence} Nothing was sent: this is a dry run.")
            return
        before = target.key
        if before is None or before != result.key:
            self._made[target.endpoint.name, f"{target.name}.json"] = result.key
        if before is not None and before != result.key:
            opened = self._drafts.pop((target.endpoint.name, before), None)
            if opened is not None:
                self._drafts[target.endpoint.name, result.key] = opened
        target.key = result.key
        try:
            await self._library.record(target.endpoint.name, result.key)
        except errors.AlyxfsError as error:
            log.info("%s was saved, but could not be read again: %s", target.path, error)
        self.touched(result)

    async def save_whole(self, target: Target, content: bytes, process: int) -> None:
        """Save what was renamed over a record's name: it is all there will be, so it must be whole."""
        if target.key is None and (field_name := server_given(content)):
            raise errors.Invalid(
                f"{target.path} would be a new record, but the file holds the {field_name} of another one: "
                f"take {' and '.join(SERVER_GIVEN)} out of it first."
            )
        await self.save(target, content, process)

    async def keep(self, target: Target, content: bytes) -> None:
        """Put a draft that nobody will complete where a person finds it."""
        reason = f"{target.path} was closed with text that is no JSON object, so nothing was sent."
        kept = await self.editor.keep_draft(target.endpoint.name, target.name, content, reason)
        self.note_error("close", target.path, f"{reason} It is kept as .alyxfs/rejected/{kept.name}.")

    def touched(self, result: SaveResult) -> None:
        """Make the kernel ask again for what a write changed."""
        beginnings: set[str] = set()
        for endpoint, key in result.touched:
            beginnings.add(f"endpoint/{endpoint}" if key is None else f"record/{endpoint}/")
        self._changed(beginnings)

    def _nodes(self, endpoint: Endpoint, key: str) -> list[str]:
        return [f"record/{endpoint.name}/{key}" if endpoint.lookup == "id" else f"record/{endpoint.name}/"]

    # Deleting

    async def delete(self, directory: str, name: str, endpoint: str, key: str, process: int) -> None:
        """DELETE, at once for programs that mean it, else after a moment in which the name may be made anew."""
        if program_name(process) in DELETING_PROGRAMS:
            self._deleted(endpoint, name, await self.editor.delete(endpoint, key))
            return
        await self.editor.check_delete(endpoint, key)
        deletion = _Deletion(endpoint, key, trio.CancelScope())
        self._deletions[directory, name] = deletion
        self._nursery.start_soon(self._delete_soon, directory, name, deletion)

    async def _delete_soon(self, directory: str, name: str, deletion: _Deletion) -> None:
        with deletion.scope:
            await trio.sleep(UNLINK_GRACE)
        if self._deletions.get((directory, name)) is deletion:
            await self._delete_now(directory, name)

    async def _delete_now(self, directory: str, name: str) -> None:
        deletion = self._deletions[directory, name]
        try:
            result = await self.editor.delete(deletion.endpoint, deletion.key, checked=True)
        except errors.AlyxfsError as error:
            self.note_error("unlink", f"{deletion.endpoint}/{name}", f"{error} The record is still there.")
        else:
            self._deleted(deletion.endpoint, name, result)
        finally:
            self._deletions.pop((directory, name), None)

    def _deleted(self, endpoint: str, name: str, result: SaveResult) -> None:
        log.info("%s", result.sentence)
        if result.dry_run:
            self.note_error("dry run", f"{endpoint}/{name}", f"{result.sentence} Nothing was sent: this is a dry run.")
            return
        self._made.pop((endpoint, name), None)
        self.touched(result)

    async def finish(self) -> None:
        """At the unmount: send the deletions that were answered, and keep local files that hold something."""
        for directory, name in list(self._deletions):
            await self._delete_now(directory, name)
        for (directory, name), file in self._local.items():
            if isinstance(file, ScratchFile) and file.draft.size and file.stands_for is None:
                endpoint = directory.split("/")[1] if "/" in directory else directory
                reason = f"{endpoint}/{name} was on this machine alone when the drive was unmounted."
                await self.editor.keep_draft(endpoint, name, file.draft.content(), reason)


def server_given(content: bytes) -> str | None:
    """The field of a document that only the server could have filled in, if there is one."""
    try:
        document = documents.decode(content)
    except ValueError:
        return None
    if not isinstance(document, dict):
        return None
    return next((name for name in SERVER_GIVEN if document.get(name)), None)


def program_name(process: int) -> str:
    """What /proc calls the program, or nothing where it has ended already."""
    try:
        return pathlib.Path(f"/proc/{process}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
