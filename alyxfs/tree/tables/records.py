"""``.records.jsonl`` of an endpoint or a query: the whole records of its listing, one a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from alyxfs import errors, json_text
from alyxfs.alyx.metadata.rows import row_is_record
from alyxfs.tasks import for_each
from alyxfs.tree.tables.file import TableFile
from alyxfs.tree.tables.formats import json_lines
from alyxfs.tree.tables.rows import PIECE
from alyxfs.tree.tables.spool import append

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alyxfs.alyx.metadata.cache import Listing, MetadataCache, Record, Row
    from alyxfs.alyx.schema.read import Endpoint
    from alyxfs.tree.tables.kept import Tables
    from alyxfs.tree.tables.rows import Selects
    from alyxfs.tree.tables.spool import Spool

RECORDS = ".records.jsonl"
ASKED_AT_ONCE = 4
"""Records: more requests at a time gain nothing, as Alyx serves few at once."""
ASKED_FOR_A_PIECE = 20
"""Records that are written together: the first come soon, and little is asked for a reader that stops."""


class WholeRecords:
    """The records of a listing, in its order; those that are gone meanwhile are left out.

    Each is taken from what is known of it, as when its file is read, else asked for.
    """

    def __init__(self, metadata: MetadataCache, endpoint: Endpoint, listing: Listing, selects: Selects) -> None:
        self._metadata = metadata
        self._endpoint = endpoint
        self._listing = listing
        self._selects = selects
        self._position = 0

    async def write_more(self, descriptor: int) -> int | None:
        """See Source."""
        if not await self._listing.has(self._position):
            return None
        is_row = row_is_record(self._endpoint)
        rows = self._listing.rows[self._position : self._position + (PIECE if is_row else ASKED_FOR_A_PIECE)]
        shown = rows if self._selects is None else [row for row in rows if await self._selects(row)]
        if is_row:
            written = await trio.to_thread.run_sync(self._write_rows, descriptor, shown)
        else:
            records = await self._asked(shown)
            written = await trio.to_thread.run_sync(self._write_records, descriptor, records)
        self._position += len(rows)
        return written

    async def _asked(self, rows: Sequence[Row]) -> list[Record]:
        found: dict[str, Record] = {}
        failures: list[errors.AlyxfsError] = []

        async def ask(row: Row) -> None:
            found[row.identity] = await self._metadata.record(self._endpoint.name, row.key, identity=row.identity)

        def failed(_row: Row, error: errors.AlyxfsError) -> None:
            if not isinstance(error, errors.NotFound):
                failures.append(error)

        await for_each(rows, ask, at_once=ASKED_AT_ONCE, failed=failed)
        if failures:
            raise failures[0]
        return [found[row.identity] for row in rows if row.identity in found]

    def _write_rows(self, descriptor: int, rows: Sequence[Row]) -> int:
        texts = self._metadata.row_texts(self._endpoint.name, rows, as_records=True)
        return append(descriptor, json_lines(texts))

    def _write_records(self, descriptor: int, records: Sequence[Record]) -> int:
        return append(descriptor, json_lines(json_text.compact(record.document) for record in records))

    def progress(self) -> dict[str, object]:
        """See Source."""
        return {"rows": self._position, "of": self._listing.count}

    def close(self) -> None:
        """See Source."""


def record_table(
    tables: Tables, metadata: MetadataCache, endpoint: Endpoint, place: str, listing: Listing, selects: Selects
) -> TableFile:
    """The file for a listing, at ``place``, the identity of its directory.

    All records take longer than a time to live: one that is not whole yet is gone on with as long as it grew within
    the last one, whether or not there is a newer listing.
    """
    identity = f"{place}/{RECORDS}"

    def is_current(spool: Spool) -> bool:
        return metadata.is_fresh(endpoint.name, None, spool.begun_at if spool.is_whole else spool.grown_at)

    basis = tables.basis(identity, is_current) or listing
    spool = tables.spool(identity, basis, lambda: WholeRecords(metadata, endpoint, listing, selects))
    return TableFile(identity, spool, is_streamed=True)
