"""Look-ups as parts of addresses, and what may become of them between here and Alyx.

Whoever makes a record chooses its name. A server in front of Alyx that decodes an address once more than it should,
and then folds ``..`` or cuts at ``?``, leads ``projects/x%252F..%252F..%252Flabs%252Fmine`` to ``labs/mine``: a DELETE
of the one would delete the other. So the answer to such a look-up must prove whose it is before anything is believed
or written there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

_MISLEADING = re.compile(r"[/\\%?#;\x00-\x1f\x7f]|\.\.|^\.$")
"""What separates, ends, escapes or folds parts of an address."""

FOLDED = frozenset({".", ".."})
"""Names that clients and proxies take for folders."""

NAMED_ELSEWHERE = {"water-requirement": "subject"}
"""Fields that hold the look-up where the record has it under another name (recorded on Alyx 3.6.1)."""


def quote_key(key: str) -> str:
    """A look-up as one part of an address. Clients fold ``.`` and ``..`` away unless the dots are encoded too."""
    if key in FOLDED:
        return "%2E" * len(key)
    return quote(key, safe="", errors="surrogatepass")


def can_mislead(key: str) -> bool:
    """Whether an address with this look-up may lead to another record on the way; ids and common names cannot."""
    return _MISLEADING.search(key) is not None


def proves_itself(document: Mapping[str, Any], endpoint: str, lookup: str | None, key: str) -> bool:
    """Whether a record says itself that it is the one of this look-up: by the field, and by its own address if any."""
    field = NAMED_ELSEWHERE.get(endpoint, lookup)
    url = document.get("url")
    if isinstance(url, str):
        parts = urlsplit(url).path.split("/")[-2:]
        if [unquote(part) for part in parts] != [endpoint, key] and endpoint not in NAMED_ELSEWHERE:
            return False
    elif field is None:
        return False
    return field is None or document.get(field) == key
