"""Drives started from a process that has imported already what takes longest, as a test run starts hundreds of them.

Each is a process of its own, as if it had been started from the command line: with its own environment, arguments and
output. What an import reads of the environment is imported in it (see PRELOADED).
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from dataclasses import dataclass
from multiprocessing import reduction
from typing import TYPE_CHECKING, TextIO
from unittest import mock

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess

PRELOADED = ["click", "alyxfs.kernel", "alyxfs.tree", "alyxfs.edits", "alyxfs.control", "alyxfs.alyx.metadata.cache"]
"""Half of a second of CPU; none of them looks at the environment, as ``alyxfs.settings`` and ``alyxfs.mount`` do."""

ALLOCATOR = {"PYTHONMALLOC": "malloc"}
"""That of a drive, which starts itself anew with this variable where it is missing (see ``alyxfs.cli.allocator``)."""

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(PRELOADED)


class _Descriptor:
    """Goes to the new process, as multiprocessing hands over what it knows."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __reduce__(self):
        return _detached, (reduction.DupFd(self._number),)


def _detached(received) -> int:
    return received.detach()


@dataclass
class Forked:
    """As much of ``subprocess.Popen`` as the tests need."""

    process: ForkServerProcess
    stdout: TextIO

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired("alyxfs", timeout)
        return self.process.exitcode

    def terminate(self) -> None:
        self.process.terminate()

    def kill(self) -> None:
        self.process.kill()


def forked(arguments: list[str], environment: dict[str, str], umask: int = -1) -> Forked:
    """Run ``alyxfs`` with these arguments in a new process."""
    reading, writing = os.pipe()
    process = _context.Process(target=_run, args=(arguments, environment, umask, os.getcwd(), _Descriptor(writing)))
    this_program = vars(sys.modules["__main__"])
    try:
        # Else the new process would import it, too.
        with mock.patch.dict(this_program, {"__spec__": None}), mock.patch.dict(os.environ, ALLOCATOR):
            this_program.pop("__file__", None)
            process.start()
    finally:
        os.close(writing)
    return Forked(process, os.fdopen(reading, encoding="utf-8"))


def _run(arguments: list[str], environment: dict[str, str], umask: int, directory: str, output: int) -> None:
    os.environ.clear()
    os.environ.update(environment | ALLOCATOR)
    os.chdir(directory)
    if umask != -1:
        os.umask(umask)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    for descriptor in {nothing, output} - {0, 1, 2}:
        os.close(descriptor)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w", buffering=1), open(2, "w", buffering=1)  # noqa: SIM115
    sys.argv = ["alyxfs", *arguments]
    from alyxfs.cli import main  # which reads the environment as it is imported

    main()
