"""Many data files read from a drive at a time, with a bar that shows how far that is."""

from __future__ import annotations

import os
import queue
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from alyxfs.cli.drives import drive_root, unusable
from alyxfs.cli.status import counted
from alyxfs.drive_paths import below_data
from alyxfs.errors import AlyxfsError, ConfigurationError
from alyxfs.visible_text import escaped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

FILES_OF_ONE_ORDER = 200
FILES_AT_ONCE = 8
"""That are read: of small files, most of the time is the round trip to the server."""
PIECE = 4 * 1024 * 1024
"""Bytes that are read at once."""


def transfer(
    root: Path, sizes: Mapping[str, int], work: Callable[[str, Callable[[int], None]], None], on_interrupt: str
) -> dict[str, str]:
    """Do the work for each of these files of a drive (their sizes in bytes by path), several at a time.

    They are begun in the order given; ``work`` is told the path and what to call with the bytes that it has done.
    Returns the sentences of those that fail with an OSError or a domain error, which are also shown at once. Ctrl-C
    ends it without waiting for what is being read, after ``on_interrupt`` was shown behind how many files are done.
    """
    columns = (
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    console = Console(stderr=True)
    failed: dict[str, str] = {}
    done = 0

    def say_above(text: str) -> None:
        console.print(escaped(text), markup=False, highlight=False, soft_wrap=True)

    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=sum(sizes.values()))
        try:
            for name, error in _each(list(sizes), lambda name: work(name, lambda count: progress.advance(task, count))):
                if isinstance(error, (OSError, AlyxfsError)):
                    failed[name] = _reason(root / name, error)
                    say_above(f"{root / name} was not fetched: {failed[name]}")
                elif error is not None:
                    raise error
                done += 1
                progress.update(task, description=f"{done:,} of {counted(len(sizes), 'file')}")
        except KeyboardInterrupt:
            say_above(f"Interrupted after {done:,} of {counted(len(sizes), 'file')}: {on_interrupt}")
            raise
    return failed


def _each(names: Sequence[str], work: Callable[[str], None]) -> Iterator[tuple[str, BaseException | None]]:
    """Each name once its work has ended, with what it raised.

    The threads are daemons, which Python does not wait for at its end: a read may take as long as the drive's deadline.
    """
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    ended: queue.SimpleQueue[tuple[str, BaseException | None]] = queue.SimpleQueue()
    for name in names:
        waiting.put(name)

    def run() -> None:
        while True:
            try:
                name = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                work(name)
            except BaseException as error:  # noqa: BLE001 - told to who waits
                ended.put((name, error))
            else:
                ended.put((name, None))

    for _ in range(min(FILES_AT_ONCE, len(names))):
        threading.Thread(target=run, daemon=True).start()
    for _ in names:
        yield ended.get()


def pieces(path: Path, start: int = 0) -> Iterator[memoryview]:
    """The bytes of a file from a place on. A piece holds until the next one is asked for.

    Read through the kernel's pages, as a program that waits for these can be ended, and one that reads past them waits
    for the drive's answer; but not from pages that are there already, of which the drive would not hear.
    """
    buffer = memoryview(bytearray(PIECE))
    with path.open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        file.seek(start)
        while True:
            # The kernel then asks for 1 MiB at a time (io_pages in mm/readahead.c of Linux), else for 128 KiB.
            os.posix_fadvise(file.fileno(), start, PIECE, os.POSIX_FADV_WILLNEED)
            count = file.readinto(buffer)
            if not count:
                return
            yield buffer[:count]
            start += count


def _reason(path: Path, error: OSError | AlyxfsError) -> str:
    if isinstance(error, AlyxfsError):
        return str(error)
    try:
        return os.getxattr(path, "user.alyx.error").decode()
    except OSError:
        return f"{error.strerror}."


def data_files(paths: Sequence[Path], what: str) -> dict[Path, list[str]]:
    """The files at and below these paths, by the root of their drive, as paths below it, each once.

    Raises ConfigurationError, which says that only data files can be ``what``.
    """
    found: dict[Path, dict[str, None]] = {}
    for path in paths:
        place = path.resolve()  # sessions/<id> is a link into data/
        root = drive_root(place)
        if below_data(str(place.relative_to(root))) is None:
            raise ConfigurationError(f"{path} is not in {root}/data: only data files can be {what}.")
        names = [str(file.relative_to(root)) for file in _files_below(place)]
        if not names:
            raise ConfigurationError(f"There are no files in {path}.")
        found.setdefault(root, {}).update(dict.fromkeys(names))
    return {root: list(names) for root, names in found.items()}


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


def batches(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """The names in as many pieces as a drive is asked of."""
    for start in range(0, len(names), FILES_OF_ONE_ORDER):
        yield names[start : start + FILES_OF_ONE_ORDER]
