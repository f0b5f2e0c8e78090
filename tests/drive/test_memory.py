"""The memory of a drive: little for each file, and given back when nobody asks for them any more."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

import impatient_drive
from large_alyx import DATASETS_A_SESSION, large_alyx
from mounted import in_front, until
from small_alyx import identifiers, small_alyx

SESSIONS = 1000
FILES = SESSIONS * DATASETS_A_SESSION + 2
"""With the tables themselves."""
BYTES_A_FILE = 1500
"""Of memory while the kernel holds it, with its share of the folders: two thirds of that were measured."""
LISTED, READ = 20_000, 200
"""Rows of a list, and records that are read: some 15 and 25 MB of memory."""
PROGRAM = str(Path(impatient_drive.__file__))
CREDENTIALS = {"ALYXFS_USER": "anna", "ALYXFS_PASSWORD": "right"}


def memory(process):
    """Resident bytes that are not those of files."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]) * 1024


def inodes(path):
    return status(path)["inodes"]


def status(path):
    return json.loads((path / ".alyxfs/status.json").read_bytes())


@contextlib.contextmanager
def drive_of_files(tmp_path, **variables):
    """A drive with FILES data files: its process, and its place; ``variables`` as impatient_drive knows them."""
    (tmp_path / "home").mkdir()
    with (
        large_alyx(SESSIONS, tmp_path) as alyx,
        in_front(alyx.url, tmp_path / "home", PROGRAM, **variables, **CREDENTIALS) as (process, path),
    ):
        yield process, path


def found(path):
    """What ``find`` finds, sorted."""
    command = ["find", path / "data", "-type", "f"]
    return sorted(subprocess.run(command, capture_output=True, check=True, timeout=100).stdout.splitlines())


def skip_where_the_kernel_cannot_be_told(tmp_path):
    if "cannot be told to forget" in (tmp_path / "home/output").read_text():
        pytest.skip("this kernel forgets when it wants to (Linux 6.18 can be told)")


def test_a_walk_costs_few_bytes_a_file_and_none_once_it_is_over(tmp_path):
    with drive_of_files(tmp_path) as (process, path):
        os.listdir(path / "data/lab00/Subjects")
        before = memory(process)
        files = found(path)
        assert len(files) == FILES
        walked = memory(process)
        assert walked - before < BYTES_A_FILE * FILES
        assert inodes(path) > FILES, "the kernel holds them all"
        skip_where_the_kernel_cannot_be_told(tmp_path)
        process.send_signal(signal.SIGUSR1)
        until(lambda: inodes(path) < 20, "an end of what the kernel remembers", patience=60)
        most = before + (walked - before) / 2
        until(lambda: memory(process) < most, f"{most:,.0f} bytes, of {walked:,}; {before:,} before", patience=60)
        assert found(path) == files


def test_where_the_kernel_does_not_forget_little_more_than_numbers_is_kept(tmp_path):
    """Kernels before Linux 6.18: whatever they hold is found again, by name, by descriptor and as working directory."""
    with drive_of_files(tmp_path, OLD_KERNEL="yes") as (process, path):
        files = found(path)
        some = [Path(os.fsdecode(file)) for file in files if b"/Subjects/" in file][:: FILES // 50]
        before = [(file, file.stat()) for file in some]
        directory = os.open(some[0].parent, os.O_RDONLY)
        with subprocess.Popen(
            ["sh", "-c", "read line; ls"], cwd=some[0].parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as shell:
            walked, held = memory(process), inodes(path)
            process.send_signal(signal.SIGUSR1)
            most = walked - 300 * FILES
            until(lambda: memory(process) < most, f"{most:,} bytes, of {walked:,}", patience=60)
            assert inodes(path) > 0.99 * held > FILES, "the kernel holds them still"
            assert os.fstat(directory).st_ino == os.stat(some[0].parent).st_ino
            assert some[0].name in os.listdir(directory)
            names, _ = shell.communicate(b"\n", timeout=30)
            assert some[0].name in os.fsdecode(names).split()
        os.close(directory)
        assert [(file, file.stat()) for file in some] == before
        assert found(path) == files
        assert "ERROR" not in (tmp_path / "home/output").read_text()


def test_a_walk_through_very_many_files_does_not_add_them_up(tmp_path):
    with drive_of_files(tmp_path, FEW_INODES="2000") as (_, path):
        held, counted = [], 0
        for folder, _, files in os.walk(path / "data"):
            counted += len(files)
            if files and len(Path(folder).parts) % 2:
                held.append(inodes(path))
        assert counted == FILES
        skip_where_the_kernel_cannot_be_told(tmp_path)
        assert max(held) < FILES / 2, held


def test_listings_and_records_leave_memory_and_come_back_without_a_request(tmp_path):
    """Also with the same sizes: what ``ls -l`` has shown of a record that was read stays."""
    (tmp_path / "home").mkdir()
    with small_alyx() as alyx:
        alyx.put("datasets", [{"id": identity, "name": "a.npy"} for identity in identifiers(LISTED)])
        alyx.put("subjects", [{"nickname": f"S{number}", "id": one} for number, one in enumerate(identifiers(READ, 1))])
        for number in range(READ):
            alyx.details["subjects", f"S{number}"]["weights"] = [
                {"of": f"{number}", "grams": gram} for gram in range(900)
            ]
        options = ("--requests-per-minute", "6000")
        with in_front(alyx.url, tmp_path / "home", PROGRAM, options=options, **CREDENTIALS) as (process, path):
            before = memory(process)
            shown = seen(path)
            used, asked = memory(process), len(alyx.asked)
            assert status(path)["rows"] == LISTED + READ
            process.send_signal(signal.SIGUSR1)
            until(lambda: status(path)["rows"] == status(path)["records_in_memory"] == 0, "an end of what is in memory")
            most = before + (used - before) / 2
            until(lambda: memory(process) < most, f"{most:,.0f} bytes, of {used:,}; {before:,} before", patience=60)
            assert [os.stat(path / "subjects" / name).st_size for name in shown[1]] == list(map(len, shown[2]))
            assert seen(path) == shown
            assert len(alyx.asked) == asked


def seen(path):
    """What a program sees of a large directory, and of one whose records it reads."""
    names = os.listdir(path / "subjects")
    return os.listdir(path / "datasets"), names, [(path / "subjects" / name).read_bytes() for name in names]
