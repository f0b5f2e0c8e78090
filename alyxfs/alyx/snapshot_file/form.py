"""The form of a snapshot's file: a zip archive whose first member says what the others are.

Members are taken by these names alone, so that no name in the file is ever a path.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alyxfs import errors, json_text, store
from alyxfs.alyx.datasets.cache_archive import LARGEST_TABLE, NO_ARCHIVE, Archive, readable
from alyxfs.alyx.datasets.table_form import INFO, TABLES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

FORMAT = 1
"""Of the file; one of another format is not read."""
MANIFEST = "snapshot.json"
KNOWN = "known.sqlite"
"""What the store knows."""
SIZES = "sizes"
"""True sizes of files, where the database has others or none (files/disk/known_sizes)."""
LARGEST: Mapping[str, int] = {
    KNOWN: 2 * store.DEFAULT_LIMIT,
    SIZES: 256 * 1024**2,
    INFO: 64 * 1024,
    **dict.fromkeys(TABLES, LARGEST_TABLE),
}
"""The members that there may be, and how many bytes of each."""

_LARGEST_MANIFEST = 64 * 1024
_MOST_MEMBERS = 100
_DIGEST = re.compile("[0-9a-f]{64}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@dataclass(frozen=True)
class Manifest:
    """What a snapshot says of itself."""

    server: str
    """The address of the Alyx, as the file says: not checked."""
    made: str
    """When, as ``2026-05-01T12:00:00Z``."""
    members: dict[str, tuple[int, str]]
    """Bytes and SHA-256 by name."""
    digest: str
    """Another one for each other content."""

    def packed(self) -> bytes:
        """As it stands in the file."""
        members = {name: list(member) for name, member in self.members.items()}
        about = {"alyxfs_snapshot": FORMAT, "store": store.VERSION, "server": self.server, "made": self.made}
        return json.dumps({**about, "members": members}, indent=1).encode()


def digest_of(packed: bytes) -> str:
    """What tells a manifest, and with its members' hashes all of the snapshot, from all others."""
    return hashlib.sha256(packed).hexdigest()[:32]


@contextlib.contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The archive. Raises ConfigurationError for what is none, also in the block, and where it cannot be read."""
    try:
        with Archive(path) as file, zipfile.ZipFile(file) as members:
            if len(members.filelist) > _MOST_MEMBERS:
                raise zipfile.BadZipFile(f"it has {len(members.filelist)} members")
            yield members
    except NO_ARCHIVE as error:
        raise _damaged(path, str(error) or type(error).__name__) from error
    except OSError as error:
        raise errors.ConfigurationError(f"The snapshot {path} cannot be read: {error.strerror or error}.") from error


def read_manifest(path: Path) -> Manifest:
    """What a file says of itself; reads no more of it. Raises ConfigurationError."""
    with opened(path) as members:
        member = readable(members, MANIFEST)
        if member.file_size > _LARGEST_MANIFEST:
            raise zipfile.BadZipFile(f"{MANIFEST} is too long")
        packed = members.read(member)
        found = json_text.decode(packed)
    known = found.get("alyxfs_snapshot") if isinstance(found, dict) else None
    if known != FORMAT or found.get("store") != store.VERSION:
        if type(known) is int:
            raise errors.ConfigurationError(
                f"The snapshot {path} is of another version of alyxfs: make it anew with the one that is to mount it."
            )
        raise _damaged(path, f"{MANIFEST} does not say what it is")
    server, made, told = found.get("server"), found.get("made"), found.get("members")
    if not isinstance(server, str) or not isinstance(made, str) or not _TIME.fullmatch(made):
        raise _damaged(path, f"{MANIFEST} does not say of which server and time it is")
    return Manifest(server, made, _members(path, told), digest_of(packed))


def _members(path: Path, told: Any) -> dict[str, tuple[int, str]]:
    found = {}
    for name, member in told.items() if isinstance(told, dict) else ():
        size, digest = member if isinstance(member, list) and len(member) == 2 else (None, None)  # noqa: PLR2004
        if name not in LARGEST or type(size) is not int or not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise _damaged(path, f"{MANIFEST} names what no snapshot has")
        if not 0 <= size <= LARGEST[name]:
            raise _damaged(path, f"{name} would become {size} bytes, which none does")
        found[name] = (size, digest)
    if KNOWN not in found:
        raise _damaged(path, f"{KNOWN} is missing")
    return found


def _damaged(path: Path, why: str) -> errors.ConfigurationError:
    return errors.ConfigurationError(f"{path} is no snapshot of alyxfs, or it is damaged: {why}. Make it anew.")
