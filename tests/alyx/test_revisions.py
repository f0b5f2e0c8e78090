"""Which revision of a dataset counts before a date: that which ONE's own function takes, for any of both."""

from __future__ import annotations

import importlib.util
import itertools
import random
import uuid
import warnings

import pytest

from alyxfs.alyx.datasets.layout import DataFile
from alyxfs.alyx.datasets.revisions import last_before

REVISIONS = ("", "2022-10-31", "2023-01-01", "2023-04-20", "2023-04-20a", "2024-05-06", "latest", "v1.2", "1")
DATES = ("2020-01-01", "2022-10-31", "2023-01-15", "2023-04-20", "2024-05-07", "2030-12-31")
QUALITIES = ("NOT_SET", "PASS", "WARNING", "FAIL", "CRITICAL")


def made_up(seed):
    """Some 500 files of a session: 200 datasets, with one to four revisions each."""
    source = random.Random(seed)
    files = []
    for number in range(200):
        collection = source.choice(["", "alf", "alf/probe00", "alf/probe00/pykilosort"])
        for revision in source.sample(REVISIONS, source.choice([1, 2, 3, 4])):
            identity = str(uuid.UUID(int=source.getrandbits(128)))
            name = f"spikes.part{number}.npy"
            quality = source.choices(QUALITIES, [5, 3, 1, 1, 1])[0]
            files.append(DataFile(identity, name, collection, revision, None, 1, "", quality, source.random() < 0.4))
    source.shuffle(files)
    return files


@pytest.mark.skipif(importlib.util.find_spec("one") is None, reason="ONE-api is not installed")
@pytest.mark.parametrize("date", DATES)
def test_the_last_revision_before_a_date_is_that_of_one(date):
    import pandas as pd
    from one.util import filter_datasets

    files = made_up(date)
    table = pd.DataFrame(
        {
            "id": [file.identity for file in files],
            "rel_path": ["/".join([*file.folders, file.name]) for file in files],
            "default_revision": [file.is_default for file in files],
            "qc": pd.Categorical([file.qc for file in files], QUALITIES, ordered=True),
        }
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of several revisions
        chosen = filter_datasets(table, revision=date, assert_unique=False)
    found = last_before(files, date)
    assert sorted(chosen["id"]) == sorted(file.identity for file in found)
    assert len({(file.collection, file.name) for file in found}) == len(found) > 50


def test_of_two_files_of_one_revision_the_order_of_the_tables_decides():
    first, second = (DataFile(each, "a.b.npy", "alf", "2023", None, 1, "", "", is_default=True) for each in "12")
    for files in itertools.permutations([first, second]):
        assert last_before(files, "2024-01-01") == [first]
