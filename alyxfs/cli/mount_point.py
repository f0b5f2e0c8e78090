"""The directory to mount at: there, empty, not in use by another drive, and apart from what the drive itself keeps."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from alyxfs.cli.drives import FILE_SYSTEM, Mount, mounts, unusable
from alyxfs.cli.printing import say
from alyxfs.errors import ConfigurationError
from alyxfs.private_files import make_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

Answer = TypeVar("Answer")

ANSWER_SECONDS = 5.0
"""How long a drive is waited for; the kernel answers at once for one whose process has ended."""
GONE = {errno.ENOTCONN, errno.ECONNABORTED}
"""Answers of a drive whose process has ended, and of one whose connection was aborted (fs/fuse of Linux)."""


@contextlib.contextmanager
def mount_point_at(place: str, kept: Collection[Path]) -> Iterator[Path]:
    """An empty directory to mount at, for this process alone, and made where it is missing.

    ``kept`` are the directories that the drive keeps things in. Where the block fails, what was made for it goes again.
    Raises ConfigurationError.
    """
    mount_point = _resolved(Path(place).expanduser())
    _refuse_overlap(mount_point, kept)
    _clear_dead(mount_point)
    made: list[Path] = []
    try:
        try:
            made = make_folder(mount_point)
            lock = _lock(mount_point)
            is_empty = not any(mount_point.iterdir())
        except OSError as error:
            raise unusable(mount_point, error) from error
        try:
            if not is_empty:
                raise ConfigurationError(f"{mount_point} is not empty; a drive would hide what is in it.")
            yield mount_point
        finally:
            os.close(lock)
    except BaseException:
        for folder in reversed(made):
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def _resolved(place: Path) -> Path:
    """The place without links; a drive that is mounted there already is not asked, as it may not answer."""
    place = Path(os.path.abspath(place))  # noqa: PTH100 - Path.absolute keeps ".."
    here = Path(os.path.realpath(place.parent)) / place.name
    return here if _mounted_at(here) is not None else Path(os.path.realpath(here))


def _refuse_overlap(mount_point: Path, kept: Collection[Path]) -> None:
    """What the drive keeps must not be hidden by the drive: it would wait for itself."""
    for folder in map(Path, map(os.path.realpath, kept)):
        if mount_point.is_relative_to(folder):
            raise ConfigurationError(f"{mount_point} is inside {folder}, where drives keep what is theirs.")
        if folder.is_relative_to(mount_point):
            raise ConfigurationError(f"A drive at {mount_point} would hide {folder}, where it keeps what is its own.")


def _clear_dead(mount_point: Path) -> None:
    """Unmount a drive of ours whose process has ended; refuse a place where anything else is mounted."""
    while (mount := _mounted_at(mount_point)) is not None:
        if mount.file_system != FILE_SYSTEM or mount.owner != os.geteuid() or answers(mount_point) is not False:
            raise ConfigurationError(f"Something is mounted at {mount_point} already.")
        unmount(mount_point, lazily=True)
        say(
            f"The drive that was mounted at {mount_point} had ended without being unmounted: it is cleared away.",
            err=True,
        )


def _mounted_at(place: Path) -> Mount | None:
    """What is mounted exactly here, on top; asks nobody who is mounted."""
    return next((mount for mount in reversed(mounts()) if mount.place == place), None)


def answers(mount_point: Path) -> bool | None:
    """Whether the drive at this place answers; False where its process has ended, None where nothing comes in time."""

    def ask() -> bool:
        try:
            os.statvfs(mount_point)  # attributes would come from the kernel's cache
        except OSError as error:
            return error.errno not in GONE
        return True

    return in_time(ask)


def in_time(ask: Callable[[], Answer]) -> Answer | None:
    """What a drive answers; None where nothing comes in time, and whoever asks must go on."""
    found: list[Answer] = []
    asking = threading.Thread(target=lambda: found.append(ask()), daemon=True)
    asking.start()
    asking.join(ANSWER_SECONDS)
    return found[0] if found else None


def unmount(mount_point: Path, *, lazily: bool = False) -> None:
    """Unmount what is there. Raises ConfigurationError with the words of the program that did not."""
    program = ["umount", "-l"] if os.geteuid() == 0 else ["fusermount3", "-u", "-z"]
    if not lazily:
        del program[-1]
    try:
        done = subprocess.run([*program, "--", str(mount_point)], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise ConfigurationError(f"{program[0]} was not found: install the package fuse3.") from error
    if done.returncode != 0 and _mounted_at(mount_point) is not None:
        words = " ".join((done.stderr or done.stdout).split()).rstrip(".")
        raise ConfigurationError(f"{mount_point} was not unmounted: {words}.")


def _lock(mount_point: Path) -> int:
    """Hold the directory that will lie under the drive against others who would mount there at the same time.

    Returns the descriptor that holds it. Once the drive is mounted the table of mounts tells.
    """
    descriptor = os.open(mount_point, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    refusal = ""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        refusal = f"Another drive is being mounted at {mount_point}."
    except OSError:
        pass  # a file system without locks
    if _mounted_at(mount_point) is not None:
        refusal = f"Something is mounted at {mount_point} already."
    if refusal:
        os.close(descriptor)
        raise ConfigurationError(refusal)
    return descriptor
