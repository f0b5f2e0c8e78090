"""What of this machine is measured or set: page cache, kernel read-ahead, processes, and its description."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DROP_CACHES = Path("/proc/sys/vm/drop_caches")
CONNECTIONS = Path("/sys/fs/fuse/connections")
RAISED_KB = 1024
"""KiB that the kernel reads ahead where it was raised."""
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Cost:
    """What a process used while a block ran."""

    seconds: float = 0.0
    """Of CPU, user and system."""


@contextlib.contextmanager
def cost_of(process: int | None) -> Iterator[Cost]:
    """The CPU time of one process (None: of this one's children that have ended) while the block runs."""
    cost = Cost()
    before = cpu_seconds(process)
    try:
        yield cost
    finally:
        cost.seconds = cpu_seconds(process) - before


def run_timed(command: Sequence[str], patience: float) -> None:
    """Run a program whose time is taken; raises what subprocess.run does where it fails or needs more than this.

    With a pipe its end is seen at once. Without one Python, which is to wait for no longer than this, looks for it
    after 0.5, 1.5, 3.5 … 113.5 and 163.5 ms, and every 50 ms from there on.
    """
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True, timeout=patience)


def cpu_seconds(process: int | None) -> float:
    """The CPU time of one process (None: of this one's children that have ended) so far."""
    if process is None:
        times = os.times()
        return times.children_user + times.children_system
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS  # utime and stime, proc(5)


def peak_memory(process: int) -> int:
    """The most bytes of memory that the process has had; 0 where it has ended."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0)


def can_drop_page_cache() -> bool:
    """Whether the page cache can be dropped, which takes root."""
    return os.access(DROP_CACHES, os.W_OK)


def drop_page_cache() -> None:
    """Forget all file contents that are in memory and on disk."""
    os.sync()
    DROP_CACHES.write_text("1", encoding="utf-8")


@contextlib.contextmanager
def control_filesystem() -> Iterator[None]:
    """The kernel's directory of FUSE connections, which systemd mounts, also where it does not run; needs root."""
    if os.geteuid() != 0 or not CONNECTIONS.is_dir() or os.path.ismount(CONNECTIONS):
        yield
        return
    subprocess.run(["mount", "-t", "fusectl", "none", str(CONNECTIONS)], check=True, timeout=10)
    try:
        yield
    finally:
        subprocess.run(["umount", str(CONNECTIONS)], check=True, timeout=10)


def raise_read_ahead(mount: Path) -> None:
    """Let the kernel read RAISED_KB ahead on this mount. Raises PermissionError without root."""
    _read_ahead(mount).write_text(str(RAISED_KB), encoding="utf-8")


def can_raise_read_ahead() -> bool:
    """Whether the kernel's read-ahead of a mount can be set."""
    return os.geteuid() == 0 and os.access("/sys/class/bdi", os.W_OK)


def _read_ahead(mount: Path) -> Path:
    device = mount.stat().st_dev
    return Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb")


def description() -> dict[str, Any]:
    """What a reader of the results needs to know of where they come from."""
    processor = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "unknown"
    )
    memory = next((int(line.split()[1]) // 1024**2 for line in _lines("/proc/meminfo") if "MemTotal" in line), 0)
    programs = {
        "nginx": ["nginx", "-v"],
        "curl": ["curl", "--version"],
        "rclone": ["rclone", "version"],
        "httpdirfs": ["httpdirfs", "--version"],
    }
    return {
        "date": dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": processor,
        "cores": os.cpu_count(),
        "memory_gib": memory,
        "load_before": os.getloadavg()[0],
        "kernel": platform.release(),
        "python": platform.python_version(),
        "alyxfs": _commit(),
        "versions": {name: _first_line(command) for name, command in programs.items() if shutil.which(command[0])},
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines()


def _first_line(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    return ((done.stdout or done.stderr).splitlines() or ["unknown"])[0]


def _commit() -> str:
    """The version of alyxfs, with the commit it was run from where that is known."""
    from alyxfs import __version__  # noqa: PLC0415 - the peers' modules need it not

    directory = Path(__file__).resolve().parent
    command = ["git", "-C", str(directory), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except FileNotFoundError:
        return __version__
    return f"{__version__} {done.stdout.strip()}".strip()


if sys.platform != "linux":
    raise ImportError("The benchmark reads /proc and needs Linux.")
