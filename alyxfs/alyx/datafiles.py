"""Which data files a session has, and where they stand in the layout that ONE uses.

``<lab>/Subjects/<subject>/<date of start_time>/<number, three digits>/<collection>/#<revision>#/<name>``
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Mapping

_MD5 = re.compile(r"[0-9a-f]{32}")
_REVISION_IN_ADDRESS = re.compile(r"/#([^/#]+)#/[^/]*$")


@dataclass(frozen=True)
class SessionPlace:
    """Where a session stands in ``data/``."""

    identity: str
    lab: str
    subject: str
    date: str
    """YYYY-MM-DD."""
    number: str
    """Three digits; ``000`` where the session has no number."""
    start: float
    """Unix seconds, taken as UTC."""


@dataclass(frozen=True)
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
    """Address on a file server as the server gave it, ``#`` raw; None where it cannot be downloaded."""
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
        parts = tuple(part for part in self.collection.split("/") if part)
        return (*parts, f"#{self.revision}#") if self.revision else parts


def session_place(identity: str, lab: Any, subject: Any, start_time: Any, number: Any) -> SessionPlace | None:
    """The place of a session, or None where it has no lab, subject or date and so no path in ONE's layout."""
    if not (isinstance(lab, str) and lab and isinstance(subject, str) and subject and isinstance(start_time, str)):
        return None
    start = parse_time(start_time)
    if start is None:
        return None
    digits = f"{number:03d}" if isinstance(number, int) else "000"
    return SessionPlace(identity, lab, subject, start_time[:10], digits, start)


def parse_time(text: str) -> float | None:
    """Unix seconds of a server's date, which is naive and means UTC; None where it is none."""
    from datetime import datetime, timezone  # noqa: PLC0415

    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()


def files_of_session(detail: Mapping[str, Any], revision_names: Mapping[str, str]) -> list[DataFile]:
    """The files of a session from its detail (``data_dataset_session_related``).

    There a revision is a UUID (Alyx 3.6.1): its name stands in the address, else ``revision_names`` (UUID to name)
    tells; a UUID that nobody knows serves as the name.
    """
    return [_from_related(dataset, revision_names) for dataset in detail.get("data_dataset_session_related") or ()]


def file_of_dataset(dataset: Mapping[str, Any], preferred: tuple[str, ...] = ()) -> DataFile:
    """The file of a dataset from its own record, which lists one address per repository.

    ``preferred``: beginnings of repository names, best first.
    """
    records = [
        record for record in dataset.get("file_records") or () if record.get("exists") and record.get("data_url")
    ]
    records.sort(key=lambda record: _preference(str(record.get("data_repository")), preferred))
    return DataFile(
        identity=str(dataset.get("id") or str(dataset.get("url", "")).rsplit("/", 1)[-1]),
        name=str(dataset.get("name") or ""),
        collection=str(dataset.get("collection") or ""),
        revision=str(dataset.get("revision") or ""),
        url=records[0]["data_url"] if records else None,
        size=_size(dataset.get("file_size")),
        digest=str(dataset.get("hash") or ""),
        qc=str(dataset.get("qc") or ""),
        is_default=bool(dataset.get("default_dataset")),
    )


def _from_related(dataset: Mapping[str, Any], revision_names: Mapping[str, str]) -> DataFile:
    url = dataset.get("data_url") or None
    revision = str(dataset.get("revision") or "")
    if revision:
        in_address = _REVISION_IN_ADDRESS.search(unquote(url)) if url else None
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
