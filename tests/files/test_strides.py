"""Rows at a fixed distance: as they reach the detector through the kernel, and through a mount."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alyxfs.files.extents import BLOCK
from alyxfs.files.prefetch import window
from alyxfs.files.prefetch.formats import Parts
from fault_server import FaultServer, File
from files_alyx import SESSION, TOKEN, files_alyx, show
from mounted import mounted

PAGE = 4096
KERNEL_READ = 128 * 1024
MIB = 1024 * 1024
SIZE = 1000 * MIB
UNKNOWING = 3
"""Visits before a distance has come twice: these are not known ahead."""


def faults(places):
    """Reads of a memory map: 128 KiB around the page of each place."""
    pages = [place // PAGE * PAGE for place in places]
    return [[(page - KERNEL_READ // 2, page + KERNEL_READ // 2)] for page in pages]


def long_reads(places, length):
    """Reads of a program that reads more than the kernel asks at a time: from page to page, in pieces."""
    visits = []
    for place in places:
        edges = [place // PAGE * PAGE, *range(place + KERNEL_READ, place + length, KERNEL_READ), place + length]
        edges = [-(-edge // PAGE) * PAGE for edge in edges]
        visits.append([*pairwise(edges)])
    return visits


def mapped(places, length):
    """Page faults in all of so many bytes: 128 KiB around the first, then as much again before it is wanted."""
    visits = []
    for place in places:
        begin = place // PAGE * PAGE - KERNEL_READ // 2
        edges = range(begin, place + length + 2 * KERNEL_READ, KERNEL_READ)
        visits.append([(max(0, start), end) for start, end in pairwise(edges)])
    return visits


class Reader:
    """Reads visits, and remembers what was fetched ahead; ``missed`` are reads that had to be waited for."""

    def __init__(self, size=SIZE, parts=None):
        self.pattern = window.ReadAhead()
        self.pattern.learn(parts)
        self.size = size
        self.blocks = set()

    def read(self, start, end):
        """Whether all of it was asked for before."""
        touched = range(start // BLOCK, -(-end // BLOCK))
        was_there = self.blocks.issuperset(touched)
        for extent in self.pattern.observe(start, end, self.size):
            assert 0 <= extent.start < extent.end <= self.size
            self.blocks.update(range(extent.start // BLOCK, -(-extent.end // BLOCK)))
            self.pattern.asked(extent)
        self.blocks.update(touched)
        return was_there

    def missed(self, visits):
        """Numbers of the visits of which something was not there."""
        found = [[self.read(*read) for read in reads] for reads in visits]
        return [number for number, were_there in enumerate(found) if not all(were_there)]


DISTANCES = st.integers(300_000, 10_000_000)
OFFSETS = st.integers(100_000, 200_000)


@given(DISTANCES, OFFSETS, st.booleans())
def test_page_faults_at_a_fixed_distance_are_foreseen_after_two_steps(distance, offset, backward):
    places = [offset + row * distance for row in range(60)]
    reader = Reader()
    missed = reader.missed(faults(places[::-1] if backward else places))
    assert missed == list(range(UNKNOWING))


@given(DISTANCES, OFFSETS, st.integers(150_000, 290_000), st.booleans())
def test_rows_that_the_kernel_reads_in_pieces_are_foreseen_whole(distance, offset, length, backward):
    places = [offset + row * (distance + length) for row in range(40)]
    reader = Reader()
    missed = reader.missed(long_reads(places[::-1] if backward else places, length))
    assert missed == list(range(UNKNOWING))


@pytest.mark.parametrize("length", [4096, 100_000, 290_000, 1_000_000])
@pytest.mark.parametrize("count", [3, 4, 6, 10, 20, 60])
def test_whenever_a_reader_stops_no_more_visits_were_fetched_in_vain_than_it_made(length, count):
    places = [row * 10_000_000 for row in range(count)]
    reader = Reader()
    visits = long_reads(places, length)
    reader.missed(visits)
    vain = {block for block in reader.blocks if block * BLOCK >= places[-1] + 5_000_000}
    assert len(vain) <= count * (-(-length // BLOCK) + 2)
    assert len(vain) * BLOCK <= max(2 * 16 * MIB, length)


def test_a_pattern_that_breaks_costs_nothing_more():
    reader = Reader()
    reader.missed(faults([row * 1_000_000 + 500_000 for row in range(10)]))
    assert reader.pattern.is_running
    for place in random.Random(2).sample(range(SIZE // MIB), 50):
        assert reader.pattern.observe(place * MIB, place * MIB + 4096, SIZE) == []
        assert not reader.pattern.is_running


def test_a_row_that_goes_on_and_on_becomes_a_sequential_read():
    reader = Reader()
    reader.missed(long_reads([row * 100 * MIB for row in range(4)], 1_000_000))
    reads = [(start, start + KERNEL_READ) for start in range(400 * MIB, 440 * MIB, KERNEL_READ)]
    reader.missed([reads[:32]])
    assert reader.missed([[read] for read in reads[32:]]) == []


ROW = 300_000
ROWS_OF_ARRAY = Parts(range(128, 128 + 3000 * ROW + 1, ROW), are_whole=False)


def count_of(visits):
    """Blocks that are read."""
    return len({block for reads in visits for read in reads for block in range(read[0] // BLOCK, -(-read[1] // BLOCK))})


@pytest.mark.parametrize("step", [2, 3, 10, -2, -7])
@pytest.mark.parametrize("first", [0, 1, 1500])
def test_rows_of_an_array_are_foreseen_after_one_step_and_nothing_between_them(first, step):
    numbers = [first + number * step for number in range(60) if first + number * step >= 0]
    visits = mapped([128 + number * ROW for number in numbers], ROW)
    reader = Reader(parts=ROWS_OF_ARRAY)
    if len(numbers) > 1:
        assert {0} <= {*reader.missed(visits)} <= {0, 1}
        between = range(min(numbers) * ROW // BLOCK - 2, (max(numbers) + 2) * ROW // BLOCK)
        assert len(reader.blocks.intersection(between)) <= 1.3 * count_of(visits)


@pytest.mark.parametrize("length", [64, 5000, ROW])
def test_of_random_rows_each_comes_whole_and_hardly_another_one(length):
    numbers = random.Random(3).sample(range(1, 3000), 100)
    visits = mapped([128 + number * ROW for number in numbers], length)
    reader = Reader(parts=ROWS_OF_ARRAY)
    reads = [[reader.read(*read) for read in visit] for visit in visits]
    assert sum(not was_there for visit in reads[1:] for was_there in visit[1:]) == 0
    assert len(reader.blocks) <= 1.3 * count_of(visits)


@pytest.mark.parametrize("reads", [mapped, long_reads])
def test_of_a_single_row_the_rest_is_fetched_and_no_more(reads):
    visits = reads([128 + 1500 * ROW], ROW)
    reader = Reader(parts=ROWS_OF_ARRAY)
    reader.missed(visits)
    assert len(reader.blocks) <= count_of(visits) + 1


def test_rows_that_are_read_in_order_become_a_sequential_read():
    visits = [[(start, start + KERNEL_READ)] for start in range(0, 3000 * ROW, KERNEL_READ)]
    assert len(Reader(parts=ROWS_OF_ARRAY).missed(visits)) <= len(Reader().missed(visits))
    visits = visits[1000:]
    assert len(Reader(parts=ROWS_OF_ARRAY).missed(visits)) <= len(Reader().missed(visits)) + 6


@given(st.lists(st.integers(1_000_000, 3_000_000), min_size=60, max_size=60), st.integers(2, 6), st.booleans())
def test_chunks_of_different_lengths_are_foreseen_whole(lengths, step, in_one_read):
    edges = [0]
    for length in lengths:
        edges.append(edges[-1] + length)
    chunks = Parts(edges, are_whole=True)
    visited = range(1, 60, step)
    if in_one_read:
        visits = [[(edges[number], edges[number + 1])] for number in visited]
    else:
        visits = [long_reads([edges[number]], edges[number + 1] - edges[number])[0] for number in visited]
    reader = Reader(edges[-1], chunks)
    assert reader.missed(visits)[3:] == []
    for before, after in pairwise(visited):
        between = range(edges[before + 1] // BLOCK + 10, edges[after] // BLOCK - 2)
        assert not reader.blocks.intersection(between)


PROGRAM = """
import json, sys, time
import numpy as np

array, found = np.load(sys.argv[1], mmap_mode="r"), []
for row in json.loads(sys.argv[2]):
    started = time.monotonic()
    content = array[row, 200_000:200_064].tobytes().hex()
    found.append([content, time.monotonic() - started])
print(json.dumps(found))
"""
"""A process of its own, as a page fault keeps all threads of this one waiting, the server's too."""
DELAY = 0.3
DISTANCE = 500_000
ROWS = 60
WANTED = 20


@pytest.fixture
def far_rows(home):
    """An array in a drive whose file server is far, and that server."""
    content = np.random.default_rng(5).integers(0, 256, (ROWS, DISTANCE), np.uint8)
    with FaultServer() as server, files_alyx() as alyx:
        header = np.lib.format.magic(1, 0)
        description = repr({"descr": "|u1", "fortran_order": False, "shape": content.shape}).ljust(117) + "\n"
        header += len(description).to_bytes(2, "little") + description.encode()
        file = server.files["rows.npy"] = File(header + content.tobytes())
        server.delay = DELAY
        show(alyx, {"rows.npy": {"data_url": server.url("rows.npy"), "file_size": len(file.content)}})
        with mounted(alyx.url, home, **TOKEN) as drive:
            yield drive / SESSION / "rows.npy", content, server


@pytest.mark.parametrize("direction", [1, -1])
def test_rows_of_a_far_array_cost_few_round_trips_and_little_besides_them(far_rows, direction):
    path, content, server = far_rows
    rows = [*range(ROWS)[::direction][:WANTED]]
    command = [sys.executable, "-c", PROGRAM, path, json.dumps(rows)]
    found = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=30).stdout)
    assert [bytes.fromhex(read) for read, _ in found] == [bytes(content[row, 200_000:200_064]) for row in rows]
    assert sum(seconds > DELAY / 2 for _, seconds in found) <= 6
    assert server.sent <= 2 * WANTED * (KERNEL_READ + BLOCK)
