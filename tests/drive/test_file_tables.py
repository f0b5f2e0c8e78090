"""All files below a directory of `data/` as one table: `.files.tsv` and `.files.parquet`."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from alyxfs.alyx.datasets.cache_tables import read_tables
from alyxfs.alyx.datasets.delta import Delta
from alyxfs.alyx.datasets.file_table import FileRow, KnownFiles, batch_of_rows, rows_of_folders, tab_separated
from alyxfs.alyx.datasets.layout import DataFile, SessionPlace, by_folder
from mounted import mounted
from other_python import WITHOUT_PYARROW, python_with

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from benchmarks import filetables

SESSION = "cortexlab/Subjects/KS001/2023-01-02/001"
MADE_BY_THE_SERVER = {"sessions.pqt", "datasets.pqt"}


@pytest.fixture(scope="module")
def drive(demo, tmp_path_factory):
    """Without what is shown inflated: these are files of the drive, and no datasets."""
    with mounted(demo.url, tmp_path_factory.mktemp("files") / "home", "--hide-inflated") as drive:
        yield drive


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.fixture(scope="module")
def all_rows(drive):
    return rows_of(drive / "data" / ".files.tsv")


def walked(directory):
    return sorted(
        os.path.relpath(os.path.join(folder, name), directory)
        for folder, _, names in os.walk(directory)
        for name in names
    )


def test_the_table_names_each_file_that_a_walk_finds(drive, all_rows):
    paths = [row["path"] for row in all_rows]
    assert len(paths) == len(set(paths)) > 3000
    assert sorted(paths) == sorted(set(walked(drive / "data")) - MADE_BY_THE_SERVER)
    assert any(path.startswith("aggregates/") for path in paths)
    for row in all_rows[:: len(all_rows) // 60]:
        path = drive / "data" / row["path"]
        known = {name: attribute(path, name) for name in ("dataset", "session", "qc", "revision", "hash")}
        assert {name: row[name] for name in known} == known, row["path"]
        assert not row["size"] or path.stat().st_size == int(row["size"])


def attribute(path, name):
    try:
        return os.getxattr(path, f"user.alyx.{name}").decode()
    except OSError:
        return ""


def test_the_table_of_each_directory_has_the_files_below_it(drive, all_rows):
    parts = SESSION.split("/")
    for directory in [*("/".join(parts[:depth]) for depth in range(1, 6)), f"{SESSION}/alf", "aggregates"]:
        below = [
            {**row, "path": row["path"][len(directory) + 1 :]}
            for row in all_rows
            if row["path"].startswith(f"{directory}/")
        ]
        assert rows_of(drive / "data" / directory / ".files.tsv") == below, directory
        assert below
    frame = pd.read_parquet(drive / "data" / SESSION / ".files.parquet")
    assert frame["path"].tolist() == [row["path"] for row in rows_of(drive / "data" / SESSION / ".files.tsv")]
    assert frame["size"].sum() > 0
    assert frame["default"].dtype == bool
    assert ".files.tsv" not in os.listdir(drive / "data")


def test_the_table_costs_no_request(demo, drive, all_rows):
    whole = (drive / "data" / ".files.tsv").read_bytes()
    demo.clear_requests()
    assert (drive / "data" / "cortexlab" / ".files.tsv").read_bytes().startswith(b"path\tsize\t")
    assert len(pd.read_parquet(drive / "data" / ".files.parquet")) == len(all_rows)
    found = subprocess.run(
        ["grep", "-c", "spikes.times", drive / "data" / ".files.tsv"], capture_output=True, check=True, timeout=60
    )
    assert int(found.stdout) == len([line for line in whole.splitlines() if b"spikes.times" in line]) > 0
    assert demo.requests() == []


def test_without_the_tables_of_the_server_it_is_the_same(demo, drive, home, tmp_path):
    """From the sessions' records."""
    without_pyarrow = python_with(tmp_path / "packages", WITHOUT_PYARROW)
    subject = "cortexlab/Subjects/KS001"
    with mounted(demo.url, home, "--hide-inflated", **without_pyarrow) as other:
        assert rows_of(other / "data" / subject / ".files.tsv") == rows_of(drive / "data" / subject / ".files.tsv")


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    filetables.make_tables(folder, 2400)
    subprocess.run([sys.executable, "-m", "alyxfs.alyx.datasets.table_reader", folder], check=True, timeout=60)
    return folder


def changed_file(identity, name, size=5):
    return DataFile(identity, name, "alf", "", None, size, "0" * 32, "PASS", is_default=True)


def test_columns_and_files_one_by_one_tell_the_same_also_of_what_changed(made_up):
    tables = read_tables(made_up)
    places = [
        SessionPlace(place.identity, "a lab", f"s\t{number}", place.date, place.number)
        for number, place in enumerate(map(tables.place, range(tables.number_of_sessions)))
    ]
    changes = Delta()
    one, other, third = (place.identity for place in places[:3])
    changes.put("a new one", one, changed_file("a new one", "new\tname.npy", None))
    gone, moved = tables.files(other)[0], tables.files(third)[1]
    changes.put(gone.identity, other, None)
    changes.put(moved.identity, places[5].identity, moved)
    twin = tables.files(places[6].identity)[0]
    changes.put("its twin", places[6].identity, changed_file("its twin", twin.name))
    expected: list[FileRow] = []
    for place in places:
        files = changes.merged(place.identity, tables.files(place.identity))
        expected += rows_of_folders(by_folder(files), place, place.identity)
    sessions = [(place, place.identity) for place in places]
    assert KnownFiles(tables, changes).rows(sessions) == expected
    assert KnownFiles(tables, changes).lines(sessions) == tab_separated(expected)
    assert len(expected) == 2400 + 1 - 1 + 1
    frame = batch_of_rows(expected).to_pandas()
    assert frame["path"].tolist() == [row.path for row in expected]
    lines = tab_separated(expected).decode().splitlines()
    assert len(lines) == len(expected)
    assert all(line.count("\t") == len(FileRow._fields) - 1 for line in lines)


def test_what_would_break_the_lines_of_a_table_is_a_space():
    row = FileRow("a/b", 3, "x\ty\n", "s", "d", "KS001", "", "", default=False, tags="a\tpaper,2024")
    assert tab_separated([row]) == b"a/b\t3\tx y \ts\td\tKS001\t\t\tfalse\ta paper,2024\n"


def test_the_table_of_many_files_takes_little_time_and_memory(made_up, tmp_path):
    """The bars are 15 s and 300 MiB for 2.4 million: `scripts/bench.py files` holds it to them."""
    for name in (".files.tsv", ".files.parquet"):
        _, size, more, _ = filetables.write(filetables.KnownFiles(made_up), name, tmp_path)
        assert size > 50_000
        assert more < 64 * 1024**2
