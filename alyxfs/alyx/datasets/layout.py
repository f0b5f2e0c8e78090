"""Which data files a session has, and where they stand in the layout that ONE uses.

``<lab>/Subjects/<subject>/<date of start_time>/<number, three digits>/<collection>/#<revision>#/<name>``
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from alyxfs import file_names
from alyxfs.alyx.datasets import fields
from alyxfs.alyx.identities import identity_of
from alyxfs.net import quoted_address

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_MD5 = re.compile(r"[0-9a-f]{32}")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_REVISION_IN_ADDRESS = re.compile(r"/#([^/#]+)#/[^/]*$")


@dataclass(frozen=True, slots=True)
class SessionPlace:
    """Where a session stands in ``data/``."""

    identity: str
    lab: str
    subject: str
    date: str
    """YYYY-MM-DD."""
    number: str
    """Three digits; ``000`` where the session has no number."""

    @property
    def start(self) -> float:
        """Unix seconds at which its day begins, in UTC: the cache tables know no more of the time."""
        return date_seconds(self.date)


@dataclass(frozen=True, slots=True)
class DataFile:
    """A dataset as a file of its session."""

    identity: str
    """The dataset's UUID."""
    name: str
    collection: str
    """Folders below the session, with ``/`` between them; empty for none."""
    revision: str
    """Name of the revision; empty for none."""
    url: str | None
    """Address on a file server as the server gave it, ``#`` raw; None where none is known."""
    size: int | None
    """Bytes, as the database has it; may be wrong."""
    digest: str
    """As the database has it: an MD5, another hash, or empty."""
    qc: str
    is_default: bool
    """Whether it is the revision to use where none is named."""

    @property
    def md5(self) -> str | None:
        """The digest where it can be an MD5."""
        return self.digest if _MD5.fullmatch(self.digest) else None

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders below the session, revision included, as the server names them."""
        return folders_of(self.collection, self.revision)


@dataclass(frozen=True, slots=True)
class Folder:
    """What stands directly in a folder of a session."""

    folders: list[str]
    files: list[DataFile]


def by_folder(files: Iterable[DataFile], *, is_plain: bool = False) -> dict[tuple[str, ...], Folder]:
    """The folders of a session, by the names that lead to them; the session itself is ``()``. All are sorted.

    ``is_plain``: a revision is no folder.
    """
    found: dict[tuple[str, ...], Folder] = {(): Folder([], [])}
    for file in files:
        path = folders_of(file.collection, "") if is_plain else file.folders
        if path not in found:
            for depth in range(len(path)):
                if path[: depth + 1] not in found:
                    found[path[: depth + 1]] = Folder([], [])
                    found[path[:depth]].folders.append(path[depth])
        found[path].files.append(file)
    for folder in found.values():
        folder.folders.sort()
        folder.files.sort(key=lambda file: (file.name, file.identity))
    return found


class Folders(dict[tuple[str, ...], Folder]):
    """The folders of a session or of the aggregates, by the names that lead to them; never changed.

    Empty where there are no files.
    """

    def __init__(self, files: Sequence[DataFile], *, is_plain: bool = False) -> None:
        """``is_plain``: a revision is no folder."""
        super().__init__(by_folder(files, is_plain=is_plain) if files else ())
        self.nodes: dict[tuple[str, tuple[str, ...]], dict[str, Any]] = {}
        """What the tree has made of them, by the identity of its top and the names of the folder."""


def names_in_folder(folder: Folder) -> tuple[dict[str, str], dict[str, DataFile]]:
    """The folders and the files of a folder by their names in the drive."""
    folders = {file_names.encode(inner): inner for inner in folder.folders}
    files: dict[str, DataFile] = {}
    for file in folder.files:
        name = file_names.encode(file.name)
        files[file_names.encode(f"{file.name}~{file.identity}") if name in folders or name in files else name] = file
    return folders, files


@functools.lru_cache(maxsize=4096)
def folders_of(collection: str, revision: str) -> tuple[str, ...]:
    """The names of the folders of a file, below its session."""
    parts = tuple(part for part in collection.split("/") if part)
    return (*parts, f"#{revision}#") if revision else parts


def session_place(identity: str, lab: Any, subject: Any, start_time: Any, number: Any) -> SessionPlace | None:
    """The place of a session, or None where it has no lab, subject or date and so no path in ONE's layout."""
    if not (isinstance(lab, str) and lab and isinstance(subject, str) and subject and isinstance(start_time, str)):
        return None
    if not _DATE.match(start_time) or max(len(lab), len(subject)) > fields.LONGEST_TEXT:
        return None
    digits = f"{number:03d}" if type(number) is int and 0 <= number < fields.HIGHEST_NUMBER else "000"
    return SessionPlace(identity, lab, subject, start_time[:10], digits)


def folder_names(places: Iterable[SessionPlace]) -> dict[str, SessionPlace]:
    """The sessions of one subject and day by the names of their folders.

    Alyx lets several have one number. The files of two sessions must never stand in one folder, where programs would
    take those of one for the other's: the session whose id comes first has the number as its name, the others have
    their id behind it. Nothing but the ids decides, so that every mount shows the same.
    """
    found: dict[str, SessionPlace] = {}
    for place in sorted(places, key=lambda place: place.identity):
        found[f"{place.number}~{place.identity}" if place.number in found else place.number] = place
    return found


@functools.lru_cache(maxsize=4096)
def date_seconds(date: str) -> float:
    """Unix seconds at which a day (YYYY-MM-DD) begins in UTC; 0 where there is no such day."""
    try:
        return datetime.fromisoformat(date).replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        return 0.0


def forget_idle() -> None:
    """Drop what is kept ready of folders and days: made during a walk, each holds a page of memory that lies around."""
    folders_of.cache_clear()
    date_seconds.cache_clear()


def files_of_session(detail: Mapping[str, Any], revision_names: Mapping[str, str]) -> tuple[list[DataFile], list[str]]:
    """The files of a session from its detail (``data_dataset_session_related``), and why others are left out.

    There a revision is a UUID (Alyx 3.6.1): its name stands in the address, else ``revision_names`` (UUID to name)
    tells; a UUID that nobody knows serves as the name.
    """
    related = detail.get("data_dataset_session_related")
    files, odd = [], [] if related is None or isinstance(related, list) else ["its datasets are told as no list"]
    for dataset in related if isinstance(related, list) else ():
        try:
            files.append(_from_related(dataset, revision_names))
        except fields.OddRecordError as error:
            odd.append(str(error))
    return files, odd


def file_of_dataset(
    dataset: Mapping[str, Any], preferred: tuple[str, ...] = (), in_buckets: Mapping[str, str] | None = None
) -> DataFile:
    """The file of a dataset from its own record, which lists one address per repository. Raises OddRecordError.

    ``preferred``: beginnings of repository names, best first. ``in_buckets``: addresses by the names of repositories
    that are buckets, which count before those of the record.
    """
    return DataFile(
        identity=fields.identity(identity_of(dataset), "the dataset"),
        name=fields.text(dataset, "name"),
        collection=fields.collection(dataset),
        revision=fields.text(dataset, "revision"),
        url=next(iter(addresses_of_dataset(dataset, preferred, in_buckets)), None),
        size=fields.size(dataset.get("file_size")),
        digest=fields.digest(dataset.get("hash")),
        qc=fields.plain(dataset.get("qc")),
        is_default=bool(dataset.get("default_dataset")),
    )


def addresses_of_dataset(
    dataset: Mapping[str, Any], preferred: tuple[str, ...] = (), in_buckets: Mapping[str, str] | None = None
) -> list[str]:
    """Where servers offer the file of a dataset, best first; see above."""
    copies = [copy for copy in fields.copies(dataset) if copy.exists]
    copies.sort(key=lambda copy: _preference(copy.repository, preferred))
    addresses = ((in_buckets or {}).get(copy.repository) or copy.url for copy in copies)
    return [address for address in addresses if address]


def aggregate_file(dataset: Mapping[str, Any], file: DataFile) -> DataFile | None:
    """A dataset without session as a file below ``data/aggregates``, or None where it has no place there.

    ONE puts it where the path on its repository says, from ``aggregates/`` on (one/api.py, ``list_aggregates``).
    """
    for copy in fields.copies(dataset):
        _, found, path = f"/{copy.path}".rpartition("/aggregates/")
        if copy.exists and found and len(path) <= fields.LONGEST_PATH and path.count("/") < fields.MOST_FOLDERS:
            folder, _, name = path.rpartition("/")
            return replace(file, name=name, collection=folder, revision="")
    return None


def _from_related(dataset: Any, revision_names: Mapping[str, str]) -> DataFile:
    if not isinstance(dataset, dict):
        raise fields.OddRecordError("a dataset is no object")
    url = fields.address(dataset.get("data_url"))
    revision = fields.text(dataset, "revision")
    if revision:
        in_address = _REVISION_IN_ADDRESS.search(url) if url else None
        revision = in_address.group(1) if in_address else revision_names.get(revision, revision)
        fields.text({"revision": revision}, "revision")
    return DataFile(
        identity=fields.identity(dataset.get("id"), "the dataset"),
        name=fields.text(dataset, "name"),
        collection=fields.collection(dataset),
        revision=revision,
        url=url,
        size=fields.size(dataset.get("file_size")),
        digest=fields.digest(dataset.get("hash")),
        qc=fields.plain(dataset.get("qc")),
        is_default=str(dataset.get("default_revision")) == "True",
    )


def _preference(repository: str, preferred: tuple[str, ...]) -> int:
    for position, beginning in enumerate(preferred):
        if repository.startswith(beginning):
            return position
    return len(preferred)


def address_on_the_wire(url: str) -> str:
    """The address of a data file as it is asked for: Alyx joins the repository's address and the path as they are.

    So ``#``, ``?``, ``%`` and spaces of folders and names stand raw in it (BEHAVIOUR of Alyx 3.6.1).
    """
    return quoted_address(url, is_raw=True)
