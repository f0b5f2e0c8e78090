"""The rows of the demo's SQLite file, compared with how they were at first."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from undo_judge import normal

SET_BY_DJANGO = {"sqlite_sequence", "sqlite_stat1", "django_session"}


class DemoDatabase:
    """The demo's SQLite file, and a copy of how it was at first; a Database of undo_rounds."""

    def __init__(self, database, directory, journal):
        self._database, self._first, self._journal = database, directory / "first.sqlite", journal
        with closing(sqlite3.connect(database)) as connection, connection:
            tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            connection.execute("CREATE TABLE touched (name TEXT, number INTEGER, PRIMARY KEY (name, number))")
            for table in set(tables) - SET_BY_DJANGO:
                for event, row in (("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD")):
                    connection.execute(
                        f'CREATE TRIGGER "touch_{event}_{table}" AFTER {event} ON "{table}" BEGIN '
                        f"INSERT OR IGNORE INTO touched VALUES ('{table}', {row}.rowid); END"
                    )
        copy_database(database, self._first)

    def changed(self):
        """Of the rows that triggers saw touched, those that are not as they were."""
        found = {}
        with closing(sqlite3.connect(f"file:{self._database}?mode=ro", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            connection.execute("ATTACH ? AS first", (str(self._first),))
            for (table,) in connection.execute("SELECT DISTINCT name FROM touched").fetchall():
                before, after = (touched_rows(connection, database, table) for database in ("first", "main"))
                gone = [row for row in before if row not in after]
                new = [row for row in after if row not in before]
                if gone or new:
                    found[table] = gone, new
        return found

    def naming(self, identifier):
        with closing(sqlite3.connect(self._database)) as connection:
            return [
                f"{table}.object_id"
                for table in ("misc_note", "data_dataset")
                if connection.execute(f"SELECT 1 FROM {table} WHERE object_id = ?", (identifier,)).fetchone()
            ]

    def restore(self):
        copy_database(self._first, self._database)
        with self._journal.transaction() as connection:
            connection.execute("DELETE FROM writes")


def copy_database(source, target):
    with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target, timeout=30)) as other:
        one.backup(other)


def touched_rows(connection, database, table):
    chosen = f"rowid IN (SELECT number FROM main.touched WHERE name = '{table}')"
    return [normal(dict(row)) for row in connection.execute(f'SELECT * FROM {database}."{table}" WHERE {chosen}')]
