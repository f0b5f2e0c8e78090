"""The drive and its peers. Each is mounted afresh for a sample, with nothing in its cache, and unmounted after it.

Peers are used where they are installed: ``apt-get install rclone httpdirfs nginx-light curl``, and
``pip install "alyxfs[bench]"`` for fsspec's FUSE (with libfuse2). They are used as they come; rclone and httpdirfs
with a disk cache, as the drive has one, and rclone also without.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import machine
from benchmarks.datafiles import LARGE, small_name
from benchmarks.library import TOKEN, place
from mounted import mounted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.server import FileServer

MEMORY = Path("/dev/shm")
"""A tmpfs."""
PATIENCE = 20.0
"""Seconds for a peer to mount or unmount."""
LONGEST_SAMPLE = 300.0
"""Seconds after which a sample is given up: its peer is killed, and reads of it fail."""
SETTLED = 0.3
"""Seconds without use of CPU after which a peer has ended what it does in the background."""

DRIVE = "alyxfs"
RAISED = "alyxfs, read-ahead raised"
RCLONE_FULL = "rclone (full)"
RCLONE_OFF = "rclone (off)"
HTTPDIRFS = "httpdirfs"
FSSPEC = "fsspec"
CURL = "curl"
LOCAL = "local file"
"""A copy of the large file on the disk where the peers have their caches."""

LOCAL_PAGES = "local, 4 KiB pages"
"""The same in memory (tmpfs), where the kernel's page cache has pages of 4 KiB, as it has for every FUSE mount."""
BARE = "pyfuse3 alone"
"""A drive that only answers, from the local file: see bare.py."""
BARE_WEB = "pyfuse3 and httpx alone"
"""A drive that only asks, for small files as a whole: see bare_web.py."""

PEERS = (DRIVE, RAISED, RCLONE_FULL, RCLONE_OFF, HTTPDIRFS, FSSPEC, CURL, LOCAL, LOCAL_PAGES, BARE, BARE_WEB)
"""In the order in which they are told of."""

HOW_TO_GET = {
    RAISED: "the kernel's read-ahead of a mount is root's to set.",
    RCLONE_FULL: "apt-get install rclone",
    RCLONE_OFF: "apt-get install rclone",
    HTTPDIRFS: "apt-get install httpdirfs",
    FSSPEC: 'pip install "alyxfs[bench]" and apt-get install libfuse2',
    CURL: "apt-get install curl",
}

_FSSPEC_PROGRAM = """
import sys
from fsspec.fuse import run
from fsspec.implementations.http import HTTPFileSystem

class Files(HTTPFileSystem):
    async def _info(self, path, **options):
        if path.count("/") < 3 or "." not in path.rpartition("/")[2]:
            return {"name": path, "size": 0, "type": "directory"}
        return await super()._info(path, **options)

run(Files(), sys.argv[1], sys.argv[2], foreground=True)
"""
"""fsspec takes every address for a file; here those without an extension are directories, at no request.
Without its threads, as is its default: with them, several reads of a file give each other's bytes."""


class SampleError(Exception):
    """A sample came to nothing; the text says why."""


@dataclass(frozen=True)
class Service:
    """What peers are pointed at."""

    server: FileServer
    library: str
    """Address of the Alyx that lists the server's files."""
    scratch: Path


@dataclass
class Mount:
    """A peer that is ready to be read."""

    peer: str
    root: Path
    """Holds the files by the paths that the server has."""
    process: int | None
    """Id of the process whose CPU and memory count; None for the local file."""

    def settle(self) -> None:
        """Wait until the peer does nothing in the background any more."""
        if self.process is None:
            return
        ends = time.monotonic() + PATIENCE
        while time.monotonic() < ends:
            with machine.cost_of(self.process) as cost:
                time.sleep(SETTLED)
            if cost.seconds <= SETTLED / 10:
                return


def installed() -> list[str]:
    """The peers that can be measured here, the drive first."""
    needs = {
        DRIVE: True,
        RAISED: machine.can_raise_read_ahead(),
        RCLONE_FULL: shutil.which("rclone"),
        RCLONE_OFF: shutil.which("rclone"),
        HTTPDIRFS: shutil.which("httpdirfs"),
        FSSPEC: all(importlib.util.find_spec(name) for name in ("fsspec", "fuse", "aiohttp")),
        CURL: shutil.which("curl"),
        LOCAL: True,
        LOCAL_PAGES: os.access(MEMORY, os.W_OK),
        BARE: True,
        BARE_WEB: True,
    }
    return [peer for peer, is_there in needs.items() if is_there]


@contextlib.contextmanager
def mount(peer: str, service: Service, way: str) -> Iterator[Mount]:
    """Mount a peer at one way to the file server. Raises SampleError where that fails."""
    home = service.scratch / "peer"
    home.mkdir()
    try:
        if peer == LOCAL:
            # A copy as fresh as what peers write: on a virtual machine, an older file may be slower to read from disk.
            (home / LARGE).parent.mkdir()
            shutil.copyfile(service.server.root / LARGE, home / LARGE)
            yield Mount(peer, home, None)
        elif peer == LOCAL_PAGES:
            with tempfile.TemporaryDirectory(prefix="alyxfs-bench-", dir=MEMORY) as memory:
                target = Path(memory) / LARGE
                target.parent.mkdir()
                shutil.copyfile(service.server.root / LARGE, target)
                yield Mount(peer, Path(memory), None)
        elif peer in {DRIVE, RAISED}:
            with _drive(service, home, way, is_raised=peer == RAISED) as found:
                yield found
        else:
            with _other(peer, service, home, way) as found:
                yield found
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def _drive(service: Service, home: Path, way: str, *, is_raised: bool) -> Iterator[Mount]:
    extra = {"ALYXFS_TOKEN": TOKEN, "SSL_CERT_FILE": str(service.server.certificate)}
    try:
        with mounted(service.library, home, **extra) as drive:
            if is_raised:
                machine.raise_read_ahead(drive.path)
            with _watched(drive.process):
                yield Mount(RAISED if is_raised else DRIVE, drive / place(way), drive.process.pid)
    except AssertionError as error:  # what the tests' mount says of a drive that does not start, or logs trouble
        raise SampleError(f"the drive was not well: {error}") from error


@contextlib.contextmanager
def _other(peer: str, service: Service, home: Path, way: str) -> Iterator[Mount]:
    point = home / "mount"
    point.mkdir()
    (home / "cache").mkdir()
    log = home / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            _COMMANDS[peer](service, home, service.server.addresses[way], point),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "HOME": str(home)},
        )
        try:
            _wait_until(lambda: _is_mount(point) or process.poll() is not None)
            if not _is_mount(point):
                raise SampleError(f"{peer} does not mount: {log.read_text(errors='replace')[-300:]}")
            with _watched(process):
                yield Mount(peer, point, process.pid)
        finally:
            _end(process, point)


def _end(process: subprocess.Popen[bytes], point: Path) -> None:
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for command in (["fusermount", "-uz"], ["umount", "-l"]):
        if _is_mount(point) and shutil.which(command[0]):
            subprocess.run([*command, str(point)], capture_output=True, check=False, timeout=PATIENCE)


@contextlib.contextmanager
def _watched(process: subprocess.Popen) -> Iterator[None]:
    """Kill a peer that takes too long: the kernel then fails what waits for it."""
    watchdog = threading.Timer(LONGEST_SAMPLE, process.kill)
    watchdog.start()
    try:
        yield
    except OSError as error:
        if not watchdog.is_alive():
            raise SampleError(f"given up after {LONGEST_SAMPLE:g} s") from error
        raise SampleError(f"{type(error).__name__}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise SampleError(str(error)) from error
    finally:
        watchdog.cancel()


def _is_mount(point: Path) -> bool:
    """Whether something is mounted here; asks the kernel's table, not the mount, which may be broken."""
    return f" {point} " in Path("/proc/self/mounts").read_text(encoding="utf-8")


def _wait_until(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < ends:
        time.sleep(0.02)


def _rclone(mode: str) -> Callable[[Service, Path, str, Path], list[str]]:
    def command(service: Service, home: Path, address: str, point: Path) -> list[str]:
        options = ["--config", "", "--http-url", address, "--cache-dir", str(home / "cache"), "--vfs-cache-mode", mode]
        return ["rclone", "mount", *options, "--ca-cert", str(service.server.certificate), ":http:", str(point)]

    return command


_COMMANDS: dict[str, Callable[[Service, Path, str, Path], list[str]]] = {
    RCLONE_FULL: _rclone("full"),
    RCLONE_OFF: _rclone("off"),
    HTTPDIRFS: lambda _, home, address, point: [
        "httpdirfs", "-f", "--no-range-check", "--cache", "--cache-location", str(home / "cache"), address, str(point),
    ],
    BARE: lambda service, _home, _address, point: [
        sys.executable, str(Path(__file__).with_name("bare.py")), str(service.server.root / LARGE), str(point),
    ],
    BARE_WEB: lambda service, _home, address, point: [
        sys.executable, str(Path(__file__).with_name("bare_web.py")),
        str(service.server.root / small_name(0).rpartition("/")[0]), address, str(point),
    ],
    FSSPEC: lambda _service, _home, address, point: [sys.executable, "-c", _FSSPEC_PROGRAM, address, str(point)],
}  # fmt: skip


def download(service: Service, way: str, path: str) -> tuple[float, float]:
    """Have curl write a file to disk; return its seconds and its CPU seconds."""
    target = service.scratch / "downloaded"
    command = ["curl", "-sSf", "--cacert", str(service.server.certificate), "-o", str(target)]
    try:
        with machine.cost_of(None) as cost:
            started = time.monotonic()
            subprocess.run(
                [*command, service.server.addresses[way] + path],
                check=True,
                capture_output=True,
                timeout=LONGEST_SAMPLE,
            )
            seconds = time.monotonic() - started
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise SampleError(f"curl: {error}") from error
    finally:
        target.unlink(missing_ok=True)
    return seconds, cost.seconds
