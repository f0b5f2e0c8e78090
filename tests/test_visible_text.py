"""What cannot be seen, and what makes other text look different from what it is, is escaped, and nothing else."""

from __future__ import annotations

import json
import logging
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alyxfs import errors
from alyxfs.daemon import OneLine
from alyxfs.visible_text import HIDDEN, escaped, escaped_json, one_line

hidden = re.compile(f"[{HIDDEN}]")
texts = st.text(st.characters() | st.sampled_from("\x1b\x07\u202e\u200b\u2066\ufeff\n\r\t\x9b\U000e0041[]"))

EVIL = {
    "an escape sequence": "\x1b[31mred\x1b[0m",
    "one of eight bits": "\x9b2J",
    "a bell": "\a",
    "a title of the window": "\x1b]0;owned\x07",
    "a carriage return": "safe\revil",
    "a backspace": "ab\b\bcd",
    "writing turned round": "gpj.\u202eexe",
    "an isolate": "\u2066abc\u2069",
    "a mark of direction": "a\u200fb\u061c",
    "a zero-width space": "lab\u200b",
    "a zero-width joiner": "lab\u200d",
    "a mark of byte order": "\ufefflab",
    "a soft hyphen": "la\u00adb",
    "a line end of Unicode": "a\u2028b\u2029c\x85d",
    "a tag": "a\U000e0041",
    "a filler": "a\u3164",
    "half a character": "a\ud800",
}


@pytest.mark.parametrize("text", EVIL.values(), ids=EVIL)
def test_what_a_terminal_would_obey_or_not_show_is_escaped(text):
    assert hidden.search(text)
    assert not hidden.search(escaped(text).replace("\n", ""))
    assert not hidden.search(one_line(text))
    one_line(text).encode()


PLAIN = [
    "cortexlab",
    "Zo\u00eb",
    "Zoe\u0308",
    "naïve café",
    "日本語",
    "한국어",
    "עברית",
    "العربية",
    "हिन्दी",
    "🐭",
    "a b",
    "#2024#",
    "[bold]",
    "\u0600",
]


@pytest.mark.parametrize("text", PLAIN)
def test_what_can_be_seen_stays_as_it_is(text):
    assert escaped(text) == one_line(text) == text


@given(texts)
def test_no_text_keeps_a_hidden_character(text):
    assert not hidden.search(one_line(text))
    assert not hidden.search(escaped(text).replace("\n", ""))
    assert escaped(text).count("\n") == text.count("\n")


@given(st.recursive(texts | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=8))
def test_escaped_json_is_the_same_value(value):
    text = escaped_json(json.dumps(value, ensure_ascii=False, indent=2))
    assert json.loads(text) == value
    assert not hidden.search(text.replace("\n", ""))


def test_the_set_holds_what_unicode_calls_controls_of_direction_and_line_ends():
    bidirectional = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI", "BN"}
    for number in range(0x110000):
        character = chr(number)
        if unicodedata.bidirectional(character) in bidirectional or unicodedata.category(character) in {
            "Cc",
            "Zl",
            "Zp",
        }:
            assert hidden.match(character), f"U+{number:04X}"


def test_no_accent_or_letter_is_in_the_set():
    """Of marks only variants of the character before; of letters only fillers, which show nothing."""
    marks = {
        number
        for number in range(0x110000)
        if hidden.match(chr(number)) and unicodedata.category(chr(number))[0] in "LM"
    }
    invisible = {0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0, *range(0x180B, 0x1810), *range(0xFE00, 0xFE10)}
    assert marks - set(range(0xE0000, 0xE1000)) <= invisible


@given(texts)
def test_the_message_of_an_error_is_one_line_without_hidden_characters(text):
    assert not hidden.search(str(errors.ServerFault(f"The server says: {text}")))


def test_nothing_that_is_logged_looks_like_another_line_of_the_log():
    evil = "x\n2024-01-01 00:00:00,000 ERROR root: forged \x1b[31m\u202e"
    try:
        raise ValueError(evil)
    except ValueError as error:
        record = logging.LogRecord(
            "a", logging.INFO, "", 1, "the server says %s", (evil,), (type(error), error, error.__traceback__)
        )
    lines = OneLine("%(levelname)s %(message)s").format(record).split("\n")
    assert lines[0].startswith("INFO the server says x 2024")
    assert all(line.startswith("  ") for line in lines[1:])
    assert not any(hidden.search(line) for line in lines)
    assert any("forged" in line for line in lines[1:])
