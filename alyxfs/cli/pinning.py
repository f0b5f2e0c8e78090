"""``alyxfs pin`` and ``unpin``: data files that are fetched whole and stay on this machine."""

from __future__ import annotations

import functools
import json
import mmap
import os
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from alyxfs.cli.drive import drive_root, orders_of, the_drive, unusable
from alyxfs.cli.status import counted, of_pins, size_of
from alyxfs.errors import AlyxfsError, ConfigurationError
from alyxfs.orders import give_order

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FILES_OF_ONE_ORDER = 200
FILES_AT_ONCE = 8
"""That are fetched: of small files, most of the time is the round trip to the server."""
PIECE = 4 * 1024 * 1024
"""Bytes that are read at once."""


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...", type=click.Path(path_type=Path))
@click.option("--list", "is_list", is_flag=True, help="List the pinned files at and below each PATH, fetch none.")
def pin(paths: tuple[Path, ...], is_list: bool) -> None:
    """Fetch data files whole and keep them on this machine until they are unpinned.

    A PATH in data/ is a file, or a directory: then all files are meant that are below it now.

    Without a PATH, all pinned files are listed, the oldest pin first: size, how much is on this machine, and path.
    """
    if is_list or not paths:
        for place in [path.resolve() for path in paths] or [the_drive("alyxfs pin --list PATH")]:
            root = drive_root(place)
            _list(root, place.relative_to(root))
        return
    for root, names in _data_files(paths).items():
        _pin(root, names)


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(path_type=Path))
def unpin(paths: tuple[Path, ...]) -> None:
    """Let pinned data files go when their room is needed; for a directory, all files below it."""
    for root, names in _data_files(paths).items():
        count = sum(give_order(orders_of(root), "unpin", paths=batch) for batch in _batches(names))
        click.echo(f"Unpinned {counted(count, 'file')}: kept until the room is needed.")


def _list(root: Path, below: Path) -> None:
    """Show what is pinned at and below this path of the drive; at its root also other servers' files, and unnamed."""
    server = json.loads((root / ".alyxfs" / "status.json").read_bytes())["server"]
    shown = []
    for file in give_order(orders_of(root), "pins"):
        if file["server"] == server:
            if not Path(file["path"]).is_relative_to(below):
                continue
            name = str(root / file["path"])
        elif below != Path():
            continue
        elif file["path"] is None:
            name = "(without a name: pinned by an earlier version)"
        else:
            name = f"{file['path']} (of {file['server']})"
        shown.append(file)
        click.echo(f"{size_of(file['size']):>12}  {file['share']:>4.0%}  {click.format_filename(name)}")
    click.echo(f"Pinned: {of_pins(shown)}.", err=True)


def _pin(root: Path, names: Sequence[str]) -> None:
    files = _mark(root, names)
    if not files:
        raise ConfigurationError("There is no data file to pin: the tables in data/ are kept on this machine anyway.")
    state = give_order(orders_of(root), "pinned")
    if state["bytes"] > state["limit"]:
        click.echo(
            f"All pinned files take {size_of(state['bytes'])} together, more than the cache may take "
            f"({size_of(state['limit'])}): what does not fit is fetched whenever it is read. "
            "Unpin some, or mount with a larger --cache-limit.",
            err=True,
        )
    wanted = {name: file for name, file in files.items() if file["share"] < 1}
    failed = _fetch(root, wanted)
    lacking = [name for name, file in _mark(root, list(wanted)).items() if file["share"] < 1]
    total = sum(file["size"] for file in files.values())
    click.echo(f"Pinned {counted(len(files), 'file')} ({size_of(total)}).")
    if lacking:
        unexplained = [name for name in lacking if name not in failed]
        sentence = f"{counted(len(lacking), 'pinned file')} could not be kept whole"
        if unexplained:
            sentence += f", as {root / unexplained[0]}: the cache has no room for it, or it is being fetched anew"
        raise AlyxfsError(f"{sentence}. Pin again later: what is here is not fetched twice.")


def _mark(root: Path, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Have the drive pin these files; its answer for each, by its path."""
    answers = [give_order(orders_of(root), "pin", paths=batch) for batch in _batches(names)]
    return {file["path"]: file for answer in answers for file in answer}


def _fetch(root: Path, files: dict[str, dict[str, Any]]) -> set[str]:
    """Read these files, so that the drive has them; say of each that fails why, and return which did.

    They are begun in the order given. Interrupted, it waits for no more than the pieces that are being read.
    """
    failed: set[str] = set()
    columns = (
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    console = Console(stderr=True)
    say = functools.partial(console.print, markup=False, highlight=False, soft_wrap=True)
    stop = threading.Event()
    with (
        Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress,
        ThreadPoolExecutor(FILES_AT_ONCE) as pool,
    ):
        task = progress.add_task("", total=sum(file["size"] for file in files.values()))

        def fetch(name: str) -> None:
            for count in _read(root / name):
                progress.advance(task, count)
                if stop.is_set():
                    return

        done = 0
        try:
            fetches = {pool.submit(fetch, name): name for name in files}
            for done, ended in enumerate(as_completed(fetches), 1):
                progress.update(task, description=f"{done:,} of {counted(len(files), 'file')}")
                error, name = ended.exception(), fetches[ended]
                if isinstance(error, OSError):
                    failed.add(name)
                    say(f"{root / name} was not fetched: {_reason(root / name, error)}")
                elif error is not None:
                    raise error
        except BaseException as error:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            if isinstance(error, KeyboardInterrupt):
                say(f"Interrupted after {done:,} of {counted(len(files), 'file')}: what was fetched stays here.")
            raise
    return failed


def _read(path: Path) -> Iterator[int]:
    """Read a file past the kernel's page cache: from pages that are there, the drive would not hear of the read.

    Gives the bytes of each piece.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
    try:
        with mmap.mmap(-1, PIECE) as buffer:
            while count := os.readv(descriptor, [buffer]):
                yield count
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
