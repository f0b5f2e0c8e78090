"""A disk of a few MiB: some of it stays free at every moment, and what was not used for long makes room."""

from __future__ import annotations

import os
import random

import pytest
import trio

from alyxfs.files import disk_use
from alyxfs.files.disk import block_file, eviction
from alyxfs.files.disk.block_file import Fingerprint, Verdict
from alyxfs.free_space import FREE_SHARE
from fault_server import FaultServer, File
from reading import cache_files, opened, read_whole, source
from small_disk import small_disk, watching

MIB = 1024 * 1024
CONTENTS = {f"{number}.npy": random.Random(number).randbytes(5 * MIB) for number in range(12)}


@pytest.mark.trio
async def test_the_share_that_stays_free_is_free_at_every_moment(tmp_path, monkeypatch):
    monkeypatch.setattr(disk_use, "DISK_PAUSE", 0.05)
    monkeypatch.setattr(disk_use, "RECORD_PAUSE", 0.05)
    with (
        small_disk(tmp_path / "disk", 20) as disk,
        watching(disk) as watch,
        FaultServer({name: File(content) for name, content in CONTENTS.items()}) as server,
    ):
        async with opened(disk / "cache") as files:
            for name, content in CONTENTS.items():
                assert await read_whole(files, source(server, name)) == content
            last = source(server, list(CONTENTS)[-1])
            with trio.fail_after(30):  # the older ones make room
                while (await files.state(last)).share < 1:
                    await files.disk.tidy()
                    assert await read_whole(files, last) == CONTENTS[last.name]
                    await files.disk.record()
        assert cache_files(disk / "cache")
    assert watch.least >= FREE_SHARE


def test_what_others_write_makes_the_cache_smaller_whatever_its_limit(tmp_path):
    with small_disk(tmp_path / "disk", 40) as disk:
        paths = [disk / "cache" / "blocks-1" / "aa" / name for name in "abc"]
        for moment, path in enumerate(paths):
            blocks = block_file.create(path, path.name, "1", Fingerprint(2 * MIB), Verdict.UNKNOWN)
            blocks.write([memoryview(bytes(2 * MIB))], 0)
            blocks.record([(0, block_file.block_count(2 * MIB))])
            blocks.close()
            os.utime(path, (moment, moment))
        assert eviction.evict(disk / "cache", 1 << 40).is_there
        assert all(path.exists() for path in paths)
        free = int(40 * MIB * FREE_SHARE) + eviction.ROOM
        (disk / "of-others").write_bytes(bytes(40 * MIB - 6 * MIB - free + MIB))
        assert eviction.evict(disk / "cache", 1 << 40).is_there
        assert [path.exists() for path in paths] == [False, True, True], "one of them is enough"
        (disk / "more-of-others").write_bytes(bytes(8 * MIB))
        assert not eviction.evict(disk / "cache", 1 << 40).is_there, "there is not so much to give"
        assert not any(path.exists() for path in paths)
