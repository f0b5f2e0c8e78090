"""Which program asks: the kernel names threads."""

from __future__ import annotations

import os

from cachetools import TTLCache

BELIEVED = 0.5
"""Seconds for which it is not asked again which process a thread belongs to: no number is given to another one so soon.
To ask takes some 0.1 ms, most of it waiting for Python's lock while others are at work."""
LONGEST_STATUS = 16 * 1024
"""Bytes of what /proc tells of a process; the lines that matter here are the first ones."""
MOST_WAYS = 5
"""Times that the way upwards from a process is gone: again only where one on it has ended meanwhile."""

_processes: TTLCache[int, int] = TTLCache(1000, BELIEVED)
"""By thread."""


def process_of(thread: int) -> int:
    """The process of a thread: the kernel tells which thread asks (Tgid in proc_pid_status(5))."""
    process = _processes.get(thread) or _field(thread, b"Tgid:")
    if process is None:
        return thread  # it has ended already
    if thread not in _processes:
        _processes[thread] = process
    return process


def parent_of(process: int) -> int:
    """The process that started it; 0 where either is gone."""
    return _field(process, b"PPid:") or 0


def is_descendant(process: int, ancestor: int) -> bool:
    """Whether a program was started by another one, or by one that it started: it may have inherited its files.

    Where one on the way upwards ends while we look, those that it started have another parent by then
    (forget_original_parent in kernel/exit.c of Linux), and the way is gone again.
    """
    for _ in range(MOST_WAYS):
        above: int | None = process
        while above is not None and above > 1 and above != ancestor:
            above = _field(above, b"PPid:")
        if above is not None:
            return above == ancestor
    return False


def is_there(process: int) -> bool:
    """Whether a process has not ended yet."""
    return _field(process, b"Tgid:") is not None


def _field(process: int, name: bytes) -> int | None:
    """A number in what /proc tells of a process; None where it is gone."""
    try:
        # Python's open() calls the system three times more.
        descriptor = os.open(f"/proc/{process}/status", os.O_RDONLY | os.O_CLOEXEC)
        try:
            text = os.read(descriptor, LONGEST_STATUS)
        finally:
            os.close(descriptor)
        return int(text.partition(b"\n" + name)[2].split(maxsplit=1)[0])
    except (OSError, ValueError, IndexError):
        return None
