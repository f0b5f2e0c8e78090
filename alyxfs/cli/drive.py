"""``alyxfs mount``, ``umount`` and ``refresh``."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import click

from alyxfs import daemon, settings
from alyxfs import mount as mounting
from alyxfs.errors import ConfigurationError
from alyxfs.orders import give_order

if TYPE_CHECKING:
    from collections.abc import Callable

UNMOUNT_SECONDS = 30.0
"""How long ``umount`` waits for the drive's process to write what it still holds."""


def setting_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command a flag for every option of the table."""
    types = get_type_hints(settings.Settings)
    for option in reversed(settings.options()):
        kind = types[option.name]
        flag = f"--{option.name.replace('_', '-')}"
        unit = f" ({option.metadata['unit']})" if option.metadata["unit"] else ""
        text = f"{option.metadata['help']}{unit} Default: {option.default if option.default != '' else 'none'}."
        if kind is bool:
            command = click.option(flag, option.name, is_flag=True, default=None, help=text)(command)
        else:
            command = click.option(flag, option.name, type=str if kind is Path else kind, default=None, help=text)(
                command
            )
    return command


@click.command()
@click.argument("places", nargs=-1, required=True, metavar="[SERVER] DIRECTORY")
@click.option("-f", "--foreground", is_flag=True, help="Stay in front and log to the terminal.")
@click.option("--user", help="User name; asked for by `alyxfs login` otherwise.")
@click.option("--token", help="Token; better in ALYXFS_TOKEN than on a command line.")
@setting_flags
def mount(places: tuple[str, ...], foreground: bool, user: str | None, token: str | None, **flags: Any) -> None:
    """Mount the Alyx at SERVER (the public Open Alyx if none is named) at DIRECTORY."""
    if len(places) > 2:  # noqa: PLR2004 - a server and a directory
        raise click.UsageError("mount takes a server and a directory.")
    server = mounting.server_address(places[0] if len(places) == 2 else settings.PUBLIC_ALYX)  # noqa: PLR2004
    mount_point = prepared_mount_point(places[-1])
    chosen = settings.load(server, flags)
    plan = mounting.Plan(server, mount_point, chosen, user=user, token=token)
    if foreground:
        daemon.log_to_terminal()
        mounting.run(plan, lambda: click.echo(f"{server} is mounted at {mount_point}."))
    else:
        daemon.run_in_background(lambda ready: mounting.run(plan, ready), daemon.log_path(mount_point))
        click.echo(f"{server} is mounted at {mount_point}; help is in {mount_point}/.alyxfs/help.md.")


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
def umount(directory: Path) -> None:
    """Unmount the drive at DIRECTORY and wait until its process has ended."""
    directory = directory.absolute()
    process = _process_of(directory)
    command = ["umount", str(directory)] if os.getuid() == 0 else [_fusermount(), "-u", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ConfigurationError(f"{directory} was not unmounted: {(done.stderr or done.stdout).strip()}.")
    ends = time.monotonic() + UNMOUNT_SECONDS
    while process is not None and _alive(process):
        if time.monotonic() > ends:
            raise ConfigurationError(f"{directory} is unmounted, but its process {process} is still at work.")
        time.sleep(0.02)


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
def refresh(path: Path) -> None:
    """Ask the server anew for what is below PATH, before its time to live has passed."""
    root = drive_root(path)
    give_order(orders_of(root), "refresh", path=str(path.absolute().relative_to(root)))


def orders_of(root: Path) -> Path:
    """The socket at which the drive mounted here takes orders."""
    return Path(json.loads((root / ".alyxfs" / "status.json").read_bytes())["orders"])


def drive_root(path: Path) -> Path:
    """The root of the drive that holds this path."""
    for candidate in (path.absolute(), *path.absolute().parents):
        try:
            if (candidate / ".alyxfs" / "status.json").exists():
                return candidate
        except OSError as error:
            raise unusable(candidate, error) from error
    raise ConfigurationError(f"{path} is not in a drive of alyxfs.")


def the_drive(how_to_say: str = "--drive or its directory") -> Path:
    """The drive we are in, or the only one there is. Raises ConfigurationError, which tells how to say which."""
    try:
        return drive_root(Path.cwd())
    except ConfigurationError:
        pass
    mounts = (line.split() for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines())
    drives = [fields[1].encode().decode("unicode_escape") for fields in mounts if fields[2] == "fuse.alyxfs"]
    if len(drives) != 1:
        found = ", ".join(drives) or "none"
        raise ConfigurationError(f"Say which drive is meant, with {how_to_say}; mounted are: {found}.")
    return Path(drives[0])


def prepared_mount_point(place: str) -> Path:
    """An empty directory to mount at, made where it is missing."""
    mount_point = Path(place).expanduser().absolute()
    try:
        mount_point.mkdir(mode=0o700, parents=True, exist_ok=True)
        occupied = any(mount_point.iterdir())  # fails where the process of a drive is gone
        if os.path.ismount(mount_point):
            raise ConfigurationError(f"Something is mounted at {mount_point} already.")
    except OSError as error:
        raise unusable(mount_point, error) from error
    if occupied:
        raise ConfigurationError(f"{mount_point} is not empty; a drive would hide what is in it.")
    return mount_point


def unusable(place: Path, error: OSError) -> ConfigurationError:
    """Why nothing can be done at this place."""
    if error.errno == errno.ENOTCONN:
        return ConfigurationError(f"The process of the drive at {place} is gone: run `alyxfs umount {place}` first.")
    return ConfigurationError(f"{place} cannot be used: {error.strerror}.")


def _process_of(directory: Path) -> int | None:
    try:
        return int(json.loads((directory / ".alyxfs" / "status.json").read_bytes())["process"])
    except (OSError, ValueError, KeyError):
        return None


def _alive(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat", "rb") as file:  # noqa: PTH123 - read once, no path arithmetic
            return file.read().rpartition(b")")[2].split()[0] != b"Z"
    except FileNotFoundError:
        return False


def _fusermount() -> str:
    found = shutil.which("fusermount3")
    if found is None:
        raise ConfigurationError("fusermount3 was not found: install the package fuse3.")
    return found
