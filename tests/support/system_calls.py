"""The calls that the tables of ``semantics.md`` name, each made for real; what they raise is the outcome."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import tempfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
"""linux/fs.h"""
FS_IOC_GETFLAGS = 0x80086601
"""linux/fs.h, on machines of 64 bits"""
AT_FDCWD = -100

_c = ctypes.CDLL(None, use_errno=True)


def outcome(call: Callable[[], object]) -> str:
    """The name of its errno, or "done"."""
    try:
        call()
    except OSError as error:
        return errno.errorcode[error.errno].replace("ENOTSUP", "EOPNOTSUPP")
    return "done"


def checked(name: str, *arguments: object) -> None:
    """A function of the C library that Python does not offer, or not as it is."""
    if getattr(_c, name)(*arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@contextlib.contextmanager
def opened(path: Path, flags: int = os.O_RDONLY) -> Iterator[int]:
    descriptor = os.open(path, flags, 0o644)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def each_of(*calls: Callable[[], object]) -> None:
    """All of them, which must have one outcome."""
    outcomes = {outcome(call) for call in calls}
    assert len(outcomes) == 1, outcomes
    calls[0]()


def rename(old: Path, new: Path, flags: int = 0) -> None:
    checked("renameat2", AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags)


def _only_open(flags: int) -> Callable[[Path], None]:
    def call(path: Path) -> None:
        with opened(path, flags):
            pass

    return call


def _open_to_write(path: Path) -> None:
    each_of(lambda: _only_open(os.O_RDWR)(path), lambda: _only_open(os.O_WRONLY)(path))


def _read(path: Path) -> None:
    with opened(path) as descriptor, tempfile.TemporaryFile() as copy:
        assert len(os.read(descriptor, 16)) > 0
        assert os.sendfile(copy.fileno(), descriptor, 0, 16) > 0


def _map(flags: int, protection: int, access: int) -> Callable[[Path], None]:
    def call(path: Path) -> None:
        with opened(path, access) as descriptor, mmap.mmap(descriptor, 0, flags, protection) as memory:
            assert memory[:1] != b""

    return call


def _synced(path: Path) -> None:
    with opened(path) as descriptor:
        each_of(lambda: os.fsync(descriptor), lambda: os.fdatasync(descriptor))


def _allocated(path: Path) -> None:
    with opened(path, os.O_RDWR) as descriptor:
        checked("fallocate", descriptor, 0, ctypes.c_long(0), ctypes.c_long(4096))


def _sought(path: Path) -> None:
    with opened(path) as descriptor:
        assert os.lseek(descriptor, 0, os.SEEK_DATA) == 0
        assert os.lseek(descriptor, 0, os.SEEK_HOLE) == os.fstat(descriptor).st_size


def _owned(path: Path) -> None:
    before = os.stat(path)
    each_of(
        lambda: os.chmod(path, 0o640),
        lambda: os.chown(path, os.getuid(), os.getgid()),
        lambda: os.utime(path, (1, 1)),
    )
    after = os.stat(path)
    assert (before.st_mode, before.st_uid, before.st_mtime) == (after.st_mode, after.st_uid, after.st_mtime)


def _attributes_set(path: Path) -> None:
    each_of(lambda: os.setxattr(path, "user.x", b"1"), lambda: os.removexattr(path, "user.alyx.id"))


def _locked(path: Path) -> None:
    with opened(path) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)


def _copied_out(path: Path) -> None:
    with opened(path) as descriptor, tempfile.TemporaryFile() as copy:
        os.copy_file_range(descriptor, copy.fileno(), 16)


def _copied_beside(path: Path) -> None:
    top = next(parent for parent in path.parents if os.path.ismount(parent))
    scratch = top / "labs" / ".copied"
    with opened(path) as descriptor, opened(scratch, os.O_CREAT | os.O_RDWR) as copy:
        size = os.copy_file_range(descriptor, copy, 16)
        assert os.pread(copy, 16, 0) == os.pread(descriptor, size, 0)


def _controlled(path: Path) -> None:
    with opened(path) as descriptor:
        fcntl.ioctl(descriptor, FS_IOC_GETFLAGS, bytes(8))


def _is_there(path: Path) -> None:
    os.stat(path)
    assert os.access(path, os.R_OK)


FILES = {
    "stat, access to read": _is_there,
    "open to read, read, sendfile": _read,
    "open with O_DIRECT, to read": _only_open(os.O_RDONLY | os.O_DIRECT),
    "open to write, or to read and write": _open_to_write,
    "open with O_CREAT and O_EXCL": _only_open(os.O_WRONLY | os.O_CREAT | os.O_EXCL),
    "open with O_DIRECTORY": _only_open(os.O_RDONLY | os.O_DIRECTORY),
    "mmap, private, to read": _map(mmap.MAP_PRIVATE, mmap.PROT_READ, os.O_RDONLY),
    "mmap, shared, to read": _map(mmap.MAP_SHARED, mmap.PROT_READ, os.O_RDONLY),
    "mmap, shared, to read and write": _map(mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE, os.O_RDWR),
    "truncate to nothing": lambda path: os.truncate(path, 0),
    "truncate to some bytes, by name": lambda path: os.truncate(path, 10),
    "fsync, fdatasync of what was only read": _synced,
    "fallocate": _allocated,
    "lseek with SEEK_DATA, SEEK_HOLE": _sought,
    "chmod, chown, utimes": _owned,
    "link": lambda path: os.link(path, path.with_name("another.json")),
    "unlink": os.unlink,
    "setxattr, removexattr": _attributes_set,
    "listxattr": os.listxattr,
    "getxattr of a name that is not `user.alyx.*`": lambda path: os.getxattr(path, "security.selinux"),
    "flock, fcntl locks": _locked,
    "copy_file_range to another file system": _copied_out,
    "copy_file_range to a scratch file": _copied_beside,
    "ioctl": _controlled,
}
"""What the table of files names."""


def _listed(path: Path) -> None:
    os.stat(path)
    assert os.listdir(path)


def _directory_synced(path: Path) -> None:
    with opened(path, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
        os.fsync(descriptor)


def _device_made(path: Path) -> None:
    each_of(lambda: os.mkfifo(path / "pipe"), lambda: os.mknod(path / "node"))


DIRECTORIES = {
    "stat, readdir": _listed,
    "open with O_CREAT: a new name": lambda path: _only_open(os.O_WRONLY | os.O_CREAT)(path / "new"),
    "open a directory to write": _only_open(os.O_WRONLY),
    "open with O_TMPFILE": _only_open(os.O_WRONLY | os.O_TMPFILE),
    "mkdir": lambda path: os.mkdir(path / "folder"),
    "symlink, a scratch name": lambda path: os.symlink("somewhere", path / "lock"),
    "symlink, a name with `.json`": lambda path: os.symlink("somewhere", path / "lock.json"),
    "mkfifo, mknod": _device_made,
    "chmod, chown, utimes of it": _owned,
    "fsync of it": _directory_synced,
    "statfs": os.statvfs,
}
"""What the table of directories names."""
