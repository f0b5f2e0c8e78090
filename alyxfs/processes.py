"""Which process is which: for what outlives it and names it."""

from __future__ import annotations

import os
import pathlib


def this_process() -> str:
    """A name of this process that no other one has had or will have on this machine."""
    return f"{os.getpid()} {_started(os.getpid())}"


def process_lives(process: str) -> bool:
    """Whether the process that :func:`this_process` named is still there."""
    identifier, _, started = process.partition(" ")
    return bool(started) and _started(int(identifier)) == started


def program_name(process: int) -> str:
    """The name of its program, as far as the kernel keeps it (proc_pid_comm(5)); empty where it is gone, or hidden."""
    try:
        return pathlib.Path(f"/proc/{process}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _started(identifier: int) -> str:
    """When the process was started: clock ticks since the boot, and which boot (proc(5)); empty where it is gone."""
    try:
        statistics = pathlib.Path(f"/proc/{identifier}/stat").read_text()
        boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    # The name in parentheses may hold anything; state is the field after it and the start is the twenty-second in all.
    after_name = statistics.rpartition(")")[2].split()
    return "" if after_name[0] in "ZX" else f"{after_name[19]}@{boot}"
