"""The tables of the journal's file, and how those of an earlier version become them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alyxfs import errors

if TYPE_CHECKING:
    import pathlib
    import sqlite3

VERSION = 3
"""Of the file's layout, kept in SQLite's user_version. Version 1 lay in the cache directory (journal_move); version 2
knew no sets and nothing staged."""

_LAYOUT = """
CREATE TABLE writes (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    time REAL NOT NULL,
    server TEXT NOT NULL,
    process TEXT NOT NULL,
    operation TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    key TEXT NOT NULL,
    method TEXT NOT NULL,
    fields TEXT NOT NULL DEFAULT '[]',
    state TEXT NOT NULL,
    status INTEGER,
    remark TEXT,
    undo_of INTEGER
);
CREATE TABLE documents (
    number INTEGER PRIMARY KEY REFERENCES writes(number) ON DELETE CASCADE,
    before BLOB,
    draft BLOB,
    request BLOB,
    answer BLOB,
    after BLOB
);
CREATE TABLE moved (first REAL PRIMARY KEY, last INTEGER NOT NULL, shift INTEGER NOT NULL);
CREATE INDEX unfinished ON writes(state) WHERE state IN ('prepared', 'sent', 'unknown');
CREATE INDEX undone ON writes(undo_of) WHERE undo_of IS NOT NULL;
CREATE INDEX of_record ON writes(endpoint, key);
"""
"""``moved`` tells of journals of version 1, by the time of their first row: up to which number they are in here, and by
how much those numbers grew."""
_SINCE_VERSION_2 = """
CREATE TABLE sets (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    time REAL NOT NULL,
    server TEXT NOT NULL,
    made_by TEXT NOT NULL
);
ALTER TABLE writes ADD COLUMN in_set INTEGER REFERENCES sets(number);
ALTER TABLE writes ADD COLUMN applies INTEGER;
ALTER TABLE documents ADD COLUMN picture BLOB;
CREATE INDEX of_set ON writes(in_set) WHERE in_set IS NOT NULL;
CREATE INDEX applying ON writes(applies) WHERE applies IS NOT NULL;
CREATE INDEX staged ON writes(state) WHERE state = 'staged';
"""


def lay_out(path: pathlib.Path, connection: sqlite3.Connection) -> None:
    """Make the tables of a new file, or bring those of version 2 up to date.

    Raises ConfigurationError for a file of a newer alyxfs.
    """
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise errors.ConfigurationError(
            f"The journal {path} was written by a newer alyxfs (layout {version}): use that one."
        )
    steps = {0: _LAYOUT + _SINCE_VERSION_2, 2: _SINCE_VERSION_2}
    if version in steps:
        for statement in steps[version].split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version={VERSION}")
