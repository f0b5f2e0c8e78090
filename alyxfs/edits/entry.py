"""One row of the journal: what a write was, how far it came, and how its documents are stored. Nothing here awaits."""

from __future__ import annotations

import enum
import zlib
from dataclasses import dataclass, fields
from typing import Any

from alyxfs import errors, json_text


class State(enum.Enum):
    """How far a write came."""

    PREPARED = "prepared"
    """Nothing was sent yet."""
    SENT = "sent"
    """The request is on its way, or was when the process ended."""
    DONE = "done"
    REFUSED = "refused"
    """Nothing was changed: our own checks or the server refused it."""
    CONFLICT = "conflict"
    """Nothing was sent: the record was changed on both sides."""
    UNKNOWN = "unknown"
    """The request was sent, and neither an answer nor the record told what came of it."""
    PROPOSED = "proposed"
    """Nothing was sent, and nothing will be: it is shown as if it were done while the drive lasts."""
    WITHDRAWN = "withdrawn"
    """It was proposed, and undone."""
    STAGED = "staged"
    """Nothing was sent; it is kept, also without a drive, until it is applied or discarded."""
    APPLIED = "applied"
    """It was staged, and a later write has sent it."""
    DRY_RUN = "dry-run"
    """What earlier versions called proposed."""


@dataclass(frozen=True)
class Entry:
    """One row."""

    number: int
    time: float
    """Unix seconds."""
    server: str
    process: str
    """Which process wrote it: its id and when it was started."""
    operation: str
    """save, create, rename, delete, attach or act."""
    endpoint: str
    key: str
    """The record's look-up; of a new record, the name of its file until its look-up is known."""
    method: str
    fields: tuple[str, ...]
    """The names of the fields in the request."""
    before: Any
    """The record before, as the server had it just before the request."""
    draft: bytes | None
    """What the user wrote, byte for byte."""
    request: Any
    """The document that was, or would be, sent."""
    state: State
    status: int | None
    """The HTTP status of the answer."""
    answer: Any
    after: Any
    """The record after."""
    remark: str | None
    """Why it was refused, or what else there is to say, as a sentence."""
    undo_of: int | None
    in_set: int | None
    """The number of the set that it belongs to."""
    applies: int | None
    """The number of the staged write that it sends."""
    picture: bytes | None
    """Of a new note that is staged with one."""


@dataclass(frozen=True)
class WriteSet:
    """Writes that were made together: by one `alyxfs edit`, `apply` or `undo --set`."""

    number: int
    time: float
    """Unix seconds."""
    server: str
    made_by: str
    """The command, in words."""


DOCUMENTS = ("before", "draft", "request", "answer", "after", "picture")
"""The columns of the table of what can be large: compressed, draft and picture as they are and the others as JSON."""
BYTES = frozenset({"draft", "picture"})
BRIEF = tuple(field.name for field in fields(Entry) if field.name not in DOCUMENTS)


def names_of(request: Any) -> str:
    """The fields of a request as they are stored."""
    return json_text.compact(sorted(request) if isinstance(request, dict) else []).decode()


def compressed(content: bytes | None) -> bytes | None:
    """Text as it is stored."""
    return None if content is None else zlib.compress(content)


def packed(document: Any) -> bytes | None:
    """A document as it is stored."""
    return None if document is None else compressed(json_text.compact(document))


def entry_of(values: dict[str, Any]) -> Entry:
    """A row as it was stored; raises ConfigurationError where it is damaged."""
    try:
        for name in DOCUMENTS:
            content = values.get(name)
            content = None if content is None else zlib.decompress(content)
            values[name] = content if name in BYTES or content is None else json_text.decode(content)
        fields_told = tuple(json_text.decode(values["fields"].encode()))
        return Entry(**{**values, "state": State(values["state"]), "fields": fields_told})
    except (zlib.error, ValueError, TypeError, AttributeError) as error:
        raise errors.ConfigurationError(
            f"Write {values.get('number')} stands damaged in the journal ({error}): a disk or another program has "
            "changed the file. Put a copy of it in its place, or move it away and keep it."
        ) from error
