"""JSON in and out without losing a digit."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alyxfs import json_text

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES)
def test_a_document_survives_being_shown_and_read_again(document):
    assert json_text.decode(json_text.render(document)) == document
    assert json_text.decode(json_text.compact(document)) == document


def test_the_form_is_that_of_a_text_file():
    assert json_text.render({"b": 1, "a": ["\u00e9"]}) == '{\n  "b": 1,\n  "a": [\n    "\u00e9"\n  ]\n}\n'.encode()


def test_what_a_server_sends_beyond_json_is_kept():
    document = json_text.decode(b'{"x": NaN, "id": 123456789012345678901234567890}')
    assert math.isnan(document["x"])
    assert document["id"] == 123456789012345678901234567890
    again = json.loads(json_text.render(document))
    assert math.isnan(again["x"])
    assert again["id"] == document["id"]


def test_what_is_no_json_is_refused():
    with pytest.raises(ValueError, match="Expecting"):
        json_text.decode(b"<html>")


@pytest.mark.parametrize(
    ("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('["[",', "]"), ('{"\\\\\\"{":[1,', "]}")]
)
def test_nesting_is_bounded_and_what_is_in_strings_does_not_nest(opening, closing):
    bare = json.loads("[" + json.dumps(opening) + "]")[0]
    levels = sum(1 for each in closing if each in "]}")

    def nested(depth):
        return (opening * depth + "1" + closing * depth).encode()

    most = json_text.MAXIMUM_DEPTH // levels
    document = json_text.decode(nested(most))
    assert json_text.decode(json_text.render(document)) == document
    for depth in (most + 1, 1000, 100_000):
        with pytest.raises(ValueError, match="deeper than 100"):
            json_text.decode(nested(depth))
    in_text = {"text": nested(1000).decode(), "bare": [bare] * 200}
    assert json_text.decode(json.dumps(in_text).encode()) == in_text


@pytest.mark.parametrize("part", ["[],", "{},", '"ab",', '{"a":1},', "[[]],"])
def test_a_text_that_would_fill_memory_is_refused(part):
    text = ("[" + part * (4_000_000 // len(part)) + "1]").encode()
    with pytest.raises(json_text.TooMuchError):
        json_text.decode(text, 32 * 1024**2)
    assert json_text.decode(text[:1] + text[-2:], 32 * 1024**2) == [1]


def test_numbers_that_nobody_can_hold_are_refused_and_large_ones_kept():
    with pytest.raises(ValueError, match="digits"):
        json_text.decode(b"[" + b"9" * 5000 + b"]")
    assert json_text.decode(json_text.render(json_text.decode(b"[-" + b"9" * 4000 + b"]"))) == [-int("9" * 4000)]
