"""Takes all writes of a set back: which of them, and in which order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alyxfs.edits.entry import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from alyxfs.edits.entry import Entry

_TO_UNDO = frozenset({State.DONE, State.UNKNOWN, State.SENT, State.STAGED, State.PROPOSED})


def to_undo(writes: Sequence[Entry], undone: Iterable[int | None]) -> list[list[int]]:
    """The numbers of the writes of a set that are to be taken back, the newest first, in groups.

    ``undone`` are those that were taken back already. The changes of one group are of different records and can be
    taken back at a time; what made, deleted or renamed a record stands alone.
    """
    groups: list[list[int]] = []
    records: set[tuple[str, str]] = set()
    taken_back = set(undone)
    for entry in reversed(writes):
        if entry.number in taken_back or entry.state not in _TO_UNDO:
            continue
        if entry.undo_of is not None:  # an undo may consist of several writes, which its last one stands for
            taken_back |= {each.number for each in writes if each.undo_of == entry.undo_of}
        record = entry.endpoint, entry.key
        is_plain = entry.method == "PATCH" and entry.operation != "rename"
        if not groups or not is_plain or not records or record in records:
            groups.append([])
            records = set()
        groups[-1].append(entry.number)
        if is_plain:
            records.add(record)
    return groups
