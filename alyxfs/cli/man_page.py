"""Makes the manual page from the commands: ``python -m alyxfs.cli.man_page > alyxfs/help/alyxfs.1``."""

from __future__ import annotations

import re
import sys
from inspect import cleandoc
from typing import TYPE_CHECKING

import click

from alyxfs import __version__
from alyxfs.cli import commands

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FILES = {
    "~/.config/alyxfs/settings.toml": "The options of `alyxfs mount`, for all servers and for one.",
    "~/.cache/alyxfs": "Data files, and what is known of servers. It may be deleted at any time.",
    "~/.local/state/alyxfs": "Journal, refused drafts and logs. Nothing there is deleted unasked.",
    "DIRECTORY/.alyxfs": "What the drive at DIRECTORY says of itself; its help.md is the manual.",
}
VARIABLES = {
    "ALYXFS_TOKEN": "The token with which a server is asked.",
    "ALYXFS_USER, ALYXFS_PASSWORD": "User and password, for which the server gives a token.",
    "ALYXFS_FILE_PASSWORD": "The password for the file server, as `--file-password`.",
}


def text() -> str:
    """The page in the language of man(7)."""
    top = click.Context(commands, info_name="alyxfs")
    lines = [
        f'.TH ALYXFS 1 "" "alyxfs {__version__}" "User Commands"',
        ".SH NAME",
        r"alyxfs \- mount an Alyx database as a drive",
        ".SH SYNOPSIS",
        r".B alyxfs",
        "COMMAND [OPTIONS] [ARGUMENTS]",
        ".SH DESCRIPTION",
        *_description(commands),
        ".SH COMMANDS",
    ]
    for name in commands.list_commands(top):
        lines += _command(commands.get_command(top, name), top, name)
    for title, described in (("FILES", FILES), ("ENVIRONMENT", VARIABLES)):
        lines += [f".SH {title}", *_listed(described.items())]
    return "\n".join(lines) + "\n"


def _command(command: click.Command | None, above: click.Context, name: str) -> Iterator[str]:
    """The section of a command, then those of the commands below it."""
    assert command is not None
    context = click.Context(command, info_name=name, parent=above)
    usage = " ".join((context.command_path, *command.collect_usage_pieces(context)))
    yield f'.SS "{_plain(usage)}"'
    yield from _description(command)
    options = [each for each in command.params if isinstance(each, click.Option)]
    yield from _listed(record for each in options if (record := each.get_help_record(context)) is not None)
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            yield from _command(command.get_command(context, each), context, each)


def _description(command: click.Command) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", cleandoc(command.help or "")):
        yield ".PP"
        yield _line(paragraph)


def _listed(described: Iterable[tuple[str, str]]) -> Iterator[str]:
    for term, meaning in described:
        yield ".TP"
        yield f"\\fB{_plain(term)}\\fR"
        yield _line(meaning)


def _plain(words: str) -> str:
    r"""Of which roff takes nothing for a command; ``\-`` is the sign that can be copied into a shell."""
    return words.replace("\\", r"\e").replace("-", r"\-").replace('"', r"\(dq")


def _line(paragraph: str) -> str:
    r"""One line, with what stands in backquotes in bold; a point or quote at its beginning would be a command."""
    line = re.sub(r"`([^`]+)`", r"\\fB\1\\fR", _plain(" ".join(paragraph.split())))
    return f"\\&{line}"


if __name__ == "__main__":
    sys.stdout.write(text())
