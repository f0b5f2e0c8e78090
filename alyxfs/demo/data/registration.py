"""Registering files by their path: `/register-file` and its neighbours."""

import datetime as dt
import fnmatch
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from django.db.models import F
from django.utils import timezone

from alyxfs.demo.actions.models import Session
from alyxfs.demo.common.models import QC_BY_NAME
from alyxfs.demo.subjects.models import Subject

from .models import DataFormat, Dataset, DatasetType, FileRecord, Revision

SESSION_PATH = re.compile(r"(?P<subject>[\w.-]+)/(?P<date>\d{4}-\d{2}-\d{2})/(?P<number>\d{1,3})(?P<rest>.*)")
FOLDERS = re.compile(r"(?:/(?P<collection>[\w./-]+))?(?:/#(?P<revision>[\w.-]+)#)?/?")


class CannotRegister(ValueError):
    """Something in a registration is wrong: a 400 with this text under this key."""

    def __init__(self, text: str, key: str = "error") -> None:
        super().__init__(text)
        self.key = key


@dataclass
class Place:
    """Where a path says that its files belong."""

    session: Any
    session_path: str
    collection: str
    revision: str


def find_session(subject: Any, date: dt.date | str, number: int | None, user: Any) -> Any:
    """Return the session of this day and number; it must exist. The user is added to it."""
    of_day = Session.objects.filter(subject=subject, start_time__date=date)
    base = of_day.filter(parent_session__isnull=True).first()
    if base is None:
        raise CannotRegister(f"A base session for {subject} on {date} does not exist")
    session = of_day.filter(number=number).first()
    if session is None:
        raise CannotRegister(f"A session for {subject}/{number} on {date} does not exist")
    for each in {base, session}:
        if user and not each.users.filter(pk=user.pk).exists():
            each.users.add(user)
            each.save()
    if session.parent_session is None and base != session:
        session.parent_session = base
        session.save()
    return session


def read_place(path: str, user: Any) -> Place:
    """Read `subject/date/number/collection/#revision#`."""
    match = SESSION_PATH.match(path)
    if match is None:
        raise CannotRegister(f"The path {path} should be `nickname/YYYY-MM-DD/n/..`")
    try:
        subject = Subject.objects.get(nickname=match["subject"])
    except Subject.DoesNotExist:
        raise CannotRegister(f'A subject with nickname "{match["subject"]}" does not exist.') from None
    folders = FOLDERS.fullmatch(match["rest"])
    if folders is None:
        raise CannotRegister(
            "Invalid ALF path. Only letters, numbers, hyphen and underscores allowed. "
            "A revision folder must be surrounded by pound signs (#).",
            key="detail",
        )
    session = find_session(subject, match["date"], int(match["number"]), user)
    session_path = f"{match['subject']}/{match['date']}/{match['number']}"
    return Place(session, session_path, folders["collection"] or "", folders["revision"] or "")


def unset_default(session: Any, collection: str, name: str) -> None:
    """Make room for a new default among the revisions of a dataset."""
    others = Dataset.objects.filter(session=session, collection=collection or "", name=name, default_dataset=True)
    others.update(default_dataset=False, auto_datetime=timezone.now())


def protection_of(session: Any, collection: str, name: str) -> tuple[bool, list[dict[str, bool]]]:
    """Tell whether any revision of a dataset is protected, and which."""
    revisions = Dataset.objects.filter(session=session, collection=collection, name=name).order_by(
        F("revision__created_datetime").desc(nulls_last=True)
    )
    each = [{dataset.revision.name if dataset.revision else "": dataset.is_protected} for dataset in revisions]
    return any(True in one.values() for one in each), each


def dataset_type_of(name: str) -> Any:
    """Find the type by its file name pattern, or by the object and attribute that the name begins with."""
    matches = [
        kind
        for kind in DatasetType.objects.all()
        if (kind.filename_pattern and fnmatch.fnmatch(name.lower(), kind.filename_pattern))
        or (not kind.filename_pattern and f".{name.lstrip('_')}".find(f"{kind.name}.") >= 0)
    ]
    if len(matches) != 1:
        raise ValueError(f'dataset "{name}" matches {len(matches)} dataset types')
    return matches[0]


@dataclass
class NewFile:
    """One file of a registration."""

    name: str
    hash: str
    size: int | None
    version: str
    qc: str


def register(place: Place, file: NewFile, user: Any, repositories: list[Any], exists_in: list[Any]) -> Any:
    """Make or change the dataset of a file and its records on the repositories."""
    revision = Revision.objects.get_or_create(name=place.revision)[0] if place.revision else None
    unset_default(place.session, place.collection, file.name)
    dataset, is_new = Dataset.objects.get_or_create(
        session=place.session,
        collection=place.collection,
        name=file.name,
        revision=revision,
        dataset_type=dataset_type_of(file.name),
        data_format=DataFormat.objects.get(file_extension=PurePosixPath(file.name).suffix),
    )
    if not is_new and dataset.is_protected:
        raise PermissionError(f"Dataset {dataset.pk} is protected, cannot patch")
    # Without a hash to compare, the file counts as changed.
    changed = not file.hash or dataset.hash != file.hash
    dataset.default_dataset = True
    dataset.created_by = user
    dataset.qc = QC_BY_NAME[file.qc]
    dataset.version = file.version or dataset.version
    dataset.hash = file.hash or dataset.hash
    dataset.file_size = dataset.file_size if file.size is None else file.size
    dataset.save()
    folders = [place.session_path, place.collection, f"#{place.revision}#" if place.revision else ""]
    path = "/".join(part for part in [*folders, file.name] if part)
    for repository in repositories:
        record, record_is_new = FileRecord.objects.get_or_create(
            dataset=dataset, data_repository=repository, relative_path=path
        )
        if record_is_new or changed:
            record.exists = repository in exists_in
        record.save()
    return dataset


def describe(dataset: Any) -> dict[str, Any]:
    """Describe a registered dataset in the words of `/register-file`, where the quality is a number."""
    return {
        "id": dataset.pk,
        "name": dataset.name,
        "file_size": dataset.file_size,
        "subject": dataset.session.subject.nickname,
        "created_by": dataset.created_by.username,
        "created_datetime": dataset.created_datetime,
        "dataset_type": dataset.dataset_type.name,
        "data_format": dataset.data_format.name,
        "session": dataset.session.pk,
        "session_number": dataset.session.number,
        "session_users": ",".join(user.username for user in dataset.session.users.all()),
        "session_start_time": dataset.session.start_time,
        "collection": dataset.collection,
        "revision": dataset.revision.name if dataset.revision else "",
        "default": dataset.default_dataset,
        "qc": dataset.qc,
        "file_records": [
            {
                "id": record.pk,
                "data_repository": record.data_repository.name,
                "relative_path": record.relative_path,
                "exists": record.exists,
            }
            for record in dataset.file_records.select_related("data_repository")
        ],
    }
