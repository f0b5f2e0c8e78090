"""``alyxfs trace`` and ``alyxfs verify``: what an analysis has read, and whether that is still the same."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click

from alyxfs import __version__, errors
from alyxfs.cli.drives import Mount, ask_drive, drive_root, drives
from alyxfs.cli.listed_files import drives_of, read_manifest
from alyxfs.cli.printing import say, show_lines
from alyxfs.private_files import open_file
from alyxfs.visible_text import one_line

CONTEXT = "https://w3id.org/ro/crate/1.1/context"
OUR_TERMS = "urn:alyxfs:"
PR_SET_CHILD_SUBREAPER = 36
"""linux/prctl.h."""
COMPARED_AT_ONCE = 20
"""Files and records that a drive is asked about in one command, which has to be answered within its time."""
NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""Exit codes of a shell."""


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("trace.json"),
    show_default=True,
    help="Where the manifest is written.",
)
@click.option("--drive", type=click.Path(path_type=Path), help="A place in the drive. Default: all of yours.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def trace(output: Path, drive: Path | None, command: tuple[str, ...]) -> None:
    """Run COMMAND and write down what it reads from your drives.

    The manifest names each data file and record that the command, and the programs it starts, open for reading: path,
    dataset, hash, size, revision, bytes read, and when. Exits as the command does.
    """
    root = drive_root(drive) if drive else None
    watched = [mount for mount in drives() if root in {None, mount.place} and _begins(mount)]
    if not watched:
        raise errors.ConfigurationError("No drive of yours is mounted here that could be watched.")
    # What is left of a program whose starter has ended counts as started by us.
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    descriptor = open_file(output, os.O_WRONLY)  # what cannot be written is better known before hours of work
    began = time.time()
    code = _run(command)
    found = [(mount.server, one) for mount in watched for one in ask_drive(mount.place, "traced", process=os.getpid())]
    manifest = _manifest(command, code, began, time.time(), found)
    os.truncate(descriptor, 0)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
        json.dump(manifest, file, indent=2, ensure_ascii=False)
        file.write("\n")
    for _, one in found:
        say(f"{one['bytes']:>14,}  {one_line(str(one['path']))}", err=True)
    say(f"{len(found)} files and records were read: {output}", err=True)
    sys.exit(code)


def _begins(mount: Mount) -> bool:
    try:
        ask_drive(mount.place, "trace", process=os.getpid())
    except errors.AlyxfsError as error:  # one that is dead, or of an earlier version, is no reason to see nothing
        say(f"alyxfs: what is read from {mount.place} is not seen: {error}", err=True)
        return False
    return True


def _run(command: tuple[str, ...]) -> int:
    """The exit code of the command, as a shell tells it."""
    try:
        process = subprocess.Popen(command)
    except OSError as error:
        say(f"alyxfs: {command[0]} cannot be run: {error.strerror}.", err=True)
        return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
    while True:
        try:
            code = process.wait()
            break
        except KeyboardInterrupt:  # the command is told, too, and decides
            continue
    return 128 - code if code < 0 else code


def _manifest(
    command: tuple[str, ...], code: int, began: float, ended: float, found: list[tuple[str, dict[str, Any]]]
) -> dict[str, Any]:
    """As RO-Crate 1.1 has it: a run, and what it was made from; our own terms begin with ``alyxfs:``."""
    entities = [_entity(server, one) for server, one in found]
    names = [{"@id": entity["@id"]} for entity in entities]
    return {
        "@context": [CONTEXT, {"alyxfs": OUR_TERMS}],
        "@graph": [
            {
                "@id": "ro-crate-metadata.json",
                "@type": "CreativeWork",
                "about": {"@id": "./"},
                "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
            },
            {
                "@id": "./",
                "@type": "Dataset",
                "name": "What a command has read",
                "datePublished": _moment(ended),
                "hasPart": names,
                "mentions": {"@id": "#run"},
            },
            {
                "@id": "#run",
                "@type": "CreateAction",
                "name": " ".join(command),
                "startTime": _moment(began),
                "endTime": _moment(ended),
                "actionStatus": f"http://schema.org/{'CompletedActionStatus' if code == 0 else 'FailedActionStatus'}",
                "alyxfs:exitCode": code,
                "instrument": {"@id": "#alyxfs"},
                "object": names,
            },
            {
                "@id": "#alyxfs",
                "@type": "SoftwareApplication",
                "name": "alyxfs",
                "softwareVersion": __version__,
                "operatingSystem": platform.platform(),
            },
            *entities,
        ],
    }


def _entity(server: str, one: dict[str, Any]) -> dict[str, Any]:
    kinds = {
        "file": f"{server}/datasets/{one.get('dataset')}",
        "record": f"{server}/{one.get('endpoint')}/{one.get('id')}",
    }
    return {
        "@id": kinds.get(one["kind"], f"{server}#{one['path']}"),
        "@type": "File",
        "name": str(one["path"]).rpartition("/")[2],
        "contentSize": None if one["size"] is None else str(one["size"]),
        "alyxfs:server": server,
        "alyxfs:firstRead": _moment(one["first"]),
        "alyxfs:lastRead": _moment(one["last"]),
        **{f"alyxfs:{name}": value for name, value in one.items() if name not in {"first", "last"}},
    }


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")


@click.command()
@click.argument("manifest", type=click.Path(path_type=Path, dir_okay=False))
def verify(manifest: Path) -> None:
    """Say what of a MANIFEST of `alyxfs trace` the server has otherwise now; exit code 1 if anything is.

    A drive of the same server must be mounted. Costs a request for each file and record.
    """
    try:
        read = read_manifest(manifest.read_bytes(), str(manifest))
    except OSError as error:
        raise errors.ConfigurationError(f"{manifest} cannot be read: {error.strerror}.") from error
    places = drives_of({server for server, _ in read})
    changed = 0
    for server in dict.fromkeys(server for server, _ in read):
        own = [one for where, one in read if where == server]
        for start in range(0, len(own), COMPARED_AT_ONCE):
            changes = ask_drive(places[server], "compare", read=own[start : start + COMPARED_AT_ONCE])
            show_lines(one_line(f"{one['path']}: {one['change']}") for one in changes)
            changed += len(changes)
    say(f"{changed} of {len(read)} files and records are not as they were read.", err=True)
    sys.exit(1 if changed else 0)
