"""Bytes of a file in memory, in buffers that a socket fills, the disk takes and others use after them.

The buffers of large pieces begin and end at memory pages: the disk reads and writes such without a copy (O_DIRECT). The
largest are a huge page each, where the system has such: what lies in one place a disk takes and gives in one request,
not page by page (2.0 to 2.8 GB/s instead of 1.0 to 1.2 on a virtual disk, Linux 6.18).
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
from typing import TypeAlias

KIB = 1024
MIB = 1024 * KIB

HUGE_PAGE = 2 * MIB
"""Bytes, on x86-64, and on arm64 with its usual pages."""
SIZES = (256 * KIB, MIB, HUGE_PAGE)
"""Bytes of a buffer: multiples of a page. What is shorter than the smallest gets memory of its own."""
MOST_FREE = 64 * MIB
"""Bytes of buffers that wait for their next use."""

_ANONYMOUS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
"""Shared memory, which Python takes otherwise, has no huge pages by itself."""

Bytes: TypeAlias = "bytes | memoryview"
"""Bytes of a file. A view shows a buffer that others use again: it holds until the next await, and no longer."""


class Buffers:
    """Those that are free. Changes only in methods that never await."""

    def __init__(self) -> None:
        self._free: dict[int, list[memoryview]] = {size: [] for size in SIZES}
        """By size; the one that was wanted last comes last."""
        self.unread = 0
        """Bytes of files in memory that nobody has read yet."""
        self.unsaved = 0
        """Bytes of files in memory that are to go to the disk."""

    def take(self, size: int) -> memoryview:
        """Get a buffer: of this size if that is small, else of one of SIZES."""
        if size < SIZES[0]:
            return memoryview(bytearray(size))
        fitting = next((one for one in SIZES if size <= one), SIZES[-1])
        free = self._free[fitting] = self._free.pop(fitting)
        return free.pop() if free else _memory(fitting)

    def give(self, buffer: memoryview) -> None:
        """Take a buffer back that nobody reads or fills any more; sizes that nobody wants any more make room for it."""
        if len(buffer) not in self._free:
            return
        self._free[len(buffer)].append(buffer)
        while sum(size * len(free) for size, free in self._free.items()) > MOST_FREE:
            next(free for free in self._free.values() if free).pop(0)

    def release(self) -> None:
        """Give the memory of all free buffers back to the system."""
        for free in self._free.values():
            free.clear()


def _memory(size: int) -> memoryview:
    """Memory from the system, of one of SIZES."""
    if size < HUGE_PAGE:
        return memoryview(mmap.mmap(-1, size, flags=_ANONYMOUS))
    room = mmap.mmap(-1, 2 * size, flags=_ANONYMOUS)  # somewhere in it a huge page begins; the rest is never touched
    with contextlib.suppress(OSError):  # not every kernel has huge pages
        room.madvise(mmap.MADV_HUGEPAGE)
    begin = -ctypes.addressof(ctypes.c_char.from_buffer(room)) % size
    return memoryview(room)[begin : begin + size]


class Buffered:
    """The bytes ``start`` to ``end`` of a file; grows at its end, is let go at its beginning."""

    def __init__(self, buffers: Buffers, start: int, expected: int) -> None:
        self.start = self.end = start
        self._buffers = buffers
        self._parts: list[memoryview] = []
        self._first = start
        """Place in the file of the first buffer's first byte."""
        self._size = min(max(expected, 1), SIZES[-1])

    def room(self, most: int) -> list[memoryview]:
        """Memory for the next bytes, whole buffers at least up to ``most`` bytes; tell by :meth:`grow` what came."""
        found = []
        position = self.end
        while position < self.end + most:
            number, inside = divmod(position - self._first, self._size)
            if number == len(self._parts):
                self._parts.append(self._buffers.take(self._size))
                self._size = len(self._parts[0])
            found.append(self._parts[number][inside:])
            position += len(found[-1])
        return found

    def grow(self, count: int) -> None:
        """So many bytes have been put where :meth:`room` said."""
        self.end += count

    def append(self, part: bytes) -> None:
        """Copy these bytes to the end."""
        rest = memoryview(part)
        while rest:
            room = self.room(1)[0][: len(rest)]
            room[:] = rest[: len(room)]
            self.grow(len(room))
            rest = rest[len(room) :]

    def views(self, start: int, end: int) -> list[memoryview]:
        """The memory of these bytes, which must be held."""
        found = []
        while start < end:
            number, inside = divmod(start - self._first, self._size)
            found.append(self._parts[number][inside : inside + end - start])
            start += len(found[-1])
        return found

    def look(self, start: int, end: int) -> Bytes:
        """These bytes, which must be held; see Bytes."""
        found = self.views(start, end)
        return found[0] if len(found) == 1 else b"".join(found)

    def drop(self, before: int) -> None:
        """Let go of the buffers that end before this place; nobody may be reading them."""
        count = (min(before, self.end) - self._first) // self._size
        if count > 0:
            for part in self._parts[:count]:
                self._buffers.give(part)
            del self._parts[:count]
            self._first += count * self._size
            self.start = max(self.start, self._first)

    def clear(self, *, is_unused: bool) -> None:
        """Let go of all; ``is_unused``: no thread reads the buffers and no socket fills them."""
        if is_unused:
            for part in self._parts:
                self._buffers.give(part)
        self._parts = []
        self.start = self._first = self.end
