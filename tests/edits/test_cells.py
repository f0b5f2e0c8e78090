"""What a table of changes may have as columns, and which value each of its cells is."""

from __future__ import annotations

import re
from pathlib import Path

import orjson
import pytest

from alyxfs import errors
from alyxfs.alyx.schema.read import read_schema
from alyxfs.edits import cells

SCHEMA = Path(__file__).parents[1] / "recordings" / "openapi.json"
ENDPOINTS = read_schema(orjson.loads(SCHEMA.read_bytes())).endpoints
SESSIONS = ENDPOINTS["sessions"]


@pytest.mark.parametrize(
    ("endpoint", "columns", "key"),
    [
        ("sessions", ["narrative", "id"], "id"),
        ("sessions", ["url", "narrative"], "url"),
        ("subjects", ["nickname", "description"], "nickname"),
    ],
)
def test_the_column_that_names_the_record(endpoint, columns, key):
    assert cells.key_column(ENDPOINTS[endpoint], columns) == key


@pytest.mark.parametrize(
    ("endpoint", "columns", "words"),
    [
        ("sessions", ["narrative"], "no column 'id' or 'url', which tells the record"),
        ("subjects", ["id", "description"], "no column 'nickname'"),
        ("sessions", ["id", "narrative", "qc", "narrative"], "the column 'narrative' stands there twice"),
        ("sessions", ["id", "narative"], "Did you mean 'narrative'"),
        ("sessions", ["url", "id", "narrative"], "url of sessions is set by the server"),
        ("sessions", ["id"], "the table has no column besides 'id'"),
        ("sessions", [], "no column 'id' or 'url'"),
    ],
)
def test_columns_that_cannot_be_are_all_named_before_anything_is_sent(endpoint, columns, words):
    with pytest.raises(errors.Invalid, match="Nothing was sent") as refusal:
        cells.key_column(ENDPOINTS[endpoint], columns)
    assert words in str(refusal.value)


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(errors.Invalid, match=r"stands there twice; there is no column .*; .*nonsense"):
        cells.key_column(SESSIONS, ["narrative", "narrative", "nonsense"])


def test_records_that_nobody_can_change_have_no_table_of_changes():
    fixed = next(one for one in ENDPOINTS.values() if "PATCH" not in one.detail_methods and one.lookup)
    with pytest.raises(errors.NotAllowed):
        cells.key_column(fixed, [fixed.lookup, "name"])


@pytest.mark.parametrize(
    ("endpoint", "column", "cell", "value"),
    [
        ("sessions", "narrative", "as it is, [1]", "as it is, [1]"),
        ("sessions", "narrative", "5", "5"),
        ("sessions", "narrative", "null", ""),
        ("sessions", "number", "7", 7),
        ("sessions", "number", "null", None),
        ("sessions", "json", '{"a": [1, null]}', {"a": [1, None]}),
        ("sessions", "json", "null", None),
        ("sessions", "projects", '["one", "two"]', ["one", "two"]),
        ("subjects", "cull", "null", None),
        ("sessions", "a field of tomorrow", "5", 5),
        ("sessions", "a field of tomorrow", "no JSON", "no JSON"),
    ],
)
def test_each_cell_is_a_value_of_its_field(endpoint, column, cell, value):
    assert cells.changes_in(ENDPOINTS[endpoint], {column: cell}) == {column: value}


@pytest.mark.parametrize(("cell", "value"), [("true", True), ("FALSE", False), ("1", True), (" 0 ", False)])
def test_truths_are_written_in_several_ways(cell, value):
    endpoint, name = truth_field()
    assert cells.changes_in(endpoint, {name: cell}) == {name: value}


def truth_field():
    """An endpoint, and a field of it that is true or false."""
    return next(
        (endpoint, name)
        for endpoint in ENDPOINTS.values()
        for name, field in endpoint.fields.items()
        if field.kind == "boolean"
    )


def test_an_empty_cell_changes_nothing():
    assert cells.changes_in(SESSIONS, {"narrative": "", "number": "", "json": ""}) == {}


def test_a_cell_that_is_no_value_of_its_field_is_refused():
    endpoint, name = truth_field()
    for described, column, cell, words in (
        (endpoint, name, "maybe", f"{name} must be true or false, not 'maybe'"),
        (SESSIONS, "number", "seven", "number must be a number, not 'seven'"),
        (SESSIONS, "projects", "one, two", 'projects must be JSON, as ["a", "b"]'),
        (SESSIONS, "json", "{broken", "json must be JSON"),
    ):
        with pytest.raises(errors.Invalid, match=re.escape(words).replace("'", "['\"]")):
            cells.changes_in(described, {column: cell})


def test_an_address_names_the_record_at_its_end():
    key = "00000000-0000-4000-8000-000000000000"
    assert cells.key_in(key) == cells.key_in(f"http://alyx.example.org/sessions/{key}") == key
    assert cells.key_in("KS 001") == "KS 001"
