"""Tokens and passwords on the way in: out of the list of processes, from files and from standard input."""

from __future__ import annotations

import sys
from pathlib import Path

from alyxfs.errors import ConfigurationError
from alyxfs.private_files import read_secret

SECRET_FLAGS = ("--token", "--password", "--file-password")
STANDARD_INPUT = "-"


def without_secrets(arguments: list[str]) -> list[str]:
    """Arguments with a star in place of each secret."""
    shown = []
    is_secret = False
    for argument in arguments:
        flag, equals, _ = argument.partition("=")
        if is_secret:
            shown.append("*")
        elif equals and flag in SECRET_FLAGS:
            shown.append(f"{flag}=*")
        else:
            shown.append(argument)
        is_secret = not is_secret and argument in SECRET_FLAGS
    return shown


def hide_from_process_list(arguments: list[str]) -> None:
    """Take secrets out of this process's own arguments, which every user of the machine can read (proc_pid_cmdline(5)).

    They stand there until now, about a second: the flags' help names better ways.
    """
    shown = without_secrets(arguments)
    if shown != arguments:
        import setproctitle  # noqa: PLC0415 - most commands have nothing to hide

        setproctitle.setproctitle(" ".join(["alyxfs", *shown]))


def secret_from(place: str, what: str) -> str:
    """The first line of a file, or of standard input for ``-``; ``what`` it is, for messages.

    Raises ConfigurationError where there is none, or where others can read the file.
    """
    if place != STANDARD_INPUT:
        return read_secret(Path(place), what)
    secret = sys.stdin.readline().strip()
    if not secret:
        raise ConfigurationError(f"There is no {what} in standard input.")
    return secret
