"""Mounts for the tests: a drive in a process of its own, watched, bounded and always unmounted."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from forked import Forked, forked

if TYPE_CHECKING:
    from collections.abc import Iterator

forks = False
"""Whether drives are forked from a process that has imported what takes long, as in tests. Benchmarks start them as
users do."""
PATIENCE = 30.0
"""Seconds that anything in a test may take to come true."""

_TROUBLE = re.compile(r" (WARNING|ERROR|CRITICAL) |Traceback")


@dataclass
class Mounted:
    """A drive under test."""

    path: Path
    process: Forked | subprocess.Popen[str]
    log: list[str]

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def wait_for_log(self, text: str) -> None:
        """Until the daemon's log holds this text."""
        until(lambda: any(text in line for line in self.log), f"{text!r} in the log")

    def memory(self) -> int:
        """Resident bytes of the daemon."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) * 1024


def until(condition, what: str, patience: float = PATIENCE):
    """Wait until a condition holds; its value is returned. Fails the test when it does not come true."""
    ends = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < ends, f"never came true: {what}"
        time.sleep(0.01)


def failure_of_reading(path: Path) -> int:
    """The errno with which reading a file fails."""
    try:
        path.read_bytes()
    except OSError as error:
        return error.errno
    raise AssertionError(f"{path} can be read")


def environment(home: Path, **extra: str) -> dict[str, str]:
    """A user of one's own: no settings, caches or tokens of the person who runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ALYXFS_", "XDG_"))}
    return {**kept, "HOME": str(home), **extra}


def run_alyxfs(
    home: Path, *arguments: str, timeout: float = 60, typed: str = "", umask: int = -1, **extra: str
) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end; ``typed`` is its standard input."""
    return subprocess.run(
        [sys.executable, "-m", "alyxfs", *arguments],
        env=environment(home, **extra),
        input=typed,
        capture_output=True,
        text=True,
        timeout=timeout,
        umask=umask,
        check=False,
    )


@contextlib.contextmanager
def mounted(
    server: str,
    home: Path,
    *options: str,
    expected_trouble: str | None = None,
    directory: Path | None = None,
    umask: int = -1,
    only_directory: bool = False,
    **extra: str,
) -> Iterator[Mounted]:
    """Mount a server in front in a process of its own; afterwards the log must hold no unexpected warning.

    ``only_directory``: without naming it.
    """
    home.mkdir(exist_ok=True)
    path = directory or home / "drive"
    credentials = (
        {} if {"ALYXFS_TOKEN", "ALYXFS_USER"} & extra.keys() else {"ALYXFS_USER": "demo", "ALYXFS_PASSWORD": "demo"}
    )
    variables = environment(home, **credentials, **extra)
    arguments = ["mount", "-f", *options, *([] if only_directory else [server]), str(path)]
    # What is in PYTHONPATH is for the start of Python.
    is_forked = forks and "PYTHONPATH" not in extra
    process = (forked if is_forked else started)(arguments, variables, umask)
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(iter(process.stdout.readline, "")), daemon=True)
    reader.start()
    drive = Mounted(path, process, lines)
    try:
        until(lambda: process.poll() is not None or any("is mounted at" in line for line in lines), "the mount")
        assert process.poll() is None, "".join(lines)
        yield drive
    except BaseException:
        print(f"The log of the drive at {path}:", *lines, sep="\n")  # pytest shows both with the failure
        with contextlib.suppress(OSError):
            print((path / ".alyxfs" / "errors.log").read_text())
        raise
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        finally:
            subprocess.run(["umount", "-l", str(path)], capture_output=True, check=False)
            reader.join(PATIENCE)
            process.stdout.close()
    assert process.returncode == 0, "".join(lines)
    trouble = [line for line in lines if _TROUBLE.search(line)]
    if expected_trouble is not None:
        trouble = [line for line in trouble if not re.search(expected_trouble, line)]
    assert not trouble, "".join(trouble)


def started(arguments: list[str], variables: dict[str, str], umask: int = -1) -> subprocess.Popen[str]:
    """Run ``alyxfs`` with these arguments in a process from its beginning."""
    return subprocess.Popen(
        [sys.executable, "-m", "alyxfs", *arguments],
        env={**variables, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        umask=umask,
    )


@contextlib.contextmanager
def in_front(server: str, home: Path, *program: str, options: tuple[str, ...] = (), **credentials: str):
    """A drive whose process may die: the process and its place; ``program`` stands for ``-m alyxfs``."""
    path, output = home / "drive", home / "output"
    command = [sys.executable, *(program or ("-m", "alyxfs")), "mount", "-f", *options, server, str(path)]
    variables = environment(home, PYTHONUNBUFFERED="1", **credentials)
    with open(output, "w") as log:
        process = subprocess.Popen(command, env=variables, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        until(lambda: "is mounted at" in output.read_text() or process.poll() is not None, "the mount")
        assert process.poll() is None, output.read_text()
        yield process, path
    finally:
        process.kill()
        process.wait(10)
        subprocess.run(["umount", "-l", str(path)], capture_output=True, check=False)
