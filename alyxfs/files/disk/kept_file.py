"""A cache file that the drive has open, read by another program of the same user."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from alyxfs.files.disk import block_file

if TYPE_CHECKING:
    import pathlib


def open_kept(path: pathlib.Path, inode: int) -> block_file.BlockFile | None:
    """Open the cache file there; None where it is another one than the drive has open, or none.

    It takes no lock of its own: the drive keeps every region where it is for as long as it has the file open.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        header = block_file.read_header(descriptor)
        if header is not None and os.fstat(descriptor).st_ino == inode:
            return block_file.BlockFile(descriptor, path, header)
    except OSError:
        pass
    os.close(descriptor)
    return None
