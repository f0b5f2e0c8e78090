"""``as-of/<date>/data/``: of each dataset the last revision before a date, at its plain path."""

from __future__ import annotations

import re
import time
from datetime import date
from typing import TYPE_CHECKING

from cachetools import LRUCache

from alyxfs.drive_paths import AS_OF, DATA
from alyxfs.tree.data import DataDirectory
from alyxfs.tree.dot_alyxfs import FixedDirectory, TextFile
from alyxfs.tree.node import Attributes, Directory, FixedEntries, Kind, no_such_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from alyxfs.tree.file_tree import Data

NOTES = ".alyx-notes"
REMEMBERED_DATES = 32
"""Dates of which what was looked at is kept ready."""

_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TEXT = """\
The data as of {date}, as far as a server tells it that keeps no history.

Of each dataset (session, collection and name) data/ holds the last revision up to {date}, at the path without the
folder of its revision. It is the file that ONE loads with ONE_REVISION_LAST_BEFORE={date}: names of revisions are
compared as texts, {date} itself counts, what has no revision comes before all that have one, which revision is the
default plays no part, and what has the quality CRITICAL is passed over. `getfattr -n user.alyx.revision FILE` tells
which revision a file is of.

What the server cannot tell, and this directory therefore does not know:

- What was deleted since {date}, revisions as well as sessions and whole datasets, is not here.
- What was replaced in place, without a new revision, is here as it is now: the same path with other bytes. The record
  of a dataset (datasets/<id>.json) has the time of its last change as auto_datetime.
- A revision counts by its name alone. One that was registered after {date} under an earlier date is here.
- What has no revision is here whenever it was made: also sessions, and files of them, that came after {date}.
- Names of labs and subjects, dates and numbers are those of today.
- Aggregates (data/aggregates) are left out: ONE does not choose among their revisions by date.

ONE's tables are not here either: they would name the folders of revisions. With ONE, set ONE_REVISION_LAST_BEFORE.
What a paper was made from is exact in releases/<tag>/data, where its datasets have a tag.
"""


class AsOfDirectory(Directory):
    """Any date can be entered, so that none is listed. ``_data`` holds what was entered."""

    def __init__(self, make_data: Callable[[str, str], Data]) -> None:
        """``make_data`` is given a date and the place of its data in the drive."""
        self._make_data = make_data
        self._data: LRUCache[str, Data] = LRUCache(REMEMBERED_DATES)
        self._modified = time.time()

    @property
    def identity(self) -> str:
        """See Node."""
        return AS_OF

    def attributes(self) -> Attributes:
        """See Node."""
        return Attributes(Kind.DIRECTORY, 0, self._modified, 60.0)

    async def entries(self) -> FixedEntries:
        """See Directory."""
        return FixedEntries([])

    async def lookup(self, name: str) -> Directory:
        """See Directory; what is no date is not there."""
        if not _is_date(name):
            raise no_such_name(name, f"{AS_OF}: names are dates, as 2024-05-31")
        identity = f"{AS_OF}/{name}"
        data = self._data.get(name) or self._make_data(name, f"{identity}/{DATA}")
        self._data[name] = data
        notes = TextFile(f"{identity}/{NOTES}", _TEXT.format(date=name).encode)
        return FixedDirectory(identity, {NOTES: notes, DATA: DataDirectory(data)})


def _is_date(name: str) -> bool:
    if not _DATE.fullmatch(name):
        return False
    try:
        date.fromisoformat(name)
    except ValueError:
        return False
    return True
