"""Reads the server's Parquet files in a process of its own: ``python -m alyxfs.alyx.datasets.table_reader FOLDER``.

A Parquet file of some kilobytes can ask its reader for any amount of memory (long rows told once, pages that say how
large they become), and a damaged one has crashed readers. So this process bounds itself before it looks at one, keeps
the columns and rows that are as they should be, and writes them as columns that the drive maps into its memory (see
``columns``): the drive itself does without the library, which takes 57 MB and a second to import.
It ends with exit code 1 and a sentence where it cannot.
"""

from __future__ import annotations

import os
import re
import resource
import sys
from array import array
from pathlib import Path
from typing import Any

from alyxfs.alyx.datasets.columns import BYTE, INT32, INT64, write_columns
from alyxfs.alyx.datasets.fields import HIGHEST_NUMBER, LARGEST_SIZE, LONGEST_PATH, MOST_FOLDERS
from alyxfs.alyx.datasets.table_form import COLUMNS, DATASET_COLUMNS, LEFT_OUT, PATH, SESSION_COLUMNS, TABLES, UNKNOWN
from alyxfs.alyx.identities import UUID
from alyxfs.private_files import open_file

MEMORY = 56 * 1024**2
"""Bytes beyond those that Python and Arrow take at their start: 40 MB of it are more of Arrow."""
MEMORY_A_BYTE = 12
"""Bytes more for each byte of the files: tables of 60,000 and of 300,000 datasets took 6."""
CPU_SECONDS = 100
"""The server's largest tables take some seconds."""
OUTPUT = 16 * 1024**2
OUTPUT_A_BYTE = 10
"""Bytes of a converted table, for each byte of the files; real ones have 2."""
ID_BYTES = 8
"""Bytes that a row takes at least, compressed: each has an id of 16 random ones. A file that says it has more rows than
its size allows is none of a server."""

LONGEST_NAME = 255
"""Characters of a lab or subject, as of a file's name."""
DAY = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}"


class _Unusable(Exception):
    """With a sentence."""


def main(folder: Path) -> None:
    """Convert the tables of a folder; raises _Unusable."""
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # others reserve more than they use
    import pyarrow as pa  # noqa: PLC0415 - of the extra "tables"
    import pyarrow.parquet as pq  # noqa: PLC0415

    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    total = sum((folder / name).stat().st_size for name in TABLES)
    _bound(MEMORY + MEMORY_A_BYTE * total, OUTPUT + OUTPUT_A_BYTE * total)
    found: dict[str, tuple[str, Any]] = {}
    left_out = 0
    for name, columns, clean, columns_of in (
        (TABLES[0], SESSION_COLUMNS, _sessions, _columns_of_sessions),
        (TABLES[1], DATASET_COLUMNS, _datasets, _columns_of_datasets),
    ):
        try:
            file = pq.ParquetFile(folder / name, memory_map=False, pre_buffer=False)
            if file.metadata.num_rows * ID_BYTES > (folder / name).stat().st_size:
                raise _Unusable(f"{name} says that it has {file.metadata.num_rows} rows, more than it can hold.")
            table = file.read(columns, use_threads=False)
            missing = set(columns) - set(table.column_names)
            if missing:
                raise _Unusable(f"The cache tables are of an unknown form: {name} lacks {', '.join(sorted(missing))}.")
            table.validate(full=True)
            cleaned = clean(table.replace_schema_metadata(None))
            left_out += table.num_rows - cleaned.num_rows
            found |= columns_of(cleaned)
        except (pa.ArrowException, KeyError, TypeError, ValueError, OverflowError) as error:
            raise _Unusable(f"The cache tables are of an unknown form ({name}): {_first_line(error)}.") from error
        except MemoryError as error:
            raise _Unusable(f"{name} would take more memory than a table of its size should.") from error
        except OSError as error:
            raise _Unusable(f"{name} cannot be read: {_first_line(error)}.") from error
    try:
        with os.fdopen(open_file(folder / COLUMNS, os.O_WRONLY | os.O_TRUNC), "wb") as file:
            write_columns(file, found, {LEFT_OUT: left_out})
    except OSError as error:
        raise _Unusable(f"The cache tables cannot be kept in {folder}: {_first_line(error)}.") from error


def _bound(memory: int, output: int) -> None:
    """Let the system refuse what goes beyond: memory in use now counts, too."""
    used = next(int(line.split()[1]) * 1024 for line in _status() if line.startswith("VmData:"))
    for limit, value in (
        (resource.RLIMIT_DATA, used + memory),
        (resource.RLIMIT_FSIZE, output),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value))


def _status() -> list[str]:
    return Path("/proc/self/status").read_text(encoding="ascii").splitlines()


def _sessions(table: Any) -> Any:
    """Those with a place in the tree, by lab, subject, date and number: the rest of the row is text and a number."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    columns = {name: table[name].cast(pa.string()) for name in ("id", "lab", "subject", "date")}
    columns["number"] = pc.fill_null(_whole_numbers(table["number"], HIGHEST_NUMBER - 1), UNKNOWN)
    found = pa.table(columns).filter(
        _all(
            _is_id(columns["id"]),
            *(_is_name(columns[name]) for name in ("lab", "subject")),
            pc.match_substring_regex(columns["date"], DAY),
        )
    )
    return _sorted(found, "lab", "subject", "date", "number", "id")


def _datasets(table: Any) -> Any:
    """Those with an id, a session and a path, by session."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    columns = {name: table[name].cast(pa.string()) for name in ("eid", "id", "rel_path")}
    columns |= {name: pc.fill_null(table[name].cast(pa.string()), "") for name in ("hash", "qc")}
    columns["file_size"] = pc.fill_null(_whole_numbers(table["file_size"], LARGEST_SIZE), UNKNOWN)
    columns["default_revision"] = pc.fill_null(table["default_revision"].cast(pa.bool_()), False)
    table = pa.table(columns)
    table = table.filter(_all(_is_id(columns["eid"]), _is_id(columns["id"]), _is_path(columns["rel_path"])))
    return _sorted(table, "eid")


def _columns_of_sessions(sessions: Any) -> dict[str, tuple[str, Any]]:
    """The sessions, and the subjects with the first session of each."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    labs, subjects = (pc.dictionary_encode(_one_array(sessions[name])) for name in ("lab", "subject"))
    firsts: list[int] = []
    labs_of: list[int] = []
    names: list[int] = []
    for row, pair in enumerate(zip(labs.indices.to_pylist(), subjects.indices.to_pylist(), strict=True)):
        if not firsts or pair != (labs_of[-1], names[-1]):
            firsts.append(row)
            labs_of.append(pair[0])
            names.append(pair[1])
    return {
        "session": _ids(sessions["id"]),
        "session.by_id": _order(sessions["id"]),
        "session.number": _numbers(sessions["number"], INT32),
        **_texts("session.date", pc.utf8_slice_codeunits(sessions["date"], 0, 10)),
        **_texts("lab", labs.dictionary),
        **_texts("subject", subjects.dictionary.take(pa.array(names, pa.int32()))),
        "subject.lab": (INT32, array(INT32, labs_of)),
        "subject.first": (INT32, array(INT32, [*firsts, len(sessions)])),
    }


def _columns_of_datasets(datasets: Any) -> dict[str, tuple[str, Any]]:
    """The datasets, with paths and words told once each, and the groups of one session with the first of each."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    groups = pc.run_end_encode(_one_array(datasets["eid"]))
    paths, qc = (pc.dictionary_encode(_one_array(datasets[name])) for name in ("rel_path", "qc"))
    return {
        "group": _ids(groups.values),
        "group.first": _numbers(pa.concat_arrays([pa.array([0], pa.int32()), groups.run_ends.cast(pa.int32())]), INT32),
        "dataset": _ids(datasets["id"]),
        "dataset.by_id": _order(datasets["id"]),
        "dataset.size": _numbers(datasets["file_size"], INT64),
        "dataset.is_default": _numbers(datasets["default_revision"].cast(pa.uint8()), BYTE),
        "dataset.qc": _numbers(qc.indices, INT32),
        "dataset.path": _numbers(paths.indices, INT32),
        **_texts("dataset.hash", datasets["hash"]),
        **_texts("qc", qc.dictionary),
        **_texts("path", paths.dictionary),
    }


def _sorted(table: Any, *names: str) -> Any:
    import pyarrow.compute as pc  # noqa: PLC0415

    order = pc.sort_indices(table, sort_keys=[(name, "ascending") for name in names])
    return table.take(order).combine_chunks()


def _one_array(column: Any) -> Any:
    import pyarrow as pa  # noqa: PLC0415

    if not isinstance(column, pa.ChunkedArray):
        return column
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _numbers(column: Any, kind: str) -> tuple[str, Any]:
    """The numbers of a column without nulls."""
    import pyarrow as pa  # noqa: PLC0415

    column = _one_array(column).cast({INT32: pa.int32(), INT64: pa.int64(), BYTE: pa.uint8()}[kind])
    width = column.type.bit_width // 8
    return kind, column.buffers()[1][column.offset * width : (column.offset + len(column)) * width]


def _ids(column: Any) -> tuple[str, Any]:
    return BYTE, _texts("ids", column)["ids"][1]


def _texts(name: str, column: Any) -> dict[str, tuple[str, Any]]:
    """The bytes of the texts of a column without nulls, and where each begins and the last one ends."""
    import pyarrow as pa  # noqa: PLC0415

    column = pa.concat_arrays([_one_array(column)])  # which begins at the first of its bytes
    if not len(column):
        return {name: (BYTE, b""), f"{name}.ends": (INT32, b"")}
    _, ends, rows = column.buffers()
    ends = memoryview(ends).cast("B")[: 4 * (len(column) + 1)]
    last = ends.cast("i")[-1]
    return {name: (BYTE, memoryview(rows).cast("B")[:last] if last else b""), f"{name}.ends": (INT32, ends)}


def _order(column: Any) -> tuple[str, Any]:
    """The rows in the order of what stands in them."""
    import pyarrow.compute as pc  # noqa: PLC0415

    return _numbers(pc.sort_indices(column), INT32)


def _whole_numbers(column: Any, most: int) -> Any:
    """Numbers from 0 to ``most``, null where there is another or none."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    possible = pc.and_(pc.greater_equal(column, 0), pc.less_equal(column, most))  # NaN is neither
    return pc.if_else(possible, column, pa.scalar(None, column.type)).cast(pa.int64(), safe=False)


def _is_id(column: Any) -> Any:
    import pyarrow.compute as pc  # noqa: PLC0415

    return pc.match_substring_regex(column, f"^{UUID.pattern}$")


def _is_name(column: Any) -> Any:
    import pyarrow.compute as pc  # noqa: PLC0415

    length = pc.utf8_length(column)
    return pc.and_(pc.greater(length, 0), pc.less_equal(length, LONGEST_NAME))


def _is_path(column: Any) -> Any:
    """Whether it is the path of a dataset; each different one is looked at once."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    good = [
        path
        for path in pc.unique(column).to_pylist()
        if path and len(path) <= LONGEST_PATH and path.count("/") <= MOST_FOLDERS and PATH.fullmatch(path)
    ]
    return pc.is_in(column, value_set=pa.array(good, pa.string()))


def _all(*conditions: Any) -> Any:
    """Rows for which all hold; unknown is no."""
    import pyarrow.compute as pc  # noqa: PLC0415

    kept = conditions[0]
    for condition in conditions[1:]:
        kept = pc.and_kleene(kept, condition)
    return pc.fill_null(kept, False)


def _first_line(error: BaseException) -> str:
    return re.sub(r"\s+", " ", str(error) or type(error).__name__)[:200].rstrip(".")


class _WithoutPandas:
    """Arrow imports pandas, if it can, with the first list that it takes: that takes longer than all else here."""

    @staticmethod
    def find_spec(name: str, *_: object) -> None:
        """Raises ModuleNotFoundError for pandas, and leaves others to those who know them."""
        if name == "pandas":
            raise ModuleNotFoundError("Not needed here.", name=name)


if __name__ == "__main__":
    sys.meta_path.insert(0, _WithoutPandas)
    try:
        main(Path(sys.argv[1]))
    except _Unusable as unusable:
        sys.stdout.write(f"{unusable}\n")
        sys.exit(1)
