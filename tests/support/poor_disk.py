"""A disk without locks, links and holes, or one whose writes fail: a directory passed through by a mount of its own.

It speaks the kernel's own protocol (include/uapi/linux/fuse.h), as pyfuse3 has no way to answer a request for a lock:
a FUSE file system that does not ask for these requests has the kernel lock for it. Run as a program (``python
poor_disk.py SOURCE MOUNT_POINT ERRNO``) it serves until it is unmounted, and takes orders from standard input.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import socket
import stat
import struct
import subprocess
import sys
from typing import TYPE_CHECKING

from alyxfs.cli.mount_point import unmount
from alyxfs.files.disk import regions
from mounted import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WRITES = {
    4: "setattr",
    9: "mkdir",
    10: "unlink",
    11: "rmdir",
    12: "rename",
    13: "link",
    16: "write",
    20: "fsync",
    25: "flush",
    30: "fsyncdir",
    35: "create",
    43: "fallocate",
    45: "rename",
}
"""What changes the disk, by the kernel's numbers; ``flush`` is a close of what was written."""
LOCKS = {31, 32, 33}


class PoorDisk:
    """The disk under test."""

    def __init__(self, path: Path, process: subprocess.Popen[str]) -> None:
        self.path = path
        self._process = process

    def fail(self, number: int, name: int, *, for_ever: bool, only: str = "") -> None:
        """From now on the write of this number (the first is 0), and all later ones if ``for_ever``, end in errno.

        ``only``: a kind of write, which alone is counted and fails.
        """
        self._order(number=number, errno=name, for_ever=for_ever, only=only)

    def recover(self) -> list[str]:
        """All goes well again; returns the writes since the last order, by what they are."""
        return self._order(number=-1, errno=0, for_ever=False, only="")

    def _order(self, **order) -> list[str]:
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@contextlib.contextmanager
def poor_disk(source: Path, mount_point: Path, refusal: int = 0) -> Iterator[PoorDisk]:
    """``source`` shows at ``mount_point``; with ``refusal`` (an errno) it has no locks, hard links, modes and holes."""
    source.mkdir(exist_ok=True)
    mount_point.mkdir()
    command = [sys.executable, __file__, str(source), str(mount_point), str(refusal)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        until(lambda: os.path.ismount(mount_point), "the disk")
        yield PoorDisk(mount_point, process)
    finally:
        unmount(mount_point, lazily=True)
        process.kill()
        process.wait(30)
        process.stdin.close()
        process.stdout.close()


class Passing:
    """Answers the kernel. A node is one inode of the source, with the paths that lead to it and what has it open."""

    def __init__(self, source: str, refusal: int) -> None:
        self._refusal = refusal
        self._paths: dict[int, set[str]] = {1: {source}}
        self._nodes: dict[tuple[int, int], int] = {_key(os.lstat(source)): 1}
        self._opened: dict[int, set[int]] = {}
        self._newest = 1
        self._listed: dict[int, list[str]] = {}
        self._written: set[int] = set()
        """Descriptors: their close can fail."""
        self.order = {"number": -1, "errno": 0, "for_ever": False, "only": ""}
        self.writes: list[str] = []

    def answer(self, code: int, node: int, body: bytes) -> bytes:
        """The answer to one request; raises OSError where that is the answer."""
        if code in LOCKS or (code == 13 and self._refusal):
            raise OSError(self._refusal if code in LOCKS else errno.EPERM, "refused")
        name = WRITES.get(code)
        if name is not None and not (name == "flush" and _number(body) not in self._written):
            self._fail_in_turn(name)
        handler = getattr(self, f"_do_{code}", None)
        if handler is None:
            raise OSError(errno.ENOSYS, "unknown")
        return handler(node, body)

    def _fail_in_turn(self, name: str) -> None:
        wanted, only = self.order["number"], self.order["only"]
        number = self.writes.count(only) if only else len(self.writes)
        self.writes.append(name)
        if only not in {"", name}:
            return
        if wanted >= 0 and (number == wanted or (self.order["for_ever"] and number > wanted)):
            raise OSError(self.order["errno"], "as ordered")

    def _path(self, node: int, name: bytes = b"") -> str:
        paths = self._paths.get(node)
        if not paths:
            raise OSError(errno.ESTALE, "removed")
        path = next(iter(paths))
        return os.path.join(path, os.fsdecode(name)) if name else path

    def _at(self, node: int) -> int | str:
        """What os.stat and the like take for this node."""
        opened = self._opened.get(node)
        return next(iter(opened)) if opened else self._path(node)

    def _entry(self, path: str) -> bytes:
        found = os.lstat(path)
        node = self._nodes.get(_key(found))
        if node is None:
            self._newest += 1
            node = self._nodes[_key(found)] = self._newest
        self._paths.setdefault(node, set()).add(path)
        return struct.pack("<QQQQII", node, 0, 0, 0, 0, 0) + _attributes(node, found)

    def _gone(self, path: str) -> None:
        for node, paths in list(self._paths.items()):
            if path in paths:
                paths.discard(path)
                if not paths:
                    self._nodes = {key: number for key, number in self._nodes.items() if number != node}

    def _open(self, node: int, path: str, flags: int, mode: int = 0) -> bytes:
        flags &= ~(os.O_EXCL | os.O_DIRECT | os.O_APPEND | os.O_NOFOLLOW)  # the kernel has seen to these
        if flags & os.O_ACCMODE == os.O_WRONLY:
            flags = flags & ~os.O_ACCMODE | os.O_RDWR  # the kernel reads what it writes a part of
        descriptor = os.open(path, flags | os.O_CLOEXEC, mode)
        self._opened.setdefault(node, set()).add(descriptor)
        return struct.pack("<QII", descriptor, 0, 0)

    def _do_26(self, node: int, body: bytes) -> bytes:  # INIT
        flags = 1 << 5  # FUSE_BIG_WRITES
        if self._refusal:
            flags |= 1 << 1 | 1 << 10  # FUSE_POSIX_LOCKS, FUSE_FLOCK_LOCKS
        return struct.pack("<IIIIHHIIHHI28x", 7, 31, 131072, flags, 12, 10, 131072, 1, 0, 0, 0)

    def _do_1(self, node: int, body: bytes) -> bytes:  # LOOKUP
        return self._entry(self._path(node, body[:-1]))

    def _do_3(self, node: int, body: bytes) -> bytes:  # GETATTR
        return bytes(16) + _attributes(node, os.stat(self._at(node)))

    def _do_4(self, node: int, body: bytes) -> bytes:  # SETATTR
        valid, _, _, size, _, atime, mtime, _, atime_ns, mtime_ns, _, mode = struct.unpack_from("<IIQQQQQQIIII", body)
        at = self._at(node)
        if valid & 8:
            os.truncate(at, size)
        if valid & 1 and self._refusal:
            raise OSError(errno.EPERM, "no modes")
        if valid & 1:
            os.chmod(at, stat.S_IMODE(mode))
        if valid & (16 | 32):
            now = os.stat(at)
            times = [
                now.st_atime_ns if not valid & 16 else atime * 10**9 + atime_ns,
                now.st_mtime_ns if not valid & 32 else mtime * 10**9 + mtime_ns,
            ]
            os.utime(at, ns=tuple(times))
            if valid & 256:
                os.utime(at)
        return self._do_3(node, body)

    def _do_9(self, node: int, body: bytes) -> bytes:  # MKDIR
        path = self._path(node, body[8:-1])
        os.mkdir(path, _number(body, "<I") & 0o7777)
        return self._entry(path)

    def _do_10(self, node: int, body: bytes) -> bytes:  # UNLINK
        path = self._path(node, body[:-1])
        os.unlink(path)
        self._gone(path)
        return b""

    def _do_11(self, node: int, body: bytes) -> bytes:  # RMDIR
        path = self._path(node, body[:-1])
        os.rmdir(path)
        self._gone(path)
        return b""

    def _do_12(self, node: int, body: bytes, head: int = 8) -> bytes:  # RENAME
        before, after, _ = body[head:].split(b"\0")
        old, new = self._path(node, before), self._path(_number(body), after)
        os.rename(old, new)
        self._gone(new)
        for paths in self._paths.values():
            for path in [one for one in paths if one == old or one.startswith(f"{old}/")]:
                paths.discard(path)
                paths.add(new + path[len(old) :])
        return b""

    def _do_45(self, node: int, body: bytes) -> bytes:  # RENAME2
        return self._do_12(node, body, 16)

    def _do_13(self, node: int, body: bytes) -> bytes:  # LINK
        path = self._path(node, body[8:-1])
        os.link(self._path(_number(body)), path)
        return self._entry(path)

    def _do_14(self, node: int, body: bytes) -> bytes:  # OPEN
        return self._open(node, self._path(node), _number(body, "<I"))

    def _do_35(self, node: int, body: bytes) -> bytes:  # CREATE
        flags, mode = struct.unpack_from("<II", body)
        path = self._path(node, body[16:-1])
        os.close(os.open(path, os.O_CREAT | os.O_EXCL, mode & 0o7777))
        entry = self._entry(path)
        return entry + self._open(_number(entry), path, flags & ~os.O_CREAT)

    def _do_15(self, node: int, body: bytes) -> bytes:  # READ
        descriptor, offset, size = struct.unpack_from("<QQI", body)
        return os.pread(descriptor, size, offset)

    def _do_16(self, node: int, body: bytes) -> bytes:  # WRITE
        descriptor, offset, size = struct.unpack_from("<QQI", body)
        self._written.add(descriptor)
        return struct.pack("<II", os.pwrite(descriptor, body[40 : 40 + size], offset), 0)

    def _do_17(self, node: int, body: bytes) -> bytes:  # STATFS
        disk = os.statvfs(self._path(1))
        numbers = (disk.f_blocks, disk.f_bfree, disk.f_bavail, disk.f_files, disk.f_ffree)
        return struct.pack("<QQQQQIII28x", *numbers, disk.f_bsize, disk.f_namemax, disk.f_frsize)

    def _do_18(self, node: int, body: bytes) -> bytes:  # RELEASE
        descriptor = _number(body)
        self._opened[node].discard(descriptor)
        self._written.discard(descriptor)
        os.close(descriptor)
        return b""

    def _do_20(self, node: int, body: bytes) -> bytes:  # FSYNC
        return b""

    _do_25 = _do_30 = _do_20  # FLUSH, FSYNCDIR

    def _do_27(self, node: int, body: bytes) -> bytes:  # OPENDIR
        self._listed[node] = [".", "..", *os.listdir(self._path(node))]
        return struct.pack("<QII", node, 0, 0)

    def _do_28(self, node: int, body: bytes) -> bytes:  # READDIR
        _, offset, room = struct.unpack_from("<QQI", body)
        found = b""
        for place, name in enumerate(self._listed[node][offset:], offset + 1):
            kind = stat.S_IFMT(os.lstat(self._path(node)).st_mode) >> 12 if name.startswith(".") else 0
            encoded = os.fsencode(name)
            entry = struct.pack("<QQII", 1, place, len(encoded), kind) + encoded
            entry = entry.ljust(-(-len(entry) // 8) * 8, b"\0")
            if len(found) + len(entry) > room:
                break
            found += entry
        return found

    _do_29 = _do_20  # RELEASEDIR

    def _do_43(self, node: int, body: bytes) -> bytes:  # FALLOCATE
        if self._refusal:
            raise OSError(errno.EOPNOTSUPP, "no holes")
        regions.punch(*struct.unpack_from("<QQQ", body))
        return b""

    def _do_46(self, node: int, body: bytes) -> bytes:  # LSEEK
        descriptor, offset, whence = struct.unpack_from("<QQI", body)
        return struct.pack("<Q", os.lseek(descriptor, offset, whence))


def _number(body: bytes, kind: str = "<Q") -> int:
    return struct.unpack_from(kind, body)[0]


def _key(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _attributes(node: int, found: os.stat_result) -> bytes:
    times = (found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns)
    return struct.pack(
        "<QQQQQQIIIIIIIIII",
        node,
        found.st_size,
        found.st_blocks,
        *(time // 10**9 for time in times),
        *(time % 10**9 for time in times),
        found.st_mode,
        found.st_nlink,
        found.st_uid,
        found.st_gid,
        0,
        4096,
        0,
    )


def opened(mount_point: str) -> int:
    """The kernel's end of a new mount, as fusermount3 hands it over."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = ["fusermount3", "-o", "fsname=poor,subtype=poor", "--", mount_point]
        variables = {**os.environ, "_FUSE_COMMFD": str(theirs.fileno())}
        subprocess.run(command, pass_fds=[theirs.fileno()], env=variables, check=True)
        return socket.recv_fds(ours, 1, 1)[1][0]


def serve(source: str, mount_point: str, refusal: int) -> None:
    device, passing = opened(mount_point), Passing(source, refusal)
    inputs = [device, sys.stdin]
    while True:
        ready, _, _ = select.select(inputs, [], [])
        if sys.stdin in ready:
            line = sys.stdin.readline()
            if line:
                passing.order, writes, passing.writes = json.loads(line), passing.writes, []
                print(json.dumps(writes), flush=True)
            else:
                inputs.remove(sys.stdin)
        if device not in ready:
            continue
        try:
            request = os.read(device, 1 << 20)
        except OSError as error:
            if error.errno == errno.ENODEV:  # unmounted
                return
            if error.errno == errno.ENOENT:  # called off meanwhile
                continue
            raise
        _, code, unique, node = struct.unpack_from("<IIQQ", request)
        if code in {2, 36, 42}:  # FORGET, INTERRUPT, BATCH_FORGET: no answer is expected
            continue
        number, answer = 0, b""
        try:
            answer = passing.answer(code, node, request[40:])
        except OSError as error:
            number = error.errno
        with contextlib.suppress(FileNotFoundError):  # called off meanwhile
            os.write(device, struct.pack("<IiQ", 16 + len(answer), -number, unique) + answer)


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], int(sys.argv[3]))
