"""What /proc tells of other processes."""

from __future__ import annotations

import contextlib
from pathlib import Path


def is_running(process: int) -> bool:
    """A process that has ended may wait for its parent to notice: it counts as ended."""
    try:
        return Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children(process: int) -> list[int]:
    """Its child processes; none where it has ended."""
    found = []
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, path.read_text().split())
    return found


def is_notifying(process: int) -> bool:
    """Whether one of its threads is inside a notification of the kernel (as root only, see proc_pid_stack(5))."""
    for path in Path(f"/proc/{process}/task").glob("*/stack"):
        try:
            if "fuse_reverse_inval" in path.read_text() or "fuse_notify" in path.read_text():
                return True
        except OSError:
            continue
    return False
