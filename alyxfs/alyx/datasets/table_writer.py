"""Writes rows as ONE's tables in a process of its own: ``python -m alyxfs.alyx.datasets.table_writer FOLDER``.

The folder holds the rows, each line the columns of a page of them as JSON; these files go. A release may have millions
of datasets: the drive keeps none of them in memory, and does without the library that writes Parquet.
It ends with exit code 1 and a sentence where it cannot.
"""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from alyxfs.alyx.datasets.one_form import DATASETS, SESSIONS, metadata_of, schema_of, write_table
from alyxfs.alyx.datasets.table_form import ABOUT_LINES, LINES, TABLES
from alyxfs.private_files import open_file

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGES_AT_ONCE = 50
"""Pages of the server's list, of a thousand rows at most, that are in memory at a time."""


def main(folder: Path) -> None:
    """Make the tables of the rows in a folder; raises OSError, ValueError."""
    about = orjson.loads((folder / ABOUT_LINES).read_bytes())
    metadata = metadata_of(about["made"], database_tags=[about["tag"]])
    for name, lines, columns in zip(TABLES, LINES, (SESSIONS, DATASETS), strict=True):
        descriptor = open_file(folder / name, os.O_WRONLY | os.O_EXCL)
        with (folder / lines).open("rb") as pages, os.fdopen(descriptor, "wb") as file:
            write_table(file, schema_of(columns, metadata), _batches(pages))
        (folder / lines).unlink()
    (folder / ABOUT_LINES).unlink()


def _batches(pages: Iterator[bytes]) -> Iterator[dict[str, list[Any]]]:
    while some := [orjson.loads(page) for page in itertools.islice(pages, PAGES_AT_ONCE)]:
        yield {name: list(itertools.chain.from_iterable(page[name] for page in some)) for name in some[0]}


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except (OSError, ValueError) as error:
        sys.stdout.write(f"The tables could not be written: {error}.\n")
        sys.exit(1)
