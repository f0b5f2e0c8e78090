"""What must be certain before a file is opened: that what is said of it, and what is here of it, is true.

A program believes the size that it sees at open, and may not notice an error later (numpy.fromfile passes over it). So
where the database gives reason to doubt, its word is compared with the file server's first:

- It says no size, or no hash; or no bytes, with the hash of some.
- The file is small, so that it comes whole for the price of the question.
- The database was wrong about the size of another file.

What has neither the size nor the hash of the database is no content but a page of a proxy, or another file.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol

import trio

from alyxfs import errors
from alyxfs.files.cached_file import SMALL
from alyxfs.files.disk.block_file import Verdict
from alyxfs.files.extents import Extent
from alyxfs.files.verify import ask_again
from alyxfs.net import shown

if TYPE_CHECKING:
    from alyxfs.files.cached_file import CachedFile
    from alyxfs.files.memory.limiter import Memory
    from alyxfs.files.source import Source
    from alyxfs.net import Network

CHECKED = 32 * 1024 * 1024
"""Bytes up to which a file is fetched whole and hashed before it is opened, where its size is not the database's.
Larger ones are opened, and hashed once they are here."""
CHECKED_AT_ONCE = 1024 * 1024
"""Bytes."""
DIFFERED = 600.0
"""Seconds after which the server is asked whether a content that is not what the database says is still the same."""
ASKED_AGAIN = 5.0
"""Seconds that opening a file waits for that answer."""
ROUNDS = 3
"""How often a content may become another one while it is being opened."""
NO_BYTES = hashlib.md5(usedforsecurity=False).hexdigest()
"""The hash of an empty file."""


class Cache(Protocol):
    """What is needed of the cache."""

    network: Network
    memory: Memory

    def recorded_size(self, source: Source) -> int | None:
        """Bytes, by the database or by what was learned of it."""

    def learned(self, file: CachedFile) -> None:
        """The true size is known."""


class Doubts:
    """State: only numbers and times; changes between awaits."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._database_was_wrong = False
        """About a size, during this mount."""
        self._undecided: set[tuple[str, str]] = set()
        """Files of two sizes: see :meth:`is_undecided`."""
        self._asked: dict[tuple[str, str], float] = {}
        """When the server was asked for a content that is not the database's: trio time by identity and version."""

    async def settle(self, file: CachedFile) -> None:
        """Return when nothing about the file is doubtful that can be known; the caller opens it before the next await.

        Raises what a read raises; ServerFault where the server has something else instead of the file.
        """
        for _ in range(ROUNDS):
            try:
                await self._settle(file)
            except errors.FileChanged:
                continue
            return
        raise errors.ServerFault(f"{_name(file)} changes all the time on its server.")

    def forget(self, source: Source) -> None:
        """Doubt anew."""
        self._asked.pop((source.identity, source.version), None)

    def forget_all(self) -> None:
        """Doubt everything anew."""
        self._asked.clear()

    def is_undecided(self, identity: str, version: str) -> bool:
        """Whether the server told another size than was recorded, and the content has not told yet which is right."""
        return bool(self._undecided) and (identity, version) in self._undecided

    def believes(self, file: CachedFile) -> bool:
        """Whether the size that the server tells is to be recorded; called whenever it tells one."""
        recorded, size = self._cache.recorded_size(file.source), file.size
        is_other = recorded is not None and size is not None and size != recorded
        self._database_was_wrong |= is_other
        is_certain = file.is_confirmed or (file.blocks is not None and file.blocks.verdict is Verdict.VERIFIED)
        must_tell = file.source.digest is not None and (size or 0) <= CHECKED
        if is_other and must_tell and not is_certain:
            self._undecided.add((file.source.identity, file.source.version))
            return False
        self._undecided.discard((file.source.identity, file.source.version))
        return True

    async def _settle(self, file: CachedFile) -> None:
        if file.source.url is None:
            return
        if file.fingerprint is None:
            if (refusal := file.refusal) is not None:
                raise refusal
            if self._is_doubtful(file):
                await file.ask()
        elif self._is_questionable(file):
            await self._ask_again(file)
        if not self.believes(file):
            await self._check(file)

    def _is_doubtful(self, file: CachedFile) -> bool:
        size, digest = file.size, file.source.digest
        if size == 0 and digest == NO_BYTES:
            return False
        return size is None or size <= SMALL or digest is None or self._database_was_wrong

    def _is_questionable(self, file: CachedFile) -> bool:
        """Whether what is here may be an answer to a wrong question, and it is time to ask again."""
        if file.blocks is None or file.blocks.verdict is Verdict.VERIFIED:
            return False
        size = file.source.size
        if file.blocks.verdict is not Verdict.DIFFERS and (size is None or size == file.size):
            return False
        key = file.source.identity, file.source.version
        return trio.current_time() >= self._asked.get(key, float("-inf")) + DIFFERED

    async def _ask_again(self, file: CachedFile) -> None:
        """Where the server is away, what is here has to do."""
        self._asked[file.source.identity, file.source.version] = trio.current_time()
        try:
            with trio.move_on_after(ASKED_AGAIN):
                await ask_again(file, self._cache.network, self._cache.memory.buffers)
        except errors.FileChanged:
            raise
        except errors.AlyxfsError:
            pass

    async def _check(self, file: CachedFile) -> None:
        """Fetch all of it, and see whether it is the content that the database means."""
        size, digest = file.size or 0, hashlib.md5(usedforsecurity=False)
        file.want([Extent(0, size)], background=False)
        for start in range(0, size, CHECKED_AT_ONCE):
            piece = bytes(await file.look(start, CHECKED_AT_ONCE))
            await trio.to_thread.run_sync(digest.update, piece)
        if digest.hexdigest() == (file.source.digest or "").lower():
            file.is_confirmed = True
            self._cache.learned(file)
            return
        url = file.copies.url
        rejected = file.reject()
        if url is not None:
            file.copies.failed(url, rejected)
            if await file.copies.has_another(url):
                file.allow()
                raise errors.FileChanged(str(rejected))
        raise file.copies.explained(rejected)


def _name(file: CachedFile) -> str:
    return shown(file.copies.url or file.source.name)
