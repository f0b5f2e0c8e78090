"""What a request of the kernel is about, for people: in the log, and where errors are looked for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from alyxfs import errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alyxfs.kernel.handles import Handles
    from alyxfs.kernel.inodes import Inodes
    from alyxfs.tree import ErrorLog

_ON_HANDLES = frozenset({"read", "write", "flush", "fsync", "release"})
"""Operations whose first argument is a handle, not an inode."""


class Subjects:
    """A request is told by its operation and its arguments, the first of which is the kernel layer itself."""

    def __init__(self, inodes: Inodes, handles: Handles, error_log: ErrorLog) -> None:
        self._inodes = inodes
        self._handles = handles
        self._error_log = error_log

    def path(self, operation: str, args: Sequence[object]) -> str:
        """Of the file, or of the name in a directory."""
        number = self._inode(operation, args)
        try:
            path = self._inodes.node(number).identity
        except KeyError:
            path = f"inode {number}"
        return f"{path}/{os.fsdecode(name)}" if (name := _name(args)) else path

    def note(self, operation: str, args: Sequence[object], error: errors.AlyxfsError) -> None:
        """Remember an error where people look for it; that a name is not there, only with a reason."""
        is_plain = isinstance(error, errors.NotFound) and not isinstance(error, errors.NeverFound)
        if is_plain and operation in {"lookup", "getxattr"}:
            return
        number = self._inode(operation, args)
        is_known = number in self._inodes and not self._inodes.is_dropped(number)
        if is_known and (not _name(args) or isinstance(error, errors.NeverFound)):
            self._inodes.errors[self._inodes.node(number).identity] = str(error)
        # The same sentence for each file: it is counted, and pushes nothing else out of the log.
        path = "data" if isinstance(error, errors.CrawlerRefused) else self.path(operation, args)
        self._error_log.note(operation, path or "/", str(error))

    def _inode(self, operation: str, args: Sequence[object]) -> int:
        """0 where a request is about none."""
        number = args[1] if len(args) > 1 and isinstance(args[1], int) else 0
        return self._handles.inode(number) if operation in _ON_HANDLES and number in self._handles else number


def _name(args: Sequence[object]) -> bytes:
    """In a directory, if it is about one."""
    return args[2] if len(args) > 2 and isinstance(args[2], bytes) else b""  # noqa: PLR2004 - behind the directory
