"""Which program asks: the kernel names threads."""

from __future__ import annotations


def process_of(thread: int) -> int:
    """The process of a thread: the kernel tells which thread asks (Tgid in proc_pid_status(5))."""
    return _field(thread, b"Tgid:") or thread  # it has ended already


def parent_of(process: int) -> int:
    """The process that started it; 0 where either is gone."""
    return _field(process, b"PPid:")


def is_descendant(process: int, ancestor: int) -> bool:
    """Whether a program was started by another one, or by one that it started: it may have inherited its files."""
    while process > 1 and process != ancestor:
        process = parent_of(process)
    return process == ancestor


def is_there(process: int) -> bool:
    """Whether a process has not ended yet."""
    return _field(process, b"Tgid:") != 0


def _field(process: int, name: bytes) -> int:
    """A number in what /proc tells of a process; 0 where it is gone."""
    try:
        with open(f"/proc/{process}/status", "rb") as file:  # noqa: PTH123 - once for every open, no path arithmetic
            for line in file:
                if line.startswith(name):
                    return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return 0
