"""``alyxfs pin`` and ``unpin``: data files that are fetched whole and stay on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from alyxfs.cli.drives import ask_drive, drive_root, state_of, the_drive
from alyxfs.cli.listed_files import from_option, listed_paths, refuse_others
from alyxfs.cli.printing import say
from alyxfs.cli.status import counted, of_pins, size_of
from alyxfs.cli.transfers import batches, data_files, pieces, transfer
from alyxfs.errors import AlyxfsError, ConfigurationError
from alyxfs.visible_text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...", type=click.Path(path_type=Path))
@click.option("--list", "is_list", is_flag=True, help="List the pinned files at and below each PATH, fetch none.")
@click.option("--json", "as_json", is_flag=True, help="Print the files as JSON, for programs; sizes in bytes.")
@from_option
def pin(paths: tuple[Path, ...], is_list: bool, as_json: bool, listed: IO[str] | None) -> None:
    """Fetch data files whole and keep them on this machine until they are unpinned.

    A PATH in data/ is a file, or a directory: then all files are meant that are below it now.

    Without a PATH, all pinned files are listed, the oldest pin first: size, how much is on this machine, and path.
    """
    wanted = [*paths, *(read := listed_paths(listed))]
    if is_list or not wanted:
        places = [path.resolve() for path in wanted] or [the_drive("alyxfs pin --list PATH")]
        kept = [(root, _pinned_below(root, place.relative_to(root))) for place in places if (root := drive_root(place))]
        if as_json:
            _say_json([file for _, files in kept for file in files])
            return
        for root, files in kept:
            _list(root, files)
        return
    for root, names in data_files(wanted, "pinned").items():
        refuse_others(root, _pin(root, names, as_json=as_json), read)


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(path_type=Path))
def unpin(paths: tuple[Path, ...]) -> None:
    """Let pinned data files go when their room is needed; for a directory, all files below it."""
    for root, names in data_files(paths, "pinned").items():
        count = sum(ask_drive(root, "unpin", paths=batch) for batch in batches(names))
        say(f"Unpinned {counted(count, 'file')}: kept until the room is needed.")


def _say_json(files: Sequence[dict[str, Any]]) -> None:
    say(json.dumps(files, indent=2))


def _pinned_below(root: Path, below: Path) -> list[dict[str, Any]]:
    """What is pinned at and below this path of the drive; at its root also other servers' files, and unnamed."""
    server = state_of(root)["server"]

    def is_below(file: dict[str, Any]) -> bool:
        if file["server"] == server and file["path"] is not None:
            return Path(file["path"]).is_relative_to(below)
        return below == Path()

    return [file for file in ask_drive(root, "pins") if is_below(file)]


def _list(root: Path, files: Sequence[dict[str, Any]]) -> None:
    server = state_of(root)["server"]
    for file in files:
        if file["path"] is None:
            name = "(without a name: pinned by an earlier version)"
        elif file["server"] == server:
            name = str(root / file["path"])
        else:
            name = f"{file['path']} (of {file['server']})"
        say(f"{size_of(file['size']):>12}  {file['share']:>4.0%}  {one_line(name)}")
    say(f"Pinned: {of_pins(files)}.", err=True)


def _pin(root: Path, names: Sequence[str], *, as_json: bool) -> list[dict[str, Any]]:
    files = _mark(root, names)
    if not files:
        raise ConfigurationError("There is no data file to pin: the tables in data/ are kept on this machine anyway.")
    state = ask_drive(root, "pinned")
    if state["bytes"] > state["limit"]:
        say(
            f"All pinned files take {size_of(state['bytes'])} together, more than the cache may take "
            f"({size_of(state['limit'])}): what does not fit is fetched whenever it is read. "
            "Unpin some, or mount with a larger --cache-limit.",
            err=True,
        )
    wanted = {name: file["size"] for name, file in files.items() if file["share"] < 1}
    failed = _fetch(root, files, wanted)
    # What another program was just reading came from the kernel's pages at times, and the drive did not hear of it.
    unheard = {name: size for name, size in wanted.items() if files[name]["share"] < 1 and name not in failed}
    if unheard and state["bytes"] <= state["limit"]:
        failed |= _fetch(root, files, unheard)
    for name, file in files.items():
        if file["remark"]:
            say(f"{root / name}: {file['remark']}", err=True)
    lacking = [name for name in wanted if files[name]["share"] < 1]
    if as_json:
        _say_json([{**file, "error": failed.get(name)} for name, file in files.items()])
    else:
        whole = f", {len(files) - len(lacking):,} of them whole on this machine" if lacking else ""
        say(f"Pinned {counted(len(files), 'file')} ({size_of(sum(file['size'] for file in files.values()))}){whole}.")
    if lacking:
        unexplained = [name for name in lacking if name not in failed]
        sentence = f"{counted(len(lacking), 'pinned file')} could not be kept whole"
        if unexplained:
            sentence += f", as {root / unexplained[0]}: the cache has no room for it, or it is being fetched anew"
        raise AlyxfsError(f"{sentence}. Pin again later: what is here is not fetched twice.")
    return list(files.values())


def _fetch(root: Path, files: dict[str, dict[str, Any]], wanted: Mapping[str, int]) -> dict[str, str]:
    """Read the ``wanted`` ones of the files, in bytes each, and note what of them is here now; returns what failed."""

    def fetch(name: str, advance: Callable[[int], None]) -> None:
        for piece in pieces(root / name):
            advance(len(piece))

    stay = "all stay pinned" if len(files) > 1 else "it stays pinned"
    failed = transfer(root, wanted, fetch, f"{stay}, and what was fetched is kept. Pin again to go on, or unpin.")
    files |= _mark(root, list(wanted))
    return failed


def _mark(root: Path, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Have the drive pin these files; its answer for each, by its path."""
    answers = [ask_drive(root, "pin", paths=batch) for batch in batches(names)]
    return {file["path"]: file for answer in answers for file in answer}
