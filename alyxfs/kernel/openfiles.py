"""Open files and directories, by handle and by inode."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, cast

from alyxfs.tree import Entries, Reader, Writable, Writer

if TYPE_CHECKING:
    from collections.abc import Iterator


class OpenFiles:
    """What programs have open. Handles are numbers that are never given twice; no method awaits."""

    def __init__(self) -> None:
        self._next_handle = 1
        self._directories: dict[int, Entries] = {}
        self._files: dict[int, tuple[int, Reader]] = {}
        self._readers: dict[int, list[Reader]] = {}
        """The open files by inode number: as long as one is open, its size is the size of the file."""
        self._appending: set[int] = set()
        """Handles that write at the end of the file, wherever the kernel believes that to be."""

    def __contains__(self, handle: int) -> bool:
        return handle in self._files

    def open_directory(self, entries: Entries) -> int:
        """A handle for an open directory."""
        handle = self._new_handle()
        self._directories[handle] = entries
        return handle

    def entries(self, handle: int) -> Entries:
        """What an open directory shows."""
        return self._directories[handle]

    def close_directory(self, handle: int) -> None:
        """Forget an open directory."""
        del self._directories[handle]

    def open_file(self, number: int, reader: Reader, flags: int) -> int:
        """A handle for an open file.

        Appending is left to the handle: the kernel appends at the size it remembers, which may be an estimate.
        """
        handle = self._new_handle()
        if flags & os.O_APPEND and isinstance(reader, Writable):
            self._appending.add(handle)
        self._files[handle] = (number, reader)
        self._readers.setdefault(number, []).append(reader)
        return handle

    def inode(self, handle: int) -> int:
        """The inode number of an open file."""
        return self._files[handle][0]

    def reader(self, handle: int) -> Reader:
        """An open file."""
        return self._files[handle][1]

    def writer(self, handle: int) -> Writer:
        """An open file that was opened for writing."""
        writer = self._files[handle][1]
        assert isinstance(writer, Writable), "the kernel writes only to what was opened for writing"
        return cast("Writer", writer)

    def appends(self, handle: int) -> bool:
        """Whether what is written goes to the end of the file."""
        return handle in self._appending

    def close_file(self, handle: int) -> Reader:
        """Forget an open file, which the caller closes."""
        number, reader = self._files.pop(handle)
        self._appending.discard(handle)
        self._readers[number].remove(reader)
        if not self._readers[number]:
            del self._readers[number]
        return reader

    def __iter__(self) -> Iterator[tuple[int, Reader]]:
        """Inode number and reader of every open file."""
        return iter(list(self._files.values()))

    def newest_reader(self, number: int) -> Reader | None:
        """The file of this inode that was opened last, if any is open."""
        readers = self._readers.get(number)
        return readers[-1] if readers else None

    def newest_writer(self, number: int) -> Reader | None:
        """The newest open file of this inode that can be written to."""
        return next((each for each in reversed(self._readers.get(number, ())) if isinstance(each, Writable)), None)

    def _new_handle(self) -> int:
        handle = self._next_handle
        self._next_handle += 1
        return handle
