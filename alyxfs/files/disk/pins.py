"""The marks of pinned files: what is kept, since when, and what it is called in which drive.

A mark is a small file of the same name as the cache file, in a directory of its own: a cache file may not be there yet,
and is made anew when its content changes, while the dataset stays pinned. Any file system can hold it, and every
process sees it at once. Whoever removes a mark unpins its file, nothing else.

Marks are replaced as a whole. Who writes one holds the lock of the cache directory (see eviction), so that a file that
is unpinned meanwhile is not pinned again. All of this waits for the disk: call it in a thread.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, NamedTuple

from alyxfs.files.disk import block_file
from alyxfs.private_files import make_folder, open_file

if TYPE_CHECKING:
    import pathlib

PINNED = "pinned"
"""Directory of the marks, in that of the cache."""


class Origin(NamedTuple):
    """Where a pinned file is found by people."""

    server: str
    """Address of its Alyx."""
    path: str
    """Below the root of that server's drive."""
    local: tuple[str, ...] = ()
    """Where the user may have it already, outside of the cache."""


class Pin(NamedTuple):
    """What a mark says."""

    size: int
    """Bytes of the whole file; 0 where it is not known."""
    pinned_at: float
    """Unix seconds."""
    origin: Origin | None = None
    """None for a mark that says no more than the size, as the first ones did."""


class KeptPin(NamedTuple):
    """A pin, and how much of its file is in the cache."""

    pin: Pin
    share: float
    """0 to 1."""


def is_pinned(path: pathlib.Path) -> bool:
    """Whether the cache file at this path is kept, or would be if it were there."""
    return _mark(path).exists()


def read(path: pathlib.Path) -> Pin | None:
    """What is noted of the cache file at this path; None where it is not pinned."""
    return _read(_mark(path))


def write(path: pathlib.Path, pin: Pin) -> None:
    """Mark the cache file at this path. Raises OSError as the disk does."""
    mark = _mark(path)
    make_folder(mark.parent)
    fields = {"size": pin.size, "pinned_at": pin.pinned_at}
    text = json.dumps(fields if pin.origin is None else fields | pin.origin._asdict())
    scratch = mark.parents[1] / "new"  # one is enough, under the lock; what a process left that died is overwritten
    descriptor = open_file(scratch, os.O_WRONLY | os.O_TRUNC)
    with open(descriptor, "w", encoding="ascii") as file:  # noqa: PTH123 - a descriptor has no path
        file.write(text)
    scratch.replace(mark)


def remove(path: pathlib.Path) -> bool:
    """Let the cache file at this path go with the others; return whether it was pinned. Raises OSError."""
    try:
        _mark(path).unlink()
    except FileNotFoundError:
        return False
    return True


def sizes(directory: pathlib.Path) -> list[int]:
    """Bytes of each pinned file in this cache directory."""
    return [pin.size for mark in (directory / PINNED).glob("*/*") if (pin := _read(mark))]


def kept(directory: pathlib.Path) -> list[KeptPin]:
    """All pinned files of this cache directory, the oldest pin first; those of one moment by their paths."""
    marks = (directory / PINNED).glob("*/*")
    found = [KeptPin(pin, _share(mark, pin)) for mark in marks if (pin := _read(mark))]
    return sorted(found, key=lambda one: (one.pin.pinned_at, one.pin.origin or Origin("", "")))


def _share(mark: pathlib.Path, pin: Pin) -> float:
    if pin.size == 0:
        return 1.0
    path = mark.parents[2] / "blocks-1" / mark.parent.name / mark.name
    with contextlib.suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            header = block_file.read_header(descriptor)
        finally:
            os.close(descriptor)
        if header is not None:
            return block_file.look(path, header.version)[0]
    return 0.0


def _read(mark: pathlib.Path) -> Pin | None:
    try:
        text, written_at = mark.read_bytes(), mark.stat().st_mtime
    except FileNotFoundError:
        return None
    try:
        fields = json.loads(text)
        if isinstance(fields, int):
            return Pin(fields, written_at)
        pin = Pin(int(fields["size"]), float(fields["pinned_at"]))
        if "path" in fields:
            origin = Origin(str(fields["server"]), str(fields["path"]), tuple(map(str, fields["local"])))
            pin = pin._replace(origin=origin)
    except (
        ValueError,
        KeyError,
        TypeError,
        OverflowError,
        RecursionError,
    ):  # cut off by a power failure: pinned all the same
        return Pin(0, written_at)
    return pin


def _mark(path: pathlib.Path) -> pathlib.Path:
    return path.parents[2] / PINNED / path.parent.name / path.name
