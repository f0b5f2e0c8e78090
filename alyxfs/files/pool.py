"""The one object of each data file that is open, or was a moment ago."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import trio

from alyxfs.files.cached_file import CachedFile
from alyxfs.files.seen import Seen, SeenContents

if TYPE_CHECKING:
    from collections.abc import Callable, ValuesView

    from alyxfs.files.source import Source
    from alyxfs.files.transfer.owner import Owner

IDLE_FILES = 128
"""Files without a reader that stay open, as a walk through a directory comes back to them; a descriptor each."""
BETWEEN_LOOKS = 16
"""Readers that leave before all files are looked through again for such, where there are more."""
UNREAD = 30.0
"""Seconds after which nobody goes on with them: each is some 25 objects, all over the heap."""
MOST_IDLE_MAPS = 64 << 20
"""Bytes of memory that the maps of these may take: each has one byte for 32 KiB of its file."""


class FilePool:
    """See the module.

    State: ``_files`` holds every file that is open or idle, in the order of last use. It changes here alone.
    """

    def __init__(self, owner: Owner[CachedFile], size_of: Callable[[Source], int | None]) -> None:
        self._owner = owner
        self._size_of = size_of
        self._files: OrderedDict[tuple[str, str], CachedFile] = OrderedDict()
        self._seen = SeenContents()
        self._left = 0
        """Readers since the last look for idle files."""

    def get(self, source: Source) -> CachedFile:
        """The one object of this file. Who uses it adds to ``handles`` before the next await, and calls `closed`."""
        key = source.identity, source.version
        file = self._files.get(key)
        if file is not None and self._is_removed(file):
            self.release(file)
            file = None
        if file is None:
            seen = self._seen.of(*key)
            size = self._size_of(source) if seen.fingerprint is None else seen.fingerprint.size
            file = self._files[key] = CachedFile(self._owner, source, size, seen)
        file.source = source
        self._files.move_to_end(key)
        return file

    def find(self, identity: str, version: str) -> CachedFile | None:
        """The object of this file, if there is one."""
        return self._files.get((identity, version))

    def all(self) -> ValuesView[CachedFile]:
        """Every file, the one that was used last at the end; they change with the next await."""
        return self._files.values()

    def closed(self, file: CachedFile) -> None:
        """A reader has left."""
        file.handles -= 1
        if file.handles == 0:
            for item in list(file.fetches):
                if item.whole:
                    file.cancel(item)
            self._files.move_to_end((file.source.identity, file.source.version))
        self._left += 1
        is_due = self._left >= min(BETWEEN_LOOKS, IDLE_FILES) and len(self._files) > IDLE_FILES
        if is_due or len(file.written) * IDLE_FILES > MOST_IDLE_MAPS:
            self._left = 0
            self._release_idle()

    def _release_idle(self) -> None:
        """Let go of the idle files that were used the longest ago, where there are too many."""
        idle = [one for one in self._files.values() if one.is_idle]
        maps = sum(len(one.written) for one in idle)
        for left, one in zip(range(len(idle), 0, -1), idle, strict=True):
            if left <= IDLE_FILES and maps <= MOST_IDLE_MAPS:
                break
            # Where the disk does not keep up with recording, rather forget some blocks than open ever more files.
            if one.is_recorded or len(idle) > 2 * IDLE_FILES:
                maps -= len(one.written)
                self.release(one)

    def release(self, file: CachedFile) -> None:
        """Let go of an idle file; what is in its cache file stays."""
        self._owner.memory.release_file(file)
        key = file.source.identity, file.source.version
        del self._files[key]
        self._seen.closed(*key, Seen(file.generation, file.fingerprint, file.is_shown))
        file.close()

    def forget_recorded(self) -> None:
        """Let go of all idle files of which the cache files say all."""
        for file in [one for one in self._files.values() if one.is_idle and one.is_recorded]:
            self.release(file)

    def forget_idle(self, read_at: float) -> None:
        """The same, once nobody has read anything for a while (since then, trio time)."""
        if trio.current_time() - read_at > UNREAD:
            self.forget_recorded()

    def forget_removed(self, file: CachedFile) -> None:
        """Let go of a file whose cache file somebody has removed, where nobody uses it."""
        if self.find(file.source.identity, file.source.version) is file and self._is_removed(file):
            self.release(file)

    def _is_removed(self, file: CachedFile) -> bool:
        """Whether somebody removed the cache file of an idle file."""
        return file.is_idle and file.blocks is not None and file.blocks.is_removed()

    def generation(self, identity: str, version: str) -> int:
        """Another number for each content of a file that was found during this mount; 0 for the first one."""
        file = self.find(identity, version)
        return self._seen.of(identity, version).generation if file is None else file.generation

    def new_generation(self) -> int:
        """A number that no content had before."""
        return self._seen.new_generation()
