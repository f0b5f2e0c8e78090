"""Files that a command is told by a file: a list of paths, or a manifest of ``alyxfs trace``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from alyxfs.cli.drives import drives, state_of
from alyxfs.cli.printing import say
from alyxfs.cli.status import counted
from alyxfs.errors import AlyxfsError, ConfigurationError
from alyxfs.visible_text import one_line

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

from_option = click.option(
    "--from",
    "listed",
    type=click.File(encoding="utf-8", errors="surrogateescape"),
    help="Also what this file names: paths, one a line, or a manifest of `alyxfs trace`; - is standard input.",
)


def listed_paths(listed: IO[str] | None) -> dict[Path, str | None]:
    """The paths in a list, or of the data files that a manifest names, in the drives of their servers.

    Each with the hash that the manifest has of it. Raises ConfigurationError.
    """
    if listed is None:
        return {}
    text = listed.read()
    if is_manifest(text):
        files = [(server, one) for server, one in read_manifest(text, listed.name) if one["kind"] == "file"]
        places = drives_of({server for server, _ in files})
        named = {str(places[server] / one["path"]): one.get("hash") for server, one in files}
    else:
        named = {line: None for line in text.split("\n") if line.strip()}
    if not named:
        raise ConfigurationError(f"{listed.name} names no data file.")
    for name in named:
        if not can_be_path(name):
            raise ConfigurationError(f"{listed.name} names {name!r}, which can be no path.")
    return {Path(name): digest for name, digest in named.items()}


def refuse_others(root: Path, files: Iterable[dict[str, Any]], read: Mapping[Path, str | None]) -> None:
    """Name the files (as the drive there describes them) that do not have the hash with which they were ``read``.

    Raises AlyxfsError where there are any.
    """
    changed = 0
    for file in files:
        was = read.get(root / file["path"])
        if was is not None and was != file["hash"]:
            changed += 1
            hashes = f"its hash was {was}, and is {file['hash']}"
            say(one_line(f"{file['path']} is not what was read: {hashes}."), err=True)
    if changed:
        raise AlyxfsError(f"{counted(changed, 'file')} of the manifest changed on the server since.")


def can_be_path(name: str) -> bool:
    """Whether the system could have a file of this name."""
    try:
        return b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        return False


def is_manifest(text: str) -> bool:
    """Whether this is meant as a manifest; else it is a list of paths."""
    return text.lstrip().startswith("{")


def read_manifest(
    text: str | bytes, name: str, kinds: Collection[str] = ("file", "record")
) -> list[tuple[str, dict[str, Any]]]:
    """The files and records that a manifest (called so) names, each with its server. Raises ConfigurationError."""
    try:
        found = [
            (
                entity["alyxfs:server"],
                {name.partition(":")[2]: entity[name] for name in entity if name.startswith("alyxfs:")},
            )
            for entity in json.loads(text)["@graph"]
            if entity.get("alyxfs:kind") in kinds
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigurationError(f"{name} is no manifest of `alyxfs trace`: {error}.") from error
    if not all(isinstance(server, str) and isinstance(one.get("path"), str) for server, one in found):
        raise ConfigurationError(f"{name} is no manifest of `alyxfs trace`: a server or a path is no text.")
    return found


def drives_of(servers: set[str]) -> dict[str, Path]:
    """Where drives of these servers are mounted. Raises ConfigurationError for one of which none is."""
    places: dict[str, list[Path]] = {}
    for mount in drives():
        places.setdefault(mount.server, []).append(mount.place)
    for server in sorted(servers - places.keys()):
        raise ConfigurationError(f"What was read is of {server}, of which no drive of yours is mounted here.")
    return {server: _best(places[server]) for server in servers}


def _best(places: Sequence[Path]) -> Path:
    """Of several drives of a server one that answers and shows everything, the newest first."""
    for place in reversed(places) if len(places) > 1 else ():
        try:
            if not state_of(place).get("only"):
                return place
        except AlyxfsError:  # its process has ended
            continue
    return places[-1]
