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

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 30.0
"""Seconds that anything in a test may take to come true."""

_TROUBLE = re.compile(r" (WARNING|ERROR|CRITICAL) |Traceback")


@dataclass
class Mounted:
    """A drive under test."""

    path: Path
    process: subprocess.Popen[str]
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


def environment(home: Path, **extra: str) -> dict[str, str]:
    """A user of one's own: no settings, caches or tokens of the person who runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ALYXFS_", "XDG_"))}
    return {**kept, "HOME": str(home), **extra}


def run_alyxfs(home: Path, *arguments: str, timeout: float = 60, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    return subprocess.run(
        [sys.executable, "-m", "alyxfs", *arguments],
        env=environment(home, **extra),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@contextlib.contextmanager
def mounted(
    server: str,
    home: Path,
    *options: str,
    expected_trouble: str | None = None,
    directory: Path | None = None,
    **extra: str,
) -> Iterator[Mounted]:
    """Mount a server in front in a process of its own; afterwards the log must hold no unexpected warning."""
    home.mkdir(exist_ok=True)
    path = directory or home / "drive"
    credentials = (
        {} if {"ALYXFS_TOKEN", "ALYXFS_USER"} & extra.keys() else {"ALYXFS_USER": "demo", "ALYXFS_PASSWORD": "demo"}
    )
    command = [sys.executable, "-m", "alyxfs", "mount", "-f", *options, server, str(path)]
    process = subprocess.Popen(
        command,
        env=environment(home, PYTHONUNBUFFERED="1", **credentials, **extra),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
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
