"""``alyxfs snapshot``."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from alyxfs.alyx.snapshot_file import pack
from alyxfs.cli.drives import ask_drive, drive_root, mount_of, state_of
from alyxfs.cli.printing import say
from alyxfs.cli.status import counted, size_of
from alyxfs.errors import ConfigurationError
from alyxfs.private_files import claim_folder
from alyxfs.scratch_folders import scratch_folder


@click.command()
@click.argument("drive", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(path_type=Path))
def snapshot(drive: Path, file: Path) -> None:
    """Write all that the drive DRIVE knows of its server into FILE, for `alyxfs mount --snapshot FILE`.

    Tables, listings that were read to their end, records that were opened: look at what the jobs need before. No token,
    password or data file is in it.
    """
    root, file = drive_root(drive), file.expanduser().absolute()
    if file.is_dir():
        raise ConfigurationError(f"{file} is a directory: name the file that is to be written.")
    if not file.parent.is_dir():
        raise ConfigurationError(f"{file.parent} is no directory.")
    state = state_of(root)
    mount = mount_of(root)
    place = Path(state["cache_directory"]) / "snapshots"
    claim_folder(place)
    with scratch_folder("taken-", place) as folder, Console(stderr=True).status("taking what the drive knows"):
        copied = ask_drive(root, "snapshot", folder=str(folder))
        manifest = pack(folder, mount.server if mount is not None else state["server"], file)
    tables = "with the server's tables" if "sessions.pqt" in manifest.members else "without tables: the drive has none"
    known = f"{counted(copied['records'], 'record')} and {counted(copied['listings'], 'listing')}, {tables}"
    say(f"{file} ({size_of(file.stat().st_size)}) holds {known}.")
