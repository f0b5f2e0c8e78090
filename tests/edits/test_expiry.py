"""What is removed from the journal and the rejected drafts, and that people are told."""

from __future__ import annotations

import os
import sqlite3
import time

import pytest

from alyxfs.edits import Journal, State
from alyxfs.edits.expiry import expire

OLD = 40 * 86_400


@pytest.fixture
def journal(tmp_path):
    """Twelve saves of 40 days ago, of which one was undone, one refused, one never ended; and one of today."""
    journal = Journal(tmp_path / "journal.sqlite")
    document = {"narrative": os.urandom(5000).hex()}
    for number in range(1, 13):
        journal.prepare("http://alyx", "save", "sessions", f"s{number}", "PATCH", before=document)
        journal.record(number, State.DONE)
    journal.record(2, State.REFUSED)
    journal.record(3, State.UNKNOWN)
    journal.record(journal.prepare("http://alyx", "save", "sessions", "s4", "PATCH", undo_of=4), State.DONE)
    with sqlite3.connect(tmp_path / "journal.sqlite") as connection:
        connection.execute("UPDATE writes SET time = time - ? WHERE number < 13", (OLD,))
    connection.close()
    yield journal
    journal.close()


@pytest.fixture
def rejected(tmp_path):
    directory = tmp_path / "rejected"
    directory.mkdir()
    for name, age in {"old.json": OLD, "new.json": 0}.items():
        (directory / name).write_bytes(bytes(1000))
        os.utime(directory / name, (time.time() - age,) * 2)
    return directory


def numbers(journal):
    return [entry.number for entry in journal.entries()]


def pages(journal):
    with journal.transaction() as connection:
        return connection.execute("PRAGMA page_count").fetchone()[0]


def test_nothing_goes_unasked(journal, rejected):
    assert expire(journal, rejected, days=0, megabytes=0) == expire(journal, rejected, days=50, megabytes=100) == []
    assert numbers(journal) == list(range(1, 14))
    assert len(list(rejected.iterdir())) == 2


def test_what_is_old_goes_unless_it_is_unsettled_and_that_is_told(journal, rejected):
    size = pages(journal)
    entries, files = expire(journal, rejected, days=30, megabytes=0)
    assert numbers(journal) == [3, 13]
    assert entries.startswith("11 entries of the journal were removed, as --keep-journal 30 asks: 9 of them are")
    assert files == "1 files of refused drafts were removed, as --keep-journal 30 asks."
    assert [file.name for file in rejected.iterdir()] == ["new.json"]
    assert pages(journal) < size / 2, "the disk has the room again"
    assert journal.prepare("http://alyx", "save", "sessions", "s", "PATCH") == 14, "numbers are never used again"


def test_the_oldest_beyond_a_size_go(journal, rejected):
    (sentence,) = expire(journal, rejected, days=0, megabytes=0.03)
    assert "--keep-journal-size 0.03" in sentence
    kept = numbers(journal)
    assert kept[0] == 3
    assert kept[1:] == list(range(kept[1], 14))
    assert 3 < len(kept) < 9
    with sqlite3.connect(journal.path) as connection:
        held = connection.execute("SELECT sum(length(before)) FROM documents WHERE number > 3").fetchone()[0]
    connection.close()
    assert held < 0.03 * 1024**2


def test_what_is_staged_never_goes_nor_what_it_is_about(tmp_path):
    journal = Journal(tmp_path / "journal.sqlite")
    try:
        first, waiting = (journal.prepare("s", "create", "labs", key, "POST") for key in ("proposed", "other"))
        for number in (first, waiting):
            journal.record(number, State.STAGED)
        done = journal.prepare("s", "create", "labs", "proposed", "POST", applies=first)
        journal.record(done, State.DONE, key="real")
        assert journal.entry(first).state is State.APPLIED
        other = journal.prepare("s", "save", "labs", "x", "PATCH")
        journal.record(other, State.DONE)
        expire(journal, tmp_path / "rejected", days=1e-9, megabytes=0)
        assert [entry.number for entry in journal.entries()] == [first, waiting, done]
        assert journal.applied_ids("s") == {"proposed": "real"}
        journal.record(waiting, State.WITHDRAWN)
        expire(journal, tmp_path / "rejected", days=1e-9, megabytes=0)
        assert journal.entries() == []
    finally:
        journal.close()
