"""A file with a table of changes: CSV (RFC 4180), or with semicolons or tabs as spreadsheets write it elsewhere."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alyxfs.errors import Invalid
from alyxfs.visible_text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SEPARATORS = ",;\t"
LARGEST_ROW = 100_000
"""Characters: some rows are told to a drive at a time, in at most a megabyte."""


@dataclass(frozen=True)
class ChangeTable:
    """The first line, and the others by their number as spreadsheets count: the first line is row 1."""

    columns: list[str]
    rows: dict[int, list[str]]

    def cells(self, number: int) -> dict[str, str]:
        """A row by its columns."""
        return dict(zip(self.columns, self.rows[number], strict=True))

    def refuse_bad_keys(self, column: str) -> None:
        """Raise Invalid where a row names no record, or two name the same."""
        place, first = self.columns.index(column), dict[str, int]()
        for number, row in self.rows.items():
            key = row[place]
            if not key:
                raise Invalid(f"Nothing was sent: row {number} has nothing in the column {column!r}.")
            if key in first:
                raise Invalid(
                    f"Nothing was sent: {one_line(key)!r} stands in the column {column!r} of rows {first[key]} and "
                    f"{number}, and it cannot be told which of them is meant."
                )
            first[key] = number


def read_table(path: Path) -> ChangeTable:
    """The table in a file. Raises Invalid where it is none, with the row, and OSError."""
    return table_in(path.read_bytes(), str(path))


def table_in(content: bytes, path: str) -> ChangeTable:
    """The table in the content of a file called so."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Invalid(f"{path} is not UTF-8 text: byte {error.start} cannot be read.") from error
    csv.field_size_limit(LARGEST_ROW)
    try:
        separator = max(_SEPARATORS, key=lambda each: len(next(_lines(text, each), [])))
        lines = list(_lines(text, separator))
    except csv.Error as error:
        raise Invalid(f"{path} is no table: {error}.") from error
    if not lines or not any(lines[0]):
        raise Invalid(f"{path} has no first line that names its columns.")
    columns, rows = lines[0], {number: line for number, line in enumerate(lines[1:], 2) if any(line)}
    if not all(columns):
        raise Invalid(f"{path} has a column without a name in its first line.")
    for number, line in rows.items():
        if len(line) != len(columns):
            raise Invalid(
                f"Nothing was sent: row {number} of {path} has {len(line)} cells, and its first line names "
                f"{len(columns)} columns."
            )
        if sum(map(len, line)) > LARGEST_ROW:
            raise Invalid(f"Nothing was sent: row {number} of {path} has more than {LARGEST_ROW:,} characters.")
    return ChangeTable(columns, rows)


def _lines(text: str, separator: str) -> Iterator[list[str]]:
    return iter(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
