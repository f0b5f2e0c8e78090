"""The history of a database's rows, kept by its own triggers: what judges the drive, and not the drive itself.

Of the demo's SQLite file, or of the PostgreSQL of a real Alyx (``postgresql://…``, asked with psql).
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from contextlib import closing

TABLE = "history_of_rows"


class RowHistory:
    """Every state that a session's narrative and json have had since the history was begun."""

    def __init__(self, database: str) -> None:
        self._database = database
        self._is_server = database.startswith("postgresql://")
        for statement in _POSTGRES if self._is_server else _SQLITE:
            self._run(statement)

    def of_session(self, key: str) -> list[dict]:
        """The states of one session, in the order in which they were committed, with the Unix time of each."""
        row = key if self._is_server else key.replace("-", "")
        found = self._run(f"SELECT narrative, json, time FROM {TABLE} WHERE row = '{row}' ORDER BY number")
        return [
            {"narrative": narrative, "json": json.loads(text or "null") or {}, "time": time}
            for narrative, text, time in found
        ]

    def _run(self, statement: str) -> list[tuple]:
        if not self._is_server:
            with closing(sqlite3.connect(self._database, timeout=60)) as connection, connection:
                return connection.execute(statement).fetchall()
        command = [shutil.which("psql"), self._database, "-qtA", "-v", "ON_ERROR_STOP=1", "-c", _as_json(statement)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        return [tuple(json.loads(line)) for line in done.stdout.splitlines() if line.startswith("[")]


def _as_json(statement: str) -> str:
    """A query whose every row is one line of JSON: psql prints text with line ends as it is."""
    if not statement.startswith("SELECT"):
        return statement
    return f"SELECT json_build_array(narrative, json, time) FROM ({statement}) AS found"


_SQLITE = (
    f"CREATE TABLE {TABLE} (number INTEGER PRIMARY KEY AUTOINCREMENT, row TEXT, narrative TEXT, json TEXT, time REAL)",
    f"""CREATE TRIGGER keep_{TABLE} AFTER UPDATE ON actions_session BEGIN
        INSERT INTO {TABLE} (row, narrative, json, time)
        VALUES (NEW.id, NEW.narrative, NEW.json, (julianday('now') - 2440587.5) * 86400); END""",
)
_POSTGRES = (
    f"DROP TABLE IF EXISTS {TABLE} CASCADE",
    f"""CREATE TABLE {TABLE} (number BIGSERIAL PRIMARY KEY, row TEXT, narrative TEXT, json TEXT,
        time DOUBLE PRECISION)""",
    f"""CREATE OR REPLACE FUNCTION keep_{TABLE}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO {TABLE} (row, narrative, json, time)
        VALUES (NEW.id::text, NEW.narrative, NEW.json::text, extract(epoch FROM clock_timestamp()));
        RETURN NEW; END $$""",
    f"DROP TRIGGER IF EXISTS keep_{TABLE} ON actions_session",
    f"""CREATE TRIGGER keep_{TABLE} AFTER UPDATE ON actions_session
        FOR EACH ROW EXECUTE FUNCTION keep_{TABLE}()""",
)
