"""The command ``alyxfs``: one module per family of commands."""

from __future__ import annotations

import sys

import click

from alyxfs import __version__, errors
from alyxfs.cli.account import login, logout
from alyxfs.cli.demo import demo
from alyxfs.cli.drive import mount, refresh, umount
from alyxfs.cli.journal import allow_deletes, diff, log, undo
from alyxfs.cli.pinning import pin, unpin
from alyxfs.cli.status import status

EXIT_CODES: tuple[tuple[type[errors.AlyxfsError], int], ...] = (
    (errors.ConfigurationError, 3),
    (errors.AccessDenied, 4),
    (errors.Unreachable, 5),
    (errors.DeadlineExceeded, 5),
    (errors.AlyxfsError, 1),
)
"""Exit codes by what went wrong; 2 is click's, for unusable arguments."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="alyxfs")
def commands() -> None:
    """Mount an Alyx database as a drive.

    Exit codes: 0 done, 1 the server or the drive failed, 2 unusable arguments, 3 options or machine do not allow it,
    4 access denied, 5 the server cannot be reached.
    """


for command in (mount, umount, status, refresh, pin, unpin, log, diff, undo, allow_deletes, login, logout, demo):
    commands.add_command(command)


def main() -> None:
    """Run the command line; domain errors become one line and an exit code."""
    try:
        commands()
    except errors.AlyxfsError as error:
        click.echo(f"alyxfs: {error}", err=True)
        sys.exit(next(code for kind, code in EXIT_CODES if isinstance(error, kind)))
