"""Folders for the life of a process, in a temporary directory: those of processes that were killed go with the next."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from alyxfs.private_files import open_file

if TYPE_CHECKING:
    from collections.abc import Iterator

IN_USE = "in-use"
"""A file in each of these folders, which its process holds locked."""
_NOT_YET = "new"
"""Its name until it is locked: what has no file in use is nobody's to remove."""


@contextlib.contextmanager
def scratch_folder(prefix: str, directory: Path | None = None) -> Iterator[Path]:
    """A private folder in ``directory`` (the one for temporary files unless named), removed at the end of the block.

    First removes those of the same prefix that processes of this user left behind. Raises OSError.
    """
    place = directory or Path(tempfile.gettempdir())
    remove_left_behind(prefix, place)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=place) as name:
        folder = Path(name)
        descriptor = open_file(folder / _NOT_YET, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            (folder / _NOT_YET).rename(folder / IN_USE)
            yield folder
        finally:
            os.close(descriptor)


def remove_left_behind(prefix: str, directory: Path) -> None:
    """Remove this user's folders of this prefix whose processes have ended; what cannot be removed stays."""
    for folder in directory.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):  # of another user, in use, or removed meanwhile
            if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
                continue
            descriptor = os.open(folder / IN_USE, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(descriptor)
