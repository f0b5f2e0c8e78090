"""The files of many sessions as rows of a table: from the columns of the cache tables, else one by one."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from alyxfs import file_names
from alyxfs.alyx.datasets.layout import by_folder, folders_of, names_in_folder
from alyxfs.alyx.datasets.table_form import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from alyxfs.alyx.datasets.cache_tables import Tables
    from alyxfs.alyx.datasets.delta import Delta
    from alyxfs.alyx.datasets.layout import Folder, SessionPlace


class FileRow(NamedTuple):
    """A file; the fields are the columns of the table, in their order."""

    path: str
    size: int | None
    """Bytes, as the database has it."""
    hash: str
    """As the database has it; empty for none, as the texts below."""
    session: str
    dataset: str
    subject: str
    """As it stands in paths."""
    qc: str
    revision: str
    default: bool
    """Whether it is the revision to use where none is named."""
    tags: str = ""
    """With commas between them; empty also where none are known."""


def rows_of_folders(
    folders: Mapping[tuple[str, ...], Folder],
    place: SessionPlace | None,
    prefix: str,
    inside: Sequence[str] = (),
    tags: Mapping[str, str] = MappingProxyType({}),
) -> list[FileRow]:
    """The files of a session, or (no place) of the aggregates, in the order of their paths.

    These begin with ``prefix``. Where ``inside`` leads to a folder, the files in that alone, with paths from there on.
    ``tags``: those of files by their ids.
    """
    session, subject = (place.identity, file_names.encode(place.subject)) if place else ("", "")
    rows = []
    for names, folder in folders.items():
        encoded = [*map(file_names.encode, names)]
        if encoded[: len(inside)] != [*inside]:
            continue
        where = "".join(f"{name}/" for name in [prefix, *encoded[len(inside) :]] if name)
        for name, file in names_in_folder(folder)[1].items():
            row = (file.size, file.digest, session, file.identity, subject, file.qc, file.revision, file.is_default)
            rows.append(FileRow(f"{where}{name}", *row, tags.get(file.identity, "")))
    return sorted(rows, key=lambda row: row.path)


def _no_tags(_session: str) -> Mapping[str, str]:
    return {}


class KnownFiles:
    """Files of the cache tables, and what changed since. All of it blocks: call it in a thread."""

    def __init__(self, tables: Tables, changes: Delta, tags_of: Callable[[str], Mapping[str, str]] = _no_tags) -> None:
        """``changes`` must be nobody else's. Each path of the tables is looked at once, whichever sessions have it.

        ``tags_of`` gives the tags of a session's files by their ids.
        """
        self._tables = tables
        self._tags_of = tags_of
        self._changes = changes
        before = (tables.session_of(dataset) for dataset in changes.files)
        self._changed = changes.sessions() | {session for session in before if session is not None}
        paths = tables.paths
        self._paths = [_path(*parts) for parts in paths]
        self._revisions = [revision for _, revision, _ in paths]
        self._odd = _odd_paths(self._paths)

    def rows(self, sessions: Sequence[tuple[SessionPlace, str]]) -> list[FileRow]:
        """The files of these sessions, each with the path of its folder; in the order of their paths."""
        found: list[FileRow] = []
        for place, prefix in sessions:
            if not self._is_plain(place.identity):
                found += self._one_by_one(place, prefix)
                continue
            where, subject = f"{prefix}/" if prefix else "", file_names.encode(place.subject)
            paths, revisions, session = self._paths, self._revisions, place.identity
            tags = self._tags_of(session)
            found += sorted(
                FileRow(
                    where + paths[code],
                    None if size == UNKNOWN else size,
                    digest,
                    session,
                    dataset,
                    subject,
                    qc,
                    revisions[code],
                    bool(is_default),
                    tags.get(dataset, ""),
                )
                for dataset, size, digest, is_default, qc, code in zip(*self._tables.columns_of(session), strict=True)
            )
        return found

    def lines(self, sessions: Sequence[tuple[SessionPlace, str]]) -> bytes:
        """The same as :func:`tab_separated` makes of the rows, at half the cost: there may be millions."""
        found: list[str] = []
        for place, prefix in sessions:
            if not self._is_plain(place.identity):
                found.append(tab_separated(self._one_by_one(place, prefix)).decode())
                continue
            where, subject = f"{prefix}/" if prefix else "", file_names.encode(place.subject)
            paths, revisions, session = self._paths, self._revisions, place.identity
            tags = self._tags_of(session)
            lines = [
                f"{where}{paths[code]}\t{'' if size == UNKNOWN else size}\t{digest}\t{session}\t{dataset}\t{subject}\t"
                f"{qc}\t{revisions[code]}\t{'true' if is_default else 'false'}\t{tags.get(dataset, '')}\n"
                for dataset, size, digest, is_default, qc, code in zip(*self._tables.columns_of(session), strict=True)
            ]
            lines.sort()  # a tab comes before whatever may stand in a path
            text = "".join(lines)
            if _is_whole(text, len(lines)):
                found.append(text)
            else:
                found.append(tab_separated(self.rows([(place, prefix)])).decode())
        return "".join(found).encode("utf-8", "backslashreplace")

    def _is_plain(self, session: str) -> bool:
        """Whether the tables say all of its files, and the paths there are those of the drive."""
        if session in self._changed:
            return False
        codes = self._tables.path_numbers(session)
        distinct = set(codes)
        return len(distinct) == len(codes) and self._odd.isdisjoint(distinct)

    def _one_by_one(self, place: SessionPlace, prefix: str) -> list[FileRow]:
        files = self._changes.merged(place.identity, self._tables.files(place.identity))
        return rows_of_folders(by_folder(files), place, prefix, tags=self._tags_of(place.identity))


def _path(collection: str, revision: str, name: str) -> str:
    """A path of the tables as it is in the drive."""
    return "/".join(map(file_names.encode, [*folders_of(collection, revision), name]))


def _odd_paths(paths: Sequence[str]) -> set[int]:
    """Those that are also another's, or a folder of another's: the drive gives such files other names."""
    folders: set[str] = set()
    counts: dict[str, int] = {}
    for path in paths:
        counts[path] = counts.get(path, 0) + 1
        parts = path.split("/")
        folders.update("/".join(parts[:depth]) for depth in range(1, len(parts)))
    return {number for number, path in enumerate(paths) if counts[path] > 1 or path in folders}


def header() -> bytes:
    """The first line of a table of lines."""
    return "\t".join(FileRow._fields).encode() + b"\n"


def tab_separated(rows: Sequence[FileRow]) -> bytes:
    """One row a line; what is not known is empty."""
    text = "".join(
        [
            f"{path}\t{'' if size is None else size}\t{digest}\t{session}\t{dataset}\t{subject}\t{qc}\t{revision}\t"
            f"{'true' if is_default else 'false'}\t{tags}\n"
            for path, size, digest, session, dataset, subject, qc, revision, is_default, tags in rows
        ]
    )
    if not _is_whole(text, len(rows)):
        return b"".join(map(_careful_line, rows))
    return text.encode("utf-8", "backslashreplace")


def _is_whole(text: str, rows: int) -> bool:
    """Whether the lines of so many rows hold no tabs and line ends but those between fields and rows."""
    return text.count("\n") == rows and text.count("\t") == rows * (len(FileRow._fields) - 1)


def _careful_line(row: FileRow) -> bytes:
    texts = (value.replace("\t", " ").replace("\n", " ") if isinstance(value, str) else value for value in row)
    return tab_separated([FileRow._make(texts)])


def parquet_writer(file: BinaryIO) -> Any:
    """Writes record batches to a file, as Parquet."""
    import pyarrow as pa  # noqa: PLC0415 - of the extra "tables", and slow to import
    import pyarrow.parquet as pq  # noqa: PLC0415

    return pq.ParquetWriter(pa.PythonFile(file, mode="w"), _schema())


def batch_of_rows(rows: Iterable[FileRow]) -> Any:
    """Rows as a record batch of Arrow; what is not known is null."""
    import pyarrow as pa  # noqa: PLC0415

    columns = list(zip(*rows, strict=True)) or [()] * len(FileRow._fields)
    schema = _schema()
    nullable = {"hash", "session", "qc", "tags"}
    arrays = [
        pa.array([value or None for value in values] if field.name in nullable else list(values), field.type)
        for values, field in zip(columns, schema, strict=True)
    ]
    return pa.record_batch(arrays, schema=schema)


def _schema() -> Any:
    import pyarrow as pa  # noqa: PLC0415

    kinds = {"size": pa.int64(), "default": pa.bool_()}
    return pa.schema([(name, kinds.get(name, pa.string())) for name in FileRow._fields])
