"""ONE's tables as this drive makes them itself. Needs pyarrow, of the extra ``tables``.

Columns and types are those of ONE 3.6 (SESSIONS_COLUMNS and DATASETS_COLUMNS in one/alf/cache.py), as its load_tables
takes them: it makes the index of the columns that end with "id", and skips tables whose metadata has no date_created.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, BinaryIO

from alyxfs import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

QC = ("NOT_SET", "PASS", "WARNING", "FAIL", "CRITICAL")
"""In this order."""
ORIGIN = "alyxfs"
"""Tells tables of ours from those of ONE or a server."""
METADATA = b"one_metadata"
"""Where what a table says of itself stands in its file."""
OLDEST_ONE = "2.10"
"""The version of ONE from which on this form is understood."""

SESSIONS = ("id", "lab", "subject", "date", "number", "task_protocol", "projects")
DATASETS = ("eid", "id", "rel_path", "file_size", "hash", "exists", "qc", "default_revision")


def metadata_of(made: str, **more: object) -> dict[bytes, bytes]:
    """What a table says of itself; ``made``: when it was made."""
    about = {"date_created": made, "origin": ORIGIN, "min_api_version": OLDEST_ONE, "made_by": f"alyxfs {__version__}"}
    return {METADATA: json.dumps({**about, **more}).encode()}


def schema_of(names: Sequence[str], metadata: Mapping[bytes, bytes]) -> Any:
    """The schema of SESSIONS or DATASETS."""
    import pyarrow as pa  # noqa: PLC0415 - an extra

    truths = dict.fromkeys(("exists", "default_revision"), pa.bool_())
    qc = pa.dictionary(pa.int8(), pa.string(), ordered=True)
    kinds = {**truths, "date": pa.date32(), "number": pa.uint16(), "file_size": pa.uint64(), "qc": qc}
    return pa.schema([(name, kinds.get(name, pa.string())) for name in names], metadata)


def write_table(file: BinaryIO, schema: Any, batches: Iterable[Mapping[str, Sequence[Any]]]) -> None:
    """Write rows as Parquet, some at a time: each batch has the values of each column; dates also as texts."""
    import pyarrow as pa  # noqa: PLC0415 - an extra
    import pyarrow.compute as pc  # noqa: PLC0415 - an extra
    from pyarrow import parquet  # noqa: PLC0415 - an extra

    words = pa.array(QC)

    def column(field: Any, values: Sequence[Any]) -> Any:
        array = pa.array(values, from_pandas=False)
        if field.name != "qc":
            return array.cast(field.type)
        codes = pc.fill_null(pc.index_in(array.cast(pa.string()), value_set=words), 0).cast(pa.int8())
        return pa.DictionaryArray.from_arrays(codes, words, ordered=True)  # all of them, also those of no row

    with parquet.ParquetWriter(file, schema) as writer:
        for batch in batches:
            columns = [column(field, batch[field.name]) for field in schema]
            writer.write_batch(pa.record_batch(columns, schema=schema))
