"""Making a snapshot's file of what was taken from a drive: it appears whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
import time
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING

from alyxfs import errors
from alyxfs.alyx.snapshot_file.form import LARGEST, MANIFEST, Manifest, digest_of
from alyxfs.private_files import FILE_MODE, open_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GROUP_READS = stat.S_IRGRP
_OF_A_GROUP = stat.S_ISGID | stat.S_IRGRP | stat.S_IXGRP
"""The mode of a directory in which what is made belongs to a group that may look into it."""
_READ_AT_ONCE = 1024**2
"""Bytes."""


def pack(folder: Path, server: str, target: Path) -> Manifest:
    """Make the file ``target`` of what :func:`copy_known` put into this folder.

    It is for its owner alone, and for the group where the directory is one that a group shares (set-group-ID). Raises
    ConfigurationError.
    """
    members = {name: _told(folder / name) for name in LARGEST if (folder / name).exists()}
    made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    manifest = Manifest(server, made, members, "")
    packed = manifest.packed()
    try:
        with _whole_or_not_at_all(target) as scratch, _archive(scratch) as file:
            file.writestr(MANIFEST, packed)
            for name in members:
                file.write(folder / name, name)
    except OSError as error:
        raise errors.ConfigurationError(f"{target} cannot be written: {error.strerror or error}.") from error
    return replace(manifest, digest=digest_of(packed))


def _archive(path: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1)


def _told(path: Path) -> tuple[int, str]:
    """Bytes and SHA-256 of a file."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(_READ_AT_ONCE):
            digest.update(piece)
            size += len(piece)
    return size, digest.hexdigest()


@contextlib.contextmanager
def _whole_or_not_at_all(target: Path) -> Iterator[Path]:
    """A file beside the target, which takes its name at the end of the block, once it is on the disk."""
    scratch = target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}.new")
    mode = FILE_MODE
    if target.parent.stat().st_mode & _OF_A_GROUP == _OF_A_GROUP:
        mode |= GROUP_READS
    descriptor = open_file(scratch, os.O_RDWR | os.O_EXCL)
    try:
        yield scratch
        os.fchmod(descriptor, mode)
        os.fsync(descriptor)
        scratch.replace(target)
    finally:
        os.close(descriptor)
        scratch.unlink(missing_ok=True)
