"""Writes rows as ONE's tables in a process of its own: ``python -m alyxfs.alyx.datasets.table_writer FOLDER``.

The folder holds the rows as lines of JSON, which go, and what the tables say of themselves. A release may have millions
of datasets: the drive keeps none of them in memory, and does without the library that writes Parquet.
It ends with exit code 1 and a sentence where it cannot.
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from alyxfs.alyx.datasets.one_form import DATASETS, QC, SESSIONS, metadata_of, schema_of, write_rows
from alyxfs.alyx.datasets.table_form import ABOUT_LINES, LINES, TABLES
from alyxfs.private_files import open_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

AT_ONCE = 20_000
"""Rows that are in memory at a time."""


def main(folder: Path) -> None:
    """Make the tables of the rows in a folder; raises OSError, ValueError."""
    about = json.loads((folder / ABOUT_LINES).read_bytes())
    metadata = metadata_of(about["made"], database_tags=[about["tag"]])
    for name, lines, columns, whole in zip(TABLES, LINES, (SESSIONS, DATASETS), (_session, _dataset), strict=True):
        descriptor = open_file(folder / name, os.O_WRONLY | os.O_EXCL)
        with (folder / lines).open("rb") as rows, os.fdopen(descriptor, "wb") as file:
            _write(file, schema_of(columns, metadata), map(whole, map(json.loads, rows)))
        (folder / lines).unlink()
    (folder / ABOUT_LINES).unlink()


def _write(file: BinaryIO, schema: Any, rows: Iterator[dict[str, Any]]) -> None:
    def batches() -> Iterable[list[dict[str, Any]]]:
        while batch := list(itertools.islice(rows, AT_ONCE)):
            yield batch

    write_rows(file, schema, batches())


def _session(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "date": dt.date.fromisoformat(row["date"])}


def _dataset(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "exists": True, "qc": row["qc"] if row["qc"] in QC else QC[0]}


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except (OSError, ValueError) as error:
        sys.stdout.write(f"The tables could not be written: {error}.\n")
        sys.exit(1)
