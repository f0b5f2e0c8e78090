"""Which drives are mounted here, whose they are, and how their owner reaches them.

The kernel's table of mounts says so, and nobody can plant anything in it: a folder that only looks like a drive, or
a drive of somebody else, is told no command.
"""

from __future__ import annotations

import errno
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from alyxfs.control.client import send_command
from alyxfs.errors import AccessDenied, ConfigurationError
from alyxfs.private_files import user_name

drive_option = click.option(
    "--drive",
    type=click.Path(path_type=Path),
    help="A place in the drive. Default: the directory you are in, else the only drive that is mounted.",
)

MOUNT_TABLE = Path("/proc/self/mountinfo")
FILE_SYSTEM = "fuse.alyxfs"
_ESCAPED = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True)
class Mount:
    """A line of the table of mounts (proc_pid_mountinfo(5))."""

    device: str
    """``major:minor``."""
    inside: str
    """The path within the file system that is mounted; ``/`` but for bind mounts."""
    place: Path
    file_system: str
    source: str
    options: dict[str, str]

    @property
    def owner(self) -> int | None:
        """The user who mounted it, where it is a FUSE file system: the kernel writes down who that was."""
        return int(self.options["user_id"]) if "user_id" in self.options else None

    @property
    def server(self) -> str:
        """The address of the Alyx behind a drive."""
        return self.source.removeprefix("alyxfs:").replace("%2C", ",")


def mounts(table: Path = MOUNT_TABLE) -> list[Mount]:
    """All mounts that this process sees, in the order in which they were made: the last one at a place is on top."""
    # The kernel leaves a carriage return in the name of a place as it is: it ends no line.
    return [_parsed(line) for line in table.read_bytes().split(b"\n") if line]


def drives() -> list[Mount]:
    """The drives of this user, the oldest first."""
    found = {
        mount.device: mount
        for mount in reversed(mounts())
        if mount.file_system == FILE_SYSTEM and mount.owner == os.geteuid() and mount.inside == "/"
    }
    return list(reversed(found.values()))


def mount_of(path: Path) -> Mount | None:
    """The mount that a path of this machine is in; its root may be a drive that is dead."""
    place = Path(os.path.realpath(path))
    above = [mount for mount in mounts() if place.is_relative_to(mount.place)]
    return max(enumerate(above), key=lambda each: (len(each[1].place.parts), each[0]))[1] if above else None


def drive_root(path: Path) -> Path:
    """The root of the drive that holds this path.

    Raises ConfigurationError where none does, AccessDenied where it is another user's.
    """
    mount = mount_of(path)
    if mount is None or mount.file_system != FILE_SYSTEM or mount.inside != "/":
        raise ConfigurationError(f"{path} is not in a drive of alyxfs.")
    if mount.owner != os.geteuid():
        raise AccessDenied(
            f"The drive at {mount.place} was mounted by user {user_name(mount.owner or 0)}: it obeys nobody else."
        )
    return mount.place


def path_inside(path: Path, root: Path) -> str:
    """A path as the drive with this root knows it; ``.`` for the root itself."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - Path.absolute keeps ".."
    top = next(above for above in (absolute, *absolute.parents) if Path(os.path.realpath(above)) == root)
    return str(absolute.relative_to(top))


def the_drive(how_to_say: str = "--drive or its directory") -> Path:
    """The drive we are in, or the only one there is. Raises ConfigurationError, which tells how to say which."""
    try:
        return drive_root(Path.cwd())
    except (ConfigurationError, AccessDenied):
        pass
    found = drives()
    if len(found) != 1:
        places = ", ".join(str(mount.place) for mount in found) or "none"
        raise ConfigurationError(f"Say which drive is meant, with {how_to_say}; mounted are: {places}.")
    return found[0].place


def status_text(root: Path) -> str:
    """The drive's ``.alyxfs/status.json``. Raises ConfigurationError where the drive does not answer."""
    try:
        return (root / ".alyxfs" / "status.json").read_text(encoding="utf-8")
    except OSError as error:
        raise unusable(root, error) from error


def state_of(root: Path) -> dict[str, Any]:
    """What the drive says of itself. Raises ConfigurationError."""
    state: dict[str, Any] = json.loads(status_text(root))
    return state


def ask_drive(root: Path, command: str, **arguments: Any) -> Any:
    """Give the drive mounted here a command and return its answer; raises the drive's own domain error."""
    return send_command(Path(state_of(root)["control_socket"]), command, **arguments)


def unusable(place: Path, error: OSError) -> ConfigurationError:
    """Why nothing can be done at this place."""
    if error.errno == errno.ENOTCONN:
        return ConfigurationError(f"The process of the drive at {place} is gone: run `alyxfs umount {place}` first.")
    return ConfigurationError(f"{place} cannot be used: {error.strerror}.")


def _parsed(line: bytes) -> Mount:
    """A line is ``id parent device inside place options [optional...] - type source options``."""
    before, _, after = line.partition(b" - ")
    fields = [_unescaped(field) for field in before.split(b" ")]
    file_system, source, options = (_unescaped(field) for field in (*after.split(b" "), b"", b"")[:3])
    pairs = (option.partition("=") for option in options.split(","))
    return Mount(fields[2], fields[3], Path(fields[4]), file_system, source, {name: value for name, _, value in pairs})


def _unescaped(field: bytes) -> str:
    """Spaces, tabs, newlines and backslashes stand as octal numbers in the table."""
    return os.fsdecode(_ESCAPED.sub(lambda match: bytes([int(match.group(1), 8)]), field))
