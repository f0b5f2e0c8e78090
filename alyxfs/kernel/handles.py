"""Open files and directories, by handle and by inode."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from alyxfs.kernel.processes import is_descendant, process_of
from alyxfs.tree import Reader, Writable, Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from alyxfs.kernel.open_directory import OpenDirectory
    from alyxfs.tree import Attributes


@dataclass(eq=False)
class OpenFile:
    """A file that a program has open."""

    number: int
    """Of its inode."""
    reader: Reader
    process: int
    """That opened it; those that it starts may inherit it."""
    appends: bool
    """Whether it writes at the end of the file, wherever the kernel believes that to be."""
    is_paged: bool
    """Whether it is read through the kernel's pages."""
    is_written: bool
    """Whether it was opened for writing."""


class Handles:
    """What programs have open. Handles are numbers that are never given twice; no method awaits."""

    def __init__(self) -> None:
        self._next_handle = 1
        self._directories: dict[int, OpenDirectory] = {}
        self._files: dict[int, OpenFile] = {}
        self._of_inode: dict[int, list[OpenFile]] = {}
        """The same by inode number, in the order in which they were opened."""

    def __len__(self) -> int:
        """How many files are open."""
        return len(self._files)

    def __contains__(self, handle: int) -> bool:
        return handle in self._files

    def open_directory(self, directory: OpenDirectory) -> int:
        """A handle for an open directory."""
        handle = self._new_handle()
        self._directories[handle] = directory
        return handle

    def directory(self, handle: int) -> OpenDirectory:
        """An open directory."""
        return self._directories[handle]

    def close_directory(self, handle: int) -> None:
        """Forget an open directory."""
        del self._directories[handle]

    def open_file(self, number: int, reader: Reader, flags: int, process: int, *, is_paged: bool) -> int:
        """A handle for an open file.

        Appending is left to the handle: the kernel appends at the size it remembers, which may be an estimate.
        """
        handle = self._new_handle()
        is_written = isinstance(reader, Writable)
        appends = bool(flags & os.O_APPEND) and is_written
        file = self._files[handle] = OpenFile(number, reader, process, appends, is_paged, is_written)
        self._of_inode.setdefault(number, []).append(file)
        return handle

    def is_open(self, number: int) -> bool:
        """Whether any program has this inode open."""
        return number in self._of_inode

    def size_of(self, number: int, attributes: Attributes, thread: int) -> int:
        """Bytes: those of a program's own draft, the exact ones of a record, else of its last reader; see TableFile."""
        if not self.is_open(number):
            return attributes.size
        if (writer := self.writer_of(number, thread)) is not None:
            return writer.size
        if attributes.is_growing and not self.is_open_by(number, thread):
            return attributes.size
        reader = self.newest_reader(number)
        is_exact_record = attributes.writable and not attributes.is_estimate
        return attributes.size if reader is None or is_exact_record else reader.size

    def is_written(self, number: int) -> bool:
        """Whether a program has this inode open for writing."""
        return any(file.is_written for file in self._of_inode.get(number, ()))

    def is_open_by(self, number: int, thread: int) -> bool:
        """Whether the program of this thread, or one that started it, has this inode open."""
        openers = {file.process for file in self._of_inode.get(number, ())}
        process = process_of(thread) if openers else 0
        return any(is_descendant(process, opener) for opener in openers)

    def read_by(self, is_meant: Callable[[int], bool]) -> list[OpenFile]:
        """The files that these programs have open for reading alone."""
        read = [file for file in self._files.values() if not file.is_written]
        return [file for file in read if is_meant(file.process)]

    def inode(self, handle: int) -> int:
        """The inode number of an open file."""
        return self._files[handle].number

    def reader(self, handle: int) -> Reader:
        """An open file."""
        return self._files[handle].reader

    def writer(self, handle: int) -> Writer:
        """An open file that was opened for writing."""
        file = self._files[handle]
        assert file.is_written, "the kernel writes only to what was opened for writing"
        return cast("Writer", file.reader)

    def is_for_writing(self, handle: int) -> bool:
        """Whether an open file was opened for writing."""
        return self._files[handle].is_written

    def appends(self, handle: int) -> bool:
        """Whether what is written goes to the end of the file."""
        return self._files[handle].appends

    def close_file(self, handle: int) -> Reader:
        """Forget an open file, which the caller closes."""
        file = self._files.pop(handle)
        self._of_inode[file.number].remove(file)
        if not self._of_inode[file.number]:
            del self._of_inode[file.number]
        return file.reader

    def __iter__(self) -> Iterator[tuple[int, Reader]]:
        """Inode number and reader of every open file."""
        return iter([(file.number, file.reader) for file in self._files.values()])

    def newest_reader(self, number: int) -> Reader | None:
        """The file of this inode that was opened last for reading alone, if any is open.

        One that is read through pages comes before others: the kernel limits what is read through them by their size.
        """
        files = [file for file in reversed(self._of_inode.get(number, ())) if not file.is_written]
        return next((file.reader for file in sorted(files, key=lambda file: not file.is_paged)), None)

    def has_other_pages(self, number: int, version: str) -> bool:
        """Whether the kernel's pages are those of another version, which a program reads that has it open."""
        return any(file.is_paged and file.reader.content_version != version for file in self._of_inode.get(number, ()))

    def writer_of(self, number: int, thread: int) -> Reader | None:
        """What the program of this thread has open for writing at this inode: the newest, or an inherited one.

        The kernel limits reads through its pages by the size that it is told: a program that inherited such a file
        must be told the size of that.
        """
        writers = [file for file in self._of_inode.get(number, ()) if file.is_written]
        if not writers:
            return None
        process = process_of(thread)
        own = [file for file in writers if file.process == process]
        inherited = [file for file in writers if file.is_paged and not own]
        found = own or [file for file in inherited if is_descendant(process, file.process)]
        return found[-1].reader if found else None

    def _new_handle(self) -> int:
        handle = self._next_handle
        self._next_handle += 1
        return handle
