"""The bytes that a program writes to one open record, and when they are ready to be sent."""

from __future__ import annotations

import enum
import json
import re

from alyxfs import errors

DEFAULT_LIMIT = 16 * 1024 * 1024
"""Bytes. The largest records seen are tasks with logs of 300 kB and sessions of 1.8 MB."""

SHARED_LIMIT = 16 * DEFAULT_LIMIT
"""Bytes of all files together that are on this machine alone."""

LEAST_HELD = 4096
"""Bytes that a file counts at least, so that many empty ones are bounded, too."""

_BEGINNING_OF_WORD = re.compile(
    r"(?:t|tr|tru|f|fa|fal|fals|n|nu|nul|N|Na|-|-?I|-?In|-?Inf|-?Infi|-?Infin|-?Infini|-?Infinit)\Z"
)
_END_OF_NUMBER = re.compile(r"(?:\.|(?:\.\d+)?[eE][+-]?)\Z")


class DraftState(enum.Enum):
    """What a buffer holds."""

    EMPTY = "empty"
    INCOMPLETE = "incomplete"
    """The beginning of a JSON object, or bytes not yet written in a hole: more may come."""
    BROKEN = "broken"
    """No JSON object, whatever is appended."""
    WHOLE = "whole"
    """A JSON object."""


class Moment(enum.Enum):
    """When the kernel asks for a draft to be saved."""

    FLUSH = "flush"
    """A descriptor was closed; others may still be open (a shell closes a duplicate before anything is written)."""
    FSYNC = "fsync"
    LAST_CLOSE = "last close"


class Step(enum.Enum):
    """What to do with a draft at such a moment."""

    NOTHING = "nothing"
    SEND = "send"
    REFUSE = "refuse"
    """Raise Invalid (Editor.save does so itself); the draft stays, the program may correct it."""
    KEEP = "keep"
    """Put it into the rejected directory: nobody will complete it any more."""


class SharedMemory:
    """What many drafts may hold together. No method awaits."""

    def __init__(self, limit: int = SHARED_LIMIT) -> None:
        self._limit = limit
        self._held = 0

    def take(self, size: int) -> None:
        """Count so many bytes more; raises TooLarge."""
        if self._held + size > self._limit:
            raise errors.TooLarge(
                f"The files of this drive that are on this machine alone would hold more than {self._limit} bytes of "
                "its memory. Remove the scratch files that are no longer needed, or write them to another directory."
            )
        self._held += size

    def release(self, size: int) -> None:
        """Count so many bytes less."""
        self._held -= size


class Draft:
    """A bounded buffer, written in any order; a hole reads as zeros. It counts in ``memory`` as long as it is there.

    State changes only in :meth:`write`, :meth:`truncate` and :meth:`mark_handled`, none of which awaits: what
    :meth:`content` gives is one moment's content.
    """

    def __init__(self, content: bytes = b"", *, limit: int = DEFAULT_LIMIT, memory: SharedMemory | None = None) -> None:
        self._buffer = bytearray()
        self._limit = limit
        self._memory = memory
        self._held = 0
        self._hold(len(content))
        self._buffer.extend(content)
        self.generation = 0
        """Grows with each change."""
        self._handled = 0

    def __del__(self) -> None:
        if self._memory is not None:
            self._memory.release(self._held)

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self._buffer)

    @property
    def pending(self) -> bool:
        """Whether there are changes that were neither sent nor kept elsewhere."""
        return self.generation != self._handled

    def read(self, offset: int, size: int) -> bytes:
        """Short at the end of the content."""
        return bytes(self._buffer[offset : offset + size])

    def content(self) -> bytes:
        """All of it."""
        return bytes(self._buffer)

    def write(self, offset: int, data: bytes) -> int:
        """Write at ``offset``, which may lie past the end; returns the bytes written, raises TooLarge."""
        self._check(offset + len(data))
        self._hold(max(offset + len(data), len(self._buffer)))
        if offset > len(self._buffer):
            self._buffer.extend(bytes(offset - len(self._buffer)))
        self._buffer[offset : offset + len(data)] = data
        self.generation += 1
        return len(data)

    def truncate(self, size: int) -> None:
        """Cut, or extend with zeros, to ``size`` bytes; raises TooLarge."""
        self._check(size)
        self._hold(size)
        if size < len(self._buffer):
            del self._buffer[size:]
        else:
            self._buffer.extend(bytes(size - len(self._buffer)))
        self.generation += 1

    def mark_handled(self, generation: int) -> None:
        """The content of that generation was sent or kept; later changes stay pending."""
        self._handled = max(self._handled, generation)

    def _hold(self, size: int) -> None:
        if self._memory is not None:
            held = max(size, LEAST_HELD)
            self._memory.take(held - self._held)
            self._held = held

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise errors.TooLarge(
                f"A file here can hold {self._limit} bytes at most; {size} were to be written. "
                "Records of a database are small: is this the right directory?"
            )


def state_of(content: bytes) -> DraftState:
    """What the bytes of a record file are, with the beginning of an object told from what never becomes one."""
    if not content.strip():
        return DraftState.EMPTY
    if b"\0" in content:
        return DraftState.INCOMPLETE
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return DraftState.INCOMPLETE if error.reason == "unexpected end of data" else DraftState.BROKEN
    return _state_of_text(text) if text.lstrip().startswith("{") else DraftState.BROKEN


def _state_of_text(text: str) -> DraftState:
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return DraftState.INCOMPLETE if _breaks_off(text, error) else DraftState.BROKEN
    except (RecursionError, ValueError):  # nested without end, or a number of thousands of digits
        return DraftState.BROKEN
    return DraftState.WHOLE


def next_step(draft: Draft, moment: Moment) -> Step:
    """What to do with a record's draft now; a flush of an empty or half-written file does nothing at all."""
    if not draft.pending:
        return Step.NOTHING
    state = state_of(draft.content())
    if state is DraftState.WHOLE:
        return Step.SEND
    if state is DraftState.EMPTY:
        return Step.NOTHING
    if moment is Moment.LAST_CLOSE:
        return Step.KEEP
    if state is DraftState.INCOMPLETE and moment is Moment.FLUSH:
        return Step.NOTHING
    return Step.REFUSE


def _breaks_off(text: str, error: json.JSONDecodeError) -> bool:
    """Whether the parser failed for want of more text, not for what is there."""
    if error.msg.startswith("Unterminated string"):
        return True
    if "escape" in error.msg:
        return len(text) - error.pos < len(r"\uXXXX")
    rest = text[error.pos :].rstrip()
    return not rest or bool(_BEGINNING_OF_WORD.match(rest) or _END_OF_NUMBER.match(rest))
