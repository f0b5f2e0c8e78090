"""``alyxfs umount``: taking a drive down, and saying who uses it where that does not go."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import click

from alyxfs.alyx.credentials import forget_secret_variables
from alyxfs.cli.drives import FILE_SYSTEM, Mount, drive_root, mounts, state_of
from alyxfs.cli.mount_point import answers, unmount
from alyxfs.cli.printing import say
from alyxfs.errors import AlyxfsError, ConfigurationError
from alyxfs.processes import program_name

UNMOUNT_SECONDS = 30.0
"""How long ``umount`` waits for the drive's process to write what it still holds."""
SHOWN = 10
"""Processes that are named at most."""


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--lazy", is_flag=True, help="Take it out of sight at once; programs that use it go on until they end.")
@click.option("--force", is_flag=True, help="Whoever uses it gets errors; what was not saved yet may be lost.")
def umount(directory: Path, lazy: bool, force: bool) -> None:
    """Unmount the drive at DIRECTORY and wait until its process has ended."""
    forget_secret_variables()
    directory = directory.parent.resolve() / directory.name  # the drive itself may not answer
    mount = next((mount for mount in reversed(mounts()) if mount.place == directory), None)
    if mount is None or mount.file_system != FILE_SYSTEM:
        raise ConfigurationError(f"No drive of alyxfs is mounted at {directory}.")
    is_gone = force or answers(directory) is False
    process = None if is_gone else _process_of(directory)
    if force:
        _abort(mount)
    if lazy or is_gone:
        users = users_of(directory) if lazy and not is_gone else []
        unmount(directory, lazily=True)
        if users:
            say(f"Out of sight; its process ends when these have ended: {_named(users)}.", err=True)
            return
    else:
        _unmount(directory)
    ends = time.monotonic() + UNMOUNT_SECONDS
    while process is not None and _alive(process):
        if time.monotonic() > ends:
            raise ConfigurationError(f"{directory} is unmounted, but its process {process} is still at work.")
        time.sleep(0.02)


def _unmount(directory: Path) -> None:
    """Unmount a drive that nobody uses. Raises ConfigurationError, which names who does."""
    try:
        unmount(directory)
    except ConfigurationError as error:
        users = users_of(directory)
        if not users:
            raise
        raise ConfigurationError(
            f"{error} It is used by {_named(users)}. End them, or take --lazy (it goes when they end) or --force "
            "(they get errors)."
        ) from error


def users_of(directory: Path) -> list[tuple[int, str]]:
    """The processes of ours that have something open below a directory, or stand there: number and program.

    Told by names alone (proc_pid_fd(5)): to follow them would ask the drive.
    """
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):  # ended meanwhile, or another user's
                below = any(_is_below(name, directory) for name in _names(entry))
                if below and (name := program_name(int(entry.name))):
                    found.append((int(entry.name), name))
    return found


def _names(process: Path) -> list[str]:
    links = [process / "cwd", process / "root", process / "exe", *(process / "fd").iterdir()]
    names = []
    for link in links:
        with contextlib.suppress(OSError):
            names.append(str(link.readlink()))
    mapped = (process / "maps").read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    return names + [line.split(maxsplit=5)[5] for line in mapped if line.count("/")]


def _is_below(name: str, directory: Path) -> bool:
    return name == str(directory) or name.startswith(f"{directory}/")


def _named(users: list[tuple[int, str]]) -> str:
    more = f" and {len(users) - SHOWN} more" if len(users) > SHOWN else ""
    return ", ".join(f"{name} ({number})" for number, name in users[:SHOWN]) + more


def _abort(mount: Mount) -> None:
    """Make the kernel fail all that waits for the drive."""
    from alyxfs.kernel.guardian import abort, force_unmount  # noqa: PLC0415 - bring all that serves a drive along

    if not abort(int(mount.device.partition(":")[2])) and not force_unmount(mount.place):
        say("The kernel does not let the drive's requests be ended: what waits for it may go on waiting.", err=True)


def _process_of(directory: Path) -> int | None:
    try:
        return int(state_of(drive_root(directory))["process"])
    except (AlyxfsError, ValueError, KeyError):
        return None


def _alive(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat", "rb") as file:  # noqa: PTH123 - read once, no path arithmetic
            return file.read().rpartition(b")")[2].split()[0] != b"Z"
    except FileNotFoundError:
        return False
