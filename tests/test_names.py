"""Server-given names as file names, and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alyxfs import names


@pytest.mark.parametrize(
    ("name", "encoded"),
    [
        ("KS022", "KS022.json"),
        ("..", "%2E%2E.json"),
        (".hidden01", ".hidden01.json"),
        ("a/b", "a%2Fb.json"),
        ("50%", "50%25.json"),
        ("a\nb", "a%0Ab.json"),
        ("", "%.json"),
        (".schema", "%2Eschema.json"),
        ("Zo\u00eb", "Zo\u00eb.json"),
        ("Zoe\u0308", "Zoe\u0308.json"),
    ],
)
def test_a_name_is_shown_and_found_again(name, encoded):
    assert names.encode(name, ".json") == encoded
    assert names.decode(encoded[: -len(".json")]) == name


@given(st.text(max_size=80))
def test_every_short_name_comes_back_exactly_and_stays_in_its_directory(name):
    encoded = names.encode(name)
    assert names.decode(encoded) == name
    assert encoded not in {"", ".", ".."}
    assert "/" not in encoded
    assert "\0" not in encoded
    encoded.encode()


@given(st.text(min_size=1, max_size=2000))
def test_no_name_is_longer_than_the_kernel_takes(name):
    assert 0 < len(names.encode(name, ".json").encode()) <= names.MAXIMUM_BYTES


def test_long_names_with_one_beginning_stay_apart():
    assert names.encode("x" * 300 + "a", ".json") != names.encode("x" * 300 + "b", ".json")


@given(st.text(max_size=40))
def test_only_the_one_right_spelling_of_a_name_is_found(spelling):
    decoded = names.decode(spelling)
    assert decoded is None or names.encode(decoded) == spelling
