"""``/cache.zip`` on its way to the disk: taken piece by piece, unpacked and read, all of it within bounds.

It comes from outside, so that it may be damaged or made to fill memory and disk. Whatever is wrong with it is a
TablesUnusableError, and the drive does without.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import struct
import sys
import tempfile
import zipfile
import zlib
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from alyxfs import free_space
from alyxfs.alyx.datasets.cache_tables import TablesUnusableError, can_read_tables, made_in
from alyxfs.alyx.datasets.table_form import INFO, TABLES
from alyxfs.private_files import make_folder, open_file

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from alyxfs.alyx.rest import Api

ARCHIVE = "/cache.zip"
"""Where the server has the archive of all its sessions."""
LARGEST_ARCHIVE = 1024**3
"""Bytes: that of a large database has 100 MB."""
ARCHIVE_DEADLINE = 600.0
"""Seconds that fetching it may take, in the background."""
LARGEST_TABLE = 2 * 1024**3
"""Bytes of one table."""
MOST_RATIO = 20
"""Times as large as in the archive that a table may be: Parquet is compressed itself, so real ones are 1.3 times."""
LARGEST_INFO = 64 * 1024
"""Bytes of what the archive says of itself."""
SMALL_TABLE = 1024**2
"""Bytes of a table that may be of any ratio."""
MOST_MEMBERS = 100
"""Real archives have three."""
READ_DEADLINE = 120.0
"""Seconds that reading the tables may take; a million datasets take two."""

_LONGEST_READ = 128 * 1024
"""Bytes that :mod:`zipfile` may want at once: the list of members, which it holds in memory, or the archive's end."""
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
NO_ARCHIVE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    KeyError,
    ValueError,
    OverflowError,
    RuntimeError,  # an encrypted member
    NotImplementedError,
)
"""What zipfile raises for what is none, or damaged (found by feeding it such)."""
_READER = "alyxfs.alyx.datasets.table_reader"


@asynccontextmanager
async def scratch_folder(directory: Path) -> AsyncGenerator[Path, None]:
    """A folder below ``directory`` that goes with the block, unless it is published. Raises TablesUnusableError."""
    scratch = await trio.to_thread.run_sync(_new_scratch, directory)
    try:
        yield scratch
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(lambda: shutil.rmtree(scratch, ignore_errors=True))


async def fetch_tables(
    api: Api,
    directory: Path,
    check: Callable[[str], None],
    address: str = ARCHIVE,
    about: Mapping[str, Any] | None = None,
) -> Path:
    """Put the server's tables into a folder of their own below ``directory`` and return it.

    ``check`` is given the time at which they were made and may raise. The folder appears whole or not at all, so that
    several drives can share ``directory``. What reads them is put beside them where the packages for it are installed.
    ``address``: of the archive; ``about``: what is kept with them beside the time at which they were made.
    Raises TablesUnusableError, and what the request raises.
    """
    async with scratch_folder(directory) as scratch:
        archive = scratch / "cache.zip"
        with contextlib.closing(_Target(archive)) as target:
            await api.download(address, target.write, LARGEST_ARCHIVE, ARCHIVE_DEADLINE)
        made = await trio.to_thread.run_sync(unpack_tables, archive, scratch)
        check(made)
        archive.unlink()
        if can_read_tables():
            await convert_tables(scratch)
        return await trio.to_thread.run_sync(publish_tables, scratch, made, directory, about)


def unpack_tables(archive: Path, folder: Path) -> str:
    """Put the tables of an archive into a folder, and return when they were made, by the server's own clock.

    Blocks: call in a thread. Raises TablesUnusableError.
    """
    try:
        with Archive(archive) as file, zipfile.ZipFile(file) as members:
            if len(members.filelist) > MOST_MEMBERS:
                raise TablesUnusableError(f"cache.zip has {len(members.filelist)} members.")
            for name in TABLES:
                _unpack(members, name, folder)
            return _made(members)
    except NO_ARCHIVE as error:
        raise TablesUnusableError(f"cache.zip does not hold {' and '.join(TABLES)}: {error}.") from error
    except OSError as error:
        raise TablesUnusableError(f"The cache tables cannot be unpacked in {folder}: {error.strerror}.") from error


async def convert_tables(folder: Path) -> None:
    """Read the Parquet files of a folder and put beside them what :func:`read_tables` reads.

    Raises TablesUnusableError.
    A process of its own does it (:mod:`alyxfs.alyx.datasets.table_reader`): whatever a file does to the library that
    reads it, the drive goes on, and the memory it may take is the system's to bound.
    """
    await run_on_tables(_READER, folder)


async def run_on_tables(module: str, folder: Path) -> None:
    """Run a module in a process of its own, which ends with exit code 1 and a sentence where it cannot do its work.

    Raises TablesUnusableError.
    """
    with trio.move_on_after(READ_DEADLINE) as scope:
        ended = await trio.run_process(
            [sys.executable, "-m", module, str(folder)],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
    if scope.cancelled_caught:
        raise TablesUnusableError(f"The cache tables could not be read within {READ_DEADLINE:g} s.")
    if ended.returncode:
        words = ended.stdout.decode(errors="replace").strip()
        raise TablesUnusableError(words or f"The cache tables could not be read: exit code {ended.returncode}.")


def publish_tables(scratch: Path, made: str, directory: Path, about: Mapping[str, Any] | None = None) -> Path:
    """Give the folder its name; see :func:`fetch_tables`. Blocks: call in a thread. Raises TablesUnusableError."""
    folder = directory / re.sub(r"[^0-9A-Za-z]", "-", made)
    try:
        with private_file(scratch / INFO) as target:
            target.write(json.dumps({"date_created": made, **(about or {})}).encode())
        if not folder.exists():  # another drive may have been faster
            with contextlib.suppress(OSError):
                scratch.rename(folder)
    except OSError as error:
        raise TablesUnusableError(f"The cache tables cannot be kept in {folder}: {error.strerror}.") from error
    return folder


class _Target:
    """The file that the archive goes to. Blocks: call in a thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = private_file(path)
        self.close = self._file.close

    def write(self, piece: bytes) -> None:
        """Add a piece; raises TablesUnusableError where the disk has no room for it."""
        try:
            refuse_full_disk(self._path.parent, len(piece))
            self._file.write(piece)
        except OSError as error:
            raise TablesUnusableError(f"cache.zip cannot be kept in {self._path.parent}: {error.strerror}.") from error


class Archive(io.FileIO):
    """An archive as zipfile reads it; how much that wants at once is for the archive to say."""

    def read(self, size: int | None = -1, /) -> Any:
        """See io; raises BadZipFile where it is asked for too much."""
        rest = os.fstat(self.fileno()).st_size - self.tell()
        if min(size if size is not None and size >= 0 else rest, rest) > _LONGEST_READ:
            raise zipfile.BadZipFile("its list of members is too long")
        return super().read(size)


def refuse_full_disk(folder: Path, size: int) -> None:
    """Raise TablesUnusableError where so many bytes more would leave less free than always stays free."""
    if size > -free_space.lacking(os.statvfs(folder)):
        raise TablesUnusableError(f"There is no room for the cache tables in {folder}: the disk is nearly full.")


def _unpack(members: zipfile.ZipFile, name: str, folder: Path) -> None:
    member = readable(members, name)
    if member.file_size > max(SMALL_TABLE, MOST_RATIO * member.compress_size) or member.file_size > LARGEST_TABLE:
        raise TablesUnusableError(f"{name} in cache.zip becomes {member.file_size} bytes, which no real one does.")
    refuse_full_disk(folder, member.file_size)
    with members.open(member) as source, private_file(folder / name) as target:
        shutil.copyfileobj(source, target)  # zipfile gives no more than was announced


def readable(members: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    """A member; raises one of NO_ARCHIVE where there is none, or where it is packed in an unusual way."""
    member = members.getinfo(name)
    if member.compress_type not in _METHODS:
        raise NotImplementedError(f"{name} is compressed in a way that is not known here")
    return member


def _made(members: zipfile.ZipFile) -> str:
    member = readable(members, INFO)
    if member.file_size > LARGEST_INFO:
        raise TablesUnusableError(f"{INFO} in cache.zip becomes {member.file_size} bytes, which no real one does.")
    made = made_in(members.read(member))
    if made is None:
        raise TablesUnusableError(f"{INFO} in cache.zip does not say when the tables were made.")
    return made


def _new_scratch(directory: Path) -> Path:
    try:
        make_folder(directory)
        return Path(tempfile.mkdtemp(dir=directory, prefix="new-"))  # mkdtemp makes it 0700
    except OSError as error:
        raise TablesUnusableError(f"The cache tables cannot be kept in {directory}: {error.strerror}.") from error


def private_file(path: Path) -> Any:
    """A new file, to be written."""
    return os.fdopen(open_file(path, os.O_WRONLY | os.O_EXCL), "wb")
