"""Adds datasets and their file records."""

import datetime as dt
import uuid
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from alyxfs.demo.common.addresses import with_uuid
from alyxfs.demo.data.models import Dataset, FileRecord

from .recipes import FORMAT_BY_EXTENSION
from .tables import Row, Tables, chance
from .vocabulary import Words

SIZES = {"cbin": 10**9, "mp4": 4 * 10**8, "npy": 2 * 10**7, "pqt": 10**6, "ssv": 10**7, "json": 2 * 10**4}


@dataclass
class Home:
    """The session that datasets belong to, in the words of paths."""

    session: Row
    lab: str
    subject: str

    @property
    def folder(self) -> str:
        """Subject, date and number."""
        return f"{self.subject}/{self.session['start_time']:%Y-%m-%d}/{self.session['number']:03}"


@dataclass
class RealFile:
    """Where a real file is, and what is true about it."""

    path: Path
    size: int
    hash: str


class Shelf:
    """Puts datasets on the repositories of a lab."""

    def __init__(self, tables: Tables, words: Words) -> None:
        self.tables = tables
        self.words = words

    def add(
        self,
        home: Home,
        kind: str,
        collection: str,
        name: str,
        *,
        revision: str = "",
        real: RealFile | None = None,
        places: dict[str, bool] | None = None,
        **values: Any,
    ) -> Row:
        """Add one dataset; `places` tells on which repositories it is said to exist."""
        luck = chance("dataset", home.session.id, collection, revision, name)
        made = home.session["start_time"] + dt.timedelta(days=10, minutes=luck.randrange(30000))
        extension = PurePosixPath(name).suffix
        dataset = self.tables.add(
            Dataset,
            home.session.id,
            collection,
            revision,
            name,
            name=name,
            session_id=home.session.id,
            created_by_id=self.words.users[luck.choice(["alice", "bob", "root", "carol"])].id,
            created_datetime=made,
            auto_datetime=made + dt.timedelta(hours=6),
            dataset_type_id=self.words.types[kind].id,
            data_format_id=self.words.formats[FORMAT_BY_EXTENSION.get(extension, "unknown")].id,
            collection=collection,
            revision_id=self.words.revisions[revision].id if revision else None,
            file_size=real.size if real else luck.randrange(1000, SIZES.get(extension[1:], 10**5)),
            hash=real.hash if real else f"{luck.getrandbits(128):032x}",
            version=luck.choice(["", "2.15.0", "3.4.1", "ibllib_2.0.1"]),
            qc=luck.choice([0, 0, 0, 10, 30, 40]),
        )
        unseen = chance("unseen", dataset.id)
        if unseen.random() < 0.2:  # no address shows these
            dataset.update(generating_software="ChoiceWorld 0.8.3", md5=uuid.UUID(int=unseen.getrandbits(128)))
        dataset.update(values)
        if luck.random() < 0.06:
            self.tables.link(Dataset, "tags", dataset, self.words.tags[luck.choice(TAGS)])
        if places is None:
            places = {f"flatiron_{home.lab}": True, f"{home.lab}_SR": luck.random() < 0.5}
            if luck.random() < 0.17:
                places[f"aws_{home.lab}"] = True
        folders = [home.folder, collection, f"#{revision}#" if revision else "", name]
        self.add_records(dataset, "/".join(folder for folder in folders if folder), places)
        return dataset

    def add_records(self, dataset: Row, path: str, places: dict[str, bool]) -> None:
        """Add a file record on each of these repositories."""
        for repository, exists in places.items():
            self.tables.add(
                FileRecord,
                dataset.id,
                repository,
                dataset_id=dataset.id,
                data_repository_id=self.words.repositories[repository].id,
                relative_path=path,
                exists=exists,
            )


TAGS = ["2021_Q1_behaviour", "2022_Q4_brainwide", "repeated_site"]


def place_on_server(files: Path, home: Home, dataset: Row, revision: str) -> Path:
    """Return where the file server keeps the file of a dataset; the folder is made."""
    folders = [home.lab, "Subjects", *home.folder.split("/"), *dataset["collection"].split("/")]
    if revision:
        folders.append(f"#{revision}#")
    folder = files.joinpath(*(part for part in folders if part))
    folder.mkdir(parents=True, exist_ok=True)
    return folder / with_uuid(dataset["name"], dataset.id)
