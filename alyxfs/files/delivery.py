"""One fetch of a file being carried out: its bytes come, go to the disk, and stay in memory for a while or are let go.

Each fetch has a task that carries it out, and at times a second one that saves meanwhile. As everything that changes a
file they do so only between two awaits; and as the content may have become another one during an await, what was seen
before it (the file's generation, its block file) is compared after it.
"""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING

import trio

from alyxfs import errors
from alyxfs.files import answers, blockfile, fetch

if TYPE_CHECKING:
    from alyxfs.files.blockfile import BlockFile, Fingerprint
    from alyxfs.files.cachedfile import CachedFile, Household

log = logging.getLogger(__name__)

SAVE_PIECE = 4 * 1024 * 1024
"""Bytes that are written to disk at a time."""
LOAD_PIECE = 2 * 1024 * 1024
"""Bytes that are read ahead from disk at a time."""
HELD_BY_ONE = 16 * 1024 * 1024
"""Bytes that one fetch may hold in memory before it waits for the disk."""
ENOUGH_ARRIVED = 512 * 1024
"""Bytes that have come ahead of a reader: with these, and little memory, the rest can wait at the server."""
PATIENCE = 1.0
"""Seconds that it waits there, before the connection is given to others."""
UNKNOWN_END = 1 << 62
"""The end of a fetch whose file's size nobody knows yet."""


class Delivery:
    """See the module. Made by the file for each of its fetches, and run once: from the server, or from disk."""

    def __init__(self, household: Household, file: CachedFile, item: fetch.Fetch) -> None:
        self._household = household
        self._memory = household.memory
        self._file = file
        self._item = item

    async def from_server(self) -> None:
        """Fetch and save; failures are the readers' to hear of."""
        file, item = self._file, self._item
        generation = file.generation
        failure: errors.AlyxfsError | None = errors.ServerFault(f"The reading of {file.source.name} was given up.")
        try:
            with item.scope:
                failure = await self._fetch(generation)
        finally:
            if not item.done:
                item.finish(failure)
            with trio.CancelScope(shield=True):
                await self._settle()

    async def from_disk(self, blocks: BlockFile) -> None:
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
                    item.filled(min(count, item.end - item.arrived))
                    if not count:
                        break
                    await self._wait_for_reader()
        except OSError as error:
            log.info("reading the cache file of %s ahead: %s", file.source.name, error)
        finally:
            item.finish()
            with trio.CancelScope(shield=True):
                await self._settle()

    async def _fetch(self, generation: int) -> errors.AlyxfsError | None:
        """Fetch, and say why if that failed."""
        file = self._file
        url = file.source.url
        if url is None:
            return errors.NotDownloadable(f"{file.source.name} is listed, but no server offers its bytes.")
        try:
            await fetch.run(self._household.network, url, self._item, self)
        except _Superseded:
            return None
        except answers.SizeDiffers as differs:
            if generation == file.generation and file.fingerprint is None:
                file.resize(differs.size)
            return None
        except errors.FileChanged as error:
            if generation == file.generation:
                file.start_anew()
            return error
        except errors.AlyxfsError as error:
            log.info("%s could not be fetched: %s", file.source.name, error)
            return error
        return None

    # What the requests ask for (fetch.Demands)

    def pinned(self) -> Fingerprint | None:
        """The content that every answer must be of."""
        return self._file.fingerprint

    async def accept(self, body: answers.Body) -> None:
        """Pin the content at the first answer; fetch the whole file where the server knows no ranges."""
        file, item = self._file, self._item
        if item.done:
            raise _Superseded
        if body.fingerprint is not None:
            file.pin(body.fingerprint)
            await file.make_blocks()
        if body.whole and item.arrived == item.start and body.end != item.end:
            twin = next((one for one in file.fetches if one is not item and one.whole and one.covers(item.start)), None)
            if twin is not None:
                raise _Superseded
            item.restart(body.end if body.end is not None else file.size or UNKNOWN_END)
        if file.size is not None:
            item.end = min(item.end, file.size)

    async def make_room(self) -> None:
        """Save in the background as bytes come, and wait where the disk is slower than the network."""
        item = self._item
        if self._file.blocks is None or item.unsavable:
            item.forget(HELD_BY_ONE)
            return
        if item.unsaved_length >= SAVE_PIECE and not item.saving:
            item.saving = True
            self._household.nursery.start_soon(self._save)
        while item.saving and (item.unsaved_length > HELD_BY_ONE or self._memory.is_crowded()):
            await self._memory.room()
        if item.background and not item.whole:
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
        if item in file.fetches and item.unsaved_length and file.blocks is not None and not item.unsavable:
            await self._save()
        is_worth_it = item.held >= blockfile.DIRECT_LEAST or not item.is_saved
        if item in file.fetches and item.held and item.error is None and is_worth_it:
            item.is_kept = True
            self._memory.keep(file, item)
        else:
            file.drop(item)

    async def _save(self) -> None:
        """Write what the fetch holds at this moment to the block file."""
        file, item = self._file, self._item
        item.saving = True
        blocks, before = file.blocks, item.saved_to
        try:
            if blocks is None or item.unsavable or not self._household.may_write():
                item.never_save()
                return
            parts, end = item.unsaved()
            # Where the disk is slower than the network the page cache evens that out, and readers do not feel it.
            may_wait = not self._memory.is_disk_behind()
            await blocks.in_thread(functools.partial(blocks.write, parts, before, may_wait=may_wait))
            self._household.wrote(end - before)
            if blocks is file.blocks and not item.unsavable:
                # No await between these: what leaves memory is known to be on disk.
                item.saved(end, blocks)
                file.mark(item, before)
                item.forget_saved(HELD_BY_ONE)
        except blockfile.CutError:
            if blocks is file.blocks:
                file.damaged()
        except OSError as error:
            item.never_save()
            self._household.disk_refused(error)
        finally:
            item.saving = False
            self._memory.room_made()


class _Superseded(Exception):
    """Another fetch brings the whole file already, or the file was begun anew."""
