"""The bytes of one data file on disk: a sparse file that says itself which of its blocks are there.

Layout (format 1), all in one file so that no part can be lost without the others::

    0      magic line, then a JSON object padded with spaces: identity, version, size, validators
    4095   one byte: what is known of the content's MD5 (see Verdict)
    4096   the map: one byte a block, 1 where the block is on disk
    ...    the data, from the next multiple of 4096 on

A block is marked in the map only after fdatasync has put its bytes on disk, so the map may lag behind the data and
never runs ahead of it, whatever dies. Marks are only ever set, by one-byte stores, so several processes may write
one file at once: they all write the same bytes. Who has the file open holds a shared flock; only who gets the
exclusive one may remove it for want of space. The modification time is that of the last use.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import fcntl
import json
import os
import secrets
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from alyxfs.files.blocks import BLOCK, block_count

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Sequence

T = TypeVar("T")

MAGIC = b"alyxfs blocks 1\n"
PAGE = 4096
VERDICT_OFFSET = PAGE - 1
PARTS_AT_ONCE = 512
"""Buffers of one pwritev; the kernel takes at most 1024 (IOV_MAX)."""
DIRECT_LEAST = 256 * 1024
"""Bytes: longer pieces go between disk and buffers without a copy in the kernel's page cache, which would cost more
CPU than all else together and push out of memory what programs have there."""
LOCK_WAIT = 1.0
"""Seconds: who holds the exclusive lock is removing the file, which takes no longer."""


class Verdict(enum.IntEnum):
    """What is known of the content's MD5, as stored."""

    UNKNOWN = 0
    VERIFIED = 1
    SECOND_TRY = 2
    """A first copy differed; this one was fetched because of that."""
    DIFFERS = 3
    """Fetched twice, and not what the database says."""


@dataclass(frozen=True)
class Fingerprint:
    """What the file server said of the content: two answers with different ones are never mixed."""

    size: int
    etag: str | None = None
    last_modified: str | None = None


class CutError(OSError):
    """The cache file is shorter than it was made: writing on would leave zeros where its bytes were."""


class BlockFile:
    """An open cache file. Its methods may wait for the disk; only :meth:`read` is meant for the event loop."""

    def __init__(self, descriptor: int, path: pathlib.Path, fingerprint: Fingerprint, verdict: Verdict) -> None:
        self._descriptor = descriptor
        self.path = path
        self.fingerprint = fingerprint
        self.verdict = verdict
        self._data_offset = data_offset(fingerprint.size)
        self._direct = _open_direct(descriptor) if fingerprint.size >= DIRECT_LEAST else None
        self._threads = 0
        self._closing = False

    async def in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run work on this file in a thread; the descriptor stays open until it has ended."""
        self._threads += 1
        try:
            return await trio.to_thread.run_sync(work, *arguments)
        finally:
            self._threads -= 1
            self._close_if_unused()

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of the data; none if somebody cut the file, or if its end is missing."""
        found = os.pread(self._descriptor, size, self._data_offset + offset)
        return found if self._is_whole() else b""

    def read_into(self, buffers: Sequence[memoryview], offset: int) -> int:
        """Fill the buffers, which begin and end at pages, from a page's beginning on; return how many bytes came.

        What lies after the end of the content, up to the end of its block, is zeros.
        """
        count = self._read_some(list(buffers[:PARTS_AT_ONCE]), self._data_offset + offset)
        return count if self._is_whole() else 0

    def write(self, parts: Sequence[memoryview], offset: int, *, may_wait: bool = True) -> None:
        """Put the parts at this offset of the data; raises CutError, or OSError as the disk does.

        With ``may_wait`` long ones go past the page cache, at the disk's own speed.
        """
        self._refuse_if_cut()
        position = self._data_offset + offset
        rest = list(parts)
        while rest:
            batch = rest[:PARTS_AT_ONCE]
            written = self._write_some(batch, position, may_wait=may_wait)
            position += written
            rest = _after(rest, written)
        self._refuse_if_cut()

    def _is_whole(self) -> bool:
        """Whether the file is as long as it was made.

        Who writes to one that was cut meanwhile makes it longer again, with zeros between: asked after each read.
        """
        return os.fstat(self._descriptor).st_size == file_length(self.fingerprint.size)

    def _refuse_if_cut(self) -> None:
        if not self._is_whole():
            raise CutError(f"{self.path} was cut by somebody")

    def _read_some(self, buffers: list[memoryview], position: int) -> int:
        if self._direct is not None:
            with contextlib.suppress(OSError):  # not all that opens so reads so
                return os.preadv(self._direct, buffers, position)
        return os.preadv(self._descriptor, buffers, position)

    def _write_some(self, parts: list[memoryview], position: int, *, may_wait: bool) -> int:
        """Write the beginning of the parts, past the page cache if that can be; return how many bytes."""
        whole = sum(map(len, parts)) // PAGE * PAGE
        if may_wait and self._direct is not None and whole >= DIRECT_LEAST and position % PAGE == 0:
            try:
                return os.pwritev(self._direct, _before(parts, whole), position)
            except OSError as error:
                if error.errno != errno.EINVAL:  # what the file system says whose blocks are larger
                    raise
        return os.pwritev(self._descriptor, parts, position)

    def record(self, runs: Sequence[tuple[int, int]]) -> None:
        """Mark the blocks of these runs (first, after the last) as present, after their bytes are on disk."""
        os.fdatasync(self._descriptor)
        for first, last in runs:
            os.pwrite(self._descriptor, b"\x01" * (last - first), PAGE + first)

    def recorded(self, first: int, last: int) -> bytes:
        """The map's bytes of these blocks as they are on disk now: another process may have fetched them."""
        return os.pread(self._descriptor, last - first, PAGE + first)

    def set_verdict(self, verdict: Verdict) -> None:
        """Store what a check of the whole content found."""
        os.pwrite(self._descriptor, bytes([verdict]), VERDICT_OFFSET)
        self.verdict = verdict

    def is_removed(self) -> bool:
        """Whether somebody deleted the file: it can still be read, but nobody will find it again."""
        return os.fstat(self._descriptor).st_nlink == 0

    def remove(self) -> None:
        """Delete the file from the cache, unless another one has taken its place already."""
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(self.path.stat(), os.fstat(self._descriptor)):
                self.path.unlink()

    def close(self) -> None:
        """Give the descriptor and the lock back, as soon as no thread uses them."""
        self._closing = True
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._closing and not self._threads:
            os.close(self._descriptor)
            if self._direct is not None:
                os.close(self._direct)


def _open_direct(descriptor: int) -> int | None:
    """Open the file again, for what goes past the page cache; None where the file system has no such way."""
    with contextlib.suppress(OSError):
        return os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR | os.O_DIRECT | os.O_CLOEXEC)
    return None


def _before(parts: Sequence[memoryview], length: int) -> list[memoryview]:
    """So many bytes of the parts."""
    found = []
    for part in parts:
        if length > 0:
            found.append(part[:length])
            length -= len(part)
    return found


def _after(parts: Sequence[memoryview], length: int) -> list[memoryview]:
    """What follows so many bytes of the parts."""
    found = []
    for part in parts:
        if length < len(part):
            found.append(part[max(0, length) :])
        length -= len(part)
    return found


def data_offset(size: int) -> int:
    """Where the data of a file of ``size`` bytes begins."""
    return -(-(PAGE + block_count(size)) // PAGE) * PAGE


def file_length(size: int) -> int:
    """Bytes of the cache file of a file of ``size`` bytes, holes included."""
    return data_offset(size) + block_count(size) * BLOCK


def create(
    path: pathlib.Path, identity: str, version: str, fingerprint: Fingerprint, verdict: Verdict
) -> BlockFile | None:
    """Make an empty cache file, or open the one that another process made at the same moment.

    None where a file with other content holds the place and is in use. Raises OSError as the disk does.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fields = {"identity": identity, "version": version, **asdict(fingerprint)}
    header = MAGIC + json.dumps(fields).encode()
    if len(header) > VERDICT_OFFSET:
        raise OSError(f"the header of {identity} is too long to be cached")
    scratch = path.with_name(f"new-{secrets.token_hex(8)}")
    descriptor = os.open(scratch, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(descriptor, header.ljust(VERDICT_OFFSET) + bytes([verdict]), 0)
        os.ftruncate(descriptor, file_length(fingerprint.size))
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        os.link(scratch, path)
    except FileExistsError:
        os.close(descriptor)
        found = open_existing(path, version)
        if found is None or found.fingerprint == fingerprint:
            return found
        found.close()
        return None
    except BaseException:
        os.close(descriptor)
        raise
    finally:
        scratch.unlink()
    return BlockFile(descriptor, path, fingerprint, verdict)


def open_existing(path: pathlib.Path, version: str) -> BlockFile | None:
    """Open the cache file at ``path``; None where there is none of this version. A broken one is removed."""
    ends = time.monotonic() + LOCK_WAIT
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            if time.monotonic() > ends:
                return None
            time.sleep(0.01)
            continue
        if os.fstat(descriptor).st_nlink == 0:
            os.close(descriptor)
            continue
        header = _read_header(descriptor)
        if header is not None and header[0] == version:
            os.utime(descriptor)
            return BlockFile(descriptor, path, *header[1:])
        os.close(descriptor)
        path.unlink(missing_ok=True)
        return None


def look(path: pathlib.Path, version: str) -> tuple[float, Verdict]:
    """How much of the file is on disk, 0 to 1, and what is known of its MD5, by a look at header and map alone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0.0, Verdict.UNKNOWN
    try:
        header = _read_header(descriptor)
        if header is None or header[0] != version:
            return 0.0, Verdict.UNKNOWN
        count = block_count(header[1].size)
        return os.pread(descriptor, count, PAGE).count(1) / count if count else 1.0, header[2]
    finally:
        os.close(descriptor)


def _read_header(descriptor: int) -> tuple[str, Fingerprint, Verdict] | None:
    """Version, fingerprint and verdict, or None where this is no whole file of this format."""
    page = os.pread(descriptor, PAGE, 0)
    if len(page) < PAGE or not page.startswith(MAGIC):
        return None
    try:
        fields = json.loads(page[len(MAGIC) : VERDICT_OFFSET])
        fingerprint = Fingerprint(fields["size"], fields["etag"], fields["last_modified"])
        verdict = Verdict(page[VERDICT_OFFSET])
        version = fields["version"]
    except (ValueError, KeyError, TypeError):
        return None
    if os.fstat(descriptor).st_size != file_length(fingerprint.size):
        return None
    return version, fingerprint, verdict
