"""``alyxfs pin`` and ``unpin``: data files that are fetched whole and stay on this machine."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from humanize import naturalsize
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from alyxfs.cli.drive import drive_root, orders_of, unusable
from alyxfs.cli.status import counted
from alyxfs.errors import AlyxfsError, ConfigurationError
from alyxfs.orders import give_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

FILES_OF_ONE_ORDER = 200
PIECE = 4 * 1024 * 1024
"""Bytes that are read at once."""

paths_argument = click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(path_type=Path))


@click.command()
@paths_argument
def pin(paths: tuple[Path, ...]) -> None:
    """Fetch data files whole and keep them on this machine until they are unpinned.

    A PATH in data/ is a file, or a directory: then all files are meant that are below it now.
    """
    for root, names in _data_files(paths).items():
        _pin(root, names)


@click.command()
@paths_argument
def unpin(paths: tuple[Path, ...]) -> None:
    """Let pinned data files go when their room is needed; for a directory, all files below it."""
    for root, names in _data_files(paths).items():
        count = sum(give_order(orders_of(root), "unpin", paths=batch) for batch in _batches(names))
        click.echo(f"Unpinned {counted(count, 'file')}: kept until the room is needed.")


def _pin(root: Path, names: Sequence[str]) -> None:
    files = _mark(root, names)
    if not files:
        raise ConfigurationError("There is no data file to pin: the tables in data/ are kept on this machine anyway.")
    state = give_order(orders_of(root), "pinned")
    if state["bytes"] > state["limit"]:
        click.echo(
            f"All pinned files take {_size(state['bytes'])} together, more than the cache may take "
            f"({_size(state['limit'])}): what does not fit is fetched whenever it is read. "
            "Unpin some, or mount with a larger --cache-limit.",
            err=True,
        )
    wanted = {name: file for name, file in files.items() if file["share"] < 1}
    failures = _fetch(root, wanted)
    lacking = [name for name, file in _mark(root, list(wanted)).items() if file["share"] < 1]
    total = sum(file["size"] for file in files.values())
    click.echo(f"Pinned {counted(len(files), 'file')} ({_size(total)}).")
    if lacking:
        reason = failures.get(
            lacking[0], "The cache has no room for it, or it is being fetched anew: pin it again later."
        )
        raise AlyxfsError(
            f"{counted(len(lacking), 'pinned file')} could not be kept whole, first {root / lacking[0]}: {reason}"
        )


def _mark(root: Path, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Have the drive pin these files; its answer for each, by its path."""
    answers = [give_order(orders_of(root), "pin", paths=batch) for batch in _batches(names)]
    return {file["path"]: file for answer in answers for file in answer}


def _fetch(root: Path, files: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Read these files, so that the drive has them; return why that failed for some."""
    failures = {}
    columns = (
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=sum(file["size"] for file in files.values()))
        for name in files:
            progress.update(task, description=Path(name).name)
            try:
                _read(root / name, lambda count: progress.advance(task, count))
            except OSError as error:
                failures[name] = _reason(root / name, error)
    return failures


def _read(path: Path, advance: Callable[[int], None]) -> None:
    """Read a file past the kernel's page cache: from pages that are there, the drive would not hear of the read."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
    try:
        with mmap.mmap(-1, PIECE) as buffer:
            while count := os.readv(descriptor, [buffer]):
                advance(count)
    finally:
        os.close(descriptor)


def _reason(path: Path, error: OSError) -> str:
    try:
        return os.getxattr(path, "user.alyx.error").decode()
    except OSError:
        return f"{error.strerror}."


def _data_files(paths: Sequence[Path]) -> dict[Path, list[str]]:
    """The files at and below these paths, by the root of their drive, as paths below it. Raises ConfigurationError."""
    found: dict[Path, list[str]] = {}
    for path in paths:
        place = path.resolve()  # sessions/<id> is a link into data/
        root = drive_root(place)
        if place.relative_to(root).parts[:1] != ("data",):
            raise ConfigurationError(f"{path} is not in {root}/data: only data files can be pinned.")
        names = [str(file.relative_to(root)) for file in _files_below(place)]
        if not names:
            raise ConfigurationError(f"There are no files in {path}.")
        found.setdefault(root, []).extend(names)
    return found


def _files_below(place: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise unusable(Path(error.filename), error) from error

    try:
        place.lstat()
    except OSError as error:
        refuse(error)
    if not place.is_dir():
        yield place
        return
    for folder, folders, names in os.walk(place, onerror=refuse):
        folders.sort()
        yield from (Path(folder, name) for name in sorted(names))


def _batches(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), FILES_OF_ONE_ORDER):
        yield names[start : start + FILES_OF_ONE_ORDER]


def _size(count: int) -> str:
    return naturalsize(count, binary=True)
