"""Small files stay in memory until nobody reads: nothing of them is fetched twice, and all of them are saved."""

from __future__ import annotations

import random
import threading

import pytest
import trio

from alyxfs import errors
from alyxfs.files import pool
from alyxfs.files.disk import block_file
from alyxfs.files.transfer import lull
from alyxfs.files.transfer.content import SAVED_LATE
from fault_server import FaultServer, File
from reading import assert_marked_blocks_are_right, cache_files, opened, read_whole, share, source, until

SMALL = random.Random(1).randbytes(SAVED_LATE)
LARGE = random.Random(2).randbytes(SAVED_LATE + 1)


@pytest.fixture
def server():
    with FaultServer({"small.npy": File(SMALL), "large.npy": File(LARGE)}) as server:
        yield server


@pytest.fixture
def busy(monkeypatch):
    """There is no lull, and no time after which it is saved all the same."""
    monkeypatch.setattr(lull, "CALM", 1000.0)
    monkeypatch.setattr(lull, "LONGEST", 1000.0)


@pytest.mark.trio
async def test_a_small_file_is_made_on_disk_once_nobody_reads_and_a_large_one_at_once(server, tmp_path, busy):
    async with opened(tmp_path) as files:
        small, large = (source(server, f"{name}.npy") for name in ("small", "large"))
        for file in (small, large):
            assert await read_whole(files, file) == server.files[file.name].content
        assert cache_files(tmp_path) == [files.path(large)]
        asked = len(server.requests)
        assert await read_whole(files, small) == SMALL
        assert len(server.requests) == asked, "it is in memory"
        assert await share(files, small) == 1.0, "who asks for it sees it saved"
        assert set(cache_files(tmp_path)) == {files.path(small), files.path(large)}


@pytest.mark.trio
async def test_parts_of_a_small_file_come_into_one(server, tmp_path, busy):
    async with opened(tmp_path) as files:
        file = await files.open(source(server, "small.npy"))
        files.read_at = trio.current_time()
        for start in (900_000, 0, 400_000):
            assert await file.read(start, 100, ahead=False) == SMALL[start : start + 100]
        assert cache_files(tmp_path) == []
        await file.close()
        assert 0 < await share(files, source(server, "small.npy")) < 1
    assert assert_marked_blocks_are_right(tmp_path, SMALL)
    fetched = server.sent
    async with opened(tmp_path) as files:
        assert await read_whole(files, source(server, "small.npy")) == SMALL
    assert server.sent - fetched < len(SMALL), "what was there was not fetched again"


@pytest.mark.trio
async def test_a_cache_that_closes_saves_what_waits_at_once(server, tmp_path, busy):
    async with opened(tmp_path) as files:
        assert await read_whole(files, source(server, "small.npy")) == SMALL
        assert cache_files(tmp_path) == []
    assert assert_marked_blocks_are_right(tmp_path, SMALL)
    asked = len(server.requests)
    async with opened(tmp_path) as files:
        assert await read_whole(files, source(server, "small.npy")) == SMALL
    assert len(server.requests) == asked


@pytest.mark.trio
async def test_what_becomes_another_content_while_its_file_is_made_leaves_none(server, tmp_path, monkeypatch):
    """The old one would hold the new one's place, which then would not be cached at all."""
    create, begun, go_on = block_file.create, threading.Event(), threading.Event()

    def slowly(*arguments):
        begun.set()
        assert go_on.wait(20)
        return create(*arguments)

    monkeypatch.setattr(block_file, "create", slowly)
    async with opened(tmp_path) as files:
        wanted = source(server, "small.npy")
        assert await read_whole(files, wanted) == SMALL
        assert await trio.to_thread.run_sync(begun.wait, 20)
        file = files._pool.find(wanted.identity, wanted.version)
        file.start_anew(errors.FileChanged("another one"), None)
        server.files["small.npy"] = File(SMALL[::-1])
        go_on.set()
        changed = source(server, "small.npy")
        await until(lambda: not cache_files(tmp_path))
        assert await read_whole(files, changed) == SMALL[::-1]
        assert await share(files, changed) == 1.0


@pytest.mark.trio
async def test_files_that_nobody_goes_on_with_leave_memory_and_are_still_here(server, tmp_path):
    async with opened(tmp_path) as files:
        for name in ("small.npy", "large.npy"):
            await read_whole(files, source(server, name))
        await until(lambda: all(not file.absent for file in files._pool.all()))
        await files.disk.record()
        files.forget_idle()
        assert len(files._pool.all()) == 2, "they were read a moment ago"
        await until(lambda: not files.verifier.is_busy)
        files.read_at -= pool.UNREAD
        files.forget_idle()
        assert len(files._pool.all()) == 0
        asked = len(server.requests)
        assert await read_whole(files, source(server, "small.npy")) == SMALL
        assert len(server.requests) == asked
