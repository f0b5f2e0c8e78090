"""Where journal and rejected drafts are kept: in the user's state directory, from where nothing is deleted unasked.

Earlier versions kept both in the cache directory, which people and cleaners delete; they are moved from there once. A
row or a file is in its new place, on the disk, before it leaves the old one, so that a crash loses nothing. All
functions here block.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING

from alyxfs import file_locks, json_text
from alyxfs.edits.entry import compressed, names_of
from alyxfs.edits.journal import insert
from alyxfs.private_files import make_folder, open_file

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from alyxfs.edits.journal import Journal

JOURNAL = "journal.sqlite"
REJECTED = "rejected"
_MOVED = "journal-moved.sqlite"
"""What is left of a journal in the cache, a copy."""

_BRIEF = ("time", "server", "process", "operation", "endpoint", "key", "method", "state", "status", "remark")


def move_from_cache(old: pathlib.Path, journal: Journal, rejected: pathlib.Path) -> list[str]:
    """Take over what an earlier version left in ``old``, a server's directory in the cache; a sentence for each.

    Where a drive of that version still runs, its journal is taken over at a later mount.
    """
    with _alone(journal.path.with_name("moving.lock")):
        sentences = _move_journal(old / JOURNAL, journal) if (old / JOURNAL).exists() else []
        files = sorted((old / REJECTED).iterdir()) if (old / REJECTED).is_dir() else []
        if files:
            make_folder(rejected)
            for file in files:
                _move_file(file, rejected)
            (old / REJECTED).rmdir()
            sentences.append(f"{len(files)} files of rejected drafts were moved from {old / REJECTED} to {rejected}.")
    return sentences


@contextlib.contextmanager
def _alone(lock: pathlib.Path) -> Iterator[None]:
    """One process at a time; a killed one leaves no lock behind."""
    descriptor = open_file(lock, os.O_WRONLY)
    try:
        file_locks.lock(descriptor, lock, alone=True, may_wait=True)
        yield
    finally:
        file_locks.close(descriptor)


def _move_journal(path: pathlib.Path, journal: Journal) -> list[str]:
    old = sqlite3.connect(path, timeout=0, isolation_level=None)
    try:
        # Only a connection that is alone can leave WAL mode, and this lock keeps others out until the file is renamed.
        if old.execute("PRAGMA journal_mode=DELETE").fetchone()[0] != "delete":
            return [_still_used(path)]
        old.execute("BEGIN EXCLUSIVE")
        count = _copy_rows(old, journal)
        path.rename(path.with_name(_MOVED))
    except sqlite3.Error as error:
        if "locked" in str(error):
            return [_still_used(path)]
        return [f"The journal {path} of an earlier version cannot be read and stays where it is: {error}."]
    finally:
        old.close()
    return [f"{count} entries of the journal were moved from {path} to {journal.path}."]


def _still_used(path: pathlib.Path) -> str:
    return (
        f"A drive of an earlier version uses the journal {path}: it is moved at the first mount after that has ended."
    )


def _copy_rows(old: sqlite3.Connection, journal: Journal) -> int:
    """Copy what is not yet there; numbers stay as they were unless others have taken them."""
    first = old.execute("SELECT min(time) FROM writes").fetchone()[0]
    if first is None:
        return 0
    with journal.transaction() as new:
        moved, earlier_shift = new.execute("SELECT last, shift FROM moved WHERE first = ?", (first,)).fetchone() or (
            0,
            0,
        )
        shift = new.execute("SELECT coalesce(max(number), 0) FROM writes").fetchone()[0]
        count = last = 0
        for row in old.execute(
            f"SELECT number, undo_of, draft, before, request, answer, after, {', '.join(_BRIEF)} FROM writes"  # noqa: S608
            " WHERE number > ? ORDER BY number",
            (moved,),
        ):
            last, undo_of, draft, *documents = row[:7]
            before, request, answer, after = (None if text is None else text.encode() for text in documents)
            brief = dict(zip(_BRIEF, row[7:], strict=True))
            fields = names_of(None if request is None else json_text.decode(request))
            if undo_of is not None:
                undo_of += earlier_shift if undo_of <= moved else shift
            brief |= {"number": last + shift, "undo_of": undo_of, "fields": fields}
            stored = {"before": before, "draft": draft, "request": request, "answer": answer, "after": after}
            insert(new, brief, {name: compressed(content) for name, content in stored.items()})
            count += 1
        if count:
            new.execute("INSERT OR REPLACE INTO moved VALUES (?, ?, ?)", (first, last, shift))
    return count


def _move_file(file: pathlib.Path, directory: pathlib.Path) -> None:
    content, attempt = file.read_bytes(), 1
    target = directory / file.name
    while target.exists() and target.read_bytes() != content:
        attempt += 1
        target = directory / f"{attempt}-{file.name}"
    if not target.exists():
        with os.fdopen(open_file(target, os.O_WRONLY | os.O_EXCL), "wb") as written:
            written.write(content)
            written.flush()
            os.fsync(written.fileno())
        os.utime(target, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    folder = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    file.unlink()
