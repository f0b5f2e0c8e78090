"""What formats tell of how a file will be read: parsed strictly, and never trusted further than for reading ahead."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alyxfs.files.prefetch import formats
from alyxfs.files.prefetch.formats import Parts

ROW = 100_000
"""Items of a row: as bytes already long enough to be of use."""


def header(array, version=None):
    """How a .npy file of this array begins, and its size."""
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version)
    return file.getvalue()[: formats.ARRAY_HEADER], len(file.getvalue())


def edges(parts, count):
    return [parts.place(number * parts.length) for number in range(count)]


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("kind", ["u1", "<f8", ">i2", "M8[ns]", "U3", [("time", "<f8"), ("é'shape': (", "u1")]])
def test_the_rows_of_an_array_are_where_numpy_puts_them(version, kind):
    if version != (3, 0) and isinstance(kind, list):
        kind = [("time", "<f8"), ("'shape': (", "u1")]
    array = np.zeros((4, ROW), kind)
    beginning, size = header(array, version)
    rows = formats.rows(beginning, size)
    assert rows.length == array.strides[0]
    assert edges(rows, 5) == [size - array.nbytes + number * rows.length for number in range(5)]


def test_of_a_transposed_array_the_columns_are_what_lies_together():
    array = np.zeros((ROW, 3), order="F")
    assert formats.rows(*header(array)).length == array.strides[1]


def test_of_a_stack_of_images_these_are_the_rows():
    array = np.zeros((5, 400, 600), np.uint8)
    assert formats.rows(*header(array)).length == 400 * 600


@pytest.mark.parametrize(
    "array", [np.zeros(10), np.zeros((1000, 30)), np.zeros(()), np.zeros((0, ROW)), np.array([{}] * 3, object)]
)
def test_rows_that_would_tell_nothing_are_none(array):
    assert formats.rows(*header(array)) is None


def test_other_programs_write_the_header_a_little_differently():
    content = ROW * 8 * 3
    text = b"{'descr': '<f8', 'fortran_order': True, 'shape': (%dL, 3L)}   \n" % ROW
    beginning = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
    assert formats.rows(beginning, len(beginning) + content).length == ROW * 8


GOOD, SIZE = header(np.zeros((4, ROW)))


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        GOOD[:7],
        GOOD[:9],
        GOOD[:40],
        b"x" + GOOD[1:],
        GOOD.replace(b"\x01\x00", b"\x09\x00", 1),
        GOOD.replace(b"(4, ", b"(-4,"),
        GOOD.replace(b"(4, ", b"(3, "),
        GOOD.replace(b"(4, ", b"(1e4"),
        GOOD.replace(b"100000", b"999999"),
        GOOD.replace(b"False", b"print"),
        GOOD.replace(b"'shape'", b"'shade'"),
        GOOD.replace(b"\n", b"!"),
    ],
)
def test_what_is_no_sound_header_gives_no_rows(beginning):
    assert formats.rows(GOOD, SIZE) is not None
    assert formats.rows(beginning, SIZE) is None


@given(st.binary(max_size=300), st.integers(0, 1 << 50))
def test_any_bytes_are_taken_without_an_error(noise, size):
    formats.rows(noise, size)
    formats.rows(b"\x93NUMPY\x01\x00" + noise, size)
    formats.chunks(noise)


@pytest.mark.parametrize(
    "offsets", [[], [5], [0, 10, 10], [0, 10, 5], [0, "1"], [0.0, 1.5], [-1, 5], "ab", None, [True, 2]]
)
def test_chunks_that_make_no_sense_are_none(offsets):
    assert formats.chunks(json.dumps({"chunk_offsets": offsets}).encode()) is None


@given(st.lists(st.integers(1, 10_000_000), min_size=1, max_size=20), st.data())
def test_a_place_comes_back_from_the_levelled_scale(lengths, data):
    begins = [0]
    for length in lengths:
        begins.append(begins[-1] + length)
    chunks = formats.chunks(json.dumps({"chunk_offsets": begins}).encode())
    place = data.draw(st.integers(0, begins[-1]))
    assert chunks.place(chunks.levelled(place)) == place
    number = data.draw(st.integers(0, len(lengths)))
    assert chunks.levelled(begins[number]) == number * max(lengths)


def test_rows_keep_their_distances_on_the_levelled_scale():
    rows = Parts(range(128, 128 + 100 * ROW + 1, ROW), are_whole=False)
    for place in (0, 500, ROW, 50 * ROW + 77, 101 * ROW):
        assert rows.levelled(place) == place - 128
