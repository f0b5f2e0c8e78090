"""Answers that are no success: what they are about, in the server's own words."""

from __future__ import annotations

import contextlib
import html
import re
from typing import TYPE_CHECKING, Any, NoReturn

from alyxfs import errors, json_text

if TYPE_CHECKING:
    from alyxfs.net import Answer

LARGE_ANSWER = 64 * 1024
"""Bytes: parsing more than this in the loop (about 0.3 ms) would be felt by other readers."""
_MAXIMUM_WORDS = 500
"""Characters of the server's words that go into a message."""
_LONGEST_PAGE = 32 * 1024
"""Bytes at the beginning of an HTML page in which words are looked for."""
_MARKUP = re.compile(r"<(?:style|script)\b[^<>]*>[^<]*|<[^<>]*>", re.IGNORECASE)


def is_refused_token(answer: Answer) -> bool:
    """Whether a 403 is about the token and not about a missing permission: only its words tell (BEHAVIOUR)."""
    words = server_words(answer).lower()
    return "invalid token" in words or "credentials were not provided" in words or "user inactive" in words


def server_words(answer: Answer) -> str:
    """What the server says of an error: its ``detail``, or each field with its messages."""
    if "json" not in answer.headers.get("content-type", ""):
        return _text_of_html(answer.body)[:_MAXIMUM_WORDS]
    if len(answer.body) < LARGE_ANSWER:
        with contextlib.suppress(ValueError):
            return _words(json_text.decode(answer.body))[:_MAXIMUM_WORDS]
    return answer.body[: 4 * _MAXIMUM_WORDS].decode(errors="replace")[:_MAXIMUM_WORDS]


def refuse(answer: Answer, method: str, url: str) -> NoReturn:
    """Raise the domain error of an answer that is no success."""
    words = server_words(answer)
    status = answer.status
    path = url.split("?", maxsplit=1)[0]
    if status == 403:  # noqa: PLR2004
        raise errors.AccessDenied(f"{path}: the server refuses this user: {words}", status=status, url=url)
    if status == 429:  # noqa: PLR2004
        raise errors.Throttled(f"{path}: the server asks for a pause: {words}", status=status, url=url)
    if status in {404, 410}:
        raise errors.NotFound(f"{path} does not exist on the server.", status=status, url=url)
    if status == 405:  # noqa: PLR2004
        raise errors.NotAllowed(f"{path}: the server does not offer {method} here.", status=status, url=url)
    if 400 <= status < 500:  # noqa: PLR2004
        raise errors.Invalid(f"{path}: the server refuses this: {words}", status=status, url=url)
    raise errors.ServerFault(f"{path}: the server failed ({status}): {words}", status=status, url=url)


def _words(document: Any) -> str:
    if isinstance(document, dict):
        if set(document) <= {"detail", "status_code"}:
            return _words(document.get("detail", ""))
        fields = ((name, _words(value)) for name, value in document.items() if name != "status_code")
        return "; ".join(words if name == "non_field_errors" else f"{name}: {words}" for name, words in fields)
    if isinstance(document, list):
        return " ".join(_words(item) for item in document)
    return str(document)


def _text_of_html(body: bytes) -> str:
    """What a page says to people, about: it may be broken in any way."""
    text = _MARKUP.sub(" ", body[:_LONGEST_PAGE].decode(errors="replace"))
    return " ".join(html.unescape(text).split())
