"""What stat shows, in the kernel's form."""

from __future__ import annotations

import os
import stat
from math import isfinite
from typing import TYPE_CHECKING, Any, cast

import pyfuse3

from alyxfs import errors
from alyxfs.tree import Attributes, Kind

if TYPE_CHECKING:
    import pathlib

BLOCK = 4096
"""Bytes in a block of df."""
PREFERRED_READ = 32768
"""Bytes that programs are told to read at a time: a larger piece makes Python's open() fetch more of a header than it
needs, and the kernel reads ahead as much again (measured with np.load: 225 kB instead of 928 kB for 100 rows)."""

LARGEST_SIZE = (1 << 63) - 1
"""Bytes: what the kernel takes for the size of a file (fuse_invalid_attr in fs/fuse/dir.c of Linux)."""
EARLIEST, LATEST = -62_135_596_800.0, 253_402_300_799.0
"""Unix seconds: the beginning of the year 1 and the end of the year 9999, beyond which few programs know time."""

_OWNER = os.getuid()
_GROUP = os.getgid()
_MODES = {
    Kind.DIRECTORY: stat.S_IFDIR | 0o755,
    Kind.FILE: stat.S_IFREG | 0o644,
    Kind.LINK: stat.S_IFLNK | 0o777,
}
_UNCHANGEABLE_MODES = {**_MODES, Kind.FILE: stat.S_IFREG | 0o444}
_FOR_THE_OWNER_ALONE = ~0o077


def is_owner(user: int) -> bool:
    """Whether this user may see what is private: the one who mounted, and root, whom nothing keeps out."""
    return user in {_OWNER, 0}


def _mode_of(attributes: Attributes, *, writable_drive: bool) -> int:
    """Permissions say who may read, and on a writable drive what can be changed.

    On a read-only drive the kernel refuses all changes (EROFS), whatever they say; and a copy of a directory takes
    its permissions along (cp -r), with which its owner must be able to delete it again.
    """
    mode = (_MODES if attributes.writable or not writable_drive else _UNCHANGEABLE_MODES)[attributes.kind]
    return mode & _FOR_THE_OWNER_ALONE if attributes.private else mode


def entry_of(number: int, attributes: Attributes, size: int, *, writable_drive: bool) -> pyfuse3.EntryAttributes:
    """The attributes of an inode of this size in bytes.

    Raises ServerFault for a size that no file can have: the kernel would refuse the whole directory for it.
    """
    if not 0 <= size <= LARGEST_SIZE:
        raise errors.ServerFault(f"The size of {size} bytes that the server tells is one that no file can have.")
    entry = pyfuse3.EntryAttributes()
    entry.st_ino = cast("Any", number)
    entry.st_mode = _mode_of(attributes, writable_drive=writable_drive)
    entry.st_nlink = 1  # a directory of one link tells find not to reckon with its subdirectories
    entry.st_uid = _OWNER
    entry.st_gid = _GROUP
    entry.st_size = size
    entry.st_blksize = PREFERRED_READ
    entry.st_blocks = (size + 511) // 512
    nanoseconds = _nanoseconds(attributes.modified)
    entry.st_atime_ns = entry.st_mtime_ns = entry.st_ctime_ns = nanoseconds
    entry.attr_timeout = attributes.lifetime
    entry.entry_timeout = attributes.name_lifetime
    return entry


def own_entry(number: int) -> pyfuse3.EntryAttributes:
    """A directory as its ``.`` or ``..``, of which the kernel takes the number and the kind alone."""
    entry = pyfuse3.EntryAttributes()
    entry.st_ino = cast("Any", number)
    entry.st_mode = stat.S_IFDIR
    return entry


def _nanoseconds(seconds: float) -> int:
    """Unix nanoseconds, within what programs can show; 0 for what is no time at all."""
    if EARLIEST <= seconds <= LATEST:
        return int(seconds * 1e9)
    return int((EARLIEST if seconds < EARLIEST else LATEST) * 1e9) if isfinite(seconds) else 0


def space_of(directory: pathlib.Path) -> pyfuse3.StatvfsData:
    """The space of the file system that holds this directory, as df shows it; of the one above if it was removed."""
    there = os.statvfs(next(place for place in (directory, *directory.parents) if place.exists()))
    data = pyfuse3.StatvfsData()
    data.f_bsize = data.f_frsize = BLOCK
    scale = there.f_frsize / BLOCK
    data.f_blocks = int(there.f_blocks * scale)
    data.f_bfree = int(there.f_bfree * scale)
    data.f_bavail = int(there.f_bavail * scale)
    data.f_namemax = 255
    return data
