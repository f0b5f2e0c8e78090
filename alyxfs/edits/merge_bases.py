"""What programs have read of each record: the base of a three-way merge is what its writer last saw.

An editor reads a record, holds it for an hour and writes it back. Compared with the record as it is now, everything
that somebody else changed meanwhile would look like the editor's own edit. So the tree says what it serves and to whom.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from alyxfs import json_text

if TYPE_CHECKING:
    from collections.abc import Iterable

MAXIMUM_READINGS = 1024
"""Pairs of program and record whose last reading is remembered; documents are shared with the memory of records."""

MAXIMUM_RECORDS = 4096
"""Records whose earlier read-only values are remembered, as hashes of 8 bytes."""

MAXIMUM_VALUES = 64
"""Earlier values remembered of one field."""


class Bases:
    """A bounded memory; no method awaits, so that each is atomic."""

    def __init__(self) -> None:
        self._read: dict[int, OrderedDict[tuple[str, str], dict[str, Any]]] = {}
        """By program."""
        self._readings = 0
        self._latest: OrderedDict[tuple[str, str], dict[str, Any]] = OrderedDict()
        self._shown: OrderedDict[tuple[str, str], dict[str, OrderedDict[bytes, None]]] = OrderedDict()

    def served(self, reader: int, endpoint: str, key: str, document: dict[str, Any]) -> None:
        """A program (its process id) has opened, or written, the record and believes it to be this document."""
        own = self._read.setdefault(reader, OrderedDict())
        known = own.pop((endpoint, key), None)
        own[endpoint, key] = document
        self._latest.pop((endpoint, key), None)
        self._latest[endpoint, key] = document
        if len(self._latest) > MAXIMUM_READINGS:
            self._latest.popitem(last=False)
        self._readings += known is None
        if self._readings > MAXIMUM_READINGS:
            self._forget_one()
        if known is not document:
            self.shown(endpoint, key, document, document)

    def base_of(self, writer: int, endpoint: str, key: str) -> dict[str, Any] | None:
        """What this program last read or wrote of the record; else what was last shown to any; None where to none.

        ``jq … X.json > new; mv new X.json`` reads and writes in two programs, one soon after the other.
        """
        own = self._read.get(writer)
        latest = self._latest.get((endpoint, key))
        return latest if own is None else own.get((endpoint, key), latest)

    def _forget_one(self) -> None:
        """The oldest reading of the program with the most: a search through all records takes no editor's base away."""
        greatest = max(self._read, key=lambda reader: len(self._read[reader]))
        self._read[greatest].popitem(last=False)
        self._readings -= 1
        if not self._read[greatest]:
            del self._read[greatest]

    def shown(self, endpoint: str, key: str, document: dict[str, Any], fields: Iterable[str]) -> None:
        """Remember the values of these fields as ones that the drive itself has shown."""
        record = self._shown.pop((endpoint, key), {})
        self._shown[endpoint, key] = record
        if len(self._shown) > MAXIMUM_RECORDS:
            self._shown.popitem(last=False)
        for field in fields:
            if field in document:
                values = record.setdefault(field, OrderedDict())
                values[_fingerprint(document[field])] = None
                if len(values) > MAXIMUM_VALUES:
                    values.popitem(last=False)

    def was_shown(self, endpoint: str, key: str, field: str, value: Any) -> bool:
        """Whether this very value of the field stood in the record file before."""
        return _fingerprint(value) in self._shown.get((endpoint, key), {}).get(field, ())


def _fingerprint(value: Any) -> bytes:
    return hashlib.blake2b(json_text.compact(value), digest_size=8).digest()
