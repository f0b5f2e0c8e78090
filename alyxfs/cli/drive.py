"""``alyxfs mount``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import click

from alyxfs import daemon, settings
from alyxfs import mount as mounting
from alyxfs.alyx.snapshot_file import read_manifest
from alyxfs.cli.drives import state_of
from alyxfs.cli.fstab_options import parsed
from alyxfs.cli.mount_point import mount_point_at
from alyxfs.cli.printing import say
from alyxfs.cli.secrets import secret_from
from alyxfs.cli.shown_files import server_of, shown_files
from alyxfs.control.words import staged_words
from alyxfs.errors import ConfigurationError
from alyxfs.known import Plan
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
    "--snapshot",
    type=click.Path(path_type=Path),
    help="Show what a file of `alyxfs snapshot` holds, and ask the server nothing. SERVER need not be named then; who "
    "names it trusts the file with what the drive may do for that server: use its cache, and its private networks.",
)
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
    snapshot: Path | None,
    listed: tuple[str, ...],
    **flags: Any,
) -> None:
    """Mount the Alyx at SERVER (the public Open Alyx if none is named) at DIRECTORY."""
    from_list, besides = parsed(",".join(listed))
    flags = from_list | {name: value for name, value in flags.items() if value is not None}
    if snapshot is None and "snapshot" in besides:
        snapshot = Path(besides["snapshot"])
    address, directory = server_and_place(places, flags.get("only"))
    is_named, digest = True, ""
    if snapshot is not None:
        snapshot, is_named = snapshot.expanduser().absolute(), len(places) > 1
        address, digest = server_of_snapshot(snapshot, address if is_named else None)
    server = mounting.server_address(address)
    user, token_file = user or besides.get("user"), token_file or besides.get("token_file")
    chosen = settings.load(server, flags)
    refuse_without_rw(flags, chosen, lambda name: f"--{name.replace('_', '-')}")
    if snapshot is not None:
        if flags.get("rw") or flags.get("stage") or flags.get("watch"):
            raise click.UsageError(
                "A snapshot neither changes nor can be changed: --rw, --stage and --watch do not go with it."
            )
        chosen = replace(chosen, rw=False, stage=False, watch=0.0)  # in the settings file they are for other drives
    if token_file is not None:
        token = secret_from(token_file, "token")
    check_environment()
    note = " (staged: nothing is sent before `alyxfs apply`)" if chosen.stage else ""
    note = " (dry run: nothing is sent)" if chosen.sends_nothing and not chosen.stage else note
    with mount_point_at(directory, kept_in(chosen)) as mount_point:
        only = shown_files(Path(chosen.only), server, mount_point) if chosen.only else None
        plan = Plan(server, mount_point, chosen, user=user, token=token, only=only, snapshot=snapshot)
        plan = replace(plan, is_server_named=is_named, digest=digest)
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
            for sentence in [*state["cache_remarks"], *state["differences"]]:
                say(sentence)
            if state["may_only_read"]:
                say(mounting.ONLY_READS)


def server_and_place(places: tuple[str, ...], only: str | None = None) -> tuple[str, str]:
    """``[SERVER] DIRECTORY``: the public Open Alyx where no server is named. Raises UsageError, ConfigurationError.

    A file that somebody else has written, the manifest ``only``, is not to decide which server is shown a token.
    """
    if len(places) > 2:  # noqa: PLR2004 - a server and a directory
        raise click.UsageError("This takes a server and a directory.")
    if len(places) == 1 and "://" in places[0]:
        command = click.get_current_context().command_path
        raise click.UsageError(f"Where to mount it is missing: {command} {places[0]} DIRECTORY")
    of = server_of(Path(only).expanduser()) if only and len(places) == 1 else None
    if of not in {None, settings.PUBLIC_ALYX}:
        raise click.UsageError(f"{only} is of {of}: name that server if you mean it, before the directory.")
    return (places[0] if len(places) > 1 else settings.PUBLIC_ALYX), places[-1]


def server_of_snapshot(path: Path, named: str | None) -> tuple[str, str]:
    """The address of the server whose snapshot this is, and the digest of the snapshot.

    Raises ConfigurationError where it is none, or of another server than the one that is ``named``.
    """
    manifest = read_manifest(path)
    try:
        server = mounting.server_address(manifest.server)
    except ConfigurationError as error:
        raise ConfigurationError(f"The snapshot {path} cannot be used: {error}") from error
    if named is not None and mounting.server_address(named) != server:
        raise ConfigurationError(f"{path} is a snapshot of {server}, not of {mounting.server_address(named)}.")
    return server, manifest.digest


def refuse_without_rw(given: Mapping[str, Any], chosen: settings.Settings, written: Callable[[str], str]) -> None:
    """Raise UsageError where what is given says how to write on a drive that does not; ``written`` as it was given."""
    for name in NEED_RW:
        if given.get(name) and not chosen.writable:
            raise click.UsageError(f"{written(name)} says how to write: it needs {written('rw')}.")
    if chosen.only and chosen.writable:
        mode = written("stage" if chosen.stage else "rw")
        raise click.UsageError(f"{written('only')} shows what was read: it cannot be together with {mode}.")


def kept_in(chosen: settings.Settings) -> list[Path]:
    """The directories in which a drive keeps what is its own."""
    return [chosen.cache_directory, settings.USER_STATE, daemon.log_directory(), settings.settings_file().parent]
