"""Of each dataset the last revision before a date, by the rule of ONE."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alyxfs.alyx.datasets.layout import folders_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from alyxfs.alyx.datasets.layout import DataFile

NOT_LOADED = frozenset({"CRITICAL", "50"})
"""Qualities, by name or number, of files that ONE passes over unless it is told otherwise (``qc=QC.FAIL``)."""


def last_before(files: Iterable[DataFile], date: str) -> list[DataFile]:
    """Those files of one session that ONE loads where ``ONE_REVISION_LAST_BEFORE`` is this date.

    As in ONE 3.6 (``filter_revision_last_before`` and ``filter_datasets`` in one/util.py): names of revisions are
    compared as texts, the date itself counts as before, and what has no revision comes before all that have one.
    Which of them is the default plays no part. Of two files of one revision the one with the lower id counts.
    """
    found: dict[tuple[tuple[str, ...], str], DataFile] = {}
    for file in files:
        if file.revision > date or file.qc in NOT_LOADED:
            continue
        key = folders_of(file.collection, ""), file.name
        other = found.get(key)
        if other is None or (file.revision, other.identity) > (other.revision, file.identity):
            found[key] = file
    return list(found.values())
