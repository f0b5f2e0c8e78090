"""The search for what is gone: what a server's list cannot tell for certain is not taken for gone."""

from __future__ import annotations

import pytest

from alyxfs import errors
from alyxfs.alyx.datasets.delta import Delta
from alyxfs.alyx.datasets.reconcile import Search
from alyxfs.alyx.datasets.snapshot import Snapshot
from small_alyx import identifiers

HERE, GONE = identifiers(2)
WITH_ID = {"id": HERE, "lab": "lab", "subject": "S1", "start_time": "2024-01-02T10:00:00", "number": 1}
WITHOUT = {name: value for name, value in WITH_ID.items() if name != "id"}


class NoTables:
    """Tables of a server that had no sessions when they were made."""

    def row(self, _session):
        return None


async def searched(rows, endpoint):
    """Look for two records, of which the server lists these rows; what was found to be gone, or have moved."""

    async def walk(_endpoint, _filters, take):
        take(rows)

    changes = Delta()
    search = Search(walk, Snapshot(NoTables(), Delta()), changes, frozenset())
    await getattr(search, endpoint)([HERE, GONE])
    return changes


@pytest.mark.trio
async def test_what_is_not_listed_is_gone():
    sessions = await searched([WITH_ID], "sessions")
    assert {identity: place is None for identity, place in sessions.places.items()} == {HERE: False, GONE: True}


@pytest.mark.trio
@pytest.mark.parametrize("endpoint", ["sessions", "datasets"])
@pytest.mark.parametrize("rows", [[WITH_ID, WITHOUT], [{}], [WITH_ID, {"id": ["odd"]}]])
async def test_where_a_row_has_no_id_nothing_is_taken_for_gone(rows, endpoint):
    with pytest.raises(errors.ServerFault) as refusal:
        await searched(rows, endpoint)
    assert str(refusal.value) == f"The list of {endpoint} holds rows without an id: what is gone cannot be told by it."
