"""Folders on disks that cannot lock: who uses one has it alone.

exFAT and FAT are without hard links, NFS and Lustre at times without locks (``nolock`` servers, ``noflock`` mounts).
Where nothing can be locked, processes cannot share what they write; so a process claims a folder first, by what every
file system can do: make a file that is not there yet (``O_EXCL``).

A claim is a file ``owner-N`` that names its process; the one with the highest number counts. To take over what a dead
process left, the next number is made, which only one can; lower ones are removed, the highest never: who looked before
others took over and gave up would else begin again at a number that is free. A claim that was given up says so. All of
this waits for the disk: call it in a thread, or before anything else runs.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import mmap
import os
import platform
import re
import secrets
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alyxfs import errors
from alyxfs.private_files import make_folder, open_file
from alyxfs.processes import process_lives, this_process

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)

NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.ENODEV})
"""What a file system says that has no locks, or no memory that processes share (ENODEV, as SQLite needs it)."""
TRIES = 20
WRITING = 2.0
"""Seconds that another process may take between making its claim and writing its name into it."""

_OWNER = re.compile(r"owner-(\d{1,15})")
_RELEASED = "released"


class Claimed(errors.ConfigurationError):
    """Another process has the folder, or may have it."""


def why_unshared(folder: Path) -> str | None:
    """Why processes cannot share what they write in this folder, in the disk's words; None where they can.

    None, too, where nothing can be written at all. A trial that is sure: the locks that SQLite, too, needs are taken.
    """
    trial = folder / f"trial-{secrets.token_hex(8)}"
    try:
        descriptor = open_file(trial, os.O_RDWR | os.O_EXCL)
    except OSError:
        return None
    try:
        os.ftruncate(descriptor, mmap.PAGESIZE)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 1)
        mmap.mmap(descriptor, mmap.PAGESIZE).close()
    except OSError as error:
        return os.strerror(error.errno) if error.errno in NO_LOCKS else None
    finally:
        os.close(descriptor)
        with contextlib.suppress(OSError):
            trial.unlink()
    return None


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Have the folder, which is there, alone for as long as the block lasts, also where a dead process had it.

    Raises Claimed, or OSError as the disk does.
    """
    _mine[folder] = _claim(folder)
    try:
        yield
    finally:
        claim = _mine.pop(folder)
        try:
            if claim.exists():
                _write(claim, os.O_TRUNC, _RELEASED)
        except OSError as error:  # the next one finds out that this process has ended
            log.info("%s still names this process as its owner: %s", folder, error)


def is_mine(path: Path) -> bool:
    """Whether this process has claimed a folder that holds this path.

    Where somebody has removed the claim with all of the folder, it is claimed again.
    """
    folder = next((one for one in path.parents if one in _mine), None)
    if folder is None:
        return False
    with _claiming:
        if not _mine[folder].exists():
            try:
                make_folder(folder)
                _mine[folder] = _claim(folder)
            except (OSError, Claimed) as error:
                log.info("%s was removed, and cannot be claimed again: %s", folder, error)
                return False
    return True


_mine: dict[Path, Path] = {}
"""The folders that this process has, whatever part of it asks, with the file of the claim."""
_claiming = threading.Lock()


def _claim(folder: Path) -> Path:
    for _ in range(TRIES):
        newest = max(_numbers(folder), default=0)
        if newest and (owner := _living_owner(folder / f"owner-{newest}")):
            raise Claimed(f"{folder} is in use by {owner}, and the disk has no locks for sharing it.")
        mine = folder / f"owner-{newest + 1}"
        try:
            _write(mine, os.O_EXCL, json.dumps(_identity()))
        except FileExistsError:
            continue
        numbers = _numbers(folder)
        if max(numbers, default=0) > newest + 1:  # what was seen above was old
            mine.unlink(missing_ok=True)
            continue
        for number in numbers:
            if number <= newest:
                (folder / f"owner-{number}").unlink(missing_ok=True)
        return mine
    raise Claimed(f"{folder} is being taken by other processes all the time.")


def _numbers(folder: Path) -> list[int]:
    return [int(found.group(1)) for path in folder.iterdir() if (found := _OWNER.fullmatch(path.name))]


def _write(path: Path, flags: int, text: str) -> None:
    descriptor = open_file(path, os.O_WRONLY | flags)
    with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor has no path
        file.write(text)
        file.flush()
        os.fsync(descriptor)


def _identity() -> dict[str, str]:
    machine = platform.node()
    with contextlib.suppress(OSError):
        machine += " " + Path("/etc/machine-id").read_text(encoding="ascii").strip()
    return {"process": this_process(), "namespace": str(Path("/proc/self/ns/pid").readlink()), "machine": machine}


def _living_owner(claim: Path) -> str | None:
    """Who has the folder, or may have it, in words; None where that process has ended for sure."""
    ends = time.monotonic() + WRITING
    while True:
        try:
            text = claim.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return None
        try:
            owner: Any = None if text == _RELEASED else json.loads(text)
            process, namespace, machine = (str(owner[key]) for key in ("process", "namespace", "machine"))
        except (ValueError, TypeError, KeyError):
            if text == _RELEASED or time.monotonic() > ends:  # it ended while it wrote its name
                return None
            time.sleep(0.05)
            continue
        break
    mine = _identity()
    number = process.partition(" ")[0]
    if process.partition("@")[2] != mine["process"].partition("@")[2]:  # of another boot
        if machine == mine["machine"]:
            return None
        return f"process {number} of {machine.partition(' ')[0]} (if that has ended, remove {claim})"
    if namespace != mine["namespace"]:
        return f"process {number} of another container (if that has ended, remove {claim})"
    return f"process {number}" if process_lives(process) else None
