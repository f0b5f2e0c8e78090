"""What a file, and who brings its bytes, need of the cache that the file belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    import pathlib

    from alyxfs.files.disk.kept_values import KeptValues
    from alyxfs.files.disk.places import Places
    from alyxfs.files.memory.limiter import Memory
    from alyxfs.files.source import Source
    from alyxfs.files.transfer.copies import FailedCopies
    from alyxfs.files.transfer.lull import Lull
    from alyxfs.net import Network
    from alyxfs.tasks import Tasks
    from alyxfs.worker_threads import WorkerThreads

File_contra = TypeVar("File_contra", contravariant=True)


class Owner(Protocol[File_contra]):
    """See the module; ``File_contra`` is what the cache calls a file."""

    network: Network
    tasks: Tasks
    memory: Memory
    failed_copies: FailedCopies
    kept_copies: KeptValues
    places: Places
    lull: Lull
    threads: WorkerThreads
    """For short work on the disk."""

    def path(self, source: Source) -> pathlib.Path:
        """The cache file's place."""

    def may_write(self) -> bool:
        """Whether the disk takes more."""

    def disk_refused(self, error: OSError) -> None:
        """The disk is full or broken."""

    def wrote(self, count: int) -> None:
        """So many bytes went to the disk."""

    def to_record(self, file: File_contra) -> None:
        """The file has blocks on disk that its map does not mark yet."""

    def new_generation(self) -> int:
        """A number that no file had before."""

    def learned(self, file: File_contra) -> None:
        """The file server told the true size, or the content changed."""

    def completed(self, file: File_contra) -> None:
        """Every block is on disk."""
