"""A snapshot's file on the node that mounts it: read once, checked, and unpacked in the node's own cache.

Not used where it lies: from a file server each look-up would be a way over the network, and a file that somebody
replaces there would take the drives with it that have it mapped. Unpacked it is of one content for as long as it is
used, and drives of one node share it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from alyxfs import errors
from alyxfs.alyx.datasets.cache_archive import convert_tables, private_file, readable, refuse_full_disk
from alyxfs.alyx.datasets.cache_tables import TablesUnusableError, can_read_tables
from alyxfs.alyx.datasets.table_form import INFO, TABLES
from alyxfs.alyx.snapshot_file.form import KNOWN, SIZES, Manifest, opened, read_manifest
from alyxfs.private_files import claim_folder, make_folder

if TYPE_CHECKING:
    import zipfile

KEPT_DAYS = 30
"""After so many days in which no drive began with it, what was unpacked, and is not in use, goes when another comes."""

_READ_AT_ONCE = 64 * 1024
"""Bytes: an Archive gives no more at once."""
_TABLES = "tables"


@dataclass(frozen=True)
class Unpacked:
    """A snapshot that is ready to be read."""

    manifest: Manifest
    folder: Path

    @property
    def store(self) -> Path:
        """What the store knows."""
        return self.folder / KNOWN

    @property
    def tables(self) -> Path:
        """The folder in which those of the cache tables are."""
        return self.folder / _TABLES

    @property
    def sizes(self) -> Path:
        """True sizes of files; it may be missing."""
        return self.folder / SIZES


async def unpacked(path: Path, directory: Path) -> Unpacked:
    """Have the snapshot ``path`` unpacked below ``directory``, where that has not been done yet.

    The folder appears whole or not at all, so that several drives can share ``directory``. Raises ConfigurationError.
    """
    manifest = await trio.to_thread.run_sync(read_manifest, path)
    folder = directory / manifest.digest
    try:
        if not await trio.to_thread.run_sync(_is_there, folder):
            scratch = await trio.to_thread.run_sync(_new_scratch, directory)
            try:
                await trio.to_thread.run_sync(_unpack, path, manifest, scratch)
                await _convert(path, manifest, scratch)
                await trio.to_thread.run_sync(_publish, scratch, folder)
            finally:
                with trio.CancelScope(shield=True):
                    await trio.to_thread.run_sync(lambda: shutil.rmtree(scratch, ignore_errors=True))
    except OSError as error:
        raise errors.ConfigurationError(
            f"The snapshot {path} cannot be unpacked in {directory}: {error.strerror or error}."
        ) from error
    await trio.to_thread.run_sync(_use, folder)
    return Unpacked(manifest, folder)


async def _convert(path: Path, manifest: Manifest, folder: Path) -> None:
    if not manifest.members.keys() >= {*TABLES, INFO}:
        return
    if not can_read_tables():
        raise errors.ConfigurationError(
            f'The snapshot {path} holds tables, which cannot be read here: pip install "alyxfs[tables]".'
        )
    try:
        await convert_tables(folder / _TABLES / "kept")
    except TablesUnusableError as error:
        raise errors.ConfigurationError(f"The tables of the snapshot {path} cannot be read: {error}") from error


def _unpack(path: Path, manifest: Manifest, folder: Path) -> None:
    with opened(path) as members:
        for name, (size, digest) in manifest.members.items():
            place = folder / _TABLES / "kept" / name if name in {*TABLES, INFO} else folder / name
            make_folder(place.parent)
            try:
                refuse_full_disk(folder, size)
            except TablesUnusableError as error:
                sentence = f"The snapshot {path} is not unpacked in {folder.parent}: the disk is nearly full."
                raise errors.ConfigurationError(sentence) from error
            if _copied(members, name, size, place) != digest:
                raise errors.ConfigurationError(f"{path} is damaged: {name} is not what was packed. Make it anew.")


def _copied(members: zipfile.ZipFile, name: str, size: int, place: Path) -> str:
    """Unpack so many bytes at most; returns the SHA-256 of what came."""
    digest, left = hashlib.sha256(), size
    with members.open(readable(members, name)) as source, private_file(place) as target:
        while left and (piece := source.read(min(left, _READ_AT_ONCE))):
            digest.update(piece)
            target.write(piece)
            left -= len(piece)
    return digest.hexdigest()


def _is_there(folder: Path) -> bool:
    """Whether it was unpacked before; that it is used is noted."""
    with contextlib.suppress(OSError):
        os.utime(folder)
    return folder.exists()


def _use(folder: Path) -> None:
    """Let nobody remove it for as long as this process lives."""
    with contextlib.suppress(OSError):  # a disk without locks
        fcntl.flock(os.open(folder / KNOWN, os.O_RDONLY | os.O_CLOEXEC), fcntl.LOCK_SH | fcntl.LOCK_NB)


def _remove_idle(folder: Path) -> None:
    if time.time() - folder.stat().st_mtime <= KEPT_DAYS * 86_400:
        return
    if (folder / KNOWN).exists():
        descriptor = os.open(folder / KNOWN, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(descriptor)
    shutil.rmtree(folder, ignore_errors=True)


def _new_scratch(directory: Path) -> Path:
    claim_folder(directory)
    for former in directory.iterdir():
        with contextlib.suppress(OSError):  # in use, or removed by another drive
            _remove_idle(former)
    return Path(tempfile.mkdtemp(dir=directory, prefix="new-"))  # mkdtemp makes it 0700


def _publish(scratch: Path, folder: Path) -> None:
    try:
        scratch.rename(folder)
    except OSError:
        if not folder.exists():  # another drive was faster
            raise
