"""What a write is: the request that leaves once, its row in the journal, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alyxfs import json_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alyxfs.alyx.schema.read import Endpoint
    from alyxfs.edits.entry import Entry

EVERY_RECORD = ""

LOST = "lost"
"""The key, in the journal's answer of a DELETE, of what was found to be lost with the record."""
TAKEN_WITH = "taken_with"
"""The key, there, of the records that are not shown any more once it is staged: endpoint, look-up and identity."""


@dataclass(frozen=True)
class SaveResult:
    """What came of a write that was not refused."""

    number: int | None
    """In the journal; None where there was nothing to save."""
    endpoint: str
    key: str
    """The record's look-up now."""
    document: dict[str, Any] | None
    """The record as the server answered it (of some endpoints in the shape of a list row); None after a delete."""
    sent: dict[str, Any]
    """The fields that went to the server; empty where nothing was sent."""
    sentence: str
    """What happened, for the log."""
    touched: tuple[tuple[str, str | None], ...] = ()
    """Records (endpoint, key) and listings (key None) whose copies, the kernel's too, are no longer right.

    The key ``EVERY_RECORD`` is the beginning of all of the endpoint.
    """
    is_new: bool = False
    """Whether the record was made by this write."""
    base: dict[str, Any] | None = None
    """What the bytes that were saved say of the record now: what the next save of them is compared with."""


@dataclass
class Write:
    """A write on its way; a row of the journal once it is entered."""

    operation: str
    endpoint: str
    key: str
    """As in the journal."""
    method: str
    draft: bytes | None = None
    undo_of: int | None = None
    applies: int | None = None
    """The number of the staged write that it sends."""
    number: int | None = None
    """In the journal; None until it is entered."""
    is_sent: bool = False
    """The request may have reached the server: what came of it is to be found out, never assumed."""
    settled: bool = False
    """The journal knows what came of it."""


@dataclass(frozen=True)
class Request:
    """The one request of a write."""

    method: str
    endpoint: Endpoint
    key: str
    """The record's look-up; of a POST, the name of its file."""
    document: dict[str, Any] | None
    before: dict[str, Any] | None
    """The record as it was just before."""
    image: tuple[str, bytes] | None = None
    """File name and content of a note's picture, which make the request multipart."""
    lost: tuple[str, ...] = ()
    """Of a DELETE: what no undo will bring back, in words."""
    told: str | None = None
    """Of a DELETE: what the log is to say of it."""

    @property
    def journalled(self) -> dict[str, Any] | None:
        """What the journal holds of it: of a picture its name, the content is the draft."""
        return {**(self.document or {}), "image": self.image[0]} if self.image else self.document


def write_of(entry: Entry) -> Write:
    """A write that another process, or an earlier step, has begun."""
    return Write(
        entry.operation,
        entry.endpoint,
        entry.key,
        entry.method,
        None if entry.applies else entry.draft,  # what is staged is kept as that
        applies=entry.applies,
        number=entry.number,
        is_sent=True,
    )


def as_form(document: Mapping[str, Any]) -> dict[str, str]:
    """Values as form fields, which are all text: JSON for what is not, and nothing for null."""
    return {
        field: value if isinstance(value, str) else json_text.compact(value).decode()
        for field, value in document.items()
        if value is not None
    }


def stays_staged(number: int) -> str:
    """What is to be done where a staged write is in conflict."""
    return f"It stays staged: `alyxfs discard {number}` forgets it, and what is still meant can be written anew."
