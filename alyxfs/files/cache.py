"""The cache of data files: who has which file open, how much memory and disk that may take."""

from __future__ import annotations

import functools
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio
from cachetools import TTLCache

from alyxfs import errors
from alyxfs.files.cached_file import SMALL, CachedFile
from alyxfs.files.disk import eviction
from alyxfs.files.disk.kept_values import KeptValues
from alyxfs.files.disk.known_sizes import KnownSizes
from alyxfs.files.disk.places import Places
from alyxfs.files.disk_use import DiskUse
from alyxfs.files.doubts import Doubts
from alyxfs.files.extents import Extent
from alyxfs.files.local_copies import LocalCopies
from alyxfs.files.memory.limiter import Memory
from alyxfs.files.mtscomp import Header, InflatedFile, Inflater
from alyxfs.files.pool import FilePool
from alyxfs.files.prefetch import formats
from alyxfs.files.prefetch.prefetcher import Prefetcher
from alyxfs.files.reader import Reader
from alyxfs.files.state import FileState, is_saving, look, recorded_share_of, share_of, waits_to_be_saved
from alyxfs.files.transfer.copies import FailedCopies
from alyxfs.files.transfer.lull import Lull
from alyxfs.files.verifier import Verifier
from alyxfs.files.verify import fetch_all, leave_failing_copy, see_if_served
from alyxfs.private_files import claim_folder
from alyxfs.tasks import background_tasks, nobody_waits
from alyxfs.worker_threads import WorkerThreads

if TYPE_CHECKING:
    import pathlib
    from collections.abc import AsyncGenerator, Callable, Collection

    from alyxfs.files.source import OpenFile, Source
    from alyxfs.net import Network
    from alyxfs.tasks import Tasks

log = logging.getLogger(__name__)

GIB = 1 << 30
DEFAULT_LIMIT = 50 * GIB
"""Bytes on disk."""
MOST_THREADS = 16
"""For short work on the disk, where that is slow."""
SETTLING = 10.0
"""Seconds that pinning waits for blocks that are on their way to the disk."""
BELIEVED = 60.0
"""Seconds for which it is believed that nobody tells the size of a file."""
MOST_UNAVAILABLE = 10_000
"""Of these that are remembered."""


class FileCache:
    """All data files of one drive. Make it with :func:`open_file_cache`."""

    def __init__(
        self,
        network: Network,
        tasks: Tasks,
        directory: pathlib.Path,
        limit_bytes: int,
        on_change: Callable[[str], None] | None,
        one_directory: pathlib.Path | None,
        server: str,
    ) -> None:
        self.network = network
        self.tasks = tasks
        self.directory = directory
        """In which every cache file has its place."""
        self._on_change = on_change
        self._pool = FilePool(self, self.known_size)
        self.memory = Memory(lambda: (item for file in self._pool.all() for item in file.fetches))
        self.threads = WorkerThreads(at_once=1, most=MOST_THREADS)
        self.disk = DiskUse(directory, limit_bytes, self._pool, self.memory)
        self.read_at = 0.0
        """Trio time of the last read."""
        self.lull = Lull(lambda: self.read_at)
        self._closing = False
        self.verifier = Verifier(network, tasks, self.memory.buffers, lambda: self.read_at, self.closed)
        self.places = Places(directory, server)
        self._sizes = KnownSizes(self.places.values("sizes"))
        self.failed_copies = FailedCopies(network)
        self.kept_copies = KeptValues(self.places.values("copies"), names=2)
        self.copies = LocalCopies(tasks, directory / "local-hashes", one_directory)
        self.unavailable: TTLCache[str, errors.AlyxfsError] = TTLCache(MOST_UNAVAILABLE, BELIEVED, trio.current_time)
        """Why sizes that the database does not know could not be learned, for those who would ask again."""
        self.prefetcher = Prefetcher(self)
        self._inflater = Inflater(functools.partial(self.open, by_program=False))
        self._doubts = Doubts(self)

    async def open(self, source: Source, *, by_program: bool = True) -> OpenFile:
        """Open a data file. No request where nothing is doubtful (see doubts).

        Where it is not opened ``by_program`` but to learn what another file is, nobody is walking through its folder.
        Raises NotDownloadable where no server offers the bytes, and what a read raises where the server must be asked.
        """
        copy = await self.copies.open(source, lambda: self._open_cached(source, by_program=by_program))
        if copy is None:
            return await self._open_cached(source, by_program=by_program)
        if self.known_size(source) != copy.size:
            self._sizes.learn(source.identity, source.version, copy.size)
        return copy

    async def _open_cached(self, source: Source, *, by_program: bool) -> Reader:
        if source.url is not None:
            self.network.opened(source.url)
        file = self._pool.get(source)
        file.handles += 1
        try:
            await file.open_blocks()
            await leave_failing_copy(file, self.network, self.memory.buffers)
            if source.url is None and file.blocks is None:
                raise errors.NotDownloadable(f"{source.name} is listed, but no server offers its bytes.")
            if by_program and file.size is not None and file.size <= SMALL and file.fingerprint is None:
                self.prefetcher.read_begins(source)  # it comes as it is opened: who walks on need not wait for that
            await self._doubts.settle(file)
        except BaseException:
            self.closed(file)
            raise
        return Reader(self, file, source)

    async def fetch_unopened(self, source: Source, size: int) -> None:
        """Fetch all of a file of this size, which nobody has opened, where the user has no copy of it."""
        if await self.copies.has_size(source.local, size):
            return
        file = self._pool.get(source)
        file.handles += 1
        try:
            await file.open_blocks()
            file.want([Extent(0, size)], background=True)
        finally:
            self.closed(file)

    async def open_inflated(self, recording: Source, header: Source) -> OpenFile:
        """Open a compressed recording (.cbin, with its .ch) as the .bin it was made of.

        Raises what :meth:`open` and a read raise; ServerFault where the header is none.
        """
        header_file, parsed = await self._inflater.open_header(header)
        try:
            self._learn_inflated_size(recording, header, parsed)
            opened = await self.open(recording)
        except BaseException:
            await header_file.close()
            raise
        if isinstance(opened, Reader) and (file := self._pool.get(recording)).parts is None:
            file.parts = formats.chunks_between(parsed.offsets)
        return InflatedFile(self._inflater, self.tasks, (recording, opened), (header_file, parsed))

    async def learn_inflated_size(self, recording: Source, header: Source) -> None:
        """Read the header of a compressed recording (.ch), which tells the size of the inflated one; see above."""
        file, parsed = await self._inflater.open_header(header)
        self._learn_inflated_size(recording, header, parsed)
        await file.close()

    def _learn_inflated_size(self, recording: Source, header: Source, parsed: Header) -> None:
        if self.known_inflated_size(recording, header) != parsed.size:
            self._sizes.learn(*_inflated_key(recording, header), parsed.size)

    def known_inflated_size(self, recording: Source, header: Source) -> int | None:
        """Bytes of the inflated recording, once its header has been read."""
        return self._sizes.get(*_inflated_key(recording, header), None)

    def known_size(self, source: Source) -> int | None:
        """Bytes: the true size once the file server told it, until then what the database says.

        None where the two differ and the content has not told yet which is right.
        """
        return self.size_of(source.identity, source.version, source.size)

    def size_of(self, identity: str, version: str, otherwise: int | None) -> int | None:
        """The same of the file of an identity and version, of which the database says the size ``otherwise``."""
        if self._doubts.is_undecided(identity, version):
            return None
        return self._sizes.get(identity, version, otherwise)

    def recorded_size(self, source: Source) -> int | None:
        """See doubts."""
        return self._sizes.get(source.identity, source.version, source.size)

    async def has_copy(self, source: Source) -> bool:
        """Whether the user has a copy of the file outside of the cache that is used for it."""
        copy = await self.copies.open(source, lambda: self._open_cached(source, by_program=False))
        if copy is not None:
            await copy.close()
        return copy is not None

    def address(self, source: Source) -> str | None:
        """Where the file is read, of all its copies."""
        file = self._pool.find(source.identity, source.version)
        return source.url if file is None else file.copies.url or source.url

    def generation(self, identity: str, version: str) -> int:
        """Another number for each content of a file that was found during this mount; 0 for the first one."""
        return self._pool.generation(identity, version)

    def new_generation(self) -> int:
        """See Owner."""
        return self._pool.new_generation()

    async def state(self, source: Source) -> FileState:
        """What of a file is on this machine, and what is known of it."""
        found = await trio.to_thread.run_sync(look, self.path(source), source.version)
        file = self._pool.find(source.identity, source.version)
        if file is not None and waits_to_be_saved(file):
            await self._save([file])
        if file is not None and file.blocks is not None:
            found = found._replace(share=share_of(file), verdict=file.blocks.verdict)
        elif self.known_size(source) == 0:
            found = found._replace(share=1.0)
        return found

    async def refresh(self, source: Source) -> None:
        """Forget what is here of a file, and fetch it anew, in the background all of it where it was here or is pinned.

        Nothing is forgotten where the server does not give it. Raises what :meth:`open` and a read raise.
        """
        file = self._pool.get(source)
        file.handles += 1
        try:
            await file.open_blocks()
            file.allow()
            await see_if_served(file, self.network, self.memory.buffers)
            state = await self.state(source)
            self._sizes.forget(source.identity, source.version)
            self._doubts.forget(source)
            sentence = f"{source.name} was refreshed while it was open; open it again."
            file.start_anew(errors.FileChanged(sentence), None)
            await self._doubts.settle(file)
            if state.share == 1 or state.is_pinned:
                file.handles += 1
                self.tasks.start(fetch_all, file, failed=nobody_waits, ended=functools.partial(self.closed, file))
        finally:
            self.closed(file)

    def forget_idle(self) -> None:
        """Drop what is believed no longer, and files that nobody goes on with."""
        self._pool.forget_idle(self.read_at)
        self.unavailable.expire()
        self.failed_copies.forget_idle()

    def doubt_all(self) -> None:
        """Ask again for everything that is not what the database says, as soon as it is opened."""
        self._doubts.forget_all()
        for file in self._pool.all():
            file.allow()

    # Pinned files

    async def pin(self, sources: Collection[Source]) -> list[FileState]:
        """Keep these files in the cache; return what is here of each, outside of the cache, too.

        Pinning fetches nothing: read the files then, and pin again to see what has come and is safely on disk.
        """
        sizes = {self.path(source): self.known_size(source) or 0 for source in sources}
        try:
            await trio.to_thread.run_sync(eviction.pin, sizes, self.directory)
        except OSError as error:
            raise errors.ServerFault(f"Nothing was pinned: the cache directory says {error.strerror}.") from error
        if not self.may_write():
            await self.disk.tidy()
        keys = [(source.identity, source.version) for source in sources]
        await self._settle(keys)
        await self.disk.record()
        await self.verifier.heard([file for key in keys if (file := self._pool.find(*key))])
        return [await self._state_here(source) for source in sources]

    async def unpin(self, sources: Collection[Source]) -> int:
        """Let these files go when there is need for room; return how many were pinned."""
        try:
            places = [self.path(source) for source in sources]
            places += [self.places.pinned_by_earlier_versions(source.identity) for source in sources]
            return await trio.to_thread.run_sync(eviction.unpin, places)
        except OSError as error:
            raise errors.ServerFault(f"Not all was unpinned: the cache directory says {error.strerror}.") from error

    async def pinned_bytes(self) -> int:
        """What all pinned files in the cache directory take when they are whole, those of other servers included."""
        return await trio.to_thread.run_sync(eviction.pinned_bytes, self.directory)

    async def _settle(self, keys: Collection[tuple[str, str]]) -> None:
        """Wait until what has come of these files is on disk, and forget what never gets there."""
        files = [file for key in keys if (file := self._pool.find(*key))]
        await self._save(files)
        for file in files:
            for item in [one for one in file.fetches if one.is_kept and not one.is_saved]:
                file.drop(item)
            self._pool.forget_removed(file)

    async def _save(self, files: Collection[CachedFile]) -> None:
        """Wait until what has come of these files is on disk, if that does not take too long."""
        self.lull.end()
        with trio.move_on_after(SETTLING):
            while any(is_saving(file) for file in files):  # noqa: ASYNC110 - a fetch may end without a save
                await trio.sleep(0.01)

    async def _state_here(self, source: Source) -> FileState:
        state = await self.state(source)
        file = self._pool.find(source.identity, source.version)
        if file is not None and file.blocks is not None:
            state = state._replace(share=recorded_share_of(file))
        return state._replace(share=1.0) if await self.has_copy(source) else state

    # What the files ask for (Owner)

    def path(self, source: Source) -> pathlib.Path:
        """The cache file's place."""
        return self.places.blocks(source.identity)

    def may_write(self) -> bool:
        """Whether the disk takes more."""
        return self.disk.may_write()

    def disk_refused(self, error: OSError) -> None:
        """See Owner."""
        self.disk.refused(error)

    def wrote(self, count: int) -> None:
        """See Owner."""
        self.disk.wrote(count)

    def to_record(self, file: CachedFile) -> None:
        """See Owner."""
        self.disk.to_record(file)

    def learned(self, file: CachedFile) -> None:
        """Remember the true size, and tell who shows it."""
        source = file.source
        if self._doubts.believes(file) and file.size is not None and file.size != self.recorded_size(source):
            self._sizes.learn(source.identity, source.version, file.size)
        if self._on_change is not None:
            self._on_change(source.identity)

    def completed(self, file: CachedFile) -> None:
        """Every block is on disk: see whether they are right."""
        if not self._closing:
            self.verifier.begin(file)

    def closed(self, file: CachedFile) -> None:
        """A reader has left."""
        self._pool.closed(file)

    async def close(self) -> None:
        """Put on disk what there is, and close every cache file."""
        self._closing = True
        await self.disk.record()
        for file in self._pool.all():
            file.close()


def _inflated_key(recording: Source, header: Source) -> tuple[str, str]:
    return f"{recording.identity}.bin", f"{recording.version} {header.version}"


@asynccontextmanager
async def open_file_cache(
    network: Network,
    directory: pathlib.Path,
    *,
    limit_bytes: int = DEFAULT_LIMIT,
    on_change: Callable[[str], None] | None = None,
    one_directory: pathlib.Path | None = None,
    server: str = "",
) -> AsyncGenerator[FileCache, None]:
    """The cache in this directory, for as long as the block lasts.

    ``on_change`` is called with a file's identity when its true size or a change of its content becomes known, so
    that whoever caches attributes or pages can drop them; it must not wait. ``one_directory`` is where the user may
    have files already, if there is such a place. Datasets of one ``server`` (its address) and those of another are kept
    apart, though they have the same ids.
    """
    refusal: OSError | None = None
    try:
        claim_folder(directory)
    except OSError as error:
        refusal = error
    cache: FileCache | None = None
    try:
        async with background_tasks() as tasks:
            cache = FileCache(network, tasks, directory, limit_bytes, on_change, one_directory, server)
            if refusal is not None:
                cache.disk_refused(refusal)
            tasks.keep(cache.disk.record_for_ever)
            tasks.keep(cache.disk.tidy_for_ever)
            try:
                yield cache
            finally:
                cache.lull.close()
    finally:
        # Only now have all fetches handed over what they hold.
        if cache is not None:
            await cache.close()
