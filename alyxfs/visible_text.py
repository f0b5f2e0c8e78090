"""Characters that are not seen, or that make others look different from what they are; and text without them.

Whoever may write one record chooses texts that are printed in other people's terminals: escape sequences colour and
overwrite what stands there, bidirectional controls reverse it, zero-width characters make two names look like one.
"""

from __future__ import annotations

import re

HIDDEN = (
    "\x00-\x1f\x7f-\x9f"  # control characters
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0"  # seen by nobody
    "\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f"  # of zero width, and what turns the direction of writing
    "\u2028\u2029"  # ends of lines and paragraphs
    "\ufe00-\ufe0f\ufeff\ufff0-\ufffb"  # variants of the character before, marks of byte order and of annotations
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"  # marks of shorthand and music, tags
    "\ud800-\udfff"  # halves of characters
)
"""The inside of a set of a regular expression: Default_Ignorable_Code_Point of Unicode 15.1 (which holds
Bidi_Control), control characters, line ends and surrogates. Written out, for names on the drive are the same whatever
Unicode a Python knows. Accents, composed or not, are none of them."""

_HIDDEN = re.compile(f"[{HIDDEN}]")
_HIDDEN_IN_LINES = re.compile(f"(?!\n)[{HIDDEN}]")
_BREAKS = re.compile("[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]+")


def escaped(text: str) -> str:
    """Text of several lines, with hidden characters as Python writes them, a bell as a backslash and ``x07``."""
    return _HIDDEN_IN_LINES.sub(_escape, text)


def one_line(text: str) -> str:
    """A sentence for people: line ends and tabs as spaces, hidden characters as :func:`escaped` writes them."""
    return _HIDDEN.sub(_escape, _BREAKS.sub(" ", text))


def escaped_json(text: str) -> str:
    """The same JSON with hidden characters inside its strings as escapes of JSON; the line ends between values stay."""
    return _HIDDEN_IN_LINES.sub(_escape_json, text)


def _escape(match: re.Match[str]) -> str:
    number = ord(match.group())
    if number < 0x100:  # noqa: PLR2004 - two digits
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"  # noqa: PLR2004 - four digits


def _escape_json(match: re.Match[str]) -> str:
    halves = match.group().encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{halves[start : start + 2].hex()}" for start in range(0, len(halves), 2))
