"""JSON in and out without losing a digit."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alyxfs import documents

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES)
def test_a_document_survives_being_shown_and_read_again(document):
    assert documents.decode(documents.render(document)) == document
    assert documents.decode(documents.compact(document)) == document


def test_the_form_is_that_of_a_text_file():
    assert documents.render({"b": 1, "a": ["\u00e9"]}) == '{\n  "b": 1,\n  "a": [\n    "\u00e9"\n  ]\n}\n'.encode()


def test_what_a_server_sends_beyond_json_is_kept():
    document = documents.decode(b'{"x": NaN, "id": 123456789012345678901234567890}')
    assert math.isnan(document["x"])
    assert document["id"] == 123456789012345678901234567890
    again = json.loads(documents.render(document))
    assert math.isnan(again["x"])
    assert again["id"] == document["id"]


def test_what_is_no_json_is_refused():
    with pytest.raises(ValueError, match="Expecting"):
        documents.decode(b"<html>")
