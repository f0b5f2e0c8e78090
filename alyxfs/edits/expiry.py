"""What goes from the journal and the rejected drafts by age and size, where the user asked for that; never silently.

What is not settled yet never goes. All functions here block.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from alyxfs.edits.entry import State

if TYPE_CHECKING:
    import pathlib

    from alyxfs.edits.journal import Journal

_UNSETTLED = frozenset({State.PREPARED, State.SENT, State.UNKNOWN, State.STAGED})
_SETTLED = ", ".join(f"'{each.value}'" for each in State if each not in _UNSETTLED)
_DOCUMENTS = ("before", "draft", "request", "answer", "after")
_SIZE = " + ".join(["512", *(f"length(coalesce({each}, ''))" for each in _DOCUMENTS)])
"""Of an entry, in bytes: its documents, and about what the rest takes."""

DAY = 86_400.0
MEGABYTE = 1024**2


def expire(journal: Journal, rejected: pathlib.Path, *, days: float, megabytes: float) -> list[str]:
    """Remove what is older than ``days``, and the oldest beyond ``megabytes``; 0 keeps all. Returns what was done."""
    before, size = time.time() - days * DAY if days else 0.0, int(megabytes * MEGABYTE)
    entries, undoable = _expire_entries(journal, before, size)
    files = _expire_files(rejected, before, size)
    options = {"--keep-journal": days, "--keep-journal-size": megabytes}
    asked = " and ".join(f"{name} {value:g}" for name, value in options.items() if value)
    sentences = []
    if entries:
        sentences.append(
            f"{entries} entries of the journal were removed, as {asked} asks: {undoable} of them are changes that can "
            "no longer be undone."
        )
    if files:
        sentences.append(f"{files} files of refused drafts were removed, as {asked} asks.")
    return sentences


def _expire_entries(journal: Journal, before: float, size: int) -> tuple[int, int]:
    """How many went, and how many of them an undo could have taken back."""
    with journal.transaction() as connection:
        last = connection.execute("SELECT max(number) FROM writes WHERE time < ?", (before,)).fetchone()[0] or 0
        if size:
            held = 0
            newest_first = f"SELECT number, {_SIZE} FROM documents ORDER BY number DESC"  # noqa: S608 - names of ours
            for number, length in connection.execute(newest_first):
                held += length
                if held > size:
                    last = max(last, number)
                    break
        # What is staged may be about a record that an earlier one made, named as that was while it was staged, too.
        is_staged = "EXISTS (SELECT 1 FROM writes AS staged WHERE staged.state = 'staged')"
        needed = f"({is_staged} AND (state = 'applied' OR applies IS NOT NULL))"
        chosen = f"FROM writes WHERE number <= ? AND state IN ({_SETTLED}) AND NOT {needed}"
        undone = "SELECT undo_of FROM writes WHERE undo_of IS NOT NULL AND state = 'done'"
        undoable = connection.execute(
            f"SELECT count(*) {chosen} AND state = 'done' AND undo_of IS NULL AND number NOT IN ({undone})",
            (last,),
        ).fetchone()[0]
        count = connection.execute(f"DELETE {chosen}", (last,)).rowcount
    if count:
        journal.compact()
    return count, undoable


def _expire_files(directory: pathlib.Path, before: float, size: int) -> int:
    files = sorted(directory.iterdir()) if directory.is_dir() else []
    held = count = 0
    for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True):
        status = file.stat()
        held += status.st_size
        if status.st_mtime < before or (size and held > size):
            file.unlink()
            count += 1
    return count
