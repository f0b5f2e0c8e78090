"""What is being written: drafts of records, and how they are saved.

Only a draft that is a whole JSON object is sent; what never becomes one is kept where a person finds it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import trio

from alyxfs import documents, errors, names
from alyxfs.edits import SharedMemory
from alyxfs.tree.deletions import Deletions
from alyxfs.tree.draft import OpenDraft, RecordHandle
from alyxfs.tree.localnames import LocalNames
from alyxfs.tree.record import SUFFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from alyxfs.alyx.library import Library
    from alyxfs.alyx.schema import Endpoint
    from alyxfs.edits import Editor, SaveResult

log = logging.getLogger(__name__)

SERVER_GIVEN = ("id", "url")
"""Fields that only the server fills in: a new file that holds one is a copy of a record, not a new record."""


_KERNEL_RETRY = 60.0
"""Seconds within which the kernel's second try of a rename is told from a new one. It follows at once, but where many
programs run on few processors it was seen to arrive more than a second later."""


@dataclass
class Target:
    """What a draft is saved to."""

    endpoint: Endpoint
    key: str | None
    """The record's look-up; None for a record that is still to be made."""
    file_name: str
    directory: str
    """Identity of the directory it stands in."""
    identity: str | None = None
    """The record's; None for one that is still to be made."""
    defaults: dict[str, Any] = field(default_factory=dict)
    """Values of a query's directory for fields that a new record leaves out."""

    @property
    def path(self) -> str:
        """For messages."""
        return f"{self.endpoint.name}/{self.file_name}"

    @property
    def stem(self) -> str:
        """The file's name without suffix: the look-up of a new record that gives none."""
        stem = self.file_name.removesuffix(".json")
        decoded = names.decode(stem)
        return stem if decoded is None else decoded


class Workbench:
    """The writing side of one drive.

    ``_drafts`` changes only between awaits. ``changed`` tells which nodes (by the beginning of their
    identity) the kernel must ask for again; ``forget_names`` which names, in directories given in the same way;
    ``note_error`` takes operation, path and sentence.
    """

    def __init__(
        self,
        editor: Editor,
        library: Library,
        nursery: trio.Nursery,
        changed: Callable[[Collection[str]], None],
        forget_names: Callable[[str, Collection[str]], None],
        note_error: Callable[[str, str, str], None],
    ) -> None:
        self.editor = editor
        self.note_error = note_error
        self.memory = SharedMemory()
        """Of the files that are on this machine alone."""
        self.names = LocalNames(self.memory)
        self.deletions = Deletions(editor, nursery, self._deleted, note_error)
        self._library = library
        self._changed = changed
        self._forget_names = forget_names
        self._drafts: dict[tuple[str, str], OpenDraft] = {}
        """Of records, by endpoint and key; the newest where there are several."""
        self._conflicts: dict[tuple[int, str, str], tuple[bytes, float, str]] = {}
        """Renames that were refused with a conflict, by process, directory and name: the content, and what was said.

        Linux repeats a rename that fails with ESTALE (retry_estale in fs/namei.c); it must not be tried twice.
        """

    # Names

    def away_key(self, directory: str, name: str) -> str | None:
        """The key of the record whose name was moved away or unlinked."""
        return self.deletions.key(directory, name) or self.names.away_key(directory, name)

    def come_back(self, directory: str, name: str) -> str | None:
        """The name is made anew: the key of the record that it stood for, whose deletion is called off."""
        return self.deletions.call_off(directory, name) or self.names.come_back(directory, name)

    # Drafts

    def draft_of(self, endpoint: str, key: str) -> OpenDraft | None:
        """The draft of a record that somebody has open for writing."""
        return self._drafts.get((endpoint, key))

    async def open_record(self, target: Target, process: int, *, truncate: bool) -> RecordHandle:
        """Open an existing record for writing.

        A program that empties the file begins a version of its own: what another one is writing meanwhile is not mixed
        with it, and the two are merged, or refused, when they are saved.
        """
        assert target.key is not None
        name, key = target.endpoint.name, target.key
        opened = self.draft_of(name, key)
        if opened is None:
            record = await self._library.record(name, key, identity=target.identity)
            target.identity = record.identity
            if not truncate:
                self.editor.bases.served(process, name, key, record.document)
            # Another program may have opened it while the record was fetched.
            opened = self.draft_of(name, key)
        if opened is None:
            opened = self._drafts[name, key] = OpenDraft(self, target, record.content, process)
        elif truncate and opened.was_changed and opened.process != process:
            opened = self._drafts[name, key] = OpenDraft(self, replace(opened.target), b"-", process)
        if truncate and opened.draft.size:
            opened.draft.truncate(0)
        return RecordHandle(self, opened, process)

    def open_new(self, target: Target, process: int) -> RecordHandle:
        """Open a record that is still to be made."""
        return RecordHandle(self, OpenDraft(self, target, b"", process, self.memory), process)

    def reopen(self, opened: OpenDraft, process: int) -> RecordHandle:
        """Another handle of an open draft."""
        return RecordHandle(self, opened, process)

    def forget_draft(self, opened: OpenDraft) -> None:
        """The last writer has gone: the record is again what the server says."""
        target = opened.target
        if target.key is not None and self.draft_of(target.endpoint.name, target.key) is opened:
            del self._drafts[target.endpoint.name, target.key]
            if opened.was_changed:
                self._changed([f"record/{target.endpoint.name}/{target.identity}"])

    # Saving

    async def save(self, target: Target, content: bytes, process: int) -> bool:
        """PATCH or POST; raises what refuses it. False where it stays here: a copy of a record under a new name."""
        if target.key is None and (copied := await self._copied(target, content)):
            self.note_error(
                "save", target.path, f"{copied}, so it was not sent as a new one; it stays here. {_HOW_TO_COPY}"
            )
            return False
        await self._send(target, content, process)
        return True

    async def save_whole(self, target: Target, content: bytes, process: int) -> None:
        """Save what was renamed over a record's name: it is all there will be, so it must be whole."""
        if target.key is None and (copied := await self._copied(target, content)):
            raise errors.Invalid(f"{target.path} would be a new record. {copied}. {_HOW_TO_COPY}")
        asked = (process, target.directory, target.file_name)
        earlier, until, words = self._conflicts.pop(asked, (b"", 0.0, ""))
        if earlier == content and trio.current_time() < until:
            raise errors.Conflict(words)
        try:
            await self._send(target, content, process)
        except errors.Conflict as error:
            self._conflicts[asked] = (content, trio.current_time() + _KERNEL_RETRY, str(error))
            raise

    async def rename(self, target: Target, new_key: str) -> None:
        """PATCH of the look-up; raises what refuses it."""
        assert target.key is not None
        self._saved(target, await self.editor.rename(target.endpoint.name, target.key, new_key), is_rename=True)

    async def attach_picture(self, target: Target, content: bytes) -> None:
        """Give a note its picture."""
        assert target.key is not None
        self._saved(target, await self.editor.attach_image(target.key, content, target.file_name))

    async def keep(self, target: Target, content: bytes) -> None:
        """Put a draft that nobody will complete where a person finds it."""
        reason = f"{target.path} was closed with text that is no JSON object, so nothing was sent."
        kept = await self.editor.keep_draft(target.endpoint.name, target.stem, content, reason)
        self.note_error("close", target.path, f"{reason} It is kept as .alyxfs/rejected/{kept.name}.")

    async def finish(self) -> None:
        """At the unmount: send the deletions that were answered, and keep what was written and never sent."""
        await self.deletions.finish()
        for opened in list(self._drafts.values()):
            if opened.draft.pending and opened.draft.size:
                await self._keep_at_unmount(
                    opened.target.endpoint.name, opened.target.file_name, opened.draft.content()
                )
        for directory, name, file in self.names.files():
            if content := file.content_to_keep():
                await self._keep_at_unmount(directory.split("/")[1], name, content)

    async def _send(self, target: Target, content: bytes, process: int) -> None:
        name = target.endpoint.name
        if target.key is None:
            result = await self.editor.create(name, target.stem, content, defaults=target.defaults)
        else:
            base = self.editor.bases.base_of(process, name, target.key)
            if base is None:
                base = (await self._library.record(name, target.key, identity=target.identity)).document
            result = await self.editor.save(name, target.key, base, content, writer=process)
        self._saved(target, result)
        if result.dry_run:
            return
        try:  # so that its size is right when the program looks at it next
            target.identity = (await self._library.record(name, result.key)).identity
        except errors.AlyxfsError as error:
            log.info("%s was saved, but could not be read again: %s", target.path, error)

    def _saved(self, target: Target, result: SaveResult, *, is_rename: bool = False) -> None:
        """The record may have another key now; unless it was renamed, the name that was written to leads to it."""
        log.info("%s", result.sentence)
        if result.dry_run:
            self.note_error("dry run", target.path, result.sentence)
            return
        endpoint, before = target.endpoint.name, target.key
        target.key = result.key
        if before is None:
            self.names.take(target.directory, target.file_name)
        elif before != result.key and (opened := self._drafts.pop((endpoint, before), None)) is not None:
            opened.target.key = result.key
            self._drafts[endpoint, result.key] = opened
        if before != result.key and not is_rename:
            self.names.made(target.directory, target.file_name, result.key)
        self._touched(result, target.identity)

    def _deleted(self, path: str, result: SaveResult) -> None:
        log.info("%s", result.sentence)
        if result.dry_run:
            self.note_error("dry run", path, result.sentence)
            return
        directory = f"endpoint/{result.endpoint}"
        self.names.unmade(directory, result.key)
        self._touched(result, None)
        # In queries, too, and the name of the link: the kernel itself knows only of the directory of the unlink.
        self._forget_names(directory, [names.encode(result.key), names.encode(result.key, SUFFIX)])

    def _touched(self, result: SaveResult, identity: str | None) -> None:
        """Make the kernel ask again for what a write changed.

        What it changed beyond this and is named by no id (a subject by its weighing) is asked for when it is opened.
        """
        beginnings = {
            f"endpoint/{endpoint}" if key is None else f"record/{endpoint}/{key}" for endpoint, key in result.touched
        }
        if identity is not None:
            beginnings.add(f"record/{result.endpoint}/{identity}")
        self._changed(beginnings)

    async def _copied(self, target: Target, content: bytes) -> str | None:
        """Why a new file is a copy of a record that is there, as the beginning of a sentence; None where it is not."""
        try:
            document = documents.decode(content)
        except ValueError:
            return None
        if not isinstance(document, dict):
            return None
        for name in SERVER_GIVEN:
            if document.get(name):
                return f"The file holds the {name} of a record"
        lookup = target.endpoint.lookup
        named = document.get(lookup) if lookup else None
        if not isinstance(named, str) or not named or named == target.stem or not target.endpoint.detailed:
            return None
        try:
            await self._library.record(target.endpoint.name, named)
        except errors.NotFound:
            return None
        return f"The file holds the {lookup} of {target.endpoint.name}/{named}, which is there already"

    async def _keep_at_unmount(self, endpoint: str, name: str, content: bytes) -> None:
        reason = f"{endpoint}/{name} was on this machine alone when the drive was unmounted."
        await self.editor.keep_draft(endpoint, name, content, reason)


_HOW_TO_COPY = (
    f"Rename the file over the record to save it there, or take {' and '.join(SERVER_GIVEN)} out of it and give it a "
    "name of its own for a new record."
)
