"""``alyxfs trace`` and ``alyxfs verify``: what an analysis has read, and whether that is still the same."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alyxfs import crate, errors, json_text
from alyxfs.cli.drives import Mount, ask_drive, drive_root, drives
from alyxfs.cli.listed_files import drives_of, read_manifest
from alyxfs.cli.printing import say, show_lines
from alyxfs.private_files import open_file, write_whole
from alyxfs.visible_text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PR_SET_CHILD_SUBREAPER = 36
"""linux/prctl.h."""
ASKED_AT_ONCE = 20
"""Files and records that a drive is asked about in one command, which has to be answered within its time."""
NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""Exit codes of a shell."""
SHOWN = 40
"""Files and records that are shown on the terminal; all are in the manifest."""


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("trace.json"),
    show_default=True,
    help="Where the manifest is written.",
)
@click.option("--tsv", type=click.Path(path_type=Path, dir_okay=False), help="Where a plain table of it is written.")
@click.option("--drive", type=click.Path(path_type=Path), help="A place in the drive. Default: all of yours.")
@click.option("--pid", type=int, help="Watch this process, which runs already, until it ends, or until Ctrl-C.")
@click.option("--so-far", is_flag=True, help="What was read until now from drives that were mounted with --trace.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def trace(
    output: Path, tsv: Path | None, drive: Path | None, pid: int | None, so_far: bool, command: tuple[str, ...]
) -> None:
    """Run COMMAND and write down what it reads from your drives.

    The manifest names each data file and record that the command, and the programs it starts, open for reading: path,
    dataset, hash, size, revision, tags, bytes read, and when. Exits as the command does.
    """
    if (pid is not None) + so_far + bool(command) != 1:
        raise click.UsageError("trace takes one of these: a COMMAND to run, --pid of a running process, or --so-far.")
    root = drive_root(drive) if drive else None
    mounted = [mount for mount in drives() if root in {None, mount.place}]
    for path in filter(None, (output, tsv)):
        os.close(open_file(path, os.O_WRONLY))  # what cannot be written is better known before hours of work
    code = None
    if so_far:
        name, watched, began = "all that was read from drives mounted with --trace", mounted, time.time()
    else:
        name, watched, began = _name_of(pid, command), _begun(mounted, os.getpid() if pid is None else pid), time.time()
        if pid is None:
            code = _run(command)
        else:
            _wait(pid)
    answers = list(_answers(watched, "traced-so-far" if so_far else "traced"))
    found = [(mount.server, one) for mount, answer in answers for one in answer["read"]]
    began = min([began, *(answer["began"] for _, answer in answers)])
    left_out = sum(answer["left_out"] for _, answer in answers)
    run = crate.Run(name, began, time.time(), code, is_active=so_far, left_out=left_out)
    _add_facts(watched, found)
    write_whole(output, json_text.render(crate.manifest(run, found)))
    if tsv is not None:
        write_whole(tsv, crate.table(found).encode("utf-8", "backslashreplace"))
    for _, one in found[:SHOWN]:
        say(f"{one['bytes']:>14,}  {one_line(str(one['path']))}", err=True)
    if len(found) > SHOWN:
        say(f"{'…':>14}  and {len(found) - SHOWN:,} more", err=True)
    if left_out:
        say(f"alyxfs: {left_out:,} times a file was opened for which the manifest had no room.", err=True)
    say(f"{len(found)} files and records were read: {output}", err=True)
    sys.exit(code or 0)


def _begun(mounted: Sequence[Mount], process: int) -> list[Mount]:
    """The drives that watch this process from now on. Raises ConfigurationError where none does."""
    watched = []
    for mount in mounted:
        try:
            ask_drive(mount.place, "trace", process=process, asker=os.getpid())
        except errors.AlyxfsError as error:  # one that is dead, or of an earlier version, is no reason to see nothing
            say(f"alyxfs: what is read from {mount.place} is not seen: {error}", err=True)
        else:
            watched.append(mount)
    if not watched:
        raise errors.ConfigurationError("No drive of yours is mounted here that could be watched.")
    return watched


def _answers(watched: Sequence[Mount], command: str) -> Iterator[tuple[Mount, dict[str, Any]]]:
    """What these drives have noted. Raises AlyxfsError where none of them has anything to say."""
    failure: errors.AlyxfsError | None = None
    is_told = False
    for mount in watched:
        try:
            answer = ask_drive(mount.place, command, **({"asker": os.getpid()} if command == "traced" else {}))
        except errors.NotFound as error:
            failure = error
        except errors.AlyxfsError as error:
            failure = error
            say(f"alyxfs: what was read from {mount.place} is not known: {error}", err=True)
        else:
            is_told = True
            yield mount, answer
    if not is_told:
        raise failure or errors.ConfigurationError("No drive of yours is mounted here that could be watched.")


def _name_of(process: int | None, command: Sequence[str]) -> str:
    """The command line; that of a process which runs already as the kernel has it."""
    if process is None:
        return " ".join(command)
    try:
        words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
    except OSError as error:
        raise errors.ConfigurationError(f"There is no process {process}.") from error
    return os.fsdecode(b" ".join(words)).strip() or f"process {process}"


def _run(command: Sequence[str]) -> int:
    """The exit code of the command, as a shell tells it."""
    # What is left of a program whose starter has ended counts as started by us.
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        process = subprocess.Popen(command)
    except OSError as error:
        say(f"alyxfs: {command[0]} cannot be run: {error.strerror}.", err=True)
        return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    while True:
        try:
            code = process.wait()
            break
        except KeyboardInterrupt:  # the command is told, too, and decides
            continue
    return 128 - code if code < 0 else code


def _wait(process: int) -> None:
    """Until a process has ended, or this one is told to end."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        descriptor = os.pidfd_open(process)
    except ProcessLookupError:  # it has ended already
        return
    say(f"alyxfs: the process {process} is watched until it ends; Ctrl-C ends the watching.", err=True)
    try:
        select.select([descriptor], [], [])
    except KeyboardInterrupt:
        pass
    finally:
        os.close(descriptor)


def _add_facts(watched: Sequence[Mount], found: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """Put type and tags of each dataset beside what is known of it, where the server tells."""
    for mount in watched:
        own = [one for server, one in found if server == mount.server and one["kind"] == "file"]
        try:
            facts = facts_of(mount.place, own)
        except errors.AlyxfsError as error:
            say(f"alyxfs: types and tags of datasets are not in the manifest: {error}", err=True)
            continue
        for one in own:
            one.update(facts.get(one["dataset"], {}))


def facts_of(place: Path, files: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What the server of the drive there says of these datasets (``type``, ``tags``), by their ids."""
    ordered = sorted(files, key=lambda one: str(one.get("session")))
    answers = (
        ask_drive(place, "facts", read=ordered[start : start + ASKED_AT_ONCE])
        for start in range(0, len(ordered), ASKED_AT_ONCE)
    )
    return {fact["dataset"]: fact for answer in answers for fact in answer}


@click.command()
@click.argument("manifest", type=click.Path(path_type=Path, dir_okay=False))
def verify(manifest: Path) -> None:
    """Say what of a MANIFEST of `alyxfs trace` the server has otherwise now; exit code 1 if anything is.

    A drive of the same server must be mounted. Costs a request for each file and record.
    """
    read = manifest_at(manifest)
    places = drives_of({server for server, _ in read})
    changed = 0
    for server in dict.fromkeys(server for server, _ in read):
        own = [one for where, one in read if where == server]
        for start in range(0, len(own), ASKED_AT_ONCE):
            changes = ask_drive(places[server], "compare", read=own[start : start + ASKED_AT_ONCE])
            show_lines(one_line(f"{one['path']}: {one['change']}") for one in changes)
            changed += len(changes)
    say(f"{changed} of {len(read)} files and records are not as they were read.", err=True)
    sys.exit(1 if changed else 0)


def manifest_at(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """What a manifest names, each with its server. Raises ConfigurationError."""
    try:
        return read_manifest(path.read_bytes(), str(path))
    except OSError as error:
        raise errors.ConfigurationError(f"{path} cannot be read: {error.strerror}.") from error
