"""What is being written: drafts of records, and how they are saved.

Only a draft that is a whole JSON object is sent; what never becomes one is kept where a person finds it.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from alyxfs import errors
from alyxfs.edits import Moment, NewRecord, SharedMemory, WriteTasks
from alyxfs.processes import program_name
from alyxfs.tree.writing.delayed_delete import Deletions
from alyxfs.tree.writing.open_draft import OpenDraft, RecordHandle, Saved
from alyxfs.tree.writing.open_drafts import OpenDrafts
from alyxfs.tree.writing.overlay import LocalNames
from alyxfs.tree.writing.scratch import ScratchFile
from alyxfs.tree.writing.second_save import Meaning, meaning_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from alyxfs.alyx.metadata.cache import MetadataCache
    from alyxfs.edits import Editor, SaveResult
    from alyxfs.tasks import Tasks
    from alyxfs.tree.writing.target import Target

log = logging.getLogger(__name__)

Result = TypeVar("Result")

_KERNEL_RETRY = 60.0
"""Seconds within which the kernel's second try of a rename is told from a new one. It follows at once, but where many
programs run on few processors it was seen to arrive more than a second later."""

READ_AGAIN = 5.0
"""Seconds that a program waits for its record to be read again after a save; then its size is an estimate."""


class EditingSession:
    """The writing side of one drive.

    ``changed`` tells which nodes (by the beginning of their identity) the kernel must ask for again; ``note_error``
    takes operation, path and sentence.
    """

    def __init__(
        self,
        editor: Editor,
        metadata: MetadataCache,
        tasks: Tasks,
        changed: Callable[[Collection[str]], None],
        note_error: Callable[[str, str, str], None],
    ) -> None:
        self.editor = editor
        self.memory = SharedMemory()
        """Of the files that are on this machine alone."""
        self.names = LocalNames(self.memory)
        self.drafts = OpenDrafts()
        self._writes = WriteTasks(tasks, note_error)
        self._second_looks = editor.look_again(tasks, self._overwritten)
        self.deletions = Deletions(editor, tasks, self._writes, self._deleted, note_error)
        self._metadata = metadata
        self._changed = changed
        self._note_error = note_error
        self._conflicts: dict[tuple[int, str, str], tuple[bytes, float, str]] = {}
        """Renames that were refused with a conflict, by process, directory and name: the content, and what was said.

        Linux repeats a rename that fails with ESTALE (retry_estale in fs/namei.c); it must not be tried twice.
        """

    def status(self) -> dict[str, object]:
        """For ``.alyxfs/status.json``: what the server does not have yet, and what others have taken back."""
        unsaved = sum(opened.is_lost_with_us for opened in self.drafts)
        new = sum(not isinstance(file, ScratchFile) for _, _, file in self.names.files())
        return {
            **self.editor.proposed(),
            "writes_pending": len(self._writes) + len(self.deletions) + unsaved + new,
            "overwritten": self._second_looks.overwritten,
            "to_look_at_again": self._second_looks.waiting,
        }

    def _overwritten(self, operation: str, path: str, sentence: str) -> None:
        self._note_error(operation, path, sentence)
        self._changed([f"record/{path}"])

    # Names

    def away_key(self, directory: str, name: str) -> str | None:
        """The key of the record whose name was moved away or unlinked."""
        return self.deletions.key(directory, name) or self.names.away_key(directory, name)

    def come_back(self, directory: str, name: str) -> str | None:
        """The name is made anew: the key of the record that it stood for, whose deletion is called off."""
        return self.deletions.call_off(directory, name) or self.names.come_back(directory, name)

    # Drafts

    async def open_record(self, target: Target, process: int, *, truncate: bool) -> RecordHandle:
        """Open an existing record for writing; one that is emptied need not be fetched.

        What the draft is compared with is what its program has read last: later readings may be of newer versions,
        which its bytes know nothing of. So is what is there now, unless the program reads it through this handle.
        """
        assert target.key is not None
        name, key, bases = target.endpoint.name, target.key, self.editor.bases
        if truncate:
            return self._begin(OpenDraft(self, target, b"", process, bases.base_of(process, name, key)), truncate=True)
        own = self.drafts.written_by(process, name, key)
        if own is None:
            earlier = bases.base_of(process, name, key)
            record = await self._metadata.record(name, key, identity=target.identity)

            def read() -> Mapping[str, Any]:
                bases.served(process, name, key, record.document)
                document: Mapping[str, Any] = record.document
                return document

            target = replace(target, identity=record.identity)
            base = record.document if earlier is None else earlier
            own = OpenDraft(self, target, record.content, process, base, read=read)
        return self._begin(own)

    def open_new(self, target: Target, process: int, content: bytes, *, truncate: bool) -> RecordHandle:
        """Open a record that is still to be made."""
        own = None if truncate else self.drafts.new_written_by(process, target.directory, target.file_name)
        if own is None:
            own = OpenDraft(self, target, b"" if truncate else content, process, memory=self.memory)
        return self._begin(own, truncate=truncate and bool(content))

    def _begin(self, opened: OpenDraft, *, truncate: bool = False) -> RecordHandle:
        if not opened.writers:
            self.drafts.add(opened)
        handle = RecordHandle(self, opened, opened.process)
        if truncate:
            handle.empty()
        return handle

    def closed(self, opened: OpenDraft) -> None:
        """The last handle has gone: of a new record its bytes stay under its name, until they are saved."""
        self.drafts.remove(opened)
        if opened.target.key is None:
            self.names.leave(opened)
            self._give_way(opened.target)

    async def give_way(self, target: Target) -> None:
        """The name of a local file is that of a record that is there: keep its content, and show the record."""
        file = self.names.file(target.directory, target.file_name)
        if file is None or file.is_open or self.drafts.on_new(target.directory, target.file_name):
            return
        file.note_taken()
        reason = f"{target.path} is a record that is there, so the file of this machine that has its name is not shown."
        if content := file.content_to_keep():
            kept = await self.editor.keep_draft(target.endpoint.name, target.stem, content, reason)
            if file.content_to_keep() != content:
                return  # written to meanwhile
            file.note_kept()
            reason = f"{reason} It is kept as .alyxfs/rejected/{kept.name}."
        if self._give_way(target):
            self.note_error("save", target.path, reason)

    def _give_way(self, target: Target) -> bool:
        """Let go of a local file that is to give way, once nobody has it open."""
        directory, name = target.directory, target.file_name
        file = self.names.file(directory, name)
        if file is None or not file.gives_way or self.drafts.on_new(directory, name):
            return False
        self.names.take(directory, name)
        self._metadata.outdate(target.endpoint.name, target.stem)  # that it is not there, too
        self._changed({directory})
        return True

    # Saving

    async def run(self, path: str, settle: Callable[[], Awaitable[Result]]) -> Result:
        """See Saver."""
        return await self._writes.run(path, settle)

    async def save(self, opened: OpenDraft, content: bytes, process: int, moment: Moment) -> Saved:
        """See Saver."""
        target, base = opened.target, opened.base
        try:
            return await self._save(target, base, content, process, is_edit=moment is Moment.FSYNC)
        except errors.CopyOfRecord as copied:
            self.note_error("save", target.path, f"It was not sent as a new record, and stays here. {copied}")
            return Saved(target, base, is_local=True)

    async def save_whole(self, target: Target, content: bytes, process: int) -> None:
        """Save what was renamed over a record's name: it is all there will be, so it must be whole."""
        asked = (process, target.directory, target.file_name)
        earlier, until, words = self._conflicts.pop(asked, (b"", 0.0, ""))
        if earlier == content and trio.current_time() < until:
            raise errors.Conflict(words)
        base = None
        if target.key is not None:
            base = self.editor.bases.base_of(process, target.endpoint.name, target.key)
        save = partial(self._save, target, base, content, process, is_edit=True)
        try:
            await self._writes.run(target.path, save)
        except errors.CopyOfRecord as copied:
            raise errors.Invalid(f"{target.path} would be a new record. {copied}") from copied
        except errors.Conflict as error:
            self._conflicts[asked] = (content, trio.current_time() + _KERNEL_RETRY, str(error))
            raise

    async def rename(self, target: Target, new_key: str) -> None:
        """PATCH of the look-up; raises what refuses it."""

        async def rename() -> None:
            assert target.key is not None
            self._saved(target, await self.editor.rename(target.endpoint.name, target.key, new_key), 0, is_rename=True)

        await self._writes.run(target.path, rename)

    async def attach_picture(self, target: Target, content: bytes) -> None:
        """Give a note its picture."""

        async def attach() -> None:
            assert target.key is not None
            self._saved(target, await self.editor.attach_image(target.key, content, target.file_name), 0)

        await self._writes.run(target.path, attach)

    async def act(self, endpoint: str, content: bytes) -> Any:
        """POST to an address that holds no records; returns its answer."""
        return await self._writes.run(endpoint, partial(self.editor.act, endpoint, content))

    async def keep(self, target: Target, content: bytes) -> None:
        """Put a draft that nobody will complete where a person finds it."""
        reason = f"{target.path} was closed with text that is no JSON object, so nothing was sent."
        kept = await self.editor.keep_draft(target.endpoint.name, target.stem, content, reason)
        self.note_error("close", target.path, f"{reason} It is kept as .alyxfs/rejected/{kept.name}.")

    def note_error(self, operation: str, path: str, sentence: str) -> None:
        """See Saver."""
        self._note_error(operation, path, sentence)

    async def finish(self) -> None:
        """At the unmount: end the writes under way, send the deletions that were answered, and keep what is unsent."""
        await self._writes.finish()
        await self.deletions.finish()
        await self.editor.look_once_more()
        for opened in self.drafts:
            if opened.is_lost_with_us:
                target = opened.target
                await self._keep_at_unmount(target.endpoint.name, target.file_name, opened.draft.content())
        for directory, name, file in self.names.files():
            if content := file.content_to_keep():
                await self._keep_at_unmount(directory.split("/")[1], name, content)

    async def _save(
        self, target: Target, base: Mapping[str, Any] | None, content: bytes, process: int, *, is_edit: bool
    ) -> Saved:
        """PATCH or POST. ``is_edit``: by a program that keeps the file, as editors do, and not by one that fills it."""
        name = target.endpoint.name
        taken = list[str]()
        beside = partial(self._beside, target.directory, taken)
        if target.key is None:
            try:
                result = await self.editor.create(
                    name, target.stem, content, defaults=target.defaults, writer=process, beside=beside
                )
            except errors.NameTaken:
                if (file := self.names.file(target.directory, target.file_name)) is not None:
                    file.note_taken()
                raise
        else:
            another = self._another(target, process, beside, is_synced=is_edit)
            result = await self.editor.save(
                name, target.key, base, content, writer=process, identity=target.identity, another=another
            )
        saved = self._saved(target, result, process)
        for picture in () if self.editor.sends_nothing else taken:
            self.names.take(target.directory, picture)  # the server has it now
        saved = await self._with_size(saved)
        return Saved(saved, result.base)

    def _beside(self, directory: str, taken: list[str], name: str) -> bytes | None:
        """The content of a local file that a new record names; ``taken`` gets the name."""
        file = self.names.file(directory, name)
        if not isinstance(file, ScratchFile):
            return None
        taken.append(name)
        return file.draft.content()

    def _another(
        self, target: Target, process: int, beside: Callable[[str], bytes | None], *, is_synced: bool
    ) -> NewRecord | None:
        """What another record would be made from; None where the one is meant that the name leads to."""
        made = self.names.made_record(target.directory, target.file_name)
        if not target.is_other_name or made is None:
            return None
        made_it = made.process == process
        meaning = meaning_of(
            program_name(process), made_it=made_it, has_read_it=made.has_been_read, is_synced=is_synced
        )
        if meaning is Meaning.SAME:
            return None
        return NewRecord(target.stem, target.defaults, is_ambiguous=meaning is Meaning.UNCLEAR, beside=beside)

    async def _with_size(self, target: Target) -> Target:
        """Read a record again after its save, so that its size is right when the program looks at it next."""
        assert target.key is not None
        try:
            with trio.move_on_after(READ_AGAIN):
                record = await self._metadata.record(target.endpoint.name, target.key)
                return replace(target, identity=record.identity)
        except errors.AlyxfsError as error:
            log.info("%s was saved, but could not be read again: %s", target.path, error)
        except trio.Cancelled:
            log.info("%s was saved, but not read again in time", target.path)
        return target

    def _saved(self, target: Target, result: SaveResult, process: int, *, is_rename: bool = False) -> Target:
        """The record may have another key now; unless it was renamed, the name that was written to leads to it."""
        log.info("%s", result.sentence)
        before = target.key
        is_new = before is None or result.is_new
        if is_new:
            self.names.take(target.directory, target.file_name)
        elif before != result.key:
            for opened in self.drafts.of_record(result.endpoint, before or ""):
                opened.target = replace(opened.target, key=result.key)
        if before != result.key and not is_rename:
            self.names.made(target.directory, target.file_name, result.key, process)
        self._touched(result, target.identity)
        identity = None if is_new else target.identity
        return replace(target, key=result.key, identity=identity, is_other_name=False)

    def _deleted(self, path: str, result: SaveResult) -> None:
        log.info("%s: %s", path, result.sentence)
        self.names.unmade(f"endpoint/{result.endpoint}", result.key)
        self._touched(result, None)

    def undone(self, result: SaveResult) -> None:
        """A write was taken back: names that led to what it had made, or to the name that it gave, do no longer."""
        gone = {key for endpoint, key in result.touched if key is not None and endpoint == result.endpoint}
        for key in gone if result.document is None else gone - {result.key}:
            self.names.unmade(f"endpoint/{result.endpoint}", key)

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

    async def _keep_at_unmount(self, endpoint: str, name: str, content: bytes) -> None:
        reason = f"{endpoint}/{name} was on this machine alone when the drive was unmounted."
        await self.editor.keep_draft(endpoint, name, content, reason)
