"""Rows, each as JSON on a line, as other kinds of tables. Everything here blocks: call it in a thread."""

from __future__ import annotations

import csv
import io
import os
from typing import TYPE_CHECKING, Any

from alyxfs import errors, free_space, json_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

HEADER_ROWS = 25
"""Rows of which the columns of a CSV file are taken: those of the first page, so that it can begin with them."""
GROUP_ROWS = 5000
"""Rows of a row group in a Parquet file, and of a batch in memory."""
MOST_EXACT = 1 << 53
"""Whole numbers below it are exact as floating-point numbers, too."""
MOST_WHOLE = 1 << 63
"""Numbers of 64 bits are below it."""


def json_lines(texts: Iterable[bytes]) -> bytes:
    """One row a line."""
    return b"".join(text + b"\n" for text in texts)


class CommaSeparated:
    """CSV (RFC 4180, lines ending with a line feed); lists and objects are JSON text, null is an empty field."""

    def __init__(self) -> None:
        self._fields: list[str] | None = None

    def __call__(self, texts: Sequence[bytes]) -> bytes:
        """Some more rows; the first come with the header. Raises ServerFault for a field that the header lacks."""
        rows = [json_text.decode(text) for text in texts]
        written = io.StringIO()
        writer = csv.writer(written, lineterminator="\n")
        fields = self._fields
        if fields is None:
            fields = list(dict.fromkeys(name for row in rows[:HEADER_ROWS] for name in row))
            writer.writerow(fields)
        for row in rows:
            if unknown := row.keys() - fields:
                raise errors.ServerFault(
                    f"A row has the field {min(unknown)!r}, which the first {HEADER_ROWS} of the list lack, and no "
                    "column for it: read .rows.jsonl."
                )
            writer.writerow([_plain(row.get(name)) for name in fields])
        self._fields = fields
        return written.getvalue().encode("utf-8", "backslashreplace")


def header(fields: Sequence[str]) -> bytes:
    """A CSV file of these columns without rows; nothing where there are none."""
    written = io.StringIO()
    if fields:
        csv.writer(written, lineterminator="\n").writerow(fields)
    return written.getvalue().encode("utf-8", "backslashreplace")


def parquet_steps(lines: Callable[[], Iterator[bytes]], descriptor: int) -> Iterator[int]:
    """Write a Parquet file of JSON lines, which are gone through twice; yields the bytes written at each step.

    Columns of one kind of value have its type; those of lists, objects or several kinds are JSON text.
    """
    import pyarrow as pa  # noqa: PLC0415 - of the extra "tables", and slow to import
    import pyarrow.parquet as pq  # noqa: PLC0415

    kinds: dict[str, set[str]] = {}
    for batch in _batches(lines()):
        for row in batch:
            for name, value in row.items():
                kinds.setdefault(name, set()).add(_kind(value))
        yield 0
    types = {name: _type(found) for name, found in kinds.items()}
    arrow = {"bool": pa.bool_(), "int": pa.int64(), "float": pa.float64(), "text": pa.string(), "json": pa.string()}
    schema = pa.schema([(_sound(name), arrow[kind]) for name, kind in types.items()])
    with os.fdopen(os.dup(descriptor), "wb") as file:
        written = 0
        with pq.ParquetWriter(pa.PythonFile(file, mode="w"), schema) as writer:
            for batch in _batches(lines()):
                with free_space.taking(descriptor, 0):  # there is still room
                    columns = [_column(batch, name, kind) for name, kind in types.items()]
                    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
                    writer.write_batch(pa.record_batch(arrays, schema=schema))
                file.flush()
                before, written = written, os.fstat(descriptor).st_size
                yield written - before
        file.flush()
        yield os.fstat(descriptor).st_size - written


def _batches(lines: Iterator[bytes]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for line in lines:
        batch.append(json_text.decode(line))
        if len(batch) == GROUP_ROWS:
            yield batch
            batch = []
    if batch:
        yield batch


def _kind(value: Any) -> str:
    """What a value is; ``long``: a whole number that is not exact as a floating-point number."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int" if abs(value) < MOST_EXACT else "long" if -MOST_WHOLE <= value < MOST_WHOLE else "json"
    return "float" if isinstance(value, float) else "text" if isinstance(value, str) else "json"


def _type(kinds: set[str]) -> str:
    found = kinds - {"null"}
    if len(found) <= 1 and "long" not in found:
        return next(iter(found), "text")
    return "int" if found <= {"int", "long"} else "float" if found == {"int", "float"} else "json"


def _column(batch: Sequence[dict[str, Any]], name: str, kind: str) -> list[Any]:
    values = [row.get(name) for row in batch]
    if kind == "json":
        return [None if value is None else json_text.compact(value).decode() for value in values]
    if kind == "text":
        return [None if value is None else _sound(value) for value in values]
    return values


def _sound(text: str) -> str:
    """A text that UTF-8 can hold: half of a surrogate pair, which JSON can, is written as an escape."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _plain(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json_text.compact(value).decode()
