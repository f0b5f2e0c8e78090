"""One fetch of a file being carried out: its bytes come, go to the disk, and stay in memory for a while or are let go.

Each fetch has a task that carries it out, and at times a second one that saves meanwhile. As everything that changes a
file they do so only between two awaits; and as the content may have become another one during an await, what was seen
before it (whether the fetch goes on, the file's block file) is looked at again after it.
"""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any

import trio

from alyxfs import errors
from alyxfs.defects import as_domain_error
from alyxfs.files.disk import block_file, direct_io
from alyxfs.files.disk.block_file import Fingerprint
from alyxfs.files.transfer import download, response
from alyxfs.net import shown

if TYPE_CHECKING:
    from alyxfs.files.disk.block_file import BlockFile
    from alyxfs.files.source import Source
    from alyxfs.files.transfer.content import FileContent
    from alyxfs.files.transfer.owner import Owner
    from alyxfs.files.transfer.segment import Segment

log = logging.getLogger(__name__)

SAVE_PIECE = 2 * 1024 * 1024
"""Bytes that are written to disk at a time: what is on disk and read makes room for what comes, in memory that the
processor still has at hand."""
SHORT = 256 * 1024
"""Bytes that are written in so little time that others may wait for it."""
LOAD_PIECE = 2 * 1024 * 1024
"""Bytes that are read ahead from disk at a time."""
BUFFERED_BY_ONE = 16 * 1024 * 1024
"""Bytes that one fetch may hold in memory before it waits for the disk."""
ENOUGH_ARRIVED = 512 * 1024
"""Bytes that have come ahead of a reader: with these, and little memory, the rest can wait at the server."""
PATIENCE = 1.0
"""Seconds that it waits there, before the connection is given to others."""
MOST_COPIES_TRIED = 12
"""By one fetch: servers that come and go in turns end it, too."""
IN_ORDER = 4 * 1024 * 1024
"""Bytes of one fetch that only who reads in order causes."""
UNKNOWN_END = 1 << 62
"""The end of a fetch whose file's size nobody knows yet."""


class DownloadTask:
    """See the module. Made by the file for each of its fetches, and run once: from the server, or from disk."""

    def __init__(self, owner: Owner[Any], file: FileContent, item: Segment) -> None:
        self._owner = owner
        self._memory = owner.memory
        self._file = file
        self._item = item
        self._url = ""
        """The copy that is being asked."""
        self._was_left_early = False
        """It was not waited for, as there is another copy."""

    def begin(self, blocks: BlockFile | None = None) -> None:
        """Carry it out in the background: from these ``blocks`` on disk where they are given, else from the server."""
        tasks = self._owner.tasks
        if blocks is None:
            tasks.start(self._from_server, failed=self._has_failed)
        else:
            tasks.start(self._from_disk, blocks, failed=self._has_failed)

    def _has_failed(self, failure: errors.AlyxfsError) -> None:
        item = self._item
        if not item.done:
            item.finish(failure)
        self._file.drop(item)

    async def _from_server(self) -> None:
        """Fetch and save; failures are the readers' to hear of."""
        file, item = self._file, self._item
        failure: errors.AlyxfsError | None = errors.ServerFault(f"The reading of {file.source.name} was given up.")
        try:
            with item.scope:
                failure = self._file.refusal or await self._fetch()
        except Exception as error:  # noqa: BLE001 - handed to the readers
            failure = as_domain_error(error, "the fetch of a data file")
        finally:
            if not item.done:
                item.finish(failure)
            with trio.CancelScope(shield=True):
                await self._settle()

    async def _from_disk(self, blocks: BlockFile) -> None:
        """Read from disk into memory; where that fails, readers find it out for themselves."""
        file, item = self._file, self._item
        try:
            with item.scope:
                while item.arrived < item.end and blocks is file.blocks:
                    room = item.room(min(LOAD_PIECE, item.end - item.arrived))
                    item.saving = True
                    try:
                        count = await blocks.in_thread(blocks.read_into, room, item.arrived)
                    finally:
                        item.saving = False
                    if item.is_released or blocks is not file.blocks:  # it was called off while the disk was at work
                        break
                    item.filled(min(count, item.end - item.arrived))
                    if not count:
                        break
                    await self._wait_for_reader()
        except OSError as error:
            log.info("reading the cache file of %s ahead: %s", file.source.name, error)
        finally:
            if not item.done:
                item.finish()
            with trio.CancelScope(shield=True):
                await self._settle()

    async def _fetch(self) -> errors.AlyxfsError | None:
        """Fetch from the first copy that gives it, and say why if none does."""
        file, copies = self._file, self._file.copies
        failure: errors.AlyxfsError = errors.ServerFault(f"The servers of {file.source.name} come and go.")
        for _ in range(MOST_COPIES_TRIED):
            self._url, self._was_left_early = await copies.choose(is_guess=self.is_guess()), False
            try:
                return await self._fetch_from(self._url)
            except _AnotherIsUsed:
                continue
            except errors.AlyxfsError as error:
                failure = error
            log.info("%s could not be fetched: %s", file.source.name, failure)
            if self.is_guess():
                return failure
            copies.failed(self._url, failure)
            if copies.is_settled and copies.url == self._url:
                if not file.is_untouched:
                    break
                file.forget_answer()
            if not await copies.is_another_try_worth_it(self._url, failure, was_left_early=self._was_left_early):
                failure = copies.explained(failure)
                break
        if isinstance(failure, response.NotTheFile):
            file.refuse(str(failure))
        return failure

    async def _fetch_from(self, url: str) -> errors.AlyxfsError | None:
        """Fetch from one copy. What has ended meanwhile was of an earlier content of the file."""
        file, item = self._file, self._item
        file.link = self._owner.network.link(url)
        try:
            await download.run(self._owner.network, url, item, self)
        except _Superseded:
            return None
        except response.SizeDiffers as differs:
            if not item.done and file.fingerprint is None:
                await self._take_copy(differs.size)
                file.pin(Fingerprint(differs.size))
            return None
        except response.Changed as changed:
            reason = errors.FileChanged(str(changed), url=changed.url)
            if not item.done:
                file.start_anew(reason, changed.now)
            return reason
        return None

    async def _take_copy(self, size: int | None) -> None:
        """Settle for the copy that answers so; raises OddSize where another one may have the size that is known."""
        file, copies = self._file, self._file.copies
        is_odd = None not in {size, file.size} and size != file.size
        if is_odd and not (copies.is_settled or copies.takes_any_size or self.is_guess()):
            if await copies.has_another(self._url):
                name = shown(self._url)
                raise response.OddSize(f"{name} has {size:,} bytes, not {file.size:,}.", status=206, url=name)
            if self._item.done:
                raise _Superseded
        if copies.in_use not in {None, self._url}:
            raise _AnotherIsUsed
        copies.take(self._url)

    # What the requests ask for (download.Recipient)

    @property
    def source(self) -> Source:
        """What is known of the file."""
        return self._file.source

    def pinned(self) -> Fingerprint | None:
        """The content that every answer must be of."""
        return self._file.fingerprint

    async def accept(self, body: response.Body) -> None:
        """Pin the content at the first answer; fetch the whole file where the server knows no ranges."""
        file, item = self._file, self._item
        if item.done:
            raise _Superseded
        await self._take_copy(body.fingerprint.size if body.fingerprint is not None else None)
        file.trouble = None
        if body.fingerprint is not None:
            file.pin(body.fingerprint)
            if not file.is_saved_late:
                await file.make_blocks()
        if body.whole and item.arrived == item.start and body.end != item.end:
            twin = next((one for one in file.fetches if one is not item and one.whole and one.covers(item.start)), None)
            if twin is not None:
                raise _Superseded
            item.restart(body.end if body.end is not None else file.size or UNKNOWN_END)
        if file.size is not None:
            item.shorten(file.size)

    def is_guess(self) -> bool:
        """Whether it is fetched ahead of every program."""
        return self._item.background and self._file.handles == 0

    def is_followed(self) -> bool:
        """Whether somebody reads on in order: nobody else wants so much of a file at a time, and not its end."""
        item, size = self._item, self._file.size or 0
        return item.background and item.end < size and item.end - item.start >= IN_ORDER

    def distrusts_caches(self) -> bool:
        """Whether the content has been found to be another one than it was."""
        return self._file.was_begun_anew

    def is_delayed(self, trouble: errors.AlyxfsError) -> None:
        """Keep the reason for whoever cannot wait any longer."""
        self._file.trouble = trouble.again()

    async def is_to_be_left(self) -> bool:
        """Whether there is another copy that may be read: not once a byte of this one has come."""
        copies = self._file.copies
        if copies.in_use not in {None, self._url}:
            raise _AnotherIsUsed
        if copies.is_settled and not self._file.is_untouched:
            return False
        self._was_left_early = not self.is_guess() and await copies.has_another(self._url)
        return self._was_left_early

    async def make_room(self) -> None:
        """Save in the background as bytes come, and wait where the disk is slower than the network."""
        item = self._item
        if self._file.blocks is None or item.unsavable:
            item.release_read(BUFFERED_BY_ONE)
            return
        if item.unsaved_length >= SAVE_PIECE and not item.saving:
            item.saving = True
            self._owner.tasks.start(self._save, failed=self._not_saved, ended=self._save_ended)
        while item.saving and (item.unsaved_length > BUFFERED_BY_ONE or self._memory.is_crowded()):
            await self._memory.room()
        if item.background and not (item.whole or self._file.deliveries):
            await self._wait_for_reader()

    async def _wait_for_reader(self) -> None:
        """Where memory is short, let server and disk wait until what came is being read; give up what nobody comes for.

        So many readers at once take few long answers in turns, and few bytes have to come from disk again.
        """
        item = self._item
        while item.readers == 0 and item.unread_arrived >= ENOUGH_ARRIVED and self._memory.is_short():
            with trio.move_on_after(PATIENCE) as scope:
                await item.wanted()
            if scope.cancelled_caught:
                item.cut()
                return

    # Saving

    async def _settle(self) -> None:
        """Save what the fetch brought, and let go of it."""
        file, item = self._file, self._item
        while item.saving:
            await self._memory.room()
        if item in file.fetches and item.unsaved_length and file.is_saved_late:
            await self._owner.lull.come(item.unsaved_length)
            if item in file.fetches:
                await file.make_blocks()
        if item in file.fetches and item.unsaved_length and file.blocks is not None and not item.unsavable:
            await self._save()
        is_worth_it = item.buffered >= direct_io.LEAST or not item.is_saved
        if item in file.fetches and item.buffered and item.error is None and is_worth_it:
            item.keep()
            self._memory.keep(file, item, functools.partial(file.drop, item))
        else:
            file.drop(item)

    async def _save(self) -> None:
        """Write what the fetch holds at this moment to the block file."""
        file, item = self._file, self._item
        item.saving = True
        blocks, before = file.blocks, item.saved_to
        try:
            if blocks is None or item.unsavable or not self._owner.may_write():
                item.never_save()
                return
            parts, end = item.unsaved()
            # Where the disk is slower than the network the page cache evens that out, and readers do not feel it.
            may_wait = bool(self._file.deliveries) or not self._memory.is_disk_behind()
            write = functools.partial(blocks.write, parts, before, may_wait=may_wait)
            await blocks.in_thread(write, threads=self._owner.threads if end - before <= SHORT else None)
            self._owner.wrote(end - before)
            if blocks is file.blocks and not item.unsavable:
                # No await between these: what leaves memory is known to be on disk.
                item.saved(end, blocks)
                file.mark(item, before)
                item.release_saved(BUFFERED_BY_ONE)
        except block_file.CutError:
            if blocks is file.blocks:
                file.damaged()
        except OSError as error:
            item.never_save()
            self._owner.disk_refused(error)
        finally:
            self._save_ended()

    def _not_saved(self, failure: errors.AlyxfsError) -> None:
        log.info("%s is not cached: %s", self._file.source.name, failure)
        self._item.never_save()

    def _save_ended(self) -> None:
        self._item.saving = False
        self._memory.room_made()


class _AnotherIsUsed(Exception):
    """Meanwhile another copy has answered a fetch of the same file: all must be of that one."""


class _Superseded(Exception):
    """Another fetch brings the whole file already, or the file was begun anew."""
