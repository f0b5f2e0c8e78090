"""A program of its own that maps a file: what it is told to read it reads from memory, and it may die of that."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PROGRAM = """
import mmap, os, sys
descriptor = os.open(sys.argv[1], os.O_RDONLY)
with mmap.mmap(descriptor, 0, prot=mmap.PROT_READ, flags=mmap.MAP_SHARED) as memory:
    print(len(memory), flush=True)
    for line in sys.stdin:
        start, end = map(int, line.split())
        print(memory[start:end].hex(), flush=True)
"""


class Mapping:
    """A file in the memory of another process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.size = int(process.stdout.readline())

    @property
    def is_alive(self) -> bool:
        """Whether the program has not died."""
        return self._process.poll() is None

    def read(self, start: int, end: int) -> bytes | None:
        """These bytes; None where the program died of SIGBUS, as of memory that cannot be read."""
        if self.is_alive:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(f"{start} {end}\n")
                self._process.stdin.flush()
            line = self._process.stdout.readline()
            if line:
                return bytes.fromhex(line)
        assert self._process.wait(10) == -signal.SIGBUS
        return None


@contextlib.contextmanager
def mapped(path: Path) -> Iterator[Mapping]:
    """Map a file for as long as the block lasts."""
    command = [sys.executable, "-c", _PROGRAM, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Mapping(process)
        finally:
            process.kill()
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
