"""What ``alyxfs mount --only`` shows: the files and records of a manifest, or of a list of paths."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alyxfs.cli.drives import FILE_SYSTEM, mount_of, path_inside
from alyxfs.cli.listed_files import can_be_path, is_manifest, read_manifest
from alyxfs.drive_paths import below_data
from alyxfs.errors import ConfigurationError
from alyxfs.tree import Only

if TYPE_CHECKING:
    from collections.abc import Iterator

OTHER = "other"
KINDS = frozenset({"file", "record", OTHER})
"""What a drive shows of a manifest. Of other files those in ``data/``, as ONE needs its tables: those of endpoints
(``.rows.csv``) have no path that lasts."""


def server_of(manifest: Path) -> str | None:
    """The server that all of a manifest is of; None where it is a list, or of several."""
    text = _text_of(manifest)
    servers = {server for server, _ in read_manifest(text, str(manifest))} if is_manifest(text) else set()
    return servers.pop() if len(servers) == 1 else None


def shown_files(listed: Path, server: str, mount_point: Path) -> Only:
    """What a drive of this server is to show, that will be mounted there. Raises ConfigurationError."""
    text = _text_of(listed)
    paths: dict[str, dict[str, Any]] = {}
    if is_manifest(text):
        for of, one in read_manifest(text, str(listed), KINDS):
            if of.rstrip("/") == server and (one["kind"] != OTHER or below_data(one["path"])):
                paths.setdefault(one["path"], {} if one["kind"] == OTHER else one)
    else:
        lines = [line for line in text.split("\n") if line.strip()]
        paths = {path: {} for path in _inside(lines, listed, server, mount_point)}
    for path in paths:
        if not can_be_path(path) or any(part in {"", ".", ".."} for part in path.split("/")):
            raise ConfigurationError(f"{listed} names {path!r}, which can be no path of a drive.")
    if not paths:
        raise ConfigurationError(f"{listed} names nothing of {server}.")
    return Only(str(listed), paths)


def _inside(lines: list[str], listed: Path, server: str, mount_point: Path) -> Iterator[str]:
    """Paths as the drive knows them: they may be those of another drive of the server, or of this one to come."""
    for line in lines:
        if not can_be_path(line):
            raise ConfigurationError(f"{listed} names {line!r}, which can be no path of a drive.")
        path = Path(os.path.abspath(line))  # noqa: PTH100 - Path.absolute keeps ".."
        if below_data(line):
            yield line.rstrip("/")
        elif path.is_relative_to(mount_point):
            yield str(path.relative_to(mount_point))
        else:
            mount = mount_of(path)
            if mount is None or mount.file_system != FILE_SYSTEM or mount.inside != "/" or mount.server != server:
                raise ConfigurationError(f"{listed} names {line!r}, which is in no drive of {server}, nor in data/.")
            yield path_inside(path, mount.place)


def _text_of(listed: Path) -> str:
    try:
        return listed.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise ConfigurationError(f"{listed} cannot be read: {error.strerror}.") from error
