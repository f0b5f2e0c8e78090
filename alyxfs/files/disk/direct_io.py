"""Reading and writing past the page cache (O_DIRECT), where the file system can and the pieces are long enough.

Descriptors come in pairs: the usual one, and one that was opened for this; None where there is no such way.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

LEAST = 256 * 1024
"""Bytes: longer pieces go between disk and buffers without a copy in the kernel's page cache, which would cost more
CPU than all else together and push out of memory what programs have there."""
PARTS_AT_ONCE = 512
"""Buffers of one pwritev; the kernel takes at most 1024 (IOV_MAX)."""
PAGE = 4096
"""Bytes at whose multiples such a piece begins and ends."""


def open_again(descriptor: int) -> int | None:
    """Open the file again, for what goes past the page cache; None where the file system has no such way."""
    with contextlib.suppress(OSError):
        return os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR | os.O_DIRECT | os.O_CLOEXEC)
    return None


def read_some(descriptor: int, direct: int | None, buffers: Sequence[memoryview], position: int) -> int:
    """Fill the buffers, as many as go at once, from this position on; return how many bytes came."""
    batch = list(buffers[:PARTS_AT_ONCE])
    if direct is not None:
        with contextlib.suppress(OSError):  # not all that opens so reads so
            return os.preadv(direct, batch, position)
    return os.preadv(descriptor, batch, position)


def write_some(descriptor: int, direct: int | None, parts: Sequence[memoryview], position: int) -> int:
    """Write the beginning of the parts, past the page cache if that can be; return how many bytes.

    Raises OSError as the disk does.
    """
    batch = list(parts[:PARTS_AT_ONCE])
    whole = sum(map(len, batch)) // PAGE * PAGE
    if direct is not None and whole >= LEAST and position % PAGE == 0:
        try:
            return os.pwritev(direct, _before(batch, whole), position)
        except OSError as error:
            if error.errno != errno.EINVAL:  # what the file system says whose blocks are larger
                raise
    return os.pwritev(descriptor, batch, position)


def after(parts: Sequence[memoryview], length: int) -> list[memoryview]:
    """What follows so many bytes of the parts."""
    found = []
    for part in parts:
        if length < len(part):
            found.append(part[max(0, length) :])
        length -= len(part)
    return found


def _before(parts: Sequence[memoryview], length: int) -> list[memoryview]:
    """So many bytes of the parts."""
    found = []
    for part in parts:
        if length > 0:
            found.append(part[:length])
            length -= len(part)
    return found
