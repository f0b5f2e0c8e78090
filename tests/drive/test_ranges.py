"""What programs that read a data file whole, its beginning, or a part of it, cost: ranges and bytes, counted."""

from __future__ import annotations

import random
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from fault_server import FaultServer, File
from files_alyx import SESSION, TOKEN, files_alyx, md5, show
from mounted import mounted, until

KIB = 1024
MIB = 1024 * KIB
CONTENT = random.Random(1).randbytes(32 * MIB)
ARRAY = np.random.default_rng(1).random((64 * KIB, 32))
"""16 MiB, in rows of 256 bytes."""
HEADER = np.lib.format.magic(1, 0) + b"v\0" + repr(
    {"descr": "<f8", "fortran_order": False, "shape": ARRAY.shape}
).ljust(117).encode() + b"\n"  # fmt: skip
WHOLE = ("cat.bin", "cp.bin", "read.bin", "header.bin", "stopped.bin", "ended.bin")
MOST_WASTED = 41 * MIB
"""Bytes that a program which stops in the middle causes to be fetched in vain, at most, on whatever link; near, it is
less: see test_who_stops_has_wasted_no_more_than_is_said, of the decision alone."""


@pytest.fixture(scope="module")
def drive(tmp_path_factory):
    files = (
        dict.fromkeys(WHOLE, CONTENT)
        | {"stopped.bin": 2 * CONTENT}
        | dict.fromkeys(("first.npy", "middle.npy"), HEADER + ARRAY.tobytes())
    )
    with FaultServer({name: File(content) for name, content in files.items()}) as server, files_alyx() as alyx:
        described = {
            name: {"data_url": server.url(name), "file_size": len(content), "hash": md5(content)}
            for name, content in files.items()
        }
        show(alyx, described)
        with mounted(alyx.url, tmp_path_factory.mktemp("home"), **TOKEN) as mount:
            yield SimpleNamespace(folder=mount / SESSION, server=server)


def run(drive, *command):
    """Run a program to its end; its output, and what it cost since the last one: ranges and bytes."""
    drive.server.requests.clear()
    drive.server.sent = 0
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=60)
    return done.stdout


def python(drive, program, name):
    """Run a program in Python, of which ``path`` is the file and ``out`` takes bytes."""
    path = str(drive.folder / name)
    return run(drive, sys.executable, "-c", f"import sys; path = {path!r}; out = sys.stdout.buffer; {program}")


def test_a_file_of_32_mib_that_is_read_whole_costs_at_most_four_ranges(drive, tmp_path):
    ways = {
        "cat.bin": lambda: run(drive, "cat", drive.folder / "cat.bin"),
        "cp.bin": lambda: run(drive, "cp", drive.folder / "cp.bin", tmp_path / "copy"),
        "read.bin": lambda: python(drive, "out.write(open(path, 'rb').read())", "read.bin"),
    }
    for name, way in ways.items():
        found = way() or (tmp_path / "copy").read_bytes()
        assert found == CONTENT, name
        assert len(drive.server.requests) <= 4, (name, drive.server.ranges())
        assert drive.server.sent == len(CONTENT), name


def test_a_header_costs_a_header(drive):
    assert run(drive, "head", "-c", "16", drive.folder / "header.bin") == CONTENT[:16]
    assert drive.server.ranges() == ["bytes=0-32767"]


@pytest.mark.parametrize(("name", "row"), [("first.npy", 0), ("middle.npy", 30_000)])
def test_100_rows_of_a_mapped_array_cost_what_the_kernel_reads_around_them(drive, name, row):
    program = f"import numpy as np; out.write(np.load(path, mmap_mode='r')[{row}:{row + 100}].tobytes())"
    assert python(drive, program, name) == ARRAY[row : row + 100].tobytes()
    assert len(drive.server.requests) <= 4
    assert drive.server.sent <= 512 * KIB


def test_who_stops_in_the_middle_wastes_no_more_than_is_said(drive):
    found = python(drive, "f = open(path, 'rb'); out.write(b''.join(f.read(65536) for _ in range(32)))", "stopped.bin")
    assert found == CONTENT[: 2 * MIB]
    until(lambda: drive.server.open_requests == 0, "the end of what was asked for")
    assert drive.server.sent <= 2 * MIB + MOST_WASTED


def test_what_nobody_wants_any_more_is_ended_and_what_came_of_it_is_kept(drive):
    drive.server.bytes_per_second = 2 * MIB
    try:
        run(drive, "head", "-c", str(MIB), drive.folder / "ended.bin")
        until(lambda: drive.server.open_requests == 0, "the end of what was asked for")
        assert drive.server.sent < 7 * MIB, "of the 8 MiB or more that were asked for"
    finally:
        drive.server.bytes_per_second = None
    program = "import os; f = os.open(path, 0); os.posix_fadvise(f, 0, 0, os.POSIX_FADV_DONTNEED)"
    assert (
        python(drive, f"{program}; out.write(os.pread(f, 65536, 512 * 1024))", "ended.bin")
        == CONTENT[512 * KIB : 576 * KIB]
    )
    assert drive.server.requests == []
