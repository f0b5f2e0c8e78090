"""What a segment holds in memory while its bytes come, go to the disk and are read."""

import pytest

from alyxfs.files.extents import Extent
from alyxfs.files.memory.buffers import HUGE_PAGE, MIB, Buffers
from alyxfs.files.transfer.segment import KEPT_BEHIND, Segment

SIZE = 16 * MIB


@pytest.fixture
def coming():
    """A segment of which a half has come."""
    segment = Segment(Extent(0, SIZE), Buffers(), background=True)
    segment.append(bytes(SIZE // 2))
    return segment


def test_what_is_saved_and_read_leaves_memory_while_more_comes(coming):
    coming.saved(6 * MIB, None)
    assert coming.buffered == SIZE // 2, "nobody has read it"
    coming.take(4 * MIB, 5 * MIB)
    assert coming.buffered_from == 4 * MIB == 5 * MIB - KEPT_BEHIND
    assert coming.covers(0), "it can be had from the disk"


def test_what_is_read_leaves_memory_once_it_is_saved(coming):
    coming.take(7 * MIB, 8 * MIB)
    assert coming.buffered == SIZE // 2, "it is only here"
    coming.saved(2 * MIB, None)
    assert coming.buffered_from == 2 * MIB
    coming.saved(8 * MIB, None)
    assert coming.buffered_from == (8 * MIB - KEPT_BEHIND) // HUGE_PAGE * HUGE_PAGE


def test_what_cannot_be_saved_stays(coming):
    coming.never_save()
    coming.take(7 * MIB, 8 * MIB)
    assert coming.buffered == SIZE // 2
