"""The cache of data files: who has which file open, how much memory and disk that may take."""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from alyxfs import errors
from alyxfs.files import blockfile, eviction, formats
from alyxfs.files.cachedfile import CachedFile
from alyxfs.files.foresight import Foresight
from alyxfs.files.inflate import InflatedFile, Inflater
from alyxfs.files.localfile import open_local
from alyxfs.files.memory import Memory
from alyxfs.files.reader import Reader
from alyxfs.files.sizes import KnownSizes
from alyxfs.files.verify import verify
from alyxfs.net import give_back
from alyxfs.nursery import background_tasks

if TYPE_CHECKING:
    import pathlib
    from collections.abc import AsyncGenerator, Callable, Collection

    from alyxfs.files.source import OpenFile, Source
    from alyxfs.net import Network

log = logging.getLogger(__name__)

GIB = 1 << 30
DEFAULT_LIMIT = 50 * GIB
"""Bytes on disk."""
IDLE_FILES = 128
"""Files without a reader that stay open, as a walk through a directory comes back to them; a descriptor each."""
TIDY_PAUSE = 60.0
"""Seconds between two looks at how full the disk is, if nothing is written."""
RECORDED_AT_ONCE = 8
"""Files that are put on disk at the same time: one commit of the file system's journal serves them all."""
RECORD_PAUSE = 5.0
"""Seconds between two rounds that put blocks on disk and mark them: what a power cut or kill may cost."""
QUIET = 0.3
"""Seconds without a read after which a complete file is verified, some MiB at a time."""
LONGEST_QUIET = 5.0
"""Seconds after which the next of these is hashed although somebody reads all the time."""
SETTLING = 10.0
"""Seconds that pinning waits for blocks that are on their way to the disk."""
DISK_PAUSE = 30.0
"""Seconds without caching after the disk refused a write."""


class FileCache:
    """All data files of one drive. Make it with :func:`open_file_cache`.

    State: ``_files`` holds every file that is open or idle, in the order of last use.
    """

    def __init__(
        self,
        network: Network,
        nursery: trio.Nursery,
        directory: pathlib.Path,
        limit_bytes: int,
        on_change: Callable[[str], None] | None,
    ) -> None:
        self.network = network
        self.nursery = nursery
        self.directory = directory
        """In which every cache file has its place."""
        self.limit_bytes = limit_bytes
        """Bytes that data files may take on disk."""
        self._on_change = on_change
        self._files: OrderedDict[tuple[str, str], CachedFile] = OrderedDict()
        self.memory = Memory(self._files.values())
        self._unrecorded: dict[int, CachedFile] = {}
        self.read_at = 0.0
        """Trio time of the last read."""
        self._write_again_at = 0.0
        self._written = 0
        self._closing = False
        self._tidy_now = trio.Event()
        self._verifying = trio.CapacityLimiter(1)
        self._being_verified: set[int] = set()
        self._sizes = KnownSizes(directory / "sizes")
        self.foresight = Foresight(self)
        self._inflater = Inflater(self)

    async def open(self, source: Source) -> OpenFile:
        """Open a data file. No request where the database knows the size.

        Raises NotDownloadable where no server offers the bytes, and what a read raises where the size must be asked.
        """
        local = await open_local(source)
        if local is not None:
            return local
        file = self.file(source)
        file.handles += 1
        try:
            await file.open_blocks()
            if source.url is None and file.blocks is None:
                raise errors.NotDownloadable(f"{source.name} is listed, but no server offers its bytes.")
            if file.size is None:
                await file.learn_size()
        except BaseException:
            self.closed(file)
            raise
        return Reader(self, file, source)

    async def open_inflated(self, recording: Source, header: Source) -> OpenFile:
        """Open a compressed recording (.cbin, with its .ch) as the .bin it was made of.

        Raises what :meth:`open` and a read raise; ServerFault where the header is none.
        """
        parsed = await self._inflater.header(header)
        if self.known_inflated_size(recording, header) is None:
            self._sizes.learn(*_inflated_key(recording, header), parsed.size)
        opened = await self.open(recording)
        if isinstance(opened, Reader) and (file := self.file(recording)).parts is None:
            file.parts = formats.chunks_between(parsed.offsets)
        return InflatedFile(self._inflater, self.nursery, recording, opened, parsed)

    def known_inflated_size(self, recording: Source, header: Source) -> int | None:
        """Bytes of the inflated recording, once it has been opened."""
        return self._sizes.get(*_inflated_key(recording, header), None)

    def known_size(self, source: Source) -> int | None:
        """Bytes: the true size once the file server told it, until then what the database says."""
        return self._sizes.get(source.identity, source.version, source.size)

    def cached_share(self, source: Source) -> float:
        """How much of the file is in the cache, 0 to 1."""
        file = self._files.get((source.identity, source.version))
        if file is not None and file.written:
            return 1 - file.absent / len(file.written)
        return blockfile.look(self.path(source), source.version)[0]

    def remark(self, source: Source) -> str | None:
        """What a person should know of the file's content."""
        file = self._files.get((source.identity, source.version))
        if file is not None and file.blocks is not None:
            verdict = file.blocks.verdict
        else:
            verdict = blockfile.look(self.path(source), source.version)[1]
        if verdict is not blockfile.Verdict.DIFFERS:
            return None
        return "The content differs from the hash in the database; it was fetched twice."

    def file(self, source: Source) -> CachedFile:
        """The one object of this file. Who uses it adds to ``handles`` before the next await, and calls `closed`."""
        key = source.identity, source.version
        file = self._files.get(key)
        if file is not None and file.blocks is not None and file.is_idle and file.blocks.is_removed():
            self._forget(file)
            file = None
        if file is None:
            file = self._files[key] = CachedFile(self, source, self.known_size(source))
        file.source = source
        self._files.move_to_end(key)
        return file

    # Pinned files

    async def pin(self, sources: Collection[Source]) -> list[float]:
        """Keep these files in the cache; return how much of each is on this machine, 0 to 1.

        Pinning fetches nothing: read the files then, and pin again to see what has come and is safely on disk.
        """
        sizes = {self.path(source): self.known_size(source) or 0 for source in sources}
        try:
            await trio.to_thread.run_sync(eviction.pin, sizes, self.directory)
        except OSError as error:
            raise errors.ServerFault(f"Nothing was pinned: the cache directory says {error.strerror}.") from error
        if not self.may_write():
            await self.tidy()
        await self._settle([(source.identity, source.version) for source in sources])
        await self.record()
        return [await self._share_here(source) for source in sources]

    async def unpin(self, sources: Collection[Source]) -> int:
        """Let these files go when there is need for room; return how many were pinned."""
        try:
            return await trio.to_thread.run_sync(eviction.unpin, [self.path(source) for source in sources])
        except OSError as error:
            raise errors.ServerFault(f"Not all was unpinned: the cache directory says {error.strerror}.") from error

    def is_pinned(self, source: Source) -> bool:
        """Whether the file stays in the cache."""
        return eviction.is_pinned(self.path(source))

    async def pinned_bytes(self) -> int:
        """What all pinned files in the cache directory take when they are whole, those of other servers included."""
        return await trio.to_thread.run_sync(eviction.pinned_bytes, self.directory)

    async def _settle(self, keys: Collection[tuple[str, str]]) -> None:
        """Wait until what has come of these files is on disk, and forget what never gets there."""
        files = [self._files[key] for key in keys if key in self._files]
        with trio.move_on_after(SETTLING):
            while any(_is_saving(file) for file in files):  # noqa: ASYNC110 - a fetch may end without a save
                await trio.sleep(0.01)
        for file in files:
            for item in [one for one in file.fetches if one.is_kept and not one.is_saved]:
                file.drop(item)
            is_known = self._files.get((file.source.identity, file.source.version)) is file
            if is_known and file.is_idle and file.blocks is not None and file.blocks.is_removed():
                self._forget(file)

    async def _share_here(self, source: Source) -> float:
        if self.known_size(source) == 0:
            return 1.0
        local = await open_local(source)
        if local is None:
            return self.cached_share(source)
        await local.close()
        return 1.0

    # What the files ask for (Household)

    def path(self, source: Source) -> pathlib.Path:
        """The cache file's place: named by a hash, so that no name of the server's can lead elsewhere."""
        key = hashlib.blake2b(source.identity.encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()
        return self.directory / "blocks-1" / key[:2] / key[2:]

    def may_write(self) -> bool:
        """Whether the disk takes more."""
        return trio.current_time() >= self._write_again_at

    def disk_refused(self, error: OSError) -> None:
        """Serve without caching for a while."""
        if self.may_write():
            log.info("data files are not cached for %g s: %s", DISK_PAUSE, error)
        self._write_again_at = trio.current_time() + DISK_PAUSE
        self._tidy_now.set()

    def wrote(self, count: int) -> None:
        """So many bytes went to the disk: look at its limit now and then."""
        self._written += count
        if self._written > min(self.limit_bytes // 20, GIB):
            self._written = 0
            self._tidy_now.set()

    def to_record(self, file: CachedFile) -> None:
        """The file has written blocks that its map does not mark yet."""
        self._unrecorded[id(file)] = file

    def learned(self, file: CachedFile) -> None:
        """Remember the true size, and tell who shows it."""
        source = file.source
        if file.size is not None and file.size != self.known_size(source):
            self._sizes.learn(source.identity, source.version, file.size)
        if self._on_change is not None:
            self._on_change(source.identity)

    def completed(self, file: CachedFile) -> None:
        """Every block is on disk: see whether they are right."""
        if file.source.digest is not None and id(file) not in self._being_verified and not self._closing:
            self._being_verified.add(id(file))
            file.handles += 1
            self.nursery.start_soon(self._verify, file)

    async def _verify(self, file: CachedFile) -> None:
        try:
            async with self._verifying:
                await verify(file, self._quiet)
        finally:
            self._being_verified.discard(id(file))
            self.closed(file)

    async def _quiet(self) -> None:
        """Wait until nobody has read for a moment, at most LONGEST_QUIET."""
        with trio.move_on_after(LONGEST_QUIET):
            while (wait := self.read_at + QUIET - trio.current_time()) > 0:  # noqa: ASYNC110 - it may grow meanwhile
                await trio.sleep(wait)

    # Housekeeping

    def closed(self, file: CachedFile) -> None:
        """A reader has left."""
        file.handles -= 1
        if file.handles == 0:
            for item in list(file.fetches):
                if item.whole:
                    file.abandon(item)
            self._files.move_to_end((file.source.identity, file.source.version))
        idle = [one for one in self._files.values() if one.is_idle]
        for one in idle[: max(0, len(idle) - IDLE_FILES)]:
            # Where the disk does not keep up with recording, rather forget some blocks than open ever more files.
            if one.is_recorded or len(idle) > 2 * IDLE_FILES:
                self._forget(one)

    def _forget(self, file: CachedFile) -> None:
        self.memory.forget(file)
        del self._files[file.source.identity, file.source.version]
        file.close()

    async def record_for_ever(self) -> None:
        """Put blocks on disk and mark them, off every reader's way."""
        was_busy, written = False, 0
        while True:
            await trio.sleep(RECORD_PAUSE)
            await self.record()
            is_busy = any(not item.done for file in self._files.values() for item in file.fetches)
            if was_busy and not is_busy:
                self.memory.let_go()
                await trio.to_thread.run_sync(give_back)
            was_busy = is_busy or self._written != written
            written = self._written

    async def record(self) -> None:
        """Put on disk and mark what has been written, and note what was used."""
        files, self._unrecorded = self._unrecorded, {}
        files |= {id(file): file for file in self._files.values() if file.is_used}
        limiter = trio.CapacityLimiter(RECORDED_AT_ONCE)

        async def record_one(file: CachedFile) -> None:
            async with limiter:
                await file.record()

        # What was begun must be ended: the runs are no longer noted anywhere else.
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                for file in files.values():
                    nursery.start_soon(record_one, file)

    async def tidy_for_ever(self) -> None:
        """Keep the directory within its limit."""
        while True:
            self._tidy_now = trio.Event()
            await self.tidy()
            with trio.move_on_after(TIDY_PAUSE):
                await self._tidy_now.wait()
            await trio.sleep(1)

    async def tidy(self) -> None:
        """Evict what was not used for long, if the disk is too full."""
        await self.record()
        for file in [one for one in self._files.values() if one.is_idle and one.is_recorded]:
            self._forget(file)
        try:
            has_room = await trio.to_thread.run_sync(eviction.evict, self.directory, self.limit_bytes)
        except OSError as error:
            log.info("the cache directory cannot be looked through: %s", error)
            return
        if has_room:
            self._write_again_at = 0.0
        else:
            self._write_again_at = trio.current_time() + DISK_PAUSE
            log.info("data files are not cached for now: all room is taken by open and pinned files")

    async def close(self) -> None:
        """Put on disk what there is, and close every cache file."""
        self._closing = True
        await self.record()
        for file in self._files.values():
            file.close()


def _is_saving(file: CachedFile) -> bool:
    if file.blocks is None:
        return False
    return any(not (item.is_saved or item.is_kept or item.unsavable) for item in file.fetches)


def _inflated_key(recording: Source, header: Source) -> tuple[str, str]:
    return f"{recording.identity}.bin", f"{recording.version} {header.version}"


@asynccontextmanager
async def open_file_cache(
    network: Network,
    directory: pathlib.Path,
    *,
    limit_bytes: int = DEFAULT_LIMIT,
    on_change: Callable[[str], None] | None = None,
) -> AsyncGenerator[FileCache, None]:
    """The cache in this directory, for as long as the block lasts.

    ``on_change`` is called with a file's identity when its true size or a change of its content becomes known, so
    that whoever caches attributes or pages can drop them; it must not wait.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    cache: FileCache | None = None
    try:
        async with background_tasks() as nursery:
            cache = FileCache(network, nursery, directory, limit_bytes, on_change)
            nursery.start_soon(cache.record_for_ever)
            nursery.start_soon(cache.tidy_for_ever)
            yield cache
    finally:
        # Only now have all fetches handed over what they hold.
        if cache is not None:
            await cache.close()
