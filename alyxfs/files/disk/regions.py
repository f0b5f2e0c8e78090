"""The regions of a cache file: how long each has not been used, and taking some of them away.

The order of the steps is what keeps every byte right: first the verdict on the whole content, then the marks of the
blocks, and only when that is on disk the bytes. Whatever dies between two steps leaves at worst bytes that no mark
speaks of, which are the first to go the next time. Nobody may have the file open meanwhile, as who has it open knows
the marks by heart. All of this waits for the disk: call it in a thread.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import TYPE_CHECKING, NamedTuple

from alyxfs.files.disk import block_file
from alyxfs.files.disk.block_file import PAGE, Verdict
from alyxfs.files.extents import BLOCK, block_count

if TYPE_CHECKING:
    from collections.abc import Collection

_KEEP_SIZE = 1
_PUNCH_HOLE = 2
"""Both from linux/falloc.h; see fallocate(2)."""
_AFTER_LOSS = {Verdict.VERIFIED: Verdict.UNKNOWN, Verdict.DIFFERS: Verdict.SECOND_TRY}
"""What is known of a content of which parts have to be fetched again: no longer what was known of the whole."""


class Region(NamedTuple):
    """A region of which something is on disk."""

    number: int
    last_used: float
    """Unix seconds; 0 if nobody knows."""
    occupied: int
    """Bytes of the blocks that the map marks."""


def regions_of(descriptor: int) -> list[Region]:
    """Look what is on disk; none where the file is of a kind that only goes whole. Raises OSError as the disk does."""
    header = block_file.read_header(descriptor)
    if header is None or not header.is_timed:
        return []
    size = header.fingerprint.size
    count = block_file.region_count(size)
    marks = os.pread(descriptor, block_count(size), PAGE)
    times = os.pread(descriptor, count * block_file.TIME_BYTES, block_file.times_offset(size))
    found = []
    for number, last_used in enumerate(struct.unpack(f"<{count}I", times) if count > 1 else ()):
        first, last = _blocks(number, size)
        occupied = marks.count(1, first, last) * BLOCK
        if occupied or _has_data(descriptor, *_place(number, size)):
            found.append(Region(number, last_used, occupied))
    return found


def take_away(descriptor: int, numbers: Collection[int]) -> None:
    """Make these regions holes; the caller holds the exclusive lock, and :func:`regions_of` has told them.

    Raises OSError where the disk or the file system refuses: then the file should go whole.
    """
    header = block_file.read_header(descriptor)
    if header is None:
        raise OSError("the cache file is broken")
    size = header.fingerprint.size
    used = os.fstat(descriptor)
    if header.verdict in _AFTER_LOSS:
        os.pwrite(descriptor, bytes([_AFTER_LOSS[header.verdict]]), block_file.VERDICT_OFFSET)
        os.fdatasync(descriptor)
    for number in numbers:
        first, last = _blocks(number, size)
        if any(os.pread(descriptor, last - first, PAGE + first)):
            os.pwrite(descriptor, bytes(last - first), PAGE + first)
    os.fdatasync(descriptor)
    for number in numbers:
        start, end = _place(number, size)
        punch(descriptor, start, end - start)
    os.utime(descriptor, ns=(used.st_atime_ns, used.st_mtime_ns))


def punch(descriptor: int, start: int, length: int) -> None:
    """Give the disk space of these bytes back; raises OSError where the file system knows no holes."""
    metadata = ctypes.CDLL(None, use_errno=True)
    offset = ctypes.c_int64
    # On machines of 32 bits fallocate takes other numbers, unless the C library knows no others.
    fallocate = getattr(metadata, "fallocate64", None) or metadata.fallocate
    if fallocate(descriptor, _PUNCH_HOLE | _KEEP_SIZE, offset(start), offset(length)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _blocks(number: int, size: int) -> tuple[int, int]:
    """The blocks of a region: the first, and the one after the last."""
    blocks = block_file.REGION // BLOCK
    return number * blocks, min((number + 1) * blocks, block_count(size))


def _place(number: int, size: int) -> tuple[int, int]:
    """Where in the cache file the region begins and ends."""
    first, last = _blocks(number, size)
    data = block_file.data_offset(size, is_timed=True)
    return data + first * BLOCK, data + last * BLOCK


def _has_data(descriptor: int, start: int, end: int) -> bool:
    """Whether there are bytes that no mark speaks of: who wrote them died before they were recorded."""
    try:
        return os.lseek(descriptor, start, os.SEEK_DATA) < end
    except OSError:  # no data up to the end of the file
        return False
