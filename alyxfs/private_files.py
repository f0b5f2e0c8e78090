"""Folders and files that their owner alone may use: nothing else in the package makes any.

A umask can only take permissions away, and a folder that is made on the way to another gets none of the mode that
``mkdir(parents=True)`` was given: so each is made here, one at a time, and its mode is set, not hoped for.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import pwd
import stat
import tempfile
from typing import TYPE_CHECKING

from alyxfs import errors

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

FOLDER_MODE = 0o700
FILE_MODE = 0o600
_OTHERS = 0o077
"""All permissions of group and others."""
_OTHERS_MAY_WRITE = 0o022


def make_folder(path: Path) -> list[Path]:
    """Make a folder and the missing ones above it, each 0700; returns those made, the outermost first.

    What is there already stays as it is. Raises OSError; then nothing is left that was made.
    """
    missing: list[Path] = []
    for folder in (path, *path.parents):
        if folder.exists():
            break
        missing.append(folder)
    made: list[Path] = []
    try:
        for folder in reversed(missing):
            try:
                folder.mkdir(FOLDER_MODE)
            except FileExistsError:  # made by another process meanwhile
                continue
            made.append(folder)
            if stat.S_IMODE(folder.stat().st_mode) != FOLDER_MODE:
                _set_mode(folder, FOLDER_MODE)
    except OSError:
        with contextlib.suppress(OSError):
            for folder in reversed(made):
                folder.rmdir()
        raise
    if not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    return made


def claim_folder(path: Path) -> None:
    """A folder for our own use alone: made if missing, and closed to others if it was open to them.

    Raises ConfigurationError where it belongs to another user, who could read and replace what is put there.
    """
    make_folder(path)
    _refuse_strange(path)
    close_to_others(path)


def trusted_folder(path: Path) -> None:
    """A folder that the user named, for ours to stand in: made if missing, and never changed if not.

    Raises ConfigurationError where others could take away what we put there and leave their own.
    """
    make_folder(path)
    mode = _refuse_strange(path)
    if mode & _OTHERS_MAY_WRITE and not mode & stat.S_ISVTX:
        raise errors.ConfigurationError(
            f"Others may write to {path}, and so replace what is kept there: "
            f"take that away (chmod go-w {path}), or name another directory."
        )


def open_file(path: Path, flags: int) -> int:
    """Open a file of our own (``flags`` as ``os.open`` takes them), made 0600 if missing, closed to others if not.

    Returns the descriptor, which no program that we start inherits. Raises OSError; also where the name is a link,
    which somebody else may have put there.
    """
    descriptor = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
    try:
        if stat.S_IMODE(os.fstat(descriptor).st_mode) != FILE_MODE:
            os.fchmod(descriptor, FILE_MODE)
    except OSError as error:
        log.info("%s keeps its mode: %s", path, error.strerror)  # a file system without modes
    return descriptor


def write_whole(path: Path, content: bytes) -> None:
    """Write a file of our own, 0600, in place of what is there: who opens it finds the one or the other whole.

    Raises OSError; then what was there is still there.
    """
    handle, scratch = tempfile.mkstemp(prefix=".alyxfs-", dir=path.parent)  # mkstemp makes it 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(handle)
        os.replace(scratch, path)  # noqa: PTH105 - the scratch is known by its name
    except BaseException:
        os.unlink(scratch)  # noqa: PTH108
        raise


def close_to_others(path: Path) -> None:
    """Take all permissions of others from a file of our own that is there."""
    mode = path.stat().st_mode
    if mode & _OTHERS:
        _narrow(path, stat.S_IMODE(mode) & ~_OTHERS)


def refuse_if_others_read(path: Path) -> None:
    """Raise ConfigurationError for a file with a secret in it that other users of this machine can read."""
    mode = path.stat().st_mode
    if stat.S_ISREG(mode) and mode & _OTHERS:
        raise errors.ConfigurationError(
            f"{path} holds a secret and can be read by other users of this machine: chmod 600 {path}"
        )


def read_secret(path: Path, what: str) -> str:
    """The first line of a private file; ``what`` it is, for messages.

    Raises ConfigurationError where there is none, or where others can read the file.
    """
    path = path.expanduser()
    try:
        refuse_if_others_read(path)
        with path.open(encoding="utf-8") as file:
            secret = file.readline().strip()
    except OSError as error:
        raise errors.ConfigurationError(f"The {what} cannot be read from {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise errors.ConfigurationError(f"The {what} cannot be read from {path}: {error}.") from error
    if not secret:
        raise errors.ConfigurationError(f"There is no {what} in {path}.")
    return secret


def user_name(number: int) -> str:
    """A user as people know them: the name with the number, else the number."""
    try:
        return f"{pwd.getpwuid(number).pw_name} ({number})"
    except KeyError:
        return str(number)


def _refuse_strange(path: Path) -> int:
    """The mode of a folder of our own; raises ConfigurationError where it is not."""
    state = path.stat()
    if state.st_uid not in {os.geteuid(), 0}:  # root can do everything anyway
        raise errors.ConfigurationError(
            f"{path} belongs to user {user_name(state.st_uid)}, not to you: remove it, or name another directory."
        )
    return state.st_mode


def _set_mode(path: Path, mode: int) -> None:
    try:
        path.chmod(mode)
    except OSError as error:
        log.info("%s keeps its mode: %s", path, error.strerror)  # a file system without modes


def _narrow(path: Path, mode: int) -> None:
    try:
        path.chmod(mode)
    except OSError as error:
        log.warning("%s is open to other users, and stays so: %s", path, error.strerror)
