"""The marks of pinned files: written whole and private, by several at once, and never needed."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest

from alyxfs.files.disk import block_file, eviction, pins
from alyxfs.files.disk.block_file import Fingerprint, Verdict
from alyxfs.files.disk.pins import Origin, Pin
from alyxfs.files.extents import BLOCK

HERE = Origin("https://alyx.example.org", "data/lab/Subjects/a/2024-01-01/001/alf/x.npy")
COUNT = 100
PIN_ALL = """
import pathlib, sys
from alyxfs.files.disk import eviction, pins
directory = pathlib.Path(sys.argv[1])
for number in range(100):
    path = directory / "blocks-1" / "aa" / str(number)
    eviction.pin({path: number}, directory)
    eviction.name_pins({path: pins.Origin("server", f"data/{number}")}, directory)
"""


@pytest.fixture
def path(tmp_path):
    """Of a cache file that is not there."""
    return tmp_path / "blocks-1" / "ab" / "cdef"


def test_a_pin_keeps_its_time_and_name_when_it_is_made_again(tmp_path, path):
    eviction.pin({path: 10}, tmp_path)
    began = pins.read(path).pinned_at
    eviction.name_pins({path: HERE}, tmp_path)
    eviction.pin({path: 20}, tmp_path)
    assert pins.read(path) == Pin(20, began, HERE)
    modes = {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "pinned").rglob("*")}
    assert modes == {0o600, 0o700}


def test_a_file_that_was_unpinned_gets_no_name(tmp_path, path):
    eviction.pin({path: 10}, tmp_path)
    assert eviction.unpin([path, path.with_name("never pinned")]) == 1
    assert eviction.unpin([path]) == 0
    eviction.name_pins({path: HERE}, tmp_path)
    assert not pins.is_pinned(path)
    assert pins.kept(tmp_path) == []
    assert eviction.unpin([]) == 0


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"size": "x", "pinned_at": 1}', "\xff"])
def test_a_mark_that_says_nothing_pins_all_the_same(tmp_path, path, text):
    eviction.pin({path: 10}, tmp_path)
    mark = tmp_path / "pinned" / "ab" / "cdef"
    mark.write_text(text, encoding="latin-1")
    os.utime(mark, (5, 5))
    assert pins.read(path) == Pin(0, 5)
    assert eviction.pinned_bytes(tmp_path) == 0
    eviction.pin({path: 10}, tmp_path)
    assert pins.read(path) == Pin(10, 5)


def test_marks_of_the_first_kind_are_read(tmp_path, path):
    eviction.pin({path: 10}, tmp_path)
    mark = tmp_path / "pinned" / "ab" / "cdef"
    mark.write_text("1234")
    os.utime(mark, (5, 5))
    assert pins.kept(tmp_path) == [(Pin(1234, 5), 0.0)]


def test_the_oldest_pin_is_first(tmp_path, path):
    other = path.with_name("other")
    eviction.pin({path: 10}, tmp_path)
    pins.write(other, Pin(10, 1.0, HERE))
    eviction.name_pins({path: HERE._replace(local=("/elsewhere/x.npy",))}, tmp_path)
    assert [pin.origin.local for pin, _ in pins.kept(tmp_path)] == [(), ("/elsewhere/x.npy",)]


def test_pins_of_one_moment_are_told_in_the_order_of_their_paths(tmp_path, path):
    origins = [HERE, None, HERE._replace(path="data/a"), HERE._replace(path="data/z")]
    for number, origin in enumerate(origins):
        pins.write(path.with_name(str(number)), Pin(10, 5.0, origin))
    assert [one.pin.origin for one in pins.kept(tmp_path)] == [None, origins[2], HERE, origins[3]]


def test_of_each_pin_is_told_how_much_is_there(tmp_path, path):
    size = 4 * BLOCK
    blocks = block_file.create(path, "id", "7", Fingerprint(size), Verdict.UNKNOWN)
    blocks.write([memoryview(bytes(3 * BLOCK))], 0)
    blocks.record([(0, 3)])
    blocks.close()
    not_there, broken, unknown = (path.with_name(name) for name in ("not-there", "broken", "unknown"))
    broken.write_bytes(bytes(10_000))
    for moment, (each, known) in enumerate([(path, size), (not_there, size), (broken, size), (unknown, 0)]):
        pins.write(each, Pin(known, float(moment)))
    before = os.listdir("/proc/self/fd")
    assert [one.share for one in pins.kept(tmp_path)] == [0.75, 0.0, 0.0, 1.0]
    assert os.listdir("/proc/self/fd") == before
    assert eviction.pinned_bytes(tmp_path) == 3 * size


def test_several_processes_pin_and_name_at_once(tmp_path):
    processes = [subprocess.Popen([sys.executable, "-c", PIN_ALL, str(tmp_path)]) for _ in range(2)]
    while any(process.poll() is None for process in processes):
        assert all(pin.size < COUNT for pin, _ in pins.kept(tmp_path))
    assert [process.wait(30) for process in processes] == [0, 0]
    found = {one.pin.origin.path: one.pin.size for one in pins.kept(tmp_path)}
    assert found == {f"data/{number}": number for number in range(COUNT)}
