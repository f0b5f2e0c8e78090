"""The bytes of one data file on disk: a sparse file that says itself which of its blocks are there.

Layout (format 2), all in one file so that no part can be lost without the others::

    0      magic line, then a JSON object padded with spaces: identity, version, size, validators
    4095   one byte: what is known of the content's MD5 (see Verdict)
    4096   the map: one byte a block, 1 where the block is on disk
    ...    in a file of several regions, from the next multiple of 4 on: when each was used last (Unix seconds, four
           bytes, lowest first)
    ...    the data, from the next multiple of 4096 on

A block is marked in the map only after fdatasync has put its bytes on disk, so the map may lag behind the data and
never runs ahead of it, whatever dies. While anybody has the file open marks are only ever set, by one-byte stores, so
several processes may write one file at once: they all write the same bytes. Who has the file open holds a shared
flock; only who gets the exclusive one may take regions away for want of space, or all of it (see regions). The times
are hints for that and may be lost; the modification time is that of the file's last use.

Format 1 has no times. Its files are used as they are, and go whole.
"""

from __future__ import annotations

import contextlib
import enum
import json
import logging
import os
import secrets
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import trio

from alyxfs import file_locks, free_space
from alyxfs.files.disk import direct_io
from alyxfs.files.disk.naming import give_name
from alyxfs.files.extents import BLOCK, LARGEST, block_count
from alyxfs.private_files import make_folder, open_file

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Sequence

    from alyxfs.worker_threads import WorkerThreads

T = TypeVar("T")

log = logging.getLogger(__name__)

MAGIC = b"alyxfs blocks 2\n"
MAGIC_UNTIMED = b"alyxfs blocks 1\n"
"""Of format 1; of the same length."""
PAGE = 4096
VERDICT_OFFSET = PAGE - 1
REGION = 32 * 1024 * 1024
"""Bytes of the data that have a time of last use in common, and go together for want of space: whole blocks. A part of
the format."""
TIME_BYTES = 4
LOCK_WAIT = 1.0
"""Seconds: who holds the exclusive lock is removing the file or some regions, which takes no longer."""


class Verdict(enum.IntEnum):
    """What is known of the content's MD5, as stored."""

    UNKNOWN = 0
    VERIFIED = 1
    SECOND_TRY = 2
    """A copy differed, and all or some of it was fetched again since."""
    DIFFERS = 3
    """Fetched twice, and not what the database says."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What the file server said of the content: two answers with different ones are never mixed."""

    size: int
    etag: str | None = None
    last_modified: str | None = None


Origin: TypeAlias = tuple[str, str]
"""The address of the Alyx and the path in its drive, for people; both empty in files of earlier versions."""


@dataclass(frozen=True)
class Header:
    """What the first page of a cache file says."""

    version: str
    fingerprint: Fingerprint
    verdict: Verdict
    is_timed: bool
    """Whether there is room for the times of last use, if the file has several regions."""
    origin: Origin = ("", "")


class NotOnDiskError(OSError):
    """The disk may have lost what was written since the last record: it can be read no more, whatever it gives."""


class CutError(OSError):
    """The cache file is shorter than it was made: writing on would leave zeros where its bytes were."""


class BlockFile:
    """An open cache file. Its methods may wait for the disk; only :meth:`read` is meant for the event loop."""

    def __init__(self, descriptor: int, path: pathlib.Path, header: Header) -> None:
        self._descriptor = descriptor
        self.path = path
        self.inode = os.fstat(descriptor).st_ino
        self.fingerprint = header.fingerprint
        self.verdict = header.verdict
        size = header.fingerprint.size
        self._data_offset = data_offset(size, is_timed=header.is_timed)
        self._length = file_length(size, is_timed=header.is_timed)
        self._times_offset = times_offset(size) if header.is_timed and region_count(size) > 1 else None
        self._used: set[int] = set()
        """Regions used since the last record, if the file keeps times; every thread may add some."""
        self._direct = direct_io.open_again(descriptor) if size >= direct_io.LEAST else None
        self._threads = 0
        self._closing = False

    async def in_thread(self, work: Callable[..., T], *arguments: Any, threads: WorkerThreads | None = None) -> T:
        """Run work on this file in a thread, of these where it is short; the descriptor stays open until it has ended.

        Raises CutError where the file was closed before: its descriptor may be another file's by now.
        """
        if self._closing:
            raise CutError(f"{self.path} was closed meanwhile")
        self._threads += 1
        try:
            return await (trio.to_thread.run_sync if threads is None else threads.run)(work, *arguments)
        finally:
            self._threads -= 1
            self._close_if_unused()

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of the data; none if somebody cut the file, or if its end is missing."""
        self._note_use(offset, size)
        found = os.pread(self._descriptor, size, self._data_offset + offset)
        return found if self._is_whole() else b""

    def read_into(self, buffers: Sequence[memoryview], offset: int, *, is_use: bool = True) -> int:
        """Fill the buffers, which begin and end at pages, from a page's beginning on; return how many bytes came.

        What lies after the end of the content, up to the end of its block, is zeros. With ``is_use`` the bytes count
        as used by somebody.
        """
        count = direct_io.read_some(self._descriptor, self._direct, buffers, self._data_offset + offset)
        if is_use:
            self._note_use(offset, count)
        return count if self._is_whole() else 0

    def write(self, parts: Sequence[memoryview], offset: int, *, may_wait: bool = True) -> None:
        """Put the parts at this offset of the data; raises CutError, or OSError as the disk does.

        With ``may_wait`` long ones go past the page cache, at the disk's own speed.
        """
        self._refuse_if_cut()
        position = self._data_offset + offset
        rest = list(parts)
        with free_space.taking(self._descriptor, sum(map(len, parts))):
            while rest:
                direct = self._direct if may_wait else None
                written = direct_io.write_some(self._descriptor, direct, rest, position)
                position += written
                rest = direct_io.after(rest, written)
        self._refuse_if_cut()
        self._note_use(offset, position - self._data_offset - offset)

    def _note_use(self, offset: int, size: int) -> None:
        if self._times_offset is not None:
            self._used.update(range(offset // REGION, region_count(offset + size)))

    def _is_whole(self) -> bool:
        # Who writes to one that was cut meanwhile makes it longer again, with zeros between: asked after each read.
        return os.fstat(self._descriptor).st_size == self._length

    def _refuse_if_cut(self) -> None:
        if not self._is_whole():
            raise CutError(f"{self.path} was cut by somebody")

    @property
    def has_uses(self) -> bool:
        """Whether regions were used whose times are not stored yet."""
        return bool(self._used)

    def record(self, runs: Sequence[tuple[int, int]]) -> None:
        """Mark the blocks of these runs (first, after the last) as present, after their bytes are on disk.

        Stores the times of last use, too. Raises NotOnDiskError, or OSError as the disk does.
        """
        self._store_times()
        if runs:
            try:
                os.fdatasync(self._descriptor)
            except OSError as error:  # after which the kernel takes the pages for written (see fsync(2))
                raise NotOnDiskError(*error.args) from error
        for first, last in runs:
            os.pwrite(self._descriptor, b"\x01" * (last - first), PAGE + first)

    def _store_times(self) -> None:
        if self._times_offset is None:
            return
        now = int(time.time()).to_bytes(TIME_BYTES, "little")
        while self._used:
            try:
                region = self._used.pop()
            except KeyError:  # another thread stores them, too
                return
            os.pwrite(self._descriptor, now, self._times_offset + region * TIME_BYTES)

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
        """Delete the file from the cache, unless another one has taken its place already.

        Where the disk refuses that, empty it, so that it is taken for broken by whoever opens it.
        """
        try:
            if os.path.samestat(self.path.stat(), os.fstat(self._descriptor)):
                self.path.unlink()
        except FileNotFoundError:
            return
        except OSError as error:
            log.info("a file of the cache could not be removed: %s", error)
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, 0)

    def close(self) -> None:
        """Give the descriptor and the lock back, once, as soon as no thread uses them."""
        if not self._closing:
            self._closing = True
            self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._closing and not self._threads:
            file_locks.close(self._descriptor)
            if self._direct is not None:
                file_locks.close(self._direct)


def region_count(size: int) -> int:
    """How many regions a file of ``size`` bytes has; the last one may be short."""
    return -(-size // REGION)


def times_offset(size: int) -> int:
    """Where the times of the regions of a file of ``size`` bytes begin."""
    return -(-(PAGE + block_count(size)) // TIME_BYTES) * TIME_BYTES


def data_offset(size: int, *, is_timed: bool) -> int:
    """Where the data of a file of ``size`` bytes begins."""
    end = PAGE + block_count(size)
    if is_timed and region_count(size) > 1:
        end = times_offset(size) + TIME_BYTES * region_count(size)
    return -(-end // PAGE) * PAGE


def file_length(size: int, *, is_timed: bool) -> int:
    """Bytes of the cache file of a file of ``size`` bytes, holes included."""
    return data_offset(size, is_timed=is_timed) + block_count(size) * BLOCK


def create(
    path: pathlib.Path,
    identity: str,
    version: str,
    fingerprint: Fingerprint,
    verdict: Verdict,
    origin: Origin = ("", ""),
) -> BlockFile | None:
    """Make an empty cache file, or open the one that another process made at the same moment.

    None where a file with other content holds the place and is in use. Raises OSError as the disk does.
    """
    make_folder(path.parent)
    fields = {"identity": identity, "version": version, **asdict(fingerprint)}
    header = MAGIC + json.dumps(fields | {"server": origin[0], "path": origin[1]}).encode()
    if len(header) > VERDICT_OFFSET:  # it can do without these two
        header = MAGIC + json.dumps(fields).encode()
    if len(header) > VERDICT_OFFSET:
        raise OSError(f"the header of {identity} is too long to be cached")
    scratch = path.with_name(f"new-{secrets.token_hex(8)}")
    descriptor = open_file(scratch, os.O_RDWR | os.O_EXCL)
    try:
        os.pwrite(descriptor, header.ljust(VERDICT_OFFSET) + bytes([verdict]), 0)
        os.ftruncate(descriptor, file_length(fingerprint.size, is_timed=True))
        file_locks.lock(descriptor, path, alone=False)
        give_name(scratch, path)
    except FileExistsError:
        file_locks.close(descriptor)
        found = open_existing(path, version)
        if found is None and not path.exists():  # a broken one was in the way, and has been removed
            return create(path, identity, version, fingerprint, verdict, origin)
        if found is None or found.fingerprint == fingerprint:
            return found
        found.close()
        return None
    except BaseException:
        file_locks.close(descriptor)
        raise
    finally:
        with contextlib.suppress(OSError):  # somebody may have removed all of the cache; what is left goes in an hour
            scratch.unlink()
    return BlockFile(descriptor, path, Header(version, fingerprint, verdict, is_timed=True))


def open_existing(path: pathlib.Path, version: str) -> BlockFile | None:
    """Open the cache file at ``path``; None where there is none of this version. A broken one is removed."""
    ends = time.monotonic() + LOCK_WAIT
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        found = None
        try:
            file_locks.lock(descriptor, path, alone=False)
            if os.fstat(descriptor).st_nlink == 0:
                continue
            header = read_header(descriptor)
            if header is None or header.version != version:
                path.unlink(missing_ok=True)
                return None
            os.utime(descriptor)
            found = BlockFile(descriptor, path, _as_marked(descriptor, header))
        except BlockingIOError:
            if time.monotonic() > ends:
                return None
        finally:
            if found is None:
                file_locks.close(descriptor)
        if found is not None:
            return found
        time.sleep(0.01)


def _as_marked(descriptor: int, header: Header) -> Header:
    """A power cut may keep the verdict and lose marks that were set before it: then it holds for no whole content."""
    count = block_count(header.fingerprint.size)
    if header.verdict is Verdict.VERIFIED and os.pread(descriptor, count, PAGE).count(1) < count:
        return replace(header, verdict=Verdict.UNKNOWN)
    return header


def look(path: pathlib.Path, version: str) -> tuple[float, Verdict]:
    """How much of the file is on disk, 0 to 1, and what is known of its MD5, by a look at header and map alone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0.0, Verdict.UNKNOWN
    try:
        header = read_header(descriptor)
        if header is None or header.version != version:
            return 0.0, Verdict.UNKNOWN
        count = block_count(header.fingerprint.size)
        return os.pread(descriptor, count, PAGE).count(1) / count if count else 1.0, header.verdict
    finally:
        os.close(descriptor)


def read_header(descriptor: int) -> Header | None:
    """What the first page says, or None where this is no whole file of a format known here."""
    page = os.pread(descriptor, PAGE, 0)
    if len(page) < PAGE or not page.startswith((MAGIC, MAGIC_UNTIMED)):
        return None
    try:
        fields = json.loads(page[len(MAGIC) : VERDICT_OFFSET])
        fingerprint = Fingerprint(fields["size"], fields["etag"], fields["last_modified"])
        verdict = Verdict(page[VERDICT_OFFSET])
        origin = str(fields.get("server", "")), str(fields.get("path", ""))
        header = Header(fields["version"], fingerprint, verdict, page.startswith(MAGIC), origin)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if type(fingerprint.size) is not int or not 0 <= fingerprint.size <= LARGEST:
        return None
    if os.fstat(descriptor).st_size != file_length(fingerprint.size, is_timed=header.is_timed):
        return None
    return header
