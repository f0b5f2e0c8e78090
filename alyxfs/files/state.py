"""What of a file is on this machine, and what is known of its content: for people, and for pinning."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from alyxfs.files.disk import block_file, eviction
from alyxfs.files.disk.block_file import Verdict

if TYPE_CHECKING:
    import pathlib

    from alyxfs.files.cached_file import CachedFile


class FileState(NamedTuple):
    """See the module."""

    share: float
    """How much of it is in the cache, 0 to 1."""
    verdict: Verdict
    is_pinned: bool
    """Whether it stays in the cache."""

    @property
    def remark(self) -> str | None:
        """What a person should know of the file's content."""
        if self.verdict is not Verdict.DIFFERS:
            return None
        return "The content differs from the hash in the database; it was fetched twice."


def look(path: pathlib.Path, version: str) -> FileState:
    """Look into the cache file at this path, which may be missing. Blocks."""
    share, verdict = block_file.look(path, version)
    return FileState(share, verdict, eviction.is_pinned(path))


def share_of(file: CachedFile) -> float:
    """How much is in the cache of a file that is open, 0 to 1; never awaits."""
    return 1 - file.absent / len(file.written) if file.written else 1.0


def recorded_share_of(file: CachedFile) -> float:
    """The same of what is safely there, and will be found at the next mount."""
    unmarked = sum(last - first for first, last in file.unrecorded)
    return max(0.0, share_of(file) - unmarked / len(file.written)) if file.written else 1.0


def is_saving(file: CachedFile) -> bool:
    """Whether something of it is on its way to the disk; never awaits."""
    if file.blocks is None and not file.is_saved_late:
        return False
    return any(not (item.is_saved or item.is_kept or item.unsavable) for item in file.fetches)


def waits_to_be_saved(file: CachedFile) -> bool:
    """Whether all that is on its way has come, and only waits for a lull; never awaits."""
    return file.is_saved_late and is_saving(file) and all(item.done for item in file.fetches)
