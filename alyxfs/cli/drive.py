"""``alyxfs mount``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import click

from alyxfs import daemon, settings
from alyxfs import mount as mounting
from alyxfs.cli.drives import state_of
from alyxfs.cli.fstab_options import parsed
from alyxfs.cli.mount_point import mount_point_at
from alyxfs.cli.printing import say
from alyxfs.cli.secrets import secret_from
from alyxfs.control.words import staged_words
from alyxfs.net import check_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


NEED_RW = ("dry_run", "no_delete")
"""Flags that mean nothing on a read-only drive; in the settings file they wait for one that is not."""


def setting_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command a flag for every option of the table."""
    types = get_type_hints(settings.Settings)
    for option in reversed(settings.options()):
        kind = types[option.name]
        flag = f"--{option.name.replace('_', '-')}"
        unit = f" ({option.metadata['unit']})" if option.metadata["unit"] else ""
        text = f"{option.metadata['help']}{unit} Default: {option.default if option.default != '' else 'none'}."
        if kind is bool:
            flag = f"{flag}/{opposite_of(flag)}"
        command = click.option(flag, option.name, type=str if kind is Path else kind, default=None, help=text)(command)
    return command


def opposite_of(flag: str) -> str:
    """What overrules a flag that the settings file sets: ``--no-rw`` for ``--rw``, ``--delete`` for ``--no-delete``."""
    return f"--{flag.removeprefix('--no-')}" if flag.startswith("--no-") else f"--no-{flag.removeprefix('--')}"


@click.command()
@click.argument("places", nargs=-1, required=True, metavar="[SERVER] DIRECTORY")
@click.option("-f", "--foreground", is_flag=True, help="Stay in front and log to the terminal.")
@click.option("--user", help="User name; asked for by `alyxfs login` otherwise.")
@click.option("--token", help="Token; others may see it for a moment, so better take one of the next two ways.")
@click.option("--token-file", metavar="FILE", help="File with the token; - is standard input. Or set ALYXFS_TOKEN.")
@click.option(
    "-o",
    "listed",
    multiple=True,
    metavar="OPTIONS",
    help="Options as in fstab: `-o rw,time_to_live=60,alyx_user=anna`. What every mount may be given is passed over.",
)
@setting_flags
def mount(
    places: tuple[str, ...],
    foreground: bool,
    user: str | None,
    token: str | None,
    token_file: str | None,
    listed: tuple[str, ...],
    **flags: Any,
) -> None:
    """Mount the Alyx at SERVER (the public Open Alyx if none is named) at DIRECTORY."""
    address, directory = server_and_place(places)
    server = mounting.server_address(address)
    from_list, credentials = parsed(",".join(listed))
    flags = from_list | {name: value for name, value in flags.items() if value is not None}
    user, token_file = user or credentials.get("user"), token_file or credentials.get("token_file")
    chosen = settings.load(server, flags)
    refuse_without_rw(flags, chosen, lambda name: f"--{name.replace('_', '-')}")
    if token_file is not None:
        token = secret_from(token_file, "token")
    check_environment()
    note = " (staged: nothing is sent before `alyxfs apply`)" if chosen.stage else ""
    note = " (dry run: nothing is sent)" if chosen.sends_nothing and not chosen.stage else note
    with mount_point_at(directory, kept_in(chosen)) as mount_point:
        plan = mounting.Plan(server, mount_point, chosen, user=user, token=token)
        if foreground:
            daemon.log_to_terminal(debug=chosen.debug)
            mounting.run(plan, lambda: say(f"{server} is mounted at {mount_point}{note}."))
        else:
            log_file = daemon.log_path(mount_point)
            plan = replace(plan, log=log_file)
            daemon.run_in_background(lambda ready: mounting.run(plan, ready), log_file, debug=chosen.debug)
            say(f"{server} is mounted at {mount_point}{note}; help is in {mount_point}/.alyxfs/help.md.")
            say(f"It logs to {log_file}.")
            state = state_of(mount_point)
            if state["staged"]:
                say(staged_words(state["staged"], shows=state.get("staging", False)))
            for sentence in state["cache_remarks"]:
                say(sentence)
            if state["may_only_read"]:
                say(mounting.ONLY_READS)


def server_and_place(places: tuple[str, ...]) -> tuple[str, str]:
    """``[SERVER] DIRECTORY``: the public Open Alyx where no server is named. Raises UsageError."""
    if len(places) > 2:  # noqa: PLR2004 - a server and a directory
        raise click.UsageError("This takes a server and a directory.")
    if len(places) == 1 and "://" in places[0]:
        command = click.get_current_context().command_path
        raise click.UsageError(f"Where to mount it is missing: {command} {places[0]} DIRECTORY")
    return (places[0] if len(places) > 1 else settings.PUBLIC_ALYX), places[-1]


def refuse_without_rw(given: Mapping[str, Any], chosen: settings.Settings, written: Callable[[str], str]) -> None:
    """Raise UsageError where what is given says how to write on a drive that does not; ``written`` as it was given."""
    for name in NEED_RW:
        if given.get(name) and not chosen.writable:
            raise click.UsageError(f"{written(name)} says how to write: it needs {written('rw')}.")


def kept_in(chosen: settings.Settings) -> list[Path]:
    """The directories in which a drive keeps what is its own."""
    return [chosen.cache_directory, settings.USER_STATE, daemon.log_directory(), settings.settings_file().parent]
