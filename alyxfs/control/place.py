"""Where a drive's socket stands: in a folder that nobody but its owner can enter, whose path is short enough."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from alyxfs.private_files import FOLDER_MODE, make_folder
from alyxfs.scratch_folders import scratch_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LONGEST_ADDRESS = 107
"""Bytes of the path of a socket (sun_path in unix(7), without the zero at its end)."""
SHARED = Path("/tmp")  # noqa: S108 - what is made in it is checked, and has a name that nobody can foresee if need be
"""For folders of one's own where there is none for the session: TMPDIR may be too long for a socket."""
_ENDING = ".control"


@contextlib.contextmanager
def socket_place(environment: Mapping[str, str] = os.environ) -> Iterator[Path]:
    """Where to make the socket of this process, in a private folder; it is removed at the end of the block.

    Those that drives which were killed left there go, too.
    """
    with contextlib.ExitStack() as stack:
        name = f"{os.getpid()}{_ENDING}"
        places = [folder / name for folder in _candidates(environment)]
        usable = (place for place in places if len(os.fsencode(place)) <= LONGEST_ADDRESS and _is_ours(place.parent))
        place = next(usable, None)
        if place is None:  # somebody was there first
            place = stack.enter_context(scratch_folder("alyxfs-control-", SHARED)) / name
        _remove_dead(place.parent)
        try:
            yield place
        finally:
            place.unlink(missing_ok=True)


def _remove_dead(folder: Path) -> None:
    """Remove sockets of processes that have ended: nobody has their number, here or in a container, nor listens."""
    for path in folder.glob(f"*{_ENDING}"):
        with contextlib.suppress(OSError, ValueError):
            if not Path(f"/proc/{int(path.stem)}").exists() and not _listens(path):
                path.unlink()


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.setblocking(False)
        try:
            connection.connect(str(path))
        except ConnectionRefusedError:
            return False
        except OSError:  # as of one that has no time for us
            pass
    return True


def _candidates(environment: Mapping[str, str]) -> Iterator[Path]:
    session = Path(environment.get("XDG_RUNTIME_DIR", ""))
    if session.is_absolute() and _is_ours(session, make=False):
        yield session / "alyxfs"
    yield SHARED / f"alyxfs-{os.geteuid()}"


def _is_ours(folder: Path, *, make: bool = True) -> bool:
    """Whether this is a folder that its owner, we, can enter alone; it is made if missing."""
    try:
        if make:
            make_folder(folder)
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) == FOLDER_MODE
