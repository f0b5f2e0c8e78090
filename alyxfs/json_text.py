"""JSON as the server sends it and as the drive shows it.

Alyx sends what is not strictly JSON (a bare NaN in trajectories, BEHAVIOUR of Alyx 3.6.1), so the fast parser is
used where it is exact and Python's own where it is not.
"""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

MAXIMUM_DEPTH = 100
"""Levels of lists and dictionaries inside each other. Records have five or so. orjson writes at most 254, and whoever
goes through a value step by step needs room on Python's stack, which holds 1000 calls."""

# orjson turns integers beyond 64 bits into floats and refuses NaN; 19 digits is the first length at risk.
_NEEDS_PYTHON = re.compile(rb"NaN|Infinity|\d{19}")

_TO_SQUARE = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b'[]{}"'))
_TEXT = re.compile(rb'"[^"]*"')

_SMALL = 1024**2
"""Bytes of text that need no estimate: they cannot become more than some 30 MB."""
_LIST, _DICTIONARY = 80, 200
"""Bytes that one takes beside its items, about (CPython 3.11: an empty list has 56, a small dictionary 184)."""
_ITEM = 64
"""Bytes that an item takes beside its text, about: a short string has 49 and its place in a list 8."""


class TooMuchError(ValueError):
    """Read, the text would take more memory than its reader allows."""


def decode(text: bytes, most_memory: int | None = None) -> Any:
    """Parse an answer of the server without losing a digit.

    Raises ValueError where it is no JSON, or nested deeper than MAXIMUM_DEPTH, and TooMuchError where it would take
    more than ``most_memory`` bytes: two bytes of text can become 60 of lists.
    """
    if most_memory is not None and len(text) > _SMALL and _memory_of(text) > most_memory:
        raise TooMuchError(f"{len(text)} bytes of text hold more than {most_memory} bytes of lists and fields")
    if text.count(b"[") + text.count(b"{") > MAXIMUM_DEPTH and _is_too_deep(text):
        raise ValueError(f"it is nested deeper than {MAXIMUM_DEPTH} levels")
    if _NEEDS_PYTHON.search(text):
        return json.loads(text)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)


def render(document: Any) -> bytes:
    """The content of a record file: UTF-8, two-space indent, the server's key order, one newline at the end."""
    try:
        body = orjson.dumps(document, option=orjson.OPT_INDENT_2)
    except (TypeError, ValueError):
        # Integers beyond 64 bits and lone surrogates: Python writes both, the latter as escapes.
        return json.dumps(document, indent=2).encode() + b"\n"
    if _holds_no_number(document):
        body = json.dumps(document, indent=2, ensure_ascii=False).encode()
    return body + b"\n"


def compact(document: Any) -> bytes:
    """The same value on one line, for the store and for requests."""
    if _holds_no_number(document):
        return json.dumps(document, separators=(",", ":")).encode()
    try:
        return orjson.dumps(document)
    except (TypeError, ValueError):
        return json.dumps(document, separators=(",", ":")).encode()


def _is_too_deep(text: bytes) -> bool:
    """Whether brackets are left when the innermost have been taken away so often; what is no JSON may seem deep."""
    bare = text.replace(b"\\\\", b"").replace(b'\\"', b"").translate(_TO_SQUARE, _NO_BRACKETS)
    brackets = _TEXT.sub(b"", bare.replace(b'""', b""))
    for _ in range(MAXIMUM_DEPTH):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def _memory_of(text: bytes) -> int:
    """Bytes that the parsed text will take, about; commas and brackets inside strings count, too."""
    containers = _LIST * text.count(b"[") + _DICTIONARY * text.count(b"{")
    return len(text) + containers + _ITEM * (text.count(b",") + text.count(b":"))


def _holds_no_number(value: Any) -> bool:
    """Whether a NaN or an infinity is anywhere inside: orjson would show it as null."""
    if isinstance(value, float):
        return value != value or value in (float("inf"), float("-inf"))  # noqa: PLR0124 - NaN alone differs from itself
    if isinstance(value, dict):
        return any(_holds_no_number(item) for item in value.values())
    if isinstance(value, list):
        return any(_holds_no_number(item) for item in value)
    return False
