"""The command ``alyxfs``: one module per family of commands.

Promises: each failure is one sentence and an exit code that the README names; what a server says cannot steer the
terminal; no password is shown in the list of processes.
Needs: ``mount`` and ``daemon`` to bring a drive up, ``control`` to speak with one, ``alyx`` to log in.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pwd
import sys

import click

from alyxfs import __version__, errors
from alyxfs.cli.allocator import take_from_c_library
from alyxfs.cli.printing import say
from alyxfs.cli.secrets import hide_from_process_list

EXIT_CODES: tuple[tuple[type[errors.AlyxfsError], int], ...] = (
    (errors.ConfigurationError, 3),
    (errors.AccessDenied, 4),
    (errors.Unreachable, 5),
    (errors.DeadlineExceeded, 5),
    (errors.AlyxfsError, 1),
)
"""Exit codes by what went wrong; 2 is click's, for unusable arguments."""


MODULES = {
    "mount": "drive",
    "umount": "unmount",
    "status": "status",
    "refresh": "refresh",
    "explain": "explaining",
    "pin": "pinning",
    "unpin": "pinning",
    "fetch": "fetching",
    "snapshot": "snapshots",
    "cache": "caching",
    "log": "journal",
    "diff": "journal",
    "undo": "journal",
    "edit": "bulk",
    "apply": "staging",
    "discard": "staging",
    "allow-deletes": "journal",
    "trace": "trace",
    "verify": "trace",
    "report": "report",
    "login": "account",
    "logout": "account",
    "whoami": "account",
    "doctor": "doctor",
    "service": "service",
    "demo": "demo",
}
"""Where each command is."""


class Commands(click.Group):
    """Imports only the command that is asked for: `alyxfs log` needs nothing of what serves a drive."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take ``SERVER DIRECTORY -o …`` for a mount, as mount.fuse3 gives it."""
        if is_from_mount(args):
            args = ["mount", *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click asks so
        """In the order of the table."""
        return list(MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click asks so
        """None where there is no such command."""
        if cmd_name not in MODULES:
            return None
        module = importlib.import_module(f"alyxfs.cli.{MODULES[cmd_name]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="alyxfs")
def commands() -> None:
    """Mount an Alyx database as a drive.

    Exit codes: 0 done, 1 the server or the drive failed, 2 unusable arguments, 3 options or machine do not allow it,
    4 access denied, 5 the server cannot be reached.
    """


def is_from_mount(arguments: list[str]) -> bool:
    """Whether mount.fuse3 has started this program, for a line in fstab or `mount -t fuse.alyxfs`."""
    return len(arguments) > 2 and arguments[2] == "-o" and arguments[0] not in MODULES  # noqa: PLR2004


def give_home_back() -> None:
    """Undo what happens on the way from mount(8), which hands on no HOME: mount.fuse3 takes /root for everybody's."""
    if os.geteuid() != 0:
        with contextlib.suppress(KeyError):
            os.environ["HOME"] = pwd.getpwuid(os.geteuid()).pw_dir


def main() -> None:
    """Run the command line; domain errors, and what the machine refuses, become one line and an exit code."""
    hide_from_process_list(sys.argv[1:])
    if is_from_mount(sys.argv[1:]):
        give_home_back()  # before any module looks where things are kept
    if sys.argv[1:2] == ["mount"] or is_from_mount(sys.argv[1:]):
        take_from_c_library()
    try:
        commands()
    except errors.AlyxfsError as error:
        say(f"alyxfs: {error}", err=True)
        sys.exit(next(code for kind, code in EXIT_CODES if isinstance(error, kind)))
    except OSError as error:
        say(f"alyxfs: {errors.of_machine(error)}", err=True)
        sys.exit(3)
