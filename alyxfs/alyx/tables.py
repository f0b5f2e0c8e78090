"""The server's cache tables: its sessions and their datasets in two Parquet files, made now and then for ONE.

Datasets stay in Arrow's columns, sorted by session, with paths told once each: some 100 bytes a dataset. Objects are
made for one session at a time, when somebody looks at it. Everything here blocks: call it in a thread.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import re
import shutil
import tempfile
import zipfile
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alyxfs.alyx.datafiles import DataFile, SessionPlace, session_place

if TYPE_CHECKING:
    from collections.abc import Sequence

TABLES = ("sessions.pqt", "datasets.pqt")
"""The members of ``/cache.zip`` that are kept; ONE looks for files of these names."""

INFO = "cache_info.json"

_SESSION_COLUMNS = ["id", "lab", "subject", "date", "number"]
_DATASET_COLUMNS = ["eid", "id", "rel_path", "file_size", "hash", "default_revision", "qc"]
_PATH = re.compile(r"(?:(?P<collection>[^#]*)/)?(?:#(?P<revision>[^/#]+)#/)?(?P<name>[^/]+)")
"""``<collection>/#<revision>#/<name>``, the first two missing at times."""


class TablesUnusableError(Exception):
    """What came is no set of cache tables, or none of a form that is known here."""


def can_read_tables() -> bool:
    """Whether the packages of the extra ``tables`` are installed."""
    return importlib.util.find_spec("pyarrow") is not None


class Tables:
    """One set of cache tables in memory."""

    def __init__(self, made: str, places: Sequence[SessionPlace], datasets: _Datasets, folder: Path) -> None:
        self.made = made
        """When the server made them, by its own clock: ``2024-06-01 12:00``."""
        self.places = places
        self.folder = folder
        """Where the files lie."""
        self._datasets = datasets

    def files(self, session: str) -> list[DataFile]:
        """The files of a session, without addresses: the tables do not tell where each of them is."""
        return self._datasets.of_session(session)

    def count(self, session: str) -> int:
        """How many files a session has."""
        return self._datasets.rows.get(session, (0, 0))[1]

    def holds(self, datasets: list[str]) -> set[str]:
        """Those of these datasets that are in the tables."""
        import pyarrow as pa  # noqa: PLC0415 - of the extra "tables", and slow to import
        import pyarrow.compute as pc  # noqa: PLC0415

        asked = pa.array(datasets, self._datasets.identities.type)
        return set(pc.filter(asked, pc.is_in(asked, self._datasets.identities)).to_pylist())

    def __len__(self) -> int:
        return len(self._datasets.identities)


@dataclass(frozen=True)
class _Datasets:
    """Columns of the datasets' table; the rows of a session follow each other."""

    rows: dict[str, tuple[int, int]]
    """First row and number of rows of each session."""
    identities: Any
    sizes: Any
    hashes: Any
    are_default: Any
    qc: Any
    path_numbers: array[int]
    paths: list[tuple[str, str, str]]
    """Collection, revision and name."""

    def of_session(self, session: str) -> list[DataFile]:
        start, count = self.rows.get(session, (0, 0))
        columns = (self.identities, self.sizes, self.hashes, self.are_default, self.qc)
        values = [column.slice(start, count).to_pylist() for column in columns]
        files = []
        for number, identity, size, digest, is_default, qc in zip(
            self.path_numbers[start : start + count], *values, strict=True
        ):
            collection, revision, name = self.paths[number]
            files.append(
                DataFile(identity, name, collection, revision, None, size, digest or "", qc or "", bool(is_default))
            )
        return files


def unpack_tables(archive: bytes, made: str, directory: Path) -> Path:
    """Put the files of a ``cache.zip`` into a folder of their own below ``directory`` and return it.

    The folder appears whole or not at all, so that several drives can share ``directory``. Raises TablesUnusableError.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = directory / re.sub(r"[^0-9A-Za-z]", "-", made)
    scratch = Path(tempfile.mkdtemp(dir=directory, prefix="new-"))  # mkdtemp makes it 0700
    try:
        try:
            with zipfile.ZipFile(io.BytesIO(archive)) as members:
                for name in TABLES:
                    with members.open(name) as source, _private(scratch / name) as target:
                        shutil.copyfileobj(source, target)
        except (zipfile.BadZipFile, KeyError, NotImplementedError, EOFError) as error:
            raise TablesUnusableError(f"cache.zip does not hold {' and '.join(TABLES)}: {error}.") from error
        with _private(scratch / INFO) as target:
            target.write(json.dumps({"date_created": made}).encode())
        if not folder.exists():  # another drive may have been faster
            with contextlib.suppress(OSError):
                scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def _private(path: Path) -> Any:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def newest_folder(directory: Path) -> Path | None:
    """The folder of the newest tables kept below ``directory``; older ones are removed."""
    made = {folder: text for folder in directory.glob("*/") if (text := made_at(folder)) is not None}
    if not made:
        return None
    newest = max(made, key=lambda folder: made[folder])
    for folder in made.keys() - {newest}:
        shutil.rmtree(folder, ignore_errors=True)
    return newest


def made_at(folder: Path) -> str | None:
    """When the tables in this folder were made; None where there are none."""
    try:
        text = json.loads((folder / INFO).read_bytes()).get("date_created")
    except (OSError, ValueError, AttributeError):
        return None
    return text if isinstance(text, str) else None


def read_tables(folder: Path) -> Tables:
    """Read the tables of a folder. Raises TablesUnusableError."""
    import pyarrow as pa  # noqa: PLC0415 - of the extra "tables", and slow to import
    import pyarrow.parquet as pq  # noqa: PLC0415

    made = made_at(folder)
    if made is None:
        raise TablesUnusableError(f"{folder} holds no cache tables.")
    try:
        sessions = pq.read_table(folder / TABLES[0], columns=_SESSION_COLUMNS)
        datasets = pq.read_table(folder / TABLES[1], columns=_DATASET_COLUMNS)
        tables = Tables(made, _places(sessions), _columns(datasets), folder)
    except (pa.ArrowException, KeyError, TypeError, ValueError, OSError) as error:
        raise TablesUnusableError(f"The cache tables of {made} are of an unknown form: {error}.") from error
    pa.default_memory_pool().release_unused()
    return tables


def _places(sessions: Any) -> list[SessionPlace]:
    texts: dict[str, str] = {}  # one string for each lab, subject and date, not one for each session
    places = []
    for identity, lab, subject, date, number in zip(
        *(sessions[name].to_pylist() for name in _SESSION_COLUMNS), strict=True
    ):
        if date is None:
            continue
        words = [texts.setdefault(word, word) for word in (lab or "", subject or "", date.isoformat())]
        place = session_place(identity, words[0], words[1], words[2], number)
        if place is not None:
            places.append(place)
    return places


def _columns(datasets: Any) -> _Datasets:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    order = pc.sort_indices(datasets, sort_keys=[("eid", "ascending")])
    datasets = datasets.take(order).combine_chunks()
    columns = {name: _one_array(datasets[name]) for name in _DATASET_COLUMNS}
    runs = pc.run_end_encode(columns["eid"])
    ends = runs.run_ends.to_pylist()
    starts = [0, *ends[:-1]]
    paths = pc.dictionary_encode(columns["rel_path"])
    return _Datasets(
        rows={
            session: (start, end - start)
            for session, start, end in zip(runs.values.to_pylist(), starts, ends, strict=True)
            if session is not None
        },
        identities=columns["id"],
        sizes=columns["file_size"].cast(pa.int64()),
        hashes=columns["hash"],
        are_default=columns["default_revision"],
        qc=columns["qc"],
        path_numbers=array("l", paths.indices.to_pylist()),
        paths=[_parts(path) for path in paths.dictionary.to_pylist()],
    )


def _one_array(column: Any) -> Any:
    import pyarrow as pa  # noqa: PLC0415

    chunks = column.chunks
    return chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks) if chunks else pa.array([], column.type)


def _parts(path: str) -> tuple[str, str, str]:
    """Collection, revision and name of a path below a session."""
    match = _PATH.fullmatch(path)
    if match is None:
        raise ValueError(f"{path!r} is not the path of a dataset")
    return match["collection"] or "", match["revision"] or "", match["name"]
