"""Which data files a session has, and where they stand in the layout that ONE uses.

``<lab>/Subjects/<subject>/<date of start_time>/<number, three digits>/<collection>/#<revision>#/<name>``
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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
        return _folders(self.collection, self.revision)


@dataclass(frozen=True, slots=True)
class Folder:
    """What stands directly in a folder of a session."""

    folders: list[str]
    files: list[DataFile]


def by_folder(files: Iterable[DataFile]) -> dict[tuple[str, ...], Folder]:
    """The folders of a session, by the names that lead to them; the session itself is ``()``. All are sorted."""
    found: dict[tuple[str, ...], Folder] = {(): Folder([], [])}
    for file in files:
        path = file.folders
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


@functools.lru_cache(maxsize=4096)
def _folders(collection: str, revision: str) -> tuple[str, ...]:
    parts = tuple(part for part in collection.split("/") if part)
    return (*parts, f"#{revision}#") if revision else parts


def session_place(identity: str, lab: Any, subject: Any, start_time: Any, number: Any) -> SessionPlace | None:
    """The place of a session, or None where it has no lab, subject or date and so no path in ONE's layout."""
    if not (isinstance(lab, str) and lab and isinstance(subject, str) and subject and isinstance(start_time, str)):
        return None
    if not _DATE.match(start_time):
        return None
    digits = f"{number:03d}" if isinstance(number, int) else "000"
    return SessionPlace(identity, lab, subject, start_time[:10], digits)


@functools.lru_cache(maxsize=4096)
def date_seconds(date: str) -> float:
    """Unix seconds at which a day (YYYY-MM-DD) begins in UTC; 0 where there is no such day."""
    try:
        return datetime.fromisoformat(date).replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        return 0.0


def files_of_session(detail: Mapping[str, Any], revision_names: Mapping[str, str]) -> list[DataFile]:
    """The files of a session from its detail (``data_dataset_session_related``).

    There a revision is a UUID (Alyx 3.6.1): its name stands in the address, else ``revision_names`` (UUID to name)
    tells; a UUID that nobody knows serves as the name.
    """
    return [_from_related(dataset, revision_names) for dataset in detail.get("data_dataset_session_related") or ()]


def file_of_dataset(
    dataset: Mapping[str, Any], preferred: tuple[str, ...] = (), in_buckets: Mapping[str, str] | None = None
) -> DataFile:
    """The file of a dataset from its own record, which lists one address per repository.

    ``preferred``: beginnings of repository names, best first. ``in_buckets``: addresses by the names of repositories
    that are buckets, which count before those of the record.
    """
    identity = str(dataset.get("id") or str(dataset.get("url", "")).rsplit("/", 1)[-1])
    records = [record for record in dataset.get("file_records") or () if record.get("exists")]
    records.sort(key=lambda record: _preference(str(record.get("data_repository")), preferred))
    addresses = (
        (in_buckets or {}).get(str(record.get("data_repository"))) or record.get("data_url") for record in records
    )
    return DataFile(
        identity=identity,
        name=str(dataset.get("name") or ""),
        collection=str(dataset.get("collection") or ""),
        revision=str(dataset.get("revision") or ""),
        url=next((address for address in addresses if address), None),
        size=_size(dataset.get("file_size")),
        digest=str(dataset.get("hash") or ""),
        qc=str(dataset.get("qc") or ""),
        is_default=bool(dataset.get("default_dataset")),
    )


def aggregate_file(dataset: Mapping[str, Any], file: DataFile) -> DataFile | None:
    """A dataset without session as a file below ``data/aggregates``, or None where it has no place there.

    ONE puts it where the path on its repository says, from ``aggregates/`` on (one/api.py, ``list_aggregates``).
    """
    for record in dataset.get("file_records") or ():
        _, found, path = f"/{path_of_record(record)}".rpartition("/aggregates/")
        if record.get("exists") and found:
            folder, _, name = path.rpartition("/")
            return replace(file, name=name, collection=folder, revision="")
    return None


def path_of_record(record: Mapping[str, Any]) -> str:
    """The path of a file on its repository, without slashes at its ends."""
    parts = (str(record.get(name) or "").strip("/") for name in ("data_repository_path", "relative_path"))
    return "/".join(part for part in parts if part)


def _from_related(dataset: Mapping[str, Any], revision_names: Mapping[str, str]) -> DataFile:
    url = dataset.get("data_url") or None
    revision = str(dataset.get("revision") or "")
    if revision:
        in_address = _REVISION_IN_ADDRESS.search(url) if url else None
        revision = in_address.group(1) if in_address else revision_names.get(revision, revision)
    return DataFile(
        identity=str(dataset["id"]),
        name=str(dataset.get("name") or ""),
        collection=str(dataset.get("collection") or ""),
        revision=revision,
        url=url,
        size=_size(dataset.get("file_size")),
        digest=str(dataset.get("hash") or ""),
        qc=str(dataset.get("qc") or ""),
        is_default=str(dataset.get("default_revision")) == "True",
    )


def _size(value: Any) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None


def _preference(repository: str, preferred: tuple[str, ...]) -> int:
    for position, beginning in enumerate(preferred):
        if repository.startswith(beginning):
            return position
    return len(preferred)


def address_on_the_wire(url: str) -> str:
    """The address of a data file as it is asked for: Alyx joins the repository's address and the path as they are.

    So ``#``, ``?``, ``%`` and spaces of folders and names stand raw in it (BEHAVIOUR of Alyx 3.6.1). ``+`` is quoted,
    too: S3 takes a raw one for a space.
    """
    scheme, separator, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return scheme + separator + host + slash + quote(path, safe="/:@!$&'()*,;=~")
