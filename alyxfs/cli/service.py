"""``alyxfs service``: a drive that systemd mounts when its user logs in, and mounts again after a failure."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import platformdirs

from alyxfs import mount as mounting
from alyxfs import settings
from alyxfs.cli.drive import refuse_without_rw, server_and_place
from alyxfs.cli.drives import unusable
from alyxfs.cli.fstab_options import parsed
from alyxfs.cli.printing import say
from alyxfs.errors import ConfigurationError
from alyxfs.private_files import make_folder, open_file

UNIT = """\
# Made by `alyxfs service install`; `alyxfs service remove` takes it away.
[Unit]
Description=Alyx at {server}, mounted at {place}
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={command}
Restart=on-failure
RestartSec=15
# Unusable arguments, options that the machine does not allow, a refused log-in: the same would only fail again.
RestartPreventExitStatus=2 3 4
# A mount waits for a server that is slow, an unmount for writes that are under way.
TimeoutStartSec=180
TimeoutStopSec=90

[Install]
WantedBy=default.target
"""
"""See systemd.unit(5), systemd.service(5)."""
_STRANGE = re.compile(rb"[^A-Za-z0-9:_./]")


@click.group()
def service() -> None:
    """Have systemd mount drives of yours when you log in."""


@service.command()
@click.argument("places", nargs=-1, required=True, metavar="[SERVER] DIRECTORY")
@click.option("-o", "listed", metavar="OPTIONS", default="", help="Options as in fstab: `-o rw,time_to_live=60`.")
@click.option("--start/--no-start", default=True, help="Mount it now, too.")
def install(places: tuple[str, ...], listed: str, start: bool) -> None:
    """Make a systemd unit of yours that mounts SERVER at DIRECTORY, enable it and start it."""
    address, directory = server_and_place(places)
    server, place = mounting.server_address(address), Path(directory).expanduser().absolute()
    given, _ = parsed(listed)
    refuse_without_rw(given, settings.load(server, given), "-o {}".format)
    unit = unit_file(place)
    arguments = [*program(), "mount", "--foreground", *(["-o", listed] if listed else []), server, str(place)]
    text = UNIT.format(server=described(server), place=described(str(place)), command=command_line(arguments))
    try:
        make_folder(unit.parent)
        with os.fdopen(open_file(unit, os.O_WRONLY | os.O_TRUNC), "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise unusable(unit, error) from error
    say(f"{unit} mounts {server} at {place}.")
    if start:
        _systemctl("daemon-reload")
        _systemctl("enable", "--now", unit.name)
        say(f"It is mounted, and will be at each log-in. `journalctl --user -u {unit.name}` shows its log.")
    else:
        say(f"It is mounted at each log-in after: systemctl --user enable --now {unit.name}")


@service.command()
@click.argument("directory")
def remove(directory: str) -> None:
    """Unmount the drive at DIRECTORY and take its unit away."""
    unit = unit_file(Path(directory).expanduser().absolute())
    if not unit.exists():
        raise ConfigurationError(f"There is no unit of alyxfs for {directory}: {unit} is not there.")
    _systemctl("disable", "--now", unit.name)
    unit.unlink()
    _systemctl("daemon-reload")
    say(f"{unit} is gone.")


def unit_file(place: Path) -> Path:
    """Where the unit for a mount point stands, by its name as systemd escapes paths (systemd.unit(5))."""
    escaped = _STRANGE.sub(lambda one: b"\\x%02x" % one[0][0], os.fsencode(str(place).strip("/")))
    name = escaped.replace(b"/", b"-").decode()
    return Path(platformdirs.user_config_dir()) / "systemd" / "user" / f"alyxfs-{name}.service"


def program() -> list[str]:
    """How to start this program from anywhere."""
    here = Path(sys.executable).parent / "alyxfs"
    return [str(here)] if os.access(here, os.X_OK) else [sys.executable, "-m", "alyxfs"]


def command_line(arguments: list[str]) -> str:
    """As it stands in a unit (systemd.service(5), "Command lines")."""
    return " ".join(map(_quoted, arguments))


def described(text: str) -> str:
    """A text as a unit's description: without line breaks and specifiers."""
    return " ".join(text.split()).replace("%", "%%")


def _quoted(argument: str) -> str:
    if "\n" in argument or "\0" in argument:
        raise ConfigurationError(f"{argument!r} cannot stand in a unit of systemd.")
    escaped = argument.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'


def _systemctl(*arguments: str) -> None:
    """Raises ConfigurationError with the words of systemctl."""
    command = ["systemctl", "--user", *arguments]
    if shutil.which("systemctl") is None:
        raise ConfigurationError("systemctl was not found: this machine is not run by systemd.")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        words = " ".join(done.stderr.split()).rstrip(".")
        raise ConfigurationError(f"`{' '.join(command)}` failed: {words}.")
