"""Every fault at once under many readers: no wrong byte, no late failure, nothing left over.

``ALYXFS_STORM=60`` runs the long form: so many seconds with 32 readers.
"""

from __future__ import annotations

import gc
import os
import random
from pathlib import Path

import pytest
import trio

from alyxfs import errors
from alyxfs.net import malloc
from fault_server import FAULTS, FaultServer, File
from reading import opened, source, until

SECONDS = float(os.environ.get("ALYXFS_STORM", "6"))
READERS = 32
DEADLINE = 4.0
FILES = {f"{number}.npy": random.Random(number).randbytes(300_000 * (number + 1)) for number in range(8)}


def resident():
    """Bytes of this process in memory, once what is free has been given back."""
    gc.collect()
    malloc.release_unused()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def storm(server, directory, seconds, told):
    """Read at random with many readers; each byte is compared, each failure timed."""

    async def reader(cache, seed):
        chance = random.Random(seed)
        while trio.current_time() < ends:
            name = chance.choice(list(FILES))
            file = await cache.open(source(server, name))
            offset = chance.randrange(len(FILES[name]))
            for _ in range(chance.choice([1, 3, 20])):
                size = chance.choice([4096, 65536, 131072])
                started = trio.current_time()
                try:
                    with trio.move_on_after(chance.choice([0.05, 60, 60, 60])):
                        found = await file.read(offset, size)
                        assert found == FILES[name][offset : offset + size], f"wrong bytes of {name} at {offset}"
                        told["read"] += 1
                except errors.AlyxfsError as error:
                    told[type(error).__name__] = told.get(type(error).__name__, 0) + 1
                assert trio.current_time() - started < DEADLINE + 1
                offset = (offset + size) % len(FILES[name])
            await file.close()
            await trio.lowlevel.checkpoint()

    async with opened(directory, deadline=DEADLINE, limit_bytes=3_000_000) as cache:
        ends = trio.current_time() + seconds
        async with trio.open_nursery() as nursery:
            for seed in range(READERS):
                nursery.start_soon(reader, cache, seed)


@pytest.mark.trio
@pytest.mark.timeout(90 + 2 * SECONDS)
async def test_a_storm_of_faults_is_weathered(tmp_path):
    faults = dict.fromkeys(FAULTS, 0.02) | {"stall": 0.005, "whole": 0.005, "stall_headers": 0.003}
    told = {"read": 0}
    files = {name: File(content) for name, content in FILES.items()}
    with FaultServer(files, faults=faults, seed=7, stall_seconds=5) as server:
        await storm(server, tmp_path / "first", min(SECONDS / 2, 10), told)
        descriptors, before = len(os.listdir("/proc/self/fd")), resident()
        await storm(server, tmp_path / "second", SECONDS, told)
        after = resident()
        await until(lambda: server.open_connections == 0, 10)
        await until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)
    assert told["read"] > 50 * SECONDS, told
    assert after < 1.2 * before, f"{before / 1e6:.0f} MB grew to {after / 1e6:.0f} MB"
