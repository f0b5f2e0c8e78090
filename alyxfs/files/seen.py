"""Which content of its files this mount has shown, also of those that nobody has open any more.

The kernel keeps pages of a file after it was closed. As long as it may have some, what comes later must be known to be
of the same content, or the file must get another inode; so each content has a generation, a number that is given once.
"""

from __future__ import annotations

import json
from dataclasses import astuple
from typing import NamedTuple

from alyxfs.files.disk.block_file import Fingerprint

MOST = 50_000
"""Files that are remembered, some 300 bytes each, in two texts: every object that stays when all others go holds a page
of memory, which only then could be given back."""


class Seen(NamedTuple):
    """A content that was shown."""

    generation: int
    fingerprint: Fingerprint | None
    """What the file server said of it; None where it was not asked."""
    is_shown: bool
    """Whether anybody has opened it: a content that nobody saw becomes another one without harm."""


class SeenContents:
    """See the module. Never awaits.

    Where there are too many, all are forgotten at once: then every file counts as another one than before, and the
    kernel takes none of its pages for it.
    """

    def __init__(self) -> None:
        self._closed: dict[str, str] = {}
        """By identity and version of the file, with a NUL between them; see _packed."""
        self._newest = 0
        self._never_seen = Seen(0, None, is_shown=False)

    def of(self, identity: str, version: str) -> Seen:
        """What was shown of a file that is not open."""
        found = self._closed.get(f"{identity}\0{version}")
        return self._never_seen if found is None else _unpacked(found)

    def closed(self, identity: str, version: str, seen: Seen) -> None:
        """Remember what was shown of a file, as it is not open any more."""
        if seen == self._never_seen:
            return
        if len(self._closed) >= MOST:
            self._closed.clear()
            self._never_seen = Seen(self.new_generation(), None, is_shown=False)
        packed, key = _packed(seen), f"{identity}\0{version}"
        if self._closed.get(key) != packed:  # a new text would keep another page of the heap from being given back
            self._closed[key] = packed

    def new_generation(self) -> int:
        """A number that was not given before."""
        self._newest += 1
        return self._newest


def _packed(seen: Seen) -> str:
    of_server = None if seen.fingerprint is None else astuple(seen.fingerprint)
    return json.dumps([seen.generation, of_server, seen.is_shown])


def _unpacked(text: str) -> Seen:
    generation, of_server, is_shown = json.loads(text)
    return Seen(generation, None if of_server is None else Fingerprint(*of_server), is_shown)
