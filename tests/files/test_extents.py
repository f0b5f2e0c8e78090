"""The arithmetic of blocks, checked against sets of bytes; the patterns of readers, against what they ask for."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alyxfs.files import extents as blocks
from alyxfs.files.extents import BLOCK, Extent
from alyxfs.files.prefetch import formats, siblings, window
from alyxfs.files.source import Source

SIZES = st.integers(0, 20 * BLOCK)


@st.composite
def extents(draw, most=5):
    edges = sorted(draw(st.lists(SIZES, min_size=0, max_size=2 * most, unique=True)))
    return [Extent(*pair) for pair in zip(edges[::2], edges[1::2], strict=False)]


def as_set(found):
    """The edges would do, but a set of bytes leaves no doubt; in steps of 1 KiB and at the edges themselves."""
    return {byte for start, end in found for byte in {*range(start, end, 1024), end - 1}}


@given(SIZES, SIZES, SIZES)
def test_touched_blocks_hold_the_bytes_and_no_block_more(start, length, size):
    extent = blocks.touched(start, start + length, size)
    end = min(start + length, size)
    if start >= end:
        assert extent.length == 0
        assert extent.end <= size
        return
    assert extent.start <= start
    assert extent.end >= end
    assert start - extent.start < BLOCK
    assert extent.end - end < BLOCK
    assert extent.start % BLOCK == 0
    assert extent.end % BLOCK == 0 or extent.end == size


@given(st.binary(max_size=20).map(lambda raw: bytearray(byte & 1 for byte in raw)), st.data())
def test_missing_is_what_the_map_does_not_mark(present, data):
    size = max(0, len(present) * BLOCK - data.draw(st.integers(0, BLOCK - 1)))
    present = present[: blocks.block_count(size)]
    start, end = sorted((data.draw(st.integers(0, size)), data.draw(st.integers(0, size))))
    extent = blocks.touched(start, end, size)
    holes = blocks.missing(present, extent)
    if start == end:
        assert holes == []
        return
    expected = {block for block in range(extent.start // BLOCK, blocks.block_count(extent.end)) if not present[block]}
    assert {block for hole in holes for block in range(hole.start // BLOCK, blocks.block_count(hole.end))} == expected
    assert all(extent.start <= hole.start < hole.end <= extent.end for hole in holes)
    assert (not holes) == blocks.is_present(present, extent.start, extent.end)
    assert blocks.present_until(present, start, end) == (end if not holes else max(start, min(end, holes[0].start)))


def test_holes_before_and_behind_an_extent_are_not_its_own():
    present = bytes([0, 1, 0, 0, 1, 0, 0])
    assert blocks.missing(present, Extent(BLOCK, 6 * BLOCK - 7)) == [
        Extent(2 * BLOCK, 4 * BLOCK),
        Extent(5 * BLOCK, 6 * BLOCK - 7),
    ]
    assert blocks.missing(present, Extent(3 * BLOCK, 5 * BLOCK)) == [Extent(3 * BLOCK, 4 * BLOCK)]


def test_what_lies_before_a_part_does_not_count_for_it():
    assert blocks.is_present(bytes([0, 1, 1, 0]), BLOCK + 5, 3 * BLOCK)
    assert not blocks.is_present(bytes([1, 0, 1]), BLOCK, 3 * BLOCK)


def test_what_lies_just_as_far_apart_as_it_may_is_merged():
    one, other = Extent(0, 10), Extent(30, 40)
    assert blocks.merged([one, other], 20) == [Extent(0, 40)]
    assert blocks.merged([one, other], 19) == [one, other]
    assert blocks.merged([one, other, Extent(45, 50)], 10) == [one, Extent(30, 50)]


@given(extents(), extents())
def test_without_takes_away_exactly(one, other):
    rest = blocks.without(one, other)
    assert all(start < end for start, end in rest)
    inside = [byte for byte in as_set(one) if not any(start <= byte < end for start, end in other)]
    assert all(any(start <= byte < end for start, end in rest) for byte in inside)
    assert not any(start < taken.end and taken.start < end for start, end in rest for taken in other)
    assert all(any(first.start <= start and end <= first.end for first in one) for start, end in rest)


@given(extents(), st.integers(0, 3 * BLOCK))
def test_merged_fills_small_gaps_only(found, gap):
    joined = blocks.merged(found, gap)
    assert as_set(found) <= {byte for byte in as_set(found) if any(start <= byte < end for start, end in joined)}
    assert all(after.start - before.end > gap for before, after in pairwise(joined))
    assert sum(extent.length for extent in joined) <= sum(extent.length for extent in found) + gap * len(found)


@given(SIZES, SIZES, st.integers(1, 4).map(lambda number: number * BLOCK))
def test_pieces_are_cut_where_everybody_cuts(start, length, most):
    cut = blocks.pieces(Extent(start, start + length), most)
    assert sum(piece.length for piece in cut) == length
    assert all(0 < piece.length <= most for piece in cut)
    assert all(piece.end % most == 0 for piece in cut[:-1])


MIB = 1024 * 1024


def asked(reads, size=1000 * MIB, bytes_on_way=0):
    """What is asked ahead of each read."""
    pattern = window.ReadAhead()
    answers = []
    for start, end in reads:
        found = pattern.observe(start, end, size, bytes_on_way)
        for extent in found:
            pattern.asked(extent)
        answers.append(found)
    return answers


def test_the_first_read_and_random_reads_ask_for_nothing_more():
    assert asked([(0, 131072)]) == [[]]
    places = [place * MIB for place in random.Random(1).sample(range(999), 200)]
    assert not any(asked([(place, place + 4096) for place in places]))


KERNEL_READS = (131072, 262144)
"""Bytes of a read, as the kernel asks by itself, and for ``cat`` and ``cp``, which tell it that they read in order."""


def waste(reads, size=1000 * MIB, bytes_on_way=0):
    """By read: bytes read in a row up to its end, and bytes that were asked for behind it."""
    pattern = window.ReadAhead()
    asked_to = 0
    for start, end in reads:
        for extent in pattern.observe(start, end, size, bytes_on_way):
            assert extent.start <= max(end, asked_to), "nothing is left out"
            asked_to = max(asked_to, extent.end)
            pattern.asked(extent)
        yield end - reads[0][0], max(0, asked_to - end)


@given(st.integers(MIB, 32 * MIB), st.integers(0, 100 * MIB), st.sampled_from(KERNEL_READS))
def test_a_file_of_up_to_32_mib_that_is_read_in_order_takes_few_requests_on_any_link(size, bytes_on_way, length):
    answers = asked([(start, min(start + length, size)) for start in range(0, size, length)], size, bytes_on_way)
    everything = [extent for found in answers for extent in found]
    exact = answers.index([everything[0]])  # reads before anything is asked for ahead
    assert exact == (0 if length == 262144 else 1 if size <= window.WHOLE else 2)
    assert everything[0].start == exact * length
    assert everything[-1].end == size
    assert all(before.end == after.start for before, after in pairwise(everything))
    assert len(everything) <= 2


@pytest.mark.parametrize("length", [4096, 65536, 131072])
def test_a_small_file_comes_whole_at_the_second_read(length):
    size = window.WHOLE
    assert asked([(0, length), (length, 2 * length)], size) == [[], [Extent(length // BLOCK * BLOCK, size)]]
    assert asked([(0, length), (length, 2 * length)], size + 1) == [[], []]


@pytest.mark.parametrize("bytes_on_way", [0, 3 * MIB, 12 * MIB, 100 * MIB])
@pytest.mark.parametrize("length", KERNEL_READS)
@pytest.mark.parametrize("from_the_beginning", [True, False])
def test_who_stops_has_wasted_no_more_than_is_said(bytes_on_way, length, from_the_beginning):
    first = 0 if from_the_beginning else 100 * MIB
    for run, wasted in waste(
        [(first + at, first + at + length) for at in range(0, 200 * MIB, length)], bytes_on_way=bytes_on_way
    ):
        assert wasted <= 41 * MIB
        if not from_the_beginning:
            assert wasted <= 4 * run
        elif not bytes_on_way:
            assert wasted <= max(13 * MIB, 6 * run)


def test_a_long_run_always_has_enough_ahead_that_the_link_need_not_wait():
    for bytes_on_way, least in ((0, 8 * MIB), (12 * MIB, 12 * MIB)):
        reads = [(offset, offset + 131072) for offset in range(0, 400 * MIB, 131072)]
        assert all(ahead >= least for run, ahead in waste(reads, bytes_on_way=bytes_on_way) if run >= 64 * MIB)


def test_reads_in_any_order_within_a_run_do_not_break_it():
    order = [offset + step for offset in range(0, 40 * MIB, 4 * 131072) for step in (131072, 0, 3 * 131072, 2 * 131072)]
    order = [*range(0, 8 * 131072, 131072), *(offset + 8 * 131072 for offset in order)]
    covered = 0
    for (start, end), found in zip(
        [(offset, offset + 131072) for offset in order],
        asked([(offset, offset + 131072) for offset in order]),
        strict=True,
    ):
        assert start <= 16 * 131072 or end <= covered
        covered = max([covered, *(extent.end for extent in found)])


def test_the_end_of_the_file_is_asked_for_and_nothing_behind_it():
    size = 3 * MIB + 17
    answers = asked([(offset, min(offset + 131072, size)) for offset in range(0, size, 131072)], size)
    assert max(extent.end for found in answers for extent in found) == size


def test_two_faults_of_a_memory_map_next_to_each_other_are_no_sequential_reader():
    assert not any(asked([(640 * 1024, 704 * 1024), (704 * 1024, 768 * 1024)]))


def test_the_first_piece_is_the_one_wanted_first():
    assert window.first_piece([Extent(0, 8 * MIB)], MIB, backward=False) == (0, MIB)
    assert window.first_piece([Extent(0, 8 * MIB)], MIB, backward=True) == (7 * MIB, 8 * MIB)
    assert window.first_piece([Extent(0, 8 * MIB - 5)], MIB, backward=True) == (7 * MIB, 8 * MIB - 5)
    assert window.first_piece([Extent(0, 1000)], MIB, backward=True) == (0, 1000)


def test_the_first_piece_joins_what_follows_each_other():
    forward = [Extent(0, MIB), Extent(MIB, 3 * MIB), Extent(5 * MIB, 6 * MIB)]
    assert window.first_piece(forward, 8 * MIB, backward=False) == (0, 3 * MIB)
    assert window.first_piece(forward, 2 * MIB, backward=False) == (0, 2 * MIB)
    backward = [Extent(5 * MIB, 6 * MIB), Extent(3 * MIB, 5 * MIB), Extent(0, MIB)]
    assert window.first_piece(backward, 8 * MIB, backward=True) == (3 * MIB, 6 * MIB)


@pytest.mark.parametrize("direction", [1, -1])
def test_what_was_lost_on_its_way_is_offered_again(direction):
    size, middle = 64 * MIB, 32 * MIB
    pattern = window.ReadAhead()

    def offered(number):
        start = middle + direction * number * 131072
        extents = pattern.observe(start, start + 131072, size)
        for extent in extents:
            pattern.asked(extent)
        return extents

    ahead = [extent for number in range(8) for extent in offered(number)]
    lost = ahead[-1]
    assert lost not in offered(8)
    pattern.lost(lost)
    again = next(found for number in range(9, 100) if (found := offered(number)))
    assert again[0].start <= lost.start <= again[0].end or again[0].start <= lost.end <= again[0].end


def test_the_index_of_a_format_that_has_it_at_the_end_comes_with_the_beginning():
    assert formats.index_at_end("a.pqt", 0, 10 * MIB).end == 10 * MIB
    assert formats.index_at_end("a.pqt", 5 * MIB, 10 * MIB) is None
    assert formats.index_at_end("a.pqt", 0, 100_000) is None
    assert formats.index_at_end("a.npy", 0, 10 * MIB) is None


@given(st.integers(200_000, 3_000_000), st.integers(1, 8192))
def test_rows_at_a_fixed_distance_are_asked_for_and_nothing_else(stride, length):
    reads = [(row * stride, row * stride + length) for row in range(200)]
    answers = asked(reads)
    everything = [extent for found in answers for extent in found]
    for start, end in reads[40:]:
        assert any(extent.start <= start and end <= extent.end for extent in everything)
    assert sum(extent.length for extent in everything) <= 300 * (length + 2 * BLOCK)


@given(st.lists(st.tuples(SIZES, SIZES), max_size=40), SIZES)
def test_nothing_outside_the_file_is_ever_asked_for(reads, size):
    reads = [(start, min(start + length, size)) for start, length in reads if start < size and length]
    for found in asked(reads, size):
        assert all(0 <= extent.start < extent.end <= size for extent in found)


def sources(count):
    return [Source(str(number), f"{number:04}", "http://host/x", 65536, None, "1") for number in range(count)]


def test_a_walk_in_order_gets_the_next_files_each_once():
    files = sources(300)
    walk = siblings.SiblingWalk(files)
    fetched = []
    for number, file in enumerate(files):
        if number > 2:
            assert file in fetched
        for following in walk.read(file):
            fetched.append(following)
            walk.asked()
    assert len(fetched) == len(set(fetched)) >= 297


def test_files_opened_in_no_order_bring_no_others():
    files = sources(300)
    walk = siblings.SiblingWalk(files)
    assert not any(walk.read(files[number * 7919 % 293]) for number in range(100))
