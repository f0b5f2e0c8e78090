"""Files of which the database says a wrong size: no program gets zeros, a part, or too much without an error."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import subprocess
import sys
import tarfile

import numpy as np
import pytest

from fault_server import FaultServer
from mapping import mapped
from mounted import mounted

SMALL, LARGE = random.Random(1).randbytes(40_000), random.Random(2).randbytes(1_600_000)
WRONG = {
    "small-too-large": (SMALL, 60_000),
    "small-too-small": (SMALL, 1000),
    "small-said-to-be-large": (SMALL, 2_000_000),
    "small-said-to-be-empty": (SMALL, 0),
    "large-too-large": (LARGE, 3_200_000),
    "large-too-small": (LARGE, 800_000),
    "large-said-to-be-small": (LARGE, 1000),
    "large-said-to-be-empty": (LARGE, 0),
    "large-by-one": (LARGE, len(LARGE) + 1),
    "unknown": (LARGE, None),
}

WITH_THE_FIRST_READ = {"small-said-to-be-large", "large-too-large", "large-too-small", "large-by-one"}
"""That is when these are found out; what is said to be small, or is doubtful, is asked for when it is opened."""


@pytest.fixture(scope="module")
def server():
    with FaultServer() as server:
        yield server


def from_numpy(path, scratch):
    """Which passes over errors of reading: the size must be right when the file is opened.

    In a process of its own, as it lets no other thread run meanwhile, and the file server is threads of this one.
    """
    program = "import sys, numpy as np; sys.stdout.buffer.write(np.fromfile(sys.argv[1], np.uint8).tobytes())"
    return run(sys.executable, "-c", program, path)


def by_seeking(path, scratch):
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        return file.read(size)


def as_large_as_stat_says(path, scratch):
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        found = b""
        while len(found) < size and (part := file.read(size - len(found))):
            found += part
        return found


def last_bytes(path, scratch):
    with open(path, "rb", buffering=0) as file:
        file.seek(-1000, os.SEEK_END)
        return file.read()


def run(*command):
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    if done.returncode:
        raise OSError(done.stderr.decode())
    return done.stdout


def tail(path, scratch):
    return run("tail", "-c", "1000", path)


def copied(path, scratch):
    run("cp", "--sparse=auto", path, scratch)
    return scratch.read_bytes()


def archived(path, scratch):
    run("tar", "-C", path.parent, "--sparse", "-cf", scratch, path.name)
    with tarfile.open(scratch) as archive:
        return archive.extractfile(path.name).read()


def between_holes(path, scratch):
    """As programs read that look where a sparse file has data."""
    with open(path, "rb", buffering=0) as file:
        start = os.lseek(file.fileno(), 0, os.SEEK_DATA)
        end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
        return os.pread(file.fileno(), end - start, start)


def from_memory(path, scratch):
    with mapped(path) as mapping:
        found = mapping.read(0, mapping.size)
    if found is None:
        raise OSError(errno.EFAULT, "died of SIGBUS")
    return found


WHOLE = [by_seeking, from_numpy, as_large_as_stat_says, copied, archived, between_holes, from_memory]
ENDS = [last_bytes, tail]


@pytest.mark.parametrize("wrong", WRONG)
def test_each_way_to_read_gives_all_of_it_or_an_error_and_the_second_time_all_of_it(
    served, own_demo, home, tmp_path, wrong
):
    content, size = WRONG[wrong]
    files = {read: served.add(f"{wrong}.{read.__name__}.bin", content, size=size) for read in [*WHOLE, *ENDS]}
    is_sure = wrong not in WITH_THE_FIRST_READ
    with mounted(own_demo.url, home) as drive:
        for read, file in files.items():
            path = drive / file.place
            expected = content if read in WHOLE else content[-1000:]
            with contextlib.nullcontext() if is_sure else contextlib.suppress(OSError):
                assert read(path, tmp_path / "scratch") == expected, read
            assert read(path, tmp_path / "scratch") == expected, f"{read}, after the size is known"
            assert path.stat().st_size == len(content)
            is_sure = True  # after one error the word of the database counts for nothing
    with mounted(own_demo.url, home) as drive:
        for read, file in files.items():
            path = drive / file.place
            assert path.stat().st_size == len(content), "it is remembered"
            assert read(path, tmp_path / "scratch") == (content if read in WHOLE else content[-1000:])


def test_half_an_array_or_more_than_all_of_it_is_an_error_that_says_what_to_do(served, own_demo, home):
    array = np.arange(200_000, dtype=np.int64)
    told = [4 * array.nbytes, array.nbytes // 2]
    files = [served.add(f"said{said}.bin", array.tobytes(), size=said) for said in told]
    for number, file in enumerate(files):
        with mounted(own_demo.url, home / str(number)) as drive:
            path = drive / file.place
            assert path.stat().st_size == told[number]
            with pytest.raises(OSError, match="Stale") as caught:
                path.read_bytes()
            assert caught.value.errno == errno.ESTALE
            assert b"has 1,600,000 bytes on its server" in os.getxattr(path, "user.alyx.error")
            assert path.stat().st_size == array.nbytes
            assert from_numpy(path, None) == from_memory(path, None) == array.tobytes()


def test_a_file_without_a_hash_is_asked_for_when_it_is_opened(served, own_demo, home):
    file = served.add("without-hash.bin", LARGE, size=2 * len(LARGE), digest=None)
    with mounted(own_demo.url, home) as drive:
        assert from_numpy(drive / file.place, None) == LARGE
