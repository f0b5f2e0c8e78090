"""Compressed recordings as raw files: the bytes of the format's own program, only the chunks that are needed."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import pytest

from alyxfs.demo.server import running_demo
from asking import Asking
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
    larger_demo.clear_requests()
    raw = next(folder / name for name in os.listdir(folder) if name.endswith(".bin"))
    assert to_files(larger_demo) == []
    assert os.stat(raw).st_size == len(decompressed)
    with open(raw, "rb", buffering=0) as file:
        middle = len(decompressed) // 2
        file.seek(middle)
        assert file.read(1000) == decompressed[middle : middle + 1000]
    fetched = [entry for entry in to_files(larger_demo) if entry["path"].split("?")[0].endswith(".cbin")]
    whole = next(folder.glob("*.cbin")).stat().st_size
    assert sum(entry["bytes"] for entry in fetched) < 0.6 * whole


def to_files(demo):
    return [entry for entry in demo.requests() if entry["path"].startswith("/data_files")]


@pytest.mark.parametrize("look", ["by its name alone", "after a listing", "ls -l", "find"])
def test_the_size_is_true_at_the_first_look_and_at_the_next_mount(larger_demo, home, decompressed, look):
    """Programs as spikeglx and phylib reckon with it: what is shown for a moment would cut the recording."""
    with mounted(larger_demo.url, home) as drive:
        raw = raw_file(larger_demo, drive)
        larger_demo.clear_requests()
        if look == "after a listing":
            assert raw.name in os.listdir(raw.parent)
        if look == "ls -l":
            lines = subprocess.run(["ls", "-l", raw.parent], capture_output=True, text=True, check=True).stdout
            assert str(len(decompressed)) in next(line for line in lines.splitlines() if line.endswith(".bin")).split()
        elif look == "find":
            found = subprocess.run(
                ["find", raw.parent, "-name", "*.bin", "-size", f"{len(decompressed)}c"],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            assert found.strip() == str(raw)
        else:
            assert os.stat(raw).st_size == len(decompressed)
        asked = to_files(larger_demo)
        assert [entry["path"].rpartition(".")[2] for entry in asked] == ["ch"], "the header, once"
    larger_demo.clear_requests()
    with mounted(larger_demo.url, home) as drive:
        assert os.stat(raw).st_size == len(decompressed)
        assert np.memmap(raw, np.int16, mode="r").nbytes == len(decompressed)
    assert to_files(larger_demo) == []


def raw_file(demo, drive):
    """The path of the raw recording, found out without a look at it."""
    asking = Asking(demo.url)
    session = next(row for row in asking.rows("/sessions?subject=KS001") if row["start_time"].startswith("2023-01-02"))
    names = [row["name"] for row in asking.rows(f"/datasets?session={session['id']}") if row["name"].endswith(".cbin")]
    return drive / SESSION / names[0].replace(".cbin", ".bin")


def test_headers_of_a_folder_are_fetched_together_and_what_has_none_is_not_shown(demo_directory, home):
    """A recording whose header is gone is no raw file: an error where it was listed, and then it is not listed.

    To look at them in the order of their names is no walk through the files, of which the next ones are fetched ahead.
    """
    with running_demo(demo_directory, largest_file_mb=2, control=True) as demo:
        asking = Asking(demo.url)
        session = next(
            row for row in asking.rows("/sessions?subject=KS001") if row["start_time"].startswith("2023-01-02")
        )
        made = [recording(asking, session, probe) for probe in range(1, 7)]
        with mounted(demo.url, home) as drive:
            folder = drive / SESSION
            whole = {name for name in os.listdir(folder) if name.endswith(".bin")}
            assert whole >= set(made)
            demo.clear_requests()
            demo.control(delay={"seconds": 0.5, "count": 100, "path_prefix": "/data_files"})
            began = time.monotonic()
            lost = {name for name in sorted(whole) if not os.path.exists(folder / name)}
            took = time.monotonic() - began
            assert lost == set(made)
            assert len(to_files(demo)) == len(whole)
            assert took < 0.5 * len(whole), "one after the other they take this long"
            assert {name for name in os.listdir(folder) if name.endswith(".bin")} == whole - lost
            with pytest.raises(OSError, match="No data available"):
                os.stat(folder / made[0])
            assert len(to_files(demo)) == len(whole), "for a while it is believed"


def recording(asking, session, number):
    """Register a compressed recording whose files are nowhere; return the name of its raw file."""
    name = f"_spikeglx_ephysData_g{number}_t0.imec.ap"
    for ending, kind in (("cbin", "ephysData.raw.ap"), ("ch", "ephysData.raw.ch")):
        fields = {"name": f"{name}.{ending}", "dataset_type": kind, "collection": "raw_ephys_data/probe00"}
        made = asking.send(
            "POST", "/datasets", {**fields, "session": session["url"], "file_size": 10, "hash": "0" * 32}
        )
        place = f"KS001/2023-01-02/001/raw_ephys_data/probe00/{name}.{ending}"
        record = {
            "dataset": made["url"],
            "data_repository": "flatiron_cortexlab",
            "relative_path": place,
            "exists": True,
        }
        asking.send("POST", "/files", record)
    return f"{name}.bin"


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
