"""Rows and identities in little memory are the same as in lists and sets."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alyxfs.alyx.identity_table import IdentityTable
from alyxfs.alyx.metadata.row_list import Row, RowList
from small_alyx import identifiers

MANY = 100_000
FEW = identifiers(20)
IDENTITIES = st.one_of(st.sampled_from(FEW), st.sampled_from([one.upper() for one in FEW]), st.text(max_size=3))
KEPT = st.lists(st.sampled_from([None, 1, True, 1.0, "a", ["b"]]), max_size=2).map(tuple)


@given(st.lists(IDENTITIES))
def test_a_table_is_a_set_that_knows_the_order(identities):
    table, known = IdentityTable(), []
    for identity in identities:
        assert table.add(identity) == (identity not in known)
        known += [] if identity in known else [identity]
    assert [table[position] for position in range(len(table))] == known
    assert [table.position(identity) for identity in known] == list(range(len(known)))
    assert table.position("none of these") is None
    assert "none of these" not in table
    assert table.are_uuids == all(identity in FEW for identity in known)
    assert table.numbers() == sorted(int(one.replace("-", ""), 16) for one in known if one in FEW)


@given(
    st.lists(st.builds(Row, IDENTITIES, IDENTITIES, st.none() | st.floats(0, 1e10), st.none() | st.integers(0), KEPT))
)
def test_rows_are_what_was_put_in(given_rows):
    rows = RowList()
    rows.extend(given_rows)
    assert list(rows) == given_rows
    assert [[type(value) for value in row.kept] for row in rows] == [
        [type(value) for value in row.kept] for row in given_rows
    ]
    assert rows[1:] == given_rows[1:]
    assert rows[-3:] == given_rows[-3:]
    with pytest.raises(IndexError):
        rows[len(given_rows)]


@given(st.integers(0, len(FEW)))
def test_a_list_stays_whole_where_a_row_has_another_name(position):
    named = [Row(one, one, 1.5, 7, ()) for one in FEW]
    named[position:position] = [Row("mouse", FEW[0], None, None, ())]
    rows = RowList()
    rows.extend(named[:10])
    rows.extend(named[10:])
    assert list(rows) == named
    assert not rows.are_named_by_id


def test_a_row_of_many_takes_little_memory():
    identities = identifiers(MANY)
    tracemalloc.start()
    try:
        rows, seen = RowList(), IdentityTable()
        for identity in identities:
            rows.extend([Row(identity, identity, 1.5, 700, (False, False))])
            seen.add(identity)
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert rows.are_named_by_id
    assert rows.position(identities[-1]) == MANY - 1
    assert used < 120 * MANY
