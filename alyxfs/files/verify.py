"""Is a complete file what the database says? Hashed in a thread, in the background, off every reader's way."""

from __future__ import annotations

import hashlib
import logging
import mmap
from typing import TYPE_CHECKING

import trio

from alyxfs.files import blockfile
from alyxfs.files.blockfile import Verdict
from alyxfs.files.blocks import Extent, pieces

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from alyxfs.files.blockfile import BlockFile
    from alyxfs.files.cachedfile import CachedFile

log = logging.getLogger(__name__)

HASHED_AT_ONCE = 8 * 1024 * 1024
"""Bytes, after which a reader is let go first."""
REFETCHED_AT_ONCE = 8 * 1024 * 1024
"""Bytes of a request."""


async def verify(file: CachedFile, quiet: Callable[[], Awaitable[None]]) -> None:
    """Compare the MD5 of a complete file with the database's, once; a first mismatch has the file fetched again.

    ``quiet`` waits until nobody reads, or has waited long enough. The verdict is kept in the cache file. A second
    mismatch is no error: the file is served, with a remark.
    """
    blocks, expected = file.blocks, file.source.digest
    if expected is None or blocks is None or blocks.verdict in {Verdict.VERIFIED, Verdict.DIFFERS}:
        return
    try:
        found = await _md5(blocks, quiet)
        if blocks is not file.blocks:
            return
        if found == expected.lower():
            await blocks.in_thread(blocks.set_verdict, Verdict.VERIFIED)
        elif blocks.verdict is Verdict.SECOND_TRY:
            log.info("%s has MD5 %s, the database says %s: served with a remark", file.source.name, found, expected)
            await blocks.in_thread(blocks.set_verdict, Verdict.DIFFERS)
        else:
            log.info("%s has MD5 %s, the database says %s: fetched again", file.source.name, found, expected)
            file.begin_second_try()
            await _fetch_all(file)
    except OSError as error:
        log.info("%s could not be verified: %s", file.source.name, error)


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
                raise blockfile.CutError(f"{blocks.path} was cut by somebody")
            digest.update(buffer[:count])
            start += count

    for start in range(0, size, HASHED_AT_ONCE):
        if start:
            await quiet()
        await blocks.in_thread(add, start)
    return digest.hexdigest()


async def _fetch_all(file: CachedFile) -> None:
    """Fetch what is missing, one request after the other: nobody waits for it."""
    for piece in pieces(Extent(0, file.size or 0), REFETCHED_AT_ONCE):
        for item in file.want([piece], background=True):
            while not item.done:
                await item.news()
            if item.error is not None:
                return
        await trio.lowlevel.checkpoint()
