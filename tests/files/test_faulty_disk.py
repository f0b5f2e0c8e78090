"""A disk that refuses the writes of the cache, each in turn: reads go on and are right, and the cache is used again.

``ALYXFS_DISK_FAULTS=all`` has every write of a round fail with every error, alone and with all later ones; else some.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import random

import pytest

from alyxfs import defects, errors
from alyxfs.files import disk_use
from fault_server import FaultServer, File
from poor_disk import poor_disk
from reading import opened, read_whole, source, until

ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT)
ALL = os.environ.get("ALYXFS_DISK_FAULTS") == "all"
SOME = 24
CONTENTS = {f"{size}.npy": random.Random(size).randbytes(size) for size in (1_300_007, 5, 40_000)}
LARGE, TINY, _ = CONTENTS


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    place = tmp_path_factory.mktemp("faulty")
    with poor_disk(place / "source", place / "disk") as disk:
        yield disk


@pytest.fixture(scope="module")
def server():
    with FaultServer({name: File(content) for name, content in CONTENTS.items()}, most_repeats=None) as server:
        yield server


async def a_round(files, server):
    """What programs do with a cache, in an order that has it write in every way that there is."""
    sources = [source(server, name) for name in CONTENTS]
    for one in sources:
        assert await read_whole(files, one) == CONTENTS[one.name]
    await files.disk.record()
    with contextlib.suppress(errors.ServerFault):  # a sentence for who pins
        await files.pin(sources[:2])
        await files.unpin(sources[:1])
    files.disk.limit_bytes = 100_000
    await files.disk.tidy()
    files.disk.limit_bytes = 1 << 30
    for one in reversed(sources):
        assert await read_whole(files, one) == CONTENTS[one.name]
    await files.refresh(sources[0])
    assert await read_whole(files, sources[0]) == CONTENTS[LARGE]
    # Another size than was known, which is remembered.
    wrong = source(server, TINY, identity="wrong", size=7, digest=None)
    for _ in range(2):
        try:
            assert await read_whole(files, wrong) == CONTENTS[TINY]
        except errors.FileChanged:
            continue


@pytest.mark.timeout(7200 if ALL else 120)
@pytest.mark.trio
async def test_whatever_write_fails_bytes_are_right_and_the_cache_is_used_again(disk, server, monkeypatch):
    for name in ("DISK_PAUSE", "RECORD_PAUSE"):
        monkeypatch.setattr(disk_use, name, 0.02)
    before, numbers = defects.noted.count, itertools.count()
    async with opened(disk.path / "whole", server="http://127.0.0.1") as files:
        disk.recover()
        await a_round(files, server)
        count = len(disk.recover())
    faults = list(itertools.product(range(count), ERRORS, (False, True)))
    kinds, reached = set(), 0
    for number, error, for_ever in faults if ALL else random.Random(count).sample(faults, SOME):
        directory = disk.path / str(next(numbers))
        what = f"{errno.errorcode[error]} at write {number}{' and later' if for_ever else ''}"
        async with opened(directory, server="http://127.0.0.1") as files:
            print(what)
            disk.fail(number, error, for_ever=for_ever)
            await a_round(files, server)
            writes = disk.recover()
            kinds |= set(writes)
            reached += number < len(writes)
            for one in (source(server, name) for name in CONTENTS):
                await until(lambda one=one: kept_again(files, one), seconds=60)
        assert defects.noted.count == before, f"{what}: {defects.noted.last}"
        async with opened(directory, server="http://127.0.0.1") as files:
            asked = len(server.requests)
            for name, content in CONTENTS.items():
                assert await read_whole(files, source(server, name)) == content, what
            assert len(server.requests) == asked, f"{what}: not all is kept"
    print(f"{reached} faults at {count} writes of these kinds: {sorted(kinds)}")
    assert reached > (len(faults) if ALL else SOME) / 2


async def kept_again(files, one):
    """What was served from memory meanwhile is not kept until it is fetched again: pinning lets go of it."""
    assert await read_whole(files, one) == CONTENTS[one.name]
    (state,) = await files.pin([one])
    return state.share == 1 and not files.disk.trouble
