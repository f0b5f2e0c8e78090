"""Where the files of a lab lie, without a request for each session: as the server itself makes their addresses.

The address of a file is that of its repository, the path below it and the dataset's id (``data_url`` in data/models of
Alyx 3.6.1). The cache tables name no repository, but hold what is on those called ``flatiron…`` (BEHAVIOUR of Alyx,
"Cache tables"), of which a lab has one. What is not there is on another one: the dataset's record tells, when its
first address was tried in vain.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from alyxfs import errors
from alyxfs.alyx.datasets import fields
from alyxfs.alyx.datasets.s3 import path_in_bucket

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from alyxfs.alyx.datasets.layout import DataFile, SessionPlace
    from alyxfs.alyx.metadata.cache import MetadataCache

log = logging.getLogger(__name__)

IN_TABLES = "flatiron"
"""How the repositories are called whose files the tables have."""


class LabAddresses:
    """The repositories of labs, asked for once a mount.

    State: ``_roots`` is set after the last await of :meth:`learn`; labs only ever leave it, when :meth:`compare` finds
    that their files lie elsewhere.
    """

    def __init__(self, metadata: MetadataCache) -> None:
        self._metadata = metadata
        self._roots: dict[str, str] | None = None
        self._proven: set[str] = set()
        """Labs one of whose sessions was told with the addresses that are made here."""

    async def learn(self) -> None:
        """Ask for the repositories, two requests at most; without an answer nothing is known, for now."""
        if self._roots is not None:
            return
        try:
            labs = await self._metadata.documents("labs")
            repositories = await self._metadata.documents("data-repository")
        except errors.AlyxfsError as error:
            log.info("addresses of data files are asked for: %s", error)
            if isinstance(error, errors.NotFound):  # a server without such lists
                self._roots = {}
            return
        addresses = {name: fields.address(one.get("data_url")) for name, one in repositories.items()}
        self._roots = {name: root for name, lab in labs.items() if (root := _root(lab, addresses))}

    def known(self, place: SessionPlace, file: DataFile) -> DataFile:
        """The file with its address, where that follows from its lab; never awaits."""
        root = (self._roots or {}).get(place.lab)
        if file.url is not None or root is None:
            return file
        path = "/".join([place.subject, place.date, place.number, *file.folders, file.name])
        return replace(file, url=root + path_in_bucket(path, file.identity))

    def compare(self, place: SessionPlace, told: Sequence[DataFile]) -> None:
        """See from the files of a session, as its record tells them, whether their addresses are made so here."""
        if not self._roots or place.lab not in self._roots or place.lab in self._proven:
            return
        with_address = [file for file in told if file.url is not None]
        if any(self.known(place, replace(file, url=None)).url == file.url for file in with_address):
            self._proven.add(place.lab)
        elif with_address:
            log.info("the files of %s lie elsewhere than in its repository: their addresses are asked for", place.lab)
            del self._roots[place.lab]


def _root(lab: Mapping[str, object], addresses: Mapping[str, str | None]) -> str | None:
    """The address of the lab's one repository that has what is in the tables."""
    named = lab.get("repositories")
    found = [name for name in named if isinstance(name, str)] if isinstance(named, list) else []
    roots = [address for name in found if name.startswith(IN_TABLES) and (address := addresses.get(name))]
    return roots[0] if len(roots) == 1 else None
