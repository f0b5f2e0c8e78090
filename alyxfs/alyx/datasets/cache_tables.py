"""The server's cache tables: its sessions and their datasets in two Parquet files, made now and then for ONE.

Both are made into columns once (see ``table_reader``), sessions by lab and subject, datasets by session, which are
mapped into memory. Objects are made for one subject or session at a time, when somebody looks at it.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import shutil
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

from alyxfs.alyx.datasets.columns import Columns
from alyxfs.alyx.datasets.layout import DataFile, SessionPlace
from alyxfs.alyx.datasets.table_form import COLUMNS, INFO, LEFT_OUT, PATH, UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

REMEMBERED_PATHS = 4096
"""Paths below a session that are kept ready."""


class TablesUnusableError(Exception):
    """What came is no set of cache tables, or none of a form that is known here."""


def can_read_tables() -> bool:
    """Whether the packages of the extra ``tables`` are installed."""
    return importlib.util.find_spec("pyarrow") is not None


class Tables:
    """One set of cache tables. Raises KeyError or ValueError for columns that are none of such."""

    def __init__(self, made: str, columns: Columns, folder: Path) -> None:
        self.made = made
        """When the server made them, by its own clock: ``2024-06-01 12:00``."""
        self.folder = folder
        """Where the files lie."""
        self.left_out = int(columns.about[LEFT_OUT])
        """How many of their rows were not as they should be."""
        self._columns = columns
        self._sessions = columns.ids("session")
        self._by_id = columns.numbers("session.by_id")
        self._dates = columns.texts("session.date")
        self._numbers = columns.numbers("session.number")
        self._first_of_subject = columns.numbers("subject.first")
        labs, self._subject_names = columns.texts("lab")[:], columns.texts("subject")
        self._lab_of_subject = [labs[code] for code in columns.numbers("subject.lab")]
        self.subjects: dict[str, dict[str, range]] = {}
        """By lab and subject, the rows of the sessions."""
        for position, lab in enumerate(self._lab_of_subject):
            rows = range(self._first_of_subject[position], self._first_of_subject[position + 1])
            self.subjects.setdefault(lab, {})[self._subject_names[position]] = rows
        self._groups = columns.ids("group")
        self._first_of_group = columns.numbers("group.first")
        self._datasets = columns.ids("dataset")
        self._datasets_by_id = columns.numbers("dataset.by_id")
        self._sizes = columns.numbers("dataset.size")
        self._hashes = columns.texts("dataset.hash")
        self._are_default = columns.numbers("dataset.is_default")
        self._qc, self._qc_words = columns.numbers("dataset.qc"), columns.texts("qc")[:]
        self._paths, self._path_texts = columns.numbers("dataset.path"), columns.texts("path")
        self._path = functools.lru_cache(REMEMBERED_PATHS)(self._parts)
        by_session = (self._by_id, self._dates, self._numbers, range(self._first_of_subject[-1]))
        by_dataset = (self._datasets_by_id, self._sizes, self._hashes, self._are_default, self._qc, self._paths)
        if {len(column) for column in by_session} != {len(self._sessions)} or {
            len(column) for column in (*by_dataset, range(self._first_of_group[-1]))
        } != {len(self._datasets)}:
            raise ValueError("their columns are not of one length")

    @property
    def number_of_sessions(self) -> int:
        """How many sessions there are."""
        return len(self._sessions)

    def __len__(self) -> int:
        return len(self._datasets)

    def place(self, row: int) -> SessionPlace:
        """Where the session of a row stands."""
        position = bisect_right(self._first_of_subject, row) - 1
        lab, subject = self._lab_of_subject[position], self._subject_names[position]
        return SessionPlace(self._sessions[row], lab, subject, self._dates[row], self._number(row))

    def places(self, lab: str, subject: str) -> list[SessionPlace]:
        """Where the sessions of a subject stand."""
        rows = self.subjects.get(lab, {}).get(subject, range(0))
        return [
            SessionPlace(session, lab, subject, self._dates[row], self._number(row))
            for row, session in zip(rows, self._sessions[rows.start : rows.stop], strict=True)
        ]

    def row(self, session: str) -> int | None:
        """The row of a session; None where it is none of these."""
        return _row_of(session, self._sessions, self._by_id)

    def files(self, session: str) -> list[DataFile]:
        """The files of a session, without addresses: the tables do not tell where each of them is."""
        rows = self._rows(session)
        files = []
        for row, identity in zip(rows, self._datasets[rows.start : rows.stop], strict=True):
            collection, revision, name = self._path(self._paths[row])
            size, is_default = self._sizes[row], self._are_default[row]
            files.append(
                DataFile(
                    identity,
                    name,
                    collection,
                    revision,
                    None,
                    None if size == UNKNOWN else size,
                    self._hashes[row],
                    self._qc_words[self._qc[row]],
                    bool(is_default),
                )
            )
        return files

    def datasets_of(self, session: str) -> list[str]:
        """The ids of a session's files."""
        rows = self._rows(session)
        return self._datasets[rows.start : rows.stop]

    def count(self, session: str) -> int:
        """How many files a session has."""
        return len(self._rows(session))

    def holds(self, datasets: Iterable[str]) -> set[str]:
        """Those of these datasets that are in the tables. Blocks for some 10 µs each."""
        found = ((dataset, _row_of(dataset, self._datasets, self._datasets_by_id)) for dataset in datasets)
        return {dataset for dataset, row in found if row is not None}

    def session_of(self, dataset: str) -> str | None:
        """The session to which the tables give a dataset. Blocks for some 10 µs."""
        row = _row_of(dataset, self._datasets, self._datasets_by_id)
        return None if row is None else self._groups[bisect_right(self._first_of_group, row) - 1]

    @property
    def paths(self) -> list[tuple[str, str, str]]:
        """Collection, revision and name of all files, told once each."""
        return [self._parts(code) for code in range(len(self._path_texts))]

    def path_numbers(self, session: str) -> list[int]:
        """The paths of a session's files, as numbers of ``paths``."""
        found = self._rows(session)
        return self._paths[found.start : found.stop].tolist()

    def columns_of(self, session: str) -> tuple[list[str], list[int], list[str], list[int], list[str], list[int]]:
        """Of a session's files: ids, sizes or UNKNOWN, hashes, whether it is the default, qc, numbers in ``paths``."""
        found = self._rows(session)
        rows = slice(found.start, found.stop)
        words = self._qc_words
        return (
            self._datasets[rows],
            self._sizes[rows].tolist(),
            self._hashes[rows],
            self._are_default[rows].tolist(),
            [words[code] for code in self._qc[rows]],
            self._paths[rows].tolist(),
        )

    def release(self) -> None:
        """Give back the memory of what was looked at."""
        self._path.cache_clear()
        self._columns.release()

    def _number(self, row: int) -> str:
        number = self._numbers[row]
        return "000" if number == UNKNOWN else f"{number:03d}"

    def _rows(self, session: str) -> range:
        position = bisect_left(self._groups, session)
        if position == len(self._groups) or self._groups[position] != session:
            return range(0)
        return range(self._first_of_group[position], self._first_of_group[position + 1])

    def _parts(self, code: int) -> tuple[str, str, str]:
        """Collection, revision and name of a path below a session."""
        match = PATH.fullmatch(self._path_texts[code])
        if match is None:
            raise ValueError(f"{self._path_texts[code]!r} is not the path of a dataset")
        return match["collection"] or "", match["revision"] or "", match["name"]


def _row_of(identity: str, column: Sequence[str], by_id: memoryview[int]) -> int | None:
    """The row in which a column has this id; ``by_id`` has all rows in the order of their ids."""
    position = bisect_left(by_id, identity, key=column.__getitem__)
    if position < len(by_id) and column[row := by_id[position]] == identity:
        return row
    return None


def newest_folder(directory: Path) -> Path | None:
    """The folder below ``directory`` in which tables were put last; all others of them are removed. Blocks.

    Not the one whose tables were made last: a server whose clock was wrong once would be believed for ever.
    """
    try:
        put_at = {folder: folder.stat().st_mtime for folder in directory.glob("*/") if made_at(folder) is not None}
    except OSError:  # another drive has just removed one
        return None
    if not put_at:
        return None
    newest = max(put_at, key=lambda folder: put_at[folder])
    for folder in put_at.keys() - {newest}:
        shutil.rmtree(folder, ignore_errors=True)
    return newest


def made_at(folder: Path) -> str | None:
    """When the tables in this folder were made; None where there are none."""
    try:
        return made_in((folder / INFO).read_bytes())
    except OSError:
        return None


def made_in(info: bytes) -> str | None:
    """When tables were made, by what is told of them; None where that says nothing of it."""
    try:
        text = json.loads(info).get("date_created")
    except (ValueError, AttributeError, RecursionError):
        return None
    return text if isinstance(text, str) else None


def read_tables(folder: Path) -> Tables:
    """Map the tables of a folder into memory. Blocks: call in a thread. Raises TablesUnusableError."""
    made = made_at(folder)
    if made is None:
        raise TablesUnusableError(f"{folder} holds no cache tables.")
    try:
        return Tables(made, Columns(folder / COLUMNS), folder)
    except (LookupError, TypeError, ValueError, OSError, RecursionError) as error:
        raise TablesUnusableError(f"The cache tables of {made} cannot be read: {error}.") from error
