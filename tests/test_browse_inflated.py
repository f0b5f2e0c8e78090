"""Compressed recordings as raw files: the bytes of the format's own program, only the chunks that are needed."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from alyxfs.demo.server import running_demo
from mounted import mounted

SESSION = "data/cortexlab/Subjects/KS001/2023-01-02/001/raw_ephys_data/probe00"


@pytest.fixture(scope="module")
def larger_demo(tmp_path_factory):
    """A demo whose recording has several chunks."""
    with running_demo(tmp_path_factory.mktemp("larger"), largest_file_mb=16) as running:
        yield running


@pytest.fixture(scope="module")
def drive(larger_demo, tmp_path_factory):
    with mounted(larger_demo.url, tmp_path_factory.mktemp("inflated") / "home") as drive:
        yield drive


@pytest.fixture(scope="module")
def decompressed(larger_demo, tmp_path_factory):
    """What mtscomp itself makes of the recording."""
    with mounted(larger_demo.url, tmp_path_factory.mktemp("compressed") / "home") as drive:
        return _decompressed(drive / SESSION, tmp_path_factory)


def _decompressed(folder, tmp_path_factory):
    compressed = next(folder.glob("*.cbin"))
    out = tmp_path_factory.mktemp("raw") / "x.bin"
    program = "import sys, mtscomp; mtscomp.decompress(*sys.argv[1:3], out=sys.argv[3], quiet=True)"
    files = [str(compressed), str(compressed.with_suffix(".ch")), str(out)]
    # In a process of its own: the reader keeps the files open for as long as it likes.
    subprocess.run([sys.executable, "-c", program, *files], check=True, timeout=60)
    return out.read_bytes()


def test_a_piece_costs_its_chunks_and_a_listing_nothing(larger_demo, drive, decompressed):
    folder = drive / SESSION
    raw = next(folder / name for name in os.listdir(folder) if name.endswith(".bin"))
    larger_demo.clear_requests()
    os.stat(raw)
    assert not [entry for entry in larger_demo.requests() if entry["path"].startswith("/data_files")]
    with open(raw, "rb", buffering=0) as file:
        assert os.fstat(file.fileno()).st_size == len(decompressed)
        middle = len(decompressed) // 2
        file.seek(middle)
        assert file.read(1000) == decompressed[middle : middle + 1000]
    fetched = [entry for entry in larger_demo.requests() if entry["path"].split("?")[0].endswith(".cbin")]
    whole = next(folder.glob("*.cbin")).stat().st_size
    assert sum(entry["bytes"] for entry in fetched) < 0.6 * whole


def test_the_raw_file_is_listed_and_byte_exact(drive, decompressed):
    folder = drive / SESSION
    names = os.listdir(folder)
    raw = next(folder / name for name in names if name.endswith(".bin"))
    assert raw.name.replace(".bin", ".cbin") in names
    assert raw.read_bytes() == decompressed
    assert raw.stat().st_size == len(decompressed)
    samples = np.memmap(raw, np.int16, mode="r")
    assert (samples == np.frombuffer(decompressed, np.int16)).all()


def test_an_option_hides_them(demo, home):
    with mounted(demo.url, home, "--hide-inflated") as drive:
        assert not [name for name in os.listdir(drive / SESSION) if name.endswith(".bin")]
