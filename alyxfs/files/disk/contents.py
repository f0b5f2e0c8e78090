"""What the cache directory holds, file by file: listed, cleared and verified while drives use it.

All of this waits for the disk, and runs in a process of its own or in a thread.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from typing import TYPE_CHECKING, NamedTuple

from alyxfs import file_locks
from alyxfs.files.disk import block_file, eviction
from alyxfs.files.disk.block_file import PAGE, Verdict
from alyxfs.files.extents import block_count

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterable, Iterator

HASHED_AT_ONCE = 4 * 1024 * 1024
"""Bytes."""
_MD5 = re.compile(r"[0-9a-f]{32}")


class Kept(NamedTuple):
    """A cache file."""

    file: pathlib.Path
    server: str
    path: str
    """In that server's drive; both are empty in files of earlier versions."""
    size: int
    """Bytes of the whole file."""
    here: int
    """Bytes of those that are here."""
    occupied: int
    """Bytes on disk."""
    last_used: float
    """Unix seconds."""
    is_pinned: bool
    verdict: Verdict
    md5: str | None
    """That of the database, if it has one."""


def kept_files(directory: pathlib.Path) -> Iterator[Kept]:
    """All files below this directory of data files; what is none of ours, or goes meanwhile, is passed over."""
    for use in eviction.files(directory):
        with contextlib.suppress(OSError):
            descriptor = os.open(use.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                header = block_file.read_header(descriptor)
                if header is None:
                    continue
                size = header.fingerprint.size
                count = block_count(size)
                share = os.pread(descriptor, count, PAGE).count(1) / count if count else 1.0
            finally:
                os.close(descriptor)
            yield Kept(
                use.path,
                *header.origin,
                size,
                round(size * share),
                use.occupied,
                use.last_used,
                eviction.is_pinned(use.path),
                header.verdict,
                header.version if _MD5.fullmatch(header.version) else None,
            )


def clear(directory: pathlib.Path, files: Iterable[Kept]) -> list[Kept]:
    """Remove these files, but for pinned ones and those that are open; return what was removed. Raises OSError."""
    return [kept for kept in files if eviction.remove(directory, kept.file)]


def is_damaged(kept: Kept) -> bool | None:
    """Whether a whole file has another content than the database says; such a one is removed, and fetched again.

    None where that cannot be told: some of it is missing, the database has no MD5, or the server itself has another
    content (see verify). Raises OSError.
    """
    if kept.md5 is None or kept.here < kept.size or kept.verdict is Verdict.DIFFERS:
        return None
    digest = hashlib.md5(usedforsecurity=False)
    descriptor = os.open(kept.file, os.O_RDWR | os.O_CLOEXEC)
    try:
        file_locks.lock(descriptor, kept.file, alone=False)  # no region is taken away meanwhile
        header = block_file.read_header(descriptor)
        if header is None or header.version != kept.md5:
            return None
        place = block_file.data_offset(kept.size, is_timed=header.is_timed)
        for start in range(0, kept.size, HASHED_AT_ONCE):
            digest.update(os.pread(descriptor, min(HASHED_AT_ONCE, kept.size - start), place + start))
        if digest.hexdigest() == kept.md5:
            return False
        kept.file.unlink(missing_ok=True)
    finally:
        file_locks.close(descriptor)
    return True
