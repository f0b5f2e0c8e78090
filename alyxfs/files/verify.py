"""Is a complete file what the database says? Hashed in a thread, in the background, off every reader's way."""

from __future__ import annotations

import hashlib
import logging
import mmap
from typing import TYPE_CHECKING

import trio

from alyxfs import errors
from alyxfs.files.disk import block_file
from alyxfs.files.disk.block_file import Verdict
from alyxfs.files.extents import BLOCK, Extent, is_present, pieces
from alyxfs.files.transfer.download import run
from alyxfs.files.transfer.response import Changed
from alyxfs.files.transfer.segment import Segment

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from alyxfs.files.cached_file import CachedFile
    from alyxfs.files.disk.block_file import BlockFile, Fingerprint
    from alyxfs.files.memory.buffers import Buffers
    from alyxfs.files.source import Source
    from alyxfs.files.transfer.response import Body
    from alyxfs.net import Network

log = logging.getLogger(__name__)

HASHED_AT_ONCE = 8 * 1024 * 1024
"""Bytes, after which a reader is let go first."""
REFETCHED_AT_ONCE = 8 * 1024 * 1024
"""Bytes of a request."""
COPIED_AT_ONCE = 1024 * 1024
"""Bytes of a second copy that are hashed at a time, and stay in memory until the next ones."""


async def verify(file: CachedFile, network: Network, buffers: Buffers, quiet: Callable[[], Awaitable[None]]) -> None:
    """Compare the MD5 of a complete file with the database's, once; after a mismatch with that of a second copy.

    ``quiet`` waits until nobody reads, or has waited long enough. The verdict is kept in the cache file. Where the
    server gives the same content twice, and the size is right, the file is served, with a remark.
    """
    blocks = file.blocks
    if file.source.digest is None or blocks is None or blocks.verdict in {Verdict.VERIFIED, Verdict.DIFFERS}:
        return
    try:
        found = await _md5(blocks, quiet)
        if found == file.source.digest.lower():
            await blocks.in_thread(blocks.set_verdict, Verdict.VERIFIED)
            return
        log.info("%s has MD5 %s, the database says %s", file.source.name, found, file.source.digest)
        if blocks is file.blocks:
            await _look_into_mismatch(file, blocks, found, network, buffers)
    except (OSError, errors.AlyxfsError) as error:
        log.info("%s could not be verified: %s", file.source.name, error)


async def _look_into_mismatch(
    file: CachedFile, blocks: BlockFile, found: str, network: Network, buffers: Buffers
) -> None:
    size = blocks.fingerprint.size
    if file.source.size not in {None, size}:
        log.info("%s", file.reject())
        return
    if blocks.verdict is Verdict.SECOND_TRY or await _Copy(file, size, buffers).md5(network) == found:
        await blocks.in_thread(blocks.set_verdict, Verdict.DIFFERS)
    elif blocks is file.blocks:
        sentence = f"{file.source.name} was damaged on its way here and is fetched again; open it again."
        file.start_anew(errors.FileChanged(sentence), file.fingerprint)
        file.next_verdict = Verdict.SECOND_TRY
        await fetch_all(file)


async def ask_again(file: CachedFile, network: Network, buffers: Buffers) -> None:
    """Ask the server whether a file still begins as it does here; raises FileChanged if not."""
    blocks = file.blocks
    if file.fingerprint is None or blocks is None:
        return
    end = min(BLOCK, file.fingerprint.size)
    found = await _Copy(file, end, buffers).md5(network)
    is_here = file.blocks is blocks and is_present(file.written, 0, end)
    if is_here and hashlib.md5(blocks.read(0, end), usedforsecurity=False).hexdigest() != found:
        reason = errors.FileChanged(f"{file.source.name} is another one on its server than here; open it again.")
        file.start_anew(reason, None)
        raise reason


async def see_if_served(file: CachedFile, network: Network, buffers: Buffers) -> None:
    """Raises what a read raises, where no server gives the file, whatever its content is by now."""
    file.copies.forget_failures()
    await file.copies.find(lambda url: _Copy(file, 1, buffers, of_any_content=True, url=url).md5(network))


async def leave_failing_copy(file: CachedFile, network: Network, buffers: Buffers) -> None:
    """Before a file is opened: forget what is here of a copy that fails by now, where another one can be read.

    Not while somebody else has the file open, nor where all of it is here.
    """
    copies = file.copies
    if not copies.is_failing or not file.absent or file.handles > 1 or copies.url is None:
        return

    async def attempt(url: str) -> None:
        await _Copy(file, 1, buffers, of_any_content=True, url=url).md5(network)

    if await copies.find_another(copies.url, attempt):
        sentence = f"{file.source.name} is read from another server by now; open it again."
        file.start_anew(errors.FileChanged(sentence), None)


class _Copy:
    """Bytes of a file from its beginning on, fetched once more: hashed as they come, and not kept."""

    def __init__(
        self, file: CachedFile, size: int, buffers: Buffers, *, of_any_content: bool = False, url: str | None = None
    ) -> None:
        self._file = file
        self._url = url or file.copies.url
        self._of_any_copy = url is not None
        self._pinned = None if of_any_content else file.fingerprint
        self._item = Segment(Extent(0, size), buffers, background=True, from_disk=True)
        self._digest = hashlib.md5(usedforsecurity=False)
        self._hashed = 0

    async def md5(self, network: Network) -> str:
        """Their MD5. Raises what a read raises; FileChanged where the content is another one by now."""
        item = self._item
        try:
            if self._url is None:
                raise errors.NotDownloadable(f"{self._file.source.name} is listed, but no server offers its bytes.")
            await run(network, self._url, item, self)
            await self._hash()
        except Changed as changed:
            reason = errors.FileChanged(str(changed), url=changed.url)
            if self._file.fingerprint is self._pinned:
                self._file.start_anew(reason, changed.now)
            raise reason from changed
        finally:
            item.finish()
            item.release()
        return self._digest.hexdigest()

    async def _hash(self) -> None:
        end = self._item.arrived
        if end > self._hashed:
            await trio.to_thread.run_sync(self._digest.update, self._item.take(self._hashed, end))
        self._hashed = end

    # What the requests ask for (see Recipient)

    @property
    def source(self) -> Source:
        """What is known of the file."""
        return self._file.source

    def pinned(self) -> Fingerprint | None:
        """The content that every answer must be of."""
        return self._pinned

    async def accept(self, body: Body) -> None:
        """Take any answer that is of this content."""

    def is_guess(self) -> bool:
        """Programs have opened the file."""
        return False

    def is_followed(self) -> bool:
        """Nothing is asked beside it."""
        return False

    def distrusts_caches(self) -> bool:
        """What is asked is what the server itself has."""
        return True

    def is_delayed(self, trouble: errors.AlyxfsError) -> None:
        """Nobody waits."""

    async def is_to_be_left(self) -> bool:
        """Whether any copy will do."""
        return self._of_any_copy and self._url is not None and await self._file.copies.has_another(self._url)

    async def make_room(self) -> None:
        """Hash what came; it goes with what comes next."""
        if self._item.arrived - self._hashed >= COPIED_AT_ONCE:
            await self._hash()


async def _md5(blocks: BlockFile, quiet: Callable[[], Awaitable[None]]) -> str:
    """Hash the content as it is on disk."""
    digest = hashlib.md5(usedforsecurity=False)
    size = blocks.fingerprint.size
    buffer = memoryview(mmap.mmap(-1, HASHED_AT_ONCE))

    def add(start: int) -> None:
        end = min(start + HASHED_AT_ONCE, size)
        while start < end:
            count = min(blocks.read_into([buffer], start, is_use=False), end - start)
            if count <= 0:
                raise block_file.CutError(f"{blocks.path} was cut by somebody")
            digest.update(buffer[:count])
            start += count

    for start in range(0, size, HASHED_AT_ONCE):
        if start:
            await quiet()
        await blocks.in_thread(add, start)
    return digest.hexdigest()


async def fetch_all(file: CachedFile) -> None:
    """Fetch what is missing, one request after the other: nobody waits for it."""
    for piece in pieces(Extent(0, file.size or 0), REFETCHED_AT_ONCE):
        for item in file.want([piece], background=True):
            while not item.done:
                await item.news()
            if item.error is not None:
                return
        await trio.lowlevel.checkpoint()
