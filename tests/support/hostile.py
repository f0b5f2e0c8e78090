"""Answers of a hostile Alyx, and what they may cost: the parts of its tests."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import zlib
from pathlib import Path

from small_alyx import identifiers, small_alyx

DEADLINE = 3.0
OPTIONS = ("--deadline", str(DEADLINE), "--time-to-live", "0", "--requests-per-minute", "100000")
LONGEST = DEADLINE + 5 + 2
"""Seconds: beyond the deadline of its requests an operation has KERNEL_GRACE; the rest is for a busy machine."""
MOST_MEMORY = 200 * 1024**2
MIB = 1024**2
IDS = identifiers(30)


@contextlib.contextmanager
def hostile_alyx():
    """A small Alyx whose answers can be replaced (``instead``); it has some records to read when it is good."""
    with small_alyx() as alyx:
        alyx.passwords["demo"] = "demo"
        paths = alyx.schema["paths"]
        for name in ("notes", "tasks"):
            paths = paths | {path.replace("sessions", name): paths[path] for path in paths if "sessions" in path}
        paths = paths | {path.replace("projects", "labs"): paths[path] for path in paths if "projects" in path}
        alyx.schema = {**alyx.schema, "paths": paths}
        alyx.lookups = alyx.lookups | {"labs": "name"}
        alyx.put("labs", [{"name": "lab"}])
        alyx.put("sessions", [{"id": each} for each in IDS])
        alyx.put("subjects", [{"nickname": "KS001"}])
        alyx.instead["/cache"] = (404, {"detail": "Not found."})
        yield alyx


@contextlib.contextmanager
def answering(alyx, answers):
    """Other answers for the time of the block, by the beginnings of paths."""
    before, alyx.instead = (
        alyx.instead,
        answers | {path: old for path, old in alyx.instead.items() if path not in answers},
    )
    try:
        yield
    finally:
        alyx.instead = before


def head(length=None, *, status=200, more=""):
    announced = "" if length is None else f"Content-Length: {length}\r\n"
    return f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{announced}{more}\r\n".encode()


def plain(body, **options):
    """An answer with this body."""
    return lambda connection, _: connection.write(head(len(body), **options) + body)


def endless(part, *, beginning=b"", announced=None, pause=0.0, most=3 * 1024**3):
    """Parts for as long as somebody listens."""

    def write(connection, _):
        connection.write(beginning or head(announced))
        for _ in range(most // len(part)):
            connection.write(part)
            connection.flush()
            if pause:
                time.sleep(pause)

    return write


def compressed_bomb(connection, _):
    """900 MB of zeros in 0.9 MB of gzip."""
    packer = zlib.compressobj(9, wbits=31)
    body = b"".join([packer.compress(b" " * MIB) for _ in range(900)] + [packer.flush()])
    connection.write(head(len(body), more="Content-Encoding: gzip\r\n") + body)


def deep(levels):
    return b"[" * levels + b"]" * levels


def page(rows, count=None, **more):
    return json.dumps({"count": len(rows) if count is None else count, "results": rows, **more}).encode()


def repeated(connection, path):
    """The same rows whatever is asked, and a next page that is this one."""
    rows = [{"id": each} for each in IDS]
    plain(page(rows, 10_000_000, next=path))(connection, path)


class PeakMemory:
    """The most that a drive and the processes it starts have in memory while the block lasts."""

    def __init__(self, drive):
        self._drive = drive
        self._ended = threading.Event()
        self.peak = self.idle = self._now()

    def __enter__(self):
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()

    @property
    def above_idle(self):
        return self.peak - self.idle

    def _watch(self):
        while not self._ended.wait(0.01):
            self.peak = max(self.peak, self._now())

    def _now(self):
        process = self._drive.process.pid
        tasks = Path(f"/proc/{process}/task")
        children = []
        with contextlib.suppress(OSError):
            for task in tasks.iterdir():
                children += (task / "children").read_text().split()
        return sum(map(resident, [process, *children]))


def resident(process):
    with contextlib.suppress(OSError, StopIteration):
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS:")).split()[1]) * 1024
    return 0


@contextlib.contextmanager
def bounded(drive, most=MOST_MEMORY):
    """Time and memory of what is done in the block, and a drive that lives afterwards."""
    began = time.monotonic()
    with PeakMemory(drive) as memory:
        yield
    took = time.monotonic() - began
    assert took < LONGEST, f"{took:.1f} s"
    assert memory.above_idle < most, f"{memory.above_idle / MIB:.0f} MiB above idle"
    assert drive.process.poll() is None
    status = json.loads((drive / ".alyxfs/status.json").read_bytes())
    assert status["defects"] == 0, status["last_defect"]
