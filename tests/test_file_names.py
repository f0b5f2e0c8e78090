"""Server-given names as file names, and back."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alyxfs import file_names
from alyxfs.visible_text import HIDDEN


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
        ("a\u202eb", "a%E2%80%AEb.json"),
        ("a\u200bb", "a%E2%80%8Bb.json"),
        ("\x1b[31m", "%1B[31m.json"),
        ("\x9b", "%C2%9B.json"),
        ("\U000e0041", "%F3%A0%81%81.json"),
        ("Zo\u00eb", "Zo\u00eb.json"),
        ("Zoe\u0308", "Zoe\u0308.json"),
    ],
)
def test_a_name_is_shown_and_found_again(name, encoded):
    assert file_names.encode(name, ".json") == encoded
    assert file_names.decode(encoded[: -len(".json")]) == name


odd = st.characters() | st.sampled_from("\x1b\x07\u202e\u200b\u2066\ufeff%/.\U000e0041\ufe0f")


@given(st.text(odd, max_size=60))
def test_every_short_name_comes_back_exactly_and_stays_in_its_directory(name):
    encoded = file_names.encode(name)
    assert file_names.decode(encoded) == name
    assert encoded not in {"", ".", ".."}
    assert not re.search(f"[/{HIDDEN}]", encoded)
    assert "\0" not in encoded
    encoded.encode()


@given(st.text(min_size=1, max_size=2000))
def test_no_name_is_longer_than_the_kernel_takes(name):
    assert 0 < len(file_names.encode(name, ".json").encode()) <= file_names.MAXIMUM_BYTES


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=40))
def test_a_name_of_plain_characters_stays_as_it_is(name):
    plain = re.sub(f"[/%{HIDDEN}]", "", name)
    if plain and plain not in {".", "..", ".schema", ".help", ".alyxfs"} and len(plain.encode()) < 240:
        assert file_names.encode(plain) == plain


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("a", ("a",)),
        ("50%", ("50%",)),
        ("50%25", ("50%", "50%25")),
        ("a%2", ("a%2",)),
        ("%", ("%",)),
        (".help", (".help",)),
    ],
)
def test_a_name_that_is_not_encoded_means_itself(name, meant):
    assert file_names.meanings(name) == meant


def test_long_names_with_one_beginning_stay_apart():
    assert file_names.encode("x" * 300 + "a", ".json") != file_names.encode("x" * 300 + "b", ".json")


@given(st.text(max_size=40))
def test_only_the_one_right_spelling_of_a_name_is_found(spelling):
    decoded = file_names.decode(spelling)
    assert decoded is None or file_names.encode(decoded) == spelling
