"""``.rows.jsonl``, ``.rows.csv`` and ``.rows.parquet`` of an endpoint or a query: its listing as one file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from alyxfs import errors
from alyxfs.alyx.datasets.cache_tables import can_read_tables
from alyxfs.alyx.quirks.reading import row_fields_of
from alyxfs.tree.tables.file import TableFile
from alyxfs.tree.tables.formats import CommaSeparated, header, json_lines, parquet_steps
from alyxfs.tree.tables.spool import append

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from alyxfs.alyx.metadata.cache import Listing, MetadataCache, Row
    from alyxfs.alyx.schema.model import Endpoint
    from alyxfs.tree.tables.kept import Tables
    from alyxfs.tree.tables.spool import Spool

    Selects = Callable[[Row], Awaitable[bool]] | None
    """Whether a row is to be shown, where the server cannot select; None: each is."""

LINES, COMMAS, PARQUET = ".rows.jsonl", ".rows.csv", ".rows.parquet"
ROW_TABLES = frozenset({LINES, COMMAS, PARQUET})
PIECE = 1000
"""Rows that are rendered at a time: a page has no more."""


class ListedRows:
    """The rows of a listing as text, as they come; whoever stops reading stops the paging."""

    def __init__(
        self,
        metadata: MetadataCache,
        listing: Listing,
        selects: Selects,
        render: Callable[[Sequence[bytes]], bytes],
        without_rows: bytes,
    ) -> None:
        """``without_rows``: the whole text where no row is shown."""
        self._metadata = metadata
        self._listing = listing
        self._selects = selects
        self._render = render
        self._without_rows = without_rows
        self._position = 0
        self._is_empty = True

    async def write_more(self, descriptor: int) -> int | None:
        """See Source."""
        if not await self._listing.has(self._position):
            return await self._write_without_rows(descriptor)
        rows = self._listing.rows[self._position : self._position + PIECE]
        shown = rows if self._selects is None else [row for row in rows if await self._selects(row)]
        written = await trio.to_thread.run_sync(self._write, descriptor, shown) if shown else 0
        self._position += len(rows)
        self._is_empty = self._is_empty and not shown
        return written

    async def _write_without_rows(self, descriptor: int) -> int | None:
        if not self._is_empty:
            return None
        written = await trio.to_thread.run_sync(append, descriptor, self._without_rows)
        self._is_empty = False
        return written

    def _write(self, descriptor: int, rows: Sequence[Row]) -> int:
        return append(descriptor, self._render(self._metadata.row_texts(self._listing.endpoint, rows)))

    def progress(self) -> dict[str, object]:
        """See Source."""
        return {"rows": self._position, "of": self._listing.count}

    def close(self) -> None:
        """See Source."""


class ParquetOfLines:
    """A Parquet file of a table of JSON lines, which is completed first."""

    def __init__(self, lines: Spool) -> None:
        lines.hold()
        self._lines = lines
        self._steps: Iterator[int] | None = None

    async def write_more(self, descriptor: int) -> int | None:
        """See Source."""
        if self._steps is None:
            await self._lines.finish()
            self._steps = parquet_steps(self._lines.lines, descriptor)
        return await trio.to_thread.run_sync(next, self._steps, None)

    def progress(self) -> dict[str, object]:
        """See Source."""
        return self._lines.progress()

    def close(self) -> None:
        """See Source."""
        self._lines.release()


def row_table(
    tables: Tables,
    metadata: MetadataCache,
    place: str,
    name: str,
    listing: Listing,
    selects: Selects,
    endpoint: Endpoint,
) -> TableFile:
    """The file of this name (one of ROW_TABLES) for a listing, at ``place``, the identity of its directory.

    Raises NeverFound for a Parquet file that cannot be written here.
    """
    identity = f"{place}/{name}"

    def source() -> ListedRows:
        if name == COMMAS:
            return ListedRows(metadata, listing, selects, CommaSeparated(), header(row_fields_of(endpoint)))
        return ListedRows(metadata, listing, selects, json_lines, b"")

    if name != PARQUET:
        return TableFile(identity, tables.spool(identity, listing, source), is_streamed=True)
    if not can_read_tables():
        raise errors.NeverFound(f"{name} needs pyarrow: pip install 'alyxfs[tables]'; .rows.jsonl holds the same.")

    def of_lines() -> ParquetOfLines:
        return ParquetOfLines(tables.spool(f"{place}/{LINES}", listing, source))

    return TableFile(identity, tables.spool(identity, listing, of_lines), is_streamed=False)
