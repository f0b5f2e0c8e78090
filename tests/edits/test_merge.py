"""The three-way merge, and the comparison of an answer with what was sent."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alyxfs.edits.merge import MISSING, differences_after_saving, same, same_after_saving, three_way

SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from(["", "a", "b", "hello"]))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.sampled_from("xyz"), inner, max_size=3)),
    max_leaves=6,
)
FIELDS = ("narrative", "json", "number", "projects")
RECORDS = st.fixed_dictionaries(dict.fromkeys(FIELDS, VALUES))


def applied(theirs, patch):
    return {**theirs, **patch}


def test_missing_fields_are_unchanged():
    base = {"narrative": "a", "qc": "PASS"}
    assert three_way(base, {"narrative": "b"}, base).patch == {"narrative": "b"}


def test_a_key_removed_inside_a_json_field_is_removed():
    base = {"json": {"a": 1, "b": {"c": 2, "d": 3}}}
    merged = three_way(base, {"json": {"b": {"d": 3}}}, base)
    assert merged.patch == {"json": {"b": {"d": 3}}}


def test_json_fields_merge_by_key():
    base = {"json": {"a": 1, "b": {"c": 2}, "gone": 0}}
    mine = {"json": {"a": 5, "b": {"c": 2}, "gone": 0}}
    theirs = {"json": {"a": 1, "b": {"c": 2, "new": 1}}}
    merged = three_way(base, mine, theirs)
    assert merged.patch == {"json": {"a": 5, "b": {"c": 2, "new": 1}}}


def test_json_fields_that_were_null_merge():
    merged = three_way({"json": None}, {"json": {"a": 1}}, {"json": {"b": 2}})
    assert merged.patch == {"json": {"a": 1, "b": 2}}


def test_a_conflict_names_the_path_and_all_three_values():
    merged = three_way({"json": {"q": {"c": 1}}}, {"json": {"q": {"c": 2}}}, {"json": {"q": {"c": 3}}})
    (disagreement,) = merged.disagreements
    assert disagreement.name == "json.q.c"
    assert (disagreement.base, disagreement.mine, disagreement.theirs) == (1, 2, 3)
    assert merged.patch == {}


def test_removing_what_the_other_side_changed_is_a_conflict():
    merged = three_way({"json": {"a": 1}}, {"json": {}}, {"json": {"a": 2}})
    assert [d.mine for d in merged.disagreements] == [MISSING]


def test_the_same_change_on_both_sides_sends_nothing():
    assert three_way({"qc": "PASS"}, {"qc": "FAIL"}, {"qc": "FAIL"}).patch == {}


def test_computed_fields_are_no_edits():
    merged = three_way({"age_weeks": 3}, {"age_weeks": 9}, {"age_weeks": 4}, computed=frozenset({"age_weeks"}))
    assert merged == type(merged)({}, ())


def test_order_counts_except_in_many_to_many_relations():
    base, mine = {"projects": ["a", "b"]}, {"projects": ["b", "a"]}
    assert three_way(base, mine, base, unordered=frozenset({"projects"})).patch == {}
    assert three_way(base, mine, base).patch == mine
    doubled = {"projects": ["a", "a"]}
    assert three_way({"projects": ["a"]}, doubled, {"projects": ["a"]}, unordered=frozenset({"projects"})).patch


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        (math.nan, math.nan, True),
        (None, 0, False),
        ("1", 1, False),
    ],
)
def test_json_values_are_compared_by_kind(one, other, equal):
    assert same(one, other) is equal
    assert same([{"k": one}], [{"k": other}]) is equal


@given(RECORDS, RECORDS)
@settings(max_examples=80)
def test_without_another_writer_the_result_is_what_was_written(base, mine):
    merged = three_way(base, mine, base)
    assert not merged.disagreements
    assert same(applied(base, merged.patch), mine)


@given(RECORDS, RECORDS)
@settings(max_examples=80)
def test_an_unedited_record_never_touches_the_others_edit(base, theirs):
    merged = three_way(base, dict(base), theirs)
    assert merged.patch == {}
    assert not merged.disagreements


@given(RECORDS, RECORDS, RECORDS)
@settings(max_examples=200)
def test_each_edit_is_kept_or_named(base, mine, theirs):
    merged = three_way(base, mine, theirs)
    disputed = {d.path[0] for d in merged.disagreements}
    result = applied(theirs, merged.patch)
    for field in set(FIELDS) - disputed:
        if isinstance(mine[field], dict) and isinstance(theirs[field], dict):
            before = base[field] if isinstance(base[field], dict) else {}
            for key in {*mine[field], *theirs[field]}:
                old, own, other = (side.get(key, MISSING) for side in (before, mine[field], theirs[field]))
                got = result[field].get(key, MISSING)
                if not same(own, old) and not isinstance(own, dict):
                    assert same(got, own)
                if not same(other, old) and not isinstance(other, dict):
                    assert same(got, other)
        elif not same(mine[field], base[field]):
            assert same(result[field], mine[field])
        else:
            assert same(result[field], theirs[field])
    assert not disputed & set(merged.patch)


@given(RECORDS, RECORDS, RECORDS)
@settings(max_examples=80)
def test_saving_twice_changes_nothing_more(base, mine, theirs):
    merged = three_way(base, mine, theirs)
    if not merged.disagreements:
        after = applied(theirs, merged.patch)
        assert three_way(after, after, after).patch == {}


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        ("  text \n", "text"),
        ("2024-06-01T12:00:00+02:00", "2024-06-01T10:00:00"),
        ("2024-06-01T10:00:00Z", "2024-06-01T10:00:00.000000"),
        ("2024-06-01T10:00:00.1234567", "2024-06-01T10:00:00.123456"),
        ("2024-06-01T10:00", "2024-06-01T10:00:00"),
        (["b", "a"], ["a", "b"]),
        (["b", "a", "b"], ["a", "b"]),
        ("23.1", 23.1),
        (5, "5"),
        (True, "true"),
        ("C325BAD6-6FD2-4EA5-A288-EE073E608783", "c325bad6-6fd2-4ea5-a288-ee073e608783"),
        ("http://one/sessions/1", "https://other/sessions/1"),
        (math.nan, math.nan),
    ],
)
def test_what_the_server_makes_of_a_value_is_no_difference(sent, answered):
    assert same_after_saving(sent, answered)


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        ("text", "other"),
        (99, 0),
        ("2024-06-01T10:00:00", "2024-06-01T11:00:00"),
        (["a"], []),
        (["b", "a", "b"], ["a"]),
        ({"a": 1}, {}),
        ({"a": " x"}, {"a": "x"}),
        ("x", None),
        (None, ""),
        (1, MISSING),
    ],
)
def test_a_value_that_was_not_taken_is_a_difference(sent, answered):
    assert not same_after_saving(sent, answered)


@pytest.mark.parametrize("own", [None, {}, {"c": 2}])
def test_what_the_server_notes_in_a_json_field_is_no_difference(own):
    answered = {**(own or {}), "history": {"nickname": []}}
    assert differences_after_saving({"json": own}, {"json": answered}) == []
    assert differences_after_saving({"json": own}, {"json": {**answered, "d": 1}}) == ["json"]
    assert differences_after_saving({"other": own}, {"other": answered}) == ["other"], "it does so in this field alone"


def test_differences_name_the_fields():
    sent = {"age_weeks": 99, "narrative": "x ", "content_type": "session", "json": {"c": 2}}
    answered = {
        "age_weeks": 3,
        "narrative": "x",
        "content_type": "actions.session",
        "json": {"c": 2, "history": {"nickname": []}},
    }
    assert differences_after_saving(sent, answered) == ["age_weeks"]
    assert differences_after_saving({"narrative": "session"}, {"narrative": "actions.session"}) == ["narrative"]
