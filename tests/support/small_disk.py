"""A disk of a few MiB, and how much of it was free at every moment."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def small_disk(place: Path, mebibytes: int) -> Iterator[Path]:
    """Mount one at ``place``; as root only, else the test is skipped."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True, timeout=30)


class Watch(threading.Thread):
    """Looks all the time how much of a disk is free."""

    def __init__(self, place: Path) -> None:
        super().__init__(daemon=True)
        self._place = place
        self._ended = threading.Event()
        self.least = 1.0
        """The smallest share so far."""

    def run(self) -> None:
        while not self._ended.is_set():
            disk = os.statvfs(self._place)
            self.least = min(self.least, disk.f_bavail / disk.f_blocks)

    def end(self) -> None:
        self._ended.set()
        self.join(10)


@contextlib.contextmanager
def watching(place: Path) -> Iterator[Watch]:
    watch = Watch(place)
    watch.start()
    try:
        yield watch
    finally:
        watch.end()
