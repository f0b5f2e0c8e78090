"""Collects made-up rows and writes them all at once."""

import datetime as dt
import hashlib
import random
import uuid
from typing import Any

from django.db import connection, models
from django.utils import timezone

# Stands for "now" wherever a record does not say when it was made.
WHEN = dt.datetime(2024, 6, 1, 12, 0, 0, 123456)  # noqa: DTZ001 - the database is naive


def identity(*parts: object) -> uuid.UUID:
    """Return the UUID of whatever these words name: always the same one."""
    digest = hashlib.md5("/".join(map(str, parts)).encode(), usedforsecurity=False).digest()
    return uuid.UUID(bytes=digest, version=4)


def chance(*parts: object) -> random.Random:
    """Return random numbers that are the same each time for these words."""
    return random.Random("/".join(map(str, parts)))


class Row(dict[str, Any]):
    """The values of one record by column; `row.id` is its key."""

    @property
    def id(self) -> Any:
        return self["id"]


class Tables:
    """Rows by model, in the order in which they were added, and links between them.

    Rows go to the database as they are, without any of the models' own rules: odd records get in, and the times of
    their last change are made up too.
    """

    def __init__(self) -> None:
        self.rows: dict[Any, list[Row]] = {}
        self.links: dict[Any, list[tuple[Any, Any]]] = {}
        self.defaults: dict[Any, dict[str, Any]] = {}

    def add(self, model: Any, *key: object, **values: Any) -> Row:
        """Add a record. The key names it, and so its UUID; columns not given have their usual values."""
        if model not in self.defaults:
            self.defaults[model] = {
                field.attname: self.usual(field)
                for field in model._meta.concrete_fields  # noqa: SLF001
            }
        row = Row(self.defaults[model])
        row["id"] = identity(model.__name__, *key) if key else None
        row.update(values)
        unknown = row.keys() - self.defaults[model].keys()
        if unknown:
            raise TypeError(f"{model.__name__} has no columns {unknown}")
        self.rows.setdefault(model, []).append(row)
        return row

    @staticmethod
    def usual(field: Any) -> Any:
        """Return the value of a column that is not given."""
        if isinstance(field, models.DateTimeField) and (
            field.auto_now or field.auto_now_add or field.default is timezone.now
        ):
            return WHEN
        if isinstance(field, models.ForeignKey) and callable(field.default):
            return None
        if isinstance(field, models.CharField) and not field.null and not field.has_default():
            return ""
        return None if field.primary_key else field.get_default()

    def link(self, model: Any, field: str, row: Row, *others: Row) -> None:
        """Link a record to others."""
        pairs = self.links.setdefault(model._meta.get_field(field), [])  # noqa: SLF001
        pairs += [(row.id, other.id) for other in others]

    def write(self) -> None:
        """Write everything to the database in one transaction."""
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA foreign_keys = OFF")
            cursor.execute("BEGIN")
            for model, rows in self.rows.items():
                fields = model._meta.concrete_fields  # noqa: SLF001
                if rows[0].id is None:
                    fields = [field for field in fields if not field.primary_key]
                statement = self.insert(model._meta.db_table, [field.column for field in fields])  # noqa: SLF001
                cursor.executemany(
                    statement,
                    ([field.get_db_prep_save(row[field.attname], connection) for field in fields] for row in rows),
                )
            for field, pairs in self.links.items():
                columns = [field.m2m_column_name(), field.m2m_reverse_name()]
                statement = self.insert(field.m2m_db_table(), columns)
                cursor.executemany(statement, ([plain(a), plain(b)] for a, b in pairs))
            cursor.execute("COMMIT")

    @staticmethod
    def insert(table: str, columns: list[str]) -> str:
        """Return the statement that inserts one row."""
        names = ", ".join(f'"{column}"' for column in columns)
        places = ", ".join("%s" for _ in columns)
        return f'INSERT INTO "{table}" ({names}) VALUES ({places})'  # noqa: S608 - names of our own tables


def plain(key: Any) -> Any:
    """Return a key as SQLite holds it."""
    return key.hex if isinstance(key, uuid.UUID) else key
