"""Inodes whose nodes were dropped: numbers in little memory, and nodes that are found again as they are by then."""

from __future__ import annotations

import sys

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from alyxfs.kernel.dropped_inodes import DroppedInode, DroppedInodes
from alyxfs.kernel.inodes import Inodes
from alyxfs.tree import Directory, File, FixedEntries

NUMBERS = st.integers(0x100, 0x180) | st.integers(0x100, (1 << 63) - 1)
"""Many that meet each other, and any."""
BYTES_AN_INODE = 150
ROOT = 1


@given(st.lists(st.tuples(st.booleans(), NUMBERS, st.integers(1, 1 << 62), st.integers(1, (1 << 32) - 1))))
def test_they_are_what_a_dict_would_be(steps):
    kept, model = DroppedInodes(), {}
    for is_added, number, parent, lookups in steps:
        if not is_added:
            assert kept.take(number) == model.pop(number, None)
        elif number not in model:
            model[number] = DroppedInode(parent, lookups)
            kept.add(number, model[number])
        assert (number in kept) == (number in model)
        assert len(kept) == len(model)
    assert {number: kept[number] for number, _ in kept.with_parents()} == model
    assert all(kept[number].parent == parent for number, parent in kept.with_parents())
    with pytest.raises(KeyError):
        kept[next(number for number in range(0x100, 1 << 20) if number not in model)]


def test_millions_may_come_and_go():
    """As many places as there are inodes, and a few times that: those that were taken out leave none behind."""
    kept, step = DroppedInodes(), (1 << 61) // 100_003
    for round_ in range(10):
        for number in range(round_ * 20_000, (round_ + 1) * 20_000):
            kept.add(0x100 + number * step % (1 << 62), DroppedInode(1, 1))
        for number in range(round_ * 20_000, (round_ + 1) * 20_000 - 5_000):
            assert kept.take(0x100 + number * step % (1 << 62)) == (1, 1)
    assert len(kept) == 50_000
    arrays = [values for table in kept._tables for values in (table.numbers, table.parents, table.lookups)]
    assert sum(map(sys.getsizeof, arrays)) < BYTES_AN_INODE * len(kept)


class _Listed(File):
    is_found_again = True

    def __init__(self, identity, content):
        self._identity, self._content, self.number = identity, content, 0

    identity = property(lambda self: self._identity)
    content = property(lambda self: self._content)

    def keep_number(self, number):
        self.number = number


class _Folder(Directory):
    is_found_again = True

    def __init__(self, identity, listed):
        self._identity, self.listed, self.times_listed = identity, listed, 0

    identity = property(lambda self: self._identity)

    async def entries(self):
        self.times_listed += 1
        return FixedEntries([(str(place), node) for place, node in enumerate(self.listed)])


def tree():
    files = [_Listed(f"top/inner/{name}", "first") for name in "abc"]
    inner = _Folder("top/inner", files)
    top = _Folder("top", [inner])
    return _Folder("", [top]), top, inner, files


def known(inodes, *chain):
    """The kernel was given each of these, in the one before it: their numbers."""
    numbers = [ROOT]
    for node in chain:
        number = inodes.number(node)
        inodes.remember(number, node, numbers[-1])
        numbers.append(number)
    return numbers[1:]


def test_what_is_dropped_is_found_again_with_its_neighbours_and_the_directories_above():
    root, top, inner, files = tree()
    inodes = Inodes(root)
    top_number, inner_number, first = known(inodes, top, inner, files[0])
    others = [inodes.number(file) for file in files[1:]]
    for number, file in zip(others, files[1:], strict=True):
        inodes.remember(number, file, inner_number)
        inodes.remember(number, file, inner_number)
    inodes.drop(inodes.idle(-1, -1), is_open=lambda number: number == others[1])
    assert [inodes.is_dropped(number) for number in (top_number, inner_number, first, *others)] == [True] * 4 + [False]
    assert (len(inodes), inodes.with_node) == (6, 2)
    assert inner_number in inodes
    assert inodes.parent(inner_number) == top_number
    assert not inodes.is_outdated(first), "an operation that is under way has its node"
    trio.run(inodes.find_again, first)
    assert [inodes.node(number) for number in (top_number, inner_number, first, *others)] == [top, inner, *files]
    assert inodes.parent(inner_number) == top_number
    assert (root.times_listed, top.times_listed, inner.times_listed) == (1, 1, 1)
    inodes.forget(others[0], 1)
    assert others[0] in inodes, "the kernel was given it twice"
    inodes.forget(others[0], 1)
    assert others[0] not in inodes


def test_what_has_another_content_or_is_gone_is_not_taken_for_what_was_dropped():
    root, top, inner, files = tree()
    inodes = Inodes(root)
    *_, inner_number, first = known(inodes, top, inner, files[0])
    second = inodes.number(files[1])
    inodes.remember(second, files[1], inner_number)
    inodes.drop(inodes.idle(-1, -1), is_open=lambda _: False)
    inner.listed = [_Listed(files[0].identity, "second"), files[2]]
    for number in (first, second):
        trio.run(inodes.find_again, number)
        assert inodes.is_dropped(number)
    inodes.forget(first, 1)
    assert first not in inodes
    with pytest.raises(KeyError):
        inodes.forget(first, 1)


def test_a_name_that_is_looked_up_meanwhile_keeps_its_look_ups():
    root, top, inner, files = tree()
    inodes = Inodes(root)
    *_, inner_number, first = known(inodes, top, inner, files[0])
    inodes.drop(inodes.idle(-1, -1), is_open=lambda _: False)
    inodes.remember(first, files[0], inner_number)
    assert not inodes.is_dropped(first)
    inodes.forget(first, 1)
    assert first in inodes


def test_changes_are_told_of_what_was_dropped_below():
    root, top, inner, files = tree()
    inodes = Inodes(root)
    numbers = known(inodes, top, inner, files[0])
    inodes.drop(numbers[1:], is_open=lambda _: False)
    assert set(inodes.numbers(("top",))) == set(numbers)
    assert set(inodes.numbers(("top/inner/a",))) == set(numbers[1:])
    assert set(inodes.numbers(("other",))) == set()
    inodes.drop(numbers[:1], is_open=lambda _: False)
    assert set(inodes.numbers(("",))) == {ROOT, *numbers}


def test_those_known_first_go_first_and_what_is_in_a_directory_before_it():
    root, top, inner, files = tree()
    inodes = Inodes(root)
    numbers = known(inodes, top, inner, files[0])
    assert inodes.idle(-1, -1, most=2) == [numbers[1], numbers[0]]
    assert inodes.idle(100, 100) == []
