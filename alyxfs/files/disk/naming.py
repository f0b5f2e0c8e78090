"""Giving a file a name that no other one has, on disks with and without hard links."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

from alyxfs.private_files import open_file

if TYPE_CHECKING:
    import pathlib


def give_name(scratch: pathlib.Path, path: pathlib.Path) -> None:
    """Give a file its name; raises FileExistsError where that is taken."""
    try:
        os.link(scratch, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links, as exFAT: a file that only one can make does as well
        claim = path.with_name(f"new-{path.name}")
        os.close(open_file(claim, os.O_WRONLY | os.O_EXCL))
        try:
            if path.exists():
                raise FileExistsError(errno.EEXIST, "made by another process meanwhile") from None
            scratch.rename(path)
        finally:
            with contextlib.suppress(OSError):
                claim.unlink()
