"""What is known here of a data file: its size, its blocks on disk and on their way, and which copy they are of.

Everything here changes only between two awaits of the event loop's tasks. The threads write bytes and marks; they
never touch this state.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

import trio

from alyxfs import errors
from alyxfs.files.disk import block_file
from alyxfs.files.disk.block_file import Fingerprint, Verdict
from alyxfs.files.extents import BLOCK, block_count
from alyxfs.files.transfer import response
from alyxfs.files.transfer.copies import Copies
from alyxfs.net import shown

if TYPE_CHECKING:
    from alyxfs.files.seen import Seen
    from alyxfs.files.source import Source
    from alyxfs.files.transfer.owner import Owner
    from alyxfs.files.transfer.segment import Segment
    from alyxfs.net import Link
    from alyxfs.worker_threads import WorkerThreads

log = logging.getLogger(__name__)

SAVED_LATE = 1024 * 1024
"""Bytes: files up to this size are made on disk when they have come, see lull."""
ASK_AGAIN = 5.0
"""Seconds after which a server is asked again that gave something else instead of the file."""


class FileContent:
    """See the module. Owned by the file, and changed by the methods here alone."""

    def __init__(self, owner: Owner[Any], source: Source, size: int | None, seen: Seen) -> None:
        self.source = source
        self.size = size
        self.fingerprint = seen.fingerprint
        self.generation = seen.generation
        """Another one whenever the size or content turns out not to be what it was when somebody opened the file: who
        has it open since then gets nothing but errors, and opens it again."""
        self.is_shown = seen.is_shown
        """Whether anybody has opened this generation."""
        self.why_outdated = ""
        """A sentence for these."""
        self.is_confirmed = False
        """Whether the content has the hash of the database, whatever size that says."""
        self._refused = -math.inf, ""
        """Until when (trio time) the server is not asked, and why."""
        self.was_begun_anew = False
        """The content has become another one: what caching proxies keep of the file may be of either."""
        self.blocks: block_file.BlockFile | None = None
        self.written = bytearray(block_count(size or 0))
        """One byte a block: 1 where the block can be read from ``blocks`` (on disk, or on its way there)."""
        self.fetches: list[Segment] = []
        """Under way, and those whose bytes are only in memory."""
        self.unrecorded: list[tuple[int, int]] = []
        """Runs of blocks that are written but not marked in the map on disk."""
        self.handles = 0
        self.deliveries = 0
        """Programs that copy the file from the disk as it comes: of no use to them is what is in the page cache."""
        self.link: Link | None = None
        """How fast the server is whose copy was asked last."""
        self.trouble: errors.AlyxfsError | None = None
        """Why nothing comes from the server at the moment."""
        self.copies = Copies(self, owner.failed_copies, owner.kept_copies)
        self._owner = owner
        self._making = trio.Lock()
        self._recording = False
        self._looked_for = False
        self._place_taken = False
        """A cache file of other content is in use by another process: this one goes without."""
        self.next_verdict = Verdict.UNKNOWN
        """What a new block file says of its content."""

    @property
    def absent(self) -> int:
        """Blocks that are not on disk."""
        return self.written.count(0)

    @property
    def is_recorded(self) -> bool:
        """Whether the cache file says itself all that was written and used."""
        return not self.unrecorded and not self._recording and not self.is_used

    @property
    def is_recorded_whole(self) -> bool:
        """Whether the cache file says itself that all of it is there."""
        return self.blocks is not None and not (self.absent or self.unrecorded or self._recording)

    @property
    def is_used(self) -> bool:
        """Whether parts were used that the cache file does not know of."""
        return self.blocks is not None and self.blocks.has_uses

    @property
    def is_saved_late(self) -> bool:
        """Whether it is so small that it stays in memory until there is time to make a file of it."""
        return self.fingerprint is not None and self.fingerprint.size <= SAVED_LATE and not self.deliveries

    @property
    def is_untouched(self) -> bool:
        """Whether no byte of the content has come yet, though a server may have begun to answer."""
        return not any(self.written) and all(item.arrived == item.start for item in self.fetches)

    async def open_blocks(self) -> None:
        """Take up what the cache directory holds of this file, the first time."""
        async with self._making:
            if self._looked_for:
                return
            self._looked_for = True
            try:
                found = await self._owner.threads.run(
                    block_file.open_existing, self._owner.path(self.source), self.source.version
                )
            except OSError as error:
                self._owner.disk_refused(error)
                return
            if found is not None:
                self._adopt(found)
        if found is not None and not self.absent:
            self._owner.completed(self)

    def refuse_if_outdated(self, generation: int) -> None:
        """Raise FileChanged for who has opened an earlier generation of the file."""
        if generation != self.generation:
            url = self.copies.url and shown(self.copies.url)
            raise errors.FileChanged(self.why_outdated, url=url)

    def drop(self, item: Segment) -> None:
        """Let go of a fetch that has ended."""
        if item in self.fetches:
            self.fetches.remove(item)
        item.release()

    # Recording

    def mark(self, item: Segment, before: int) -> None:
        """The fetch is in the block file up to ``saved_to``: mark the blocks that are whole by that."""
        first = max(block_count(item.start), before // BLOCK)
        last = block_count(item.saved_to) if item.saved_to == self.size else item.saved_to // BLOCK
        if last <= first:
            return
        self.written[first:last] = b"\x01" * (last - first)
        self.unrecorded.append((first, last))
        self._owner.to_record(self)

    async def record(self, threads: WorkerThreads) -> None:
        """Note in the cache file what has been written and used since the last time; in one of these threads."""
        runs, self.unrecorded = self.unrecorded, []
        blocks = self.blocks
        if blocks is None or not (runs or self.is_used):
            return
        self._recording = True
        try:
            await blocks.in_thread(blocks.record, runs, threads=threads)
        except block_file.NotOnDiskError as error:
            self._owner.disk_refused(error)
            if blocks is self.blocks:
                self.damaged()
            return
        except OSError as error:
            self._owner.disk_refused(error)
            if runs and blocks is self.blocks:  # the bytes are there: another round marks them
                self.unrecorded = runs + self.unrecorded
                self._owner.to_record(self)
            return
        finally:
            self._recording = False
        if runs and blocks is self.blocks and not self.absent:
            self._owner.completed(self)

    # Which content it is

    def pin(self, found: Fingerprint) -> None:
        """An answer is of this content: from the first one on all must be. Raises FileChanged."""
        if self.fingerprint is None:
            self.fingerprint = found
            self.resize(found.size)
        elif not response.is_same(found, self.fingerprint):
            raise response.Changed(self.copies.url or self.source.name, found)

    async def make_blocks(self) -> None:
        """Make the cache file, once it is known of which content; without one the file is served from memory."""
        async with self._making:
            fingerprint = self.fingerprint
            if self.blocks is not None or self._place_taken or fingerprint is None or not self._owner.may_write():
                return
            try:
                made = await self._owner.threads.run(
                    block_file.create,
                    self._owner.path(self.source),
                    self.source.identity,
                    self.source.version,
                    fingerprint,
                    self.next_verdict,
                    (self._owner.places.server, self.source.place),
                )
            except OSError as error:
                self._owner.disk_refused(error)
                return
            if made is None:
                self._place_taken = True
            elif fingerprint is self.fingerprint:
                self._adopt(made)
            else:  # it would hold the place of what the file is by now
                made.remove()
                made.close()

    def _adopt(self, found: block_file.BlockFile) -> None:
        if self.fingerprint is not None and not response.is_same(found.fingerprint, self.fingerprint):
            self._outdate(response.Changed(self.copies.url or self.source.name, found.fingerprint))
        self.blocks = found
        self.fingerprint = found.fingerprint
        self.resize(found.fingerprint.size)
        self._take_up(0, len(self.written))

    def _take_up(self, first: int, last: int) -> None:
        """Learn from the map on disk which of these blocks, absent so far, another process or mount has fetched."""
        try:
            marks = self.blocks.recorded(first, last) if self.blocks is not None else b""
        except OSError as error:
            log.info("reading the map of %s: %s", self.source.name, error)
            marks = b""
        self.written[first:last] = marks.ljust(last - first, b"\0")

    def resize(self, size: int) -> None:
        """The true size is another than was thought: fetches end there, and no block counts as written yet."""
        if size == self.size:
            return
        before, self.size = self.size, size
        self.written = bytearray(block_count(size))
        for item in self.fetches:
            if item.arrived <= size:
                item.shorten(size)
        if before is not None:
            name = shown(self.copies.url or self.source.name)
            sentence = f"{name} has {size:,} bytes on its server, not {before:,} as was known; open it again."
            self._outdate(errors.FileChanged(sentence))
        self._owner.learned(self)

    def start_anew(self, reason: errors.FileChanged, now: Fingerprint | None) -> None:
        """The content is another one, ``now`` if that is known: forget all there is of the old one."""
        self._outdate(reason)
        self.was_begun_anew = True
        self.fingerprint = now
        if now is None:
            self.copies.release()
        self.size = None if now is None else now.size
        self.is_confirmed = False
        self._drop_blocks()
        self.next_verdict = Verdict.UNKNOWN
        self._place_taken = False
        for item in self.fetches:
            if not item.done:
                item.finish(reason)
                item.scope.cancel()
            item.release()
        self.fetches.clear()
        self._owner.learned(self)

    def forget_answer(self) -> None:
        """The copy whose answer was accepted gives no bytes: another one may be taken while all is untouched."""
        self.fingerprint = None
        self.copies.release()
        self._drop_blocks()

    def _outdate(self, reason: errors.FileChanged) -> None:
        """Whoever has the file open must open it again."""
        if self.is_shown:
            self.generation = self._owner.new_generation()
            self.why_outdated = str(reason)
            self.is_shown = False

    def damaged(self) -> None:
        """Somebody cut the cache file, or the disk cannot read it: what it held is fetched again."""
        self._drop_blocks()
        for item in self.fetches:
            item.lose_saved()

    def _drop_blocks(self) -> None:
        if self.blocks is not None:
            self.blocks.remove()
            self.blocks.close()
        self.blocks = None
        self.unrecorded.clear()
        self.written = bytearray(block_count(self.size or 0))

    def close(self) -> None:
        """Let go of the cache file."""
        if self.blocks is not None:
            self.blocks.close()
        self.blocks = None
        for item in self.fetches:
            item.release()

    # Answers that are not the file

    @property
    def refusal(self) -> errors.ServerFault | None:
        """Why the server is not asked at the moment."""
        until, sentence = self._refused
        return errors.ServerFault(sentence, url=self.copies.url) if trio.current_time() < until else None

    def refuse(self, sentence: str) -> None:
        """What the server gives is not the file: ask it again after a while, not for every page that is read."""
        self._refused = trio.current_time() + ASK_AGAIN, sentence

    def reject(self) -> errors.ServerFault:
        """Forget what cannot be the file; return the error that is raised for it, now and for a while."""
        name = shown(self.copies.url or self.source.name)
        sentence = (
            f"{name} gave {self.size or 0:,} bytes that have neither the size nor the hash of the database: a page of "
            "a proxy, or another file. They are not used. `alyxfs refresh` of the file asks again at once."
        )
        self.start_anew(errors.FileChanged(sentence), None)
        self.refuse(sentence)
        return errors.ServerFault(sentence, status=200, url=self.copies.url)

    def allow(self) -> None:
        """Ask the server again."""
        self._refused = -math.inf, ""
