"""JSON as the server sends it and as the drive shows it.

Alyx sends what is not strictly JSON (a bare NaN in trajectories, BEHAVIOUR of Alyx 3.6.1), so the fast parser is
used where it is exact and Python's own where it is not.
"""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

# orjson turns integers beyond 64 bits into floats and refuses NaN; 19 digits is the first length at risk.
_NEEDS_PYTHON = re.compile(rb"NaN|Infinity|\d{19}")


def decode(text: bytes) -> Any:
    """Parse an answer of the server without losing a digit; raises ValueError where it is no JSON."""
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


def _holds_no_number(value: Any) -> bool:
    """Whether a NaN or an infinity is anywhere inside: orjson would show it as null."""
    if isinstance(value, float):
        return value != value or value in (float("inf"), float("-inf"))  # noqa: PLR0124 - NaN alone differs from itself
    if isinstance(value, dict):
        return any(_holds_no_number(item) for item in value.values())
    if isinstance(value, list):
        return any(_holds_no_number(item) for item in value)
    return False
