"""``alyxfs cache``: what is kept of data files on this machine, session by session; cleared, verified, bounded."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from humanize import naturaldelta
from rich.console import Console
from rich.progress import track

from alyxfs import settings
from alyxfs.cli.drives import ask_drive, drive_root, drives, state_of
from alyxfs.cli.printing import say
from alyxfs.cli.status import counted, size_of
from alyxfs.drive_paths import below_data
from alyxfs.errors import AlyxfsError, ConfigurationError
from alyxfs.files.disk import contents, eviction
from alyxfs.visible_text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from alyxfs.files.disk.contents import Kept

GIB = 1 << 30
SESSION_DEPTH = 5
"""Names of a session's path below ``data``."""
UNNAMED = "(without a name: of an earlier version)"


class Session(NamedTuple):
    """What is here of one session, or of another folder with data files."""

    path: str
    server: str
    files: int
    size: int
    """Bytes of the files that something is here of."""
    here: int
    """Bytes."""
    last_used: float
    """Unix seconds."""
    pinned: int
    """Files."""


@click.group(invoke_without_command=True, subcommand_metavar="[COMMAND] [ARGS]...")
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON, for programs; sizes in bytes.")
@click.option(
    "--cache-directory", "directory", type=click.Path(path_type=Path), help="Another one than the settings file names."
)
@click.pass_context
def cache(context: click.Context, directory: Path | None, as_json: bool) -> None:
    """List what is kept of data files on this machine, by session: what was not used for the longest time goes first.

    Size and share are of the files of which something is here. Nothing in the cache is needed: it costs time to fetch.
    """
    context.obj = chosen = directory or settings.load("", {}).cache_directory
    if context.invoked_subcommand is not None:
        return
    files = _kept(chosen)
    sessions = _by_session(files)
    if as_json:
        say(json.dumps([session._asdict() for session in sessions], indent=2))
        return
    servers = {session.server for session in sessions}
    for session in sessions:
        where = f" (of {session.server})" if len(servers) > 1 and session.server else ""
        pins = f", {session.pinned:,} pinned" if session.pinned else ""
        say(
            f"{size_of(session.here):>12}  {session.here / session.size if session.size else 1:>4.0%}  "
            f"{counted(session.files, 'file')}{pins}, {_ago(session.last_used)}  {one_line(session.path)}{where}"
        )
    say(
        f"In {chosen}: {counted(len(files), 'file')}, {size_of(sum(kept.occupied for kept in files))} on disk.",
        err=True,
    )


@cache.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...", type=click.Path(path_type=Path))
@click.pass_obj
def clear(directory: Path, paths: tuple[Path, ...]) -> None:
    """Remove what is kept of the files at and below each PATH, or all; pinned files and open ones stay.

    A PATH is in a drive, or begins with data/ as in the list.
    """
    chosen = [_place(path) for path in paths]
    _let_go(directory)
    removed, stay = [], 0
    for folder in _folders(directory):
        wanted = [
            kept for kept in contents.kept_files(folder) if not paths or any(_is_at(kept, *one) for one in chosen)
        ]
        gone = contents.clear(folder, wanted)
        removed += gone
        stay += len(wanted) - len(gone)
    staying = f" {counted(stay, 'file')} that are pinned or open stay." if stay else ""
    say(f"Removed {counted(len(removed), 'file')} ({size_of(sum(kept.occupied for kept in removed))}).{staying}")


@cache.command()
@click.pass_obj
def verify(directory: Path) -> None:
    """Hash all files that are whole here; remove those that are damaged, so that they are fetched again."""
    _let_go(directory)
    found: dict[bool | None, list[Kept]] = {True: [], False: [], None: []}
    console = Console(stderr=True)
    for kept in track(_kept(directory), "verifying", console=console, transient=True, disable=not console.is_terminal):
        try:
            found[contents.is_damaged(kept)].append(kept)
        except OSError as error:
            say(f"{kept.path or kept.file} cannot be read: {error.strerror}.", err=True)
            found[None].append(kept)
    for kept in found[True]:
        say(
            f"{one_line(kept.path or str(kept.file))} was damaged and is removed: it is fetched when it is read.",
            err=True,
        )
    right = f"{counted(len(found[False]), 'file')} ({size_of(sum(kept.size for kept in found[False]))})"
    unknown = (
        f" {counted(len(found[None]), 'file')} cannot be verified: not whole here, or without MD5 in the database."
    )
    say(f"As the database says: {right}.{unknown if found[None] else ''}")
    if found[True]:
        raise AlyxfsError(f"{counted(len(found[True]), 'damaged file')}.")


@cache.command()
@click.argument("gib", required=False, type=click.FloatRange(0.001))
@click.pass_obj
def limit(directory: Path, gib: float | None) -> None:
    """Say how much data files may take on disk, or bound it to so many GiB until the drives are mounted again."""
    if gib is None:
        for place, answer in _users(directory):
            say(f"{place}: {size_of(answer['limit'])} at most.")
        say(f"By the settings: {size_of(int(settings.load('', {}).cache_limit * GIB))} at most.")
        return
    told = [place for place, _ in _users(directory, limit=int(gib * GIB))]
    for folder in _folders(directory):
        eviction.evict(folder, int(gib * GIB))
    left = sum(kept.occupied for kept in _kept(directory))
    say(f"{size_of(left)} are kept in {directory}; told: {', '.join(map(str, told)) or 'no drive, as none uses it'}.")
    say(f"To keep that, write `cache_limit = {gib:g}` into {settings.settings_file()}.")


def _folders(directory: Path) -> list[Path]:
    """Those with data files: one for all drives, and those of drives that share nothing (see cache_place)."""
    return [place for place in (directory / "files", *sorted(directory.glob("servers/*/files"))) if place.is_dir()]


def _kept(directory: Path) -> list[Kept]:
    return [kept for folder in _folders(directory) for kept in contents.kept_files(folder)]


def _by_session(files: Iterable[Kept]) -> list[Session]:
    groups: dict[tuple[str, str], list[Kept]] = {}
    for kept in files:
        parts = kept.path.split("/")
        below = (below_data(kept.path) or "").split("/")
        depth = len(parts) - (len(below) - SESSION_DEPTH if len(below) > SESSION_DEPTH else 1)
        groups.setdefault((kept.server, "/".join(parts[:depth]) or UNNAMED), []).append(kept)
    sessions = [
        Session(
            path,
            server,
            len(group),
            sum(kept.size for kept in group),
            sum(kept.here for kept in group),
            max(kept.last_used for kept in group),
            sum(kept.is_pinned for kept in group),
        )
        for (server, path), group in groups.items()
    ]
    return sorted(sessions, key=lambda session: session.last_used)


def _ago(moment: float) -> str:
    return f"used {naturaldelta(max(0.0, time.time() - moment))} ago"


def _place(path: Path) -> tuple[str | None, Path]:
    """The server (None: any) and the path in its drive. Raises ConfigurationError."""
    try:
        place = path.resolve()
        root = drive_root(place)
    except ConfigurationError:
        if path.parts[:1] == ("data",):
            return None, path
        raise
    return str(state_of(root)["server"]), place.relative_to(root)


def _is_at(kept: Kept, server: str | None, path: Path) -> bool:
    return kept.path != "" and server in {None, kept.server} and Path(kept.path).is_relative_to(path)


def _users(directory: Path, **order: Any) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The drives of this user that keep files in this directory, after they have let go what nobody has open."""
    for mount in drives():
        try:
            answer = ask_drive(mount.place, "tidy", directory=str(directory), **order)
        except AlyxfsError:  # it is ending, or of an earlier version
            continue
        if answer is not None:
            yield mount.place, answer


def _let_go(directory: Path) -> Sequence[tuple[Path, dict[str, Any]]]:
    return list(_users(directory))
