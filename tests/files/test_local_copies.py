"""The user's own copies of data files: used only where they are what the database means, and where they answer."""

from __future__ import annotations

import os
import random
import time

import pytest
import trio

from alyxfs.files import local_copies
from fault_server import FaultServer, File
from reading import opened, read_whole, source

pytestmark = pytest.mark.trio

CONTENT = random.Random(5).randbytes(1_000_000)


@pytest.fixture
def server():
    with FaultServer({"a.npy": File(CONTENT)}) as server:
        yield server


@pytest.fixture
def copy(tmp_path):
    """A right copy, made long ago."""
    path = tmp_path / "ONE" / "a.npy"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    _set_back(path)
    return path


def _set_back(path):
    os.utime(path, (time.time() - 1000, time.time() - 1000))


def hashed(tmp_path):
    """Lines of what is remembered."""
    kept = tmp_path / "cache" / "local-hashes"
    return len(kept.read_text().splitlines()) if kept.exists() else 0


async def test_a_right_copy_is_read_and_hashed_once_over_all_mounts(server, tmp_path, copy, monkeypatch):
    await trio.sleep(local_copies.SETTLED)  # so that its times tell what it is
    read = []
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda *arguments: read.append(arguments[1]) or pread(*arguments))
    for mount in range(3):
        async with opened(tmp_path / "cache") as files:
            for _ in range(2):
                assert await read_whole(files, source(server, local=(copy,))) == CONTENT
        assert hashed(tmp_path) == 1
        assert (local_copies.HASHED_AT_ONCE in read) == (mount == 0), "only the first mount hashes"
        read.clear()
    assert server.requests == []


@pytest.mark.parametrize("times_kept", [False, True])
async def test_a_stale_copy_of_the_same_size_is_not_used(server, tmp_path, copy, times_kept):
    async with opened(tmp_path / "cache") as files:
        assert await read_whole(files, source(server, local=(copy,))) == CONTENT
        assert server.requests == []
        status = copy.stat()
        with copy.open("r+b") as file:
            file.seek(500)
            file.write(b"another")
        if times_kept:  # as some programs do
            os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert await read_whole(files, source(server, local=(copy,))) == CONTENT
        assert server.requests != []
    async with opened(tmp_path / "cache") as files:
        assert await read_whole(files, source(server, local=(copy,))) == CONTENT


async def test_a_copy_is_not_used_where_nothing_tells_what_it_should_be(server, tmp_path, copy):
    copy.write_bytes(bytes(len(CONTENT)))
    async with opened(tmp_path / "cache") as files:
        assert await read_whole(files, source(server, local=(copy,), digest=None, version="")) == CONTENT
        unknown_size = source(server, local=(copy,), size=None)
        assert await read_whole(files, unknown_size) == CONTENT


async def test_a_hash_alone_tells_where_the_database_knows_no_size(server, tmp_path, copy):
    async with opened(tmp_path / "cache") as files:
        file = source(server, local=(copy,), size=None)
        assert await read_whole(files, file) == CONTENT
        assert files.known_size(file) == len(CONTENT)
    assert server.requests == []


@pytest.mark.parametrize("change", ["overwritten", "cut", "removed"])
async def test_a_copy_that_changes_while_it_is_read_is_read_on_from_the_server(server, tmp_path, copy, change):
    async with opened(tmp_path / "cache") as files:
        file = await files.open(source(server, local=(copy,)))
        assert await file.read(0, 1000) == CONTENT[:1000]
        if change == "removed":
            copy.unlink()
        else:
            with copy.open("r+b") as other:
                other.write(b"new") if change == "overwritten" else other.truncate(2000)
        assert await file.read(0, len(CONTENT)) == CONTENT
        assert change == "removed" or server.requests != []
        await file.close()


async def test_a_large_copy_that_is_still_hashed_does_not_keep_anybody_waiting(server, tmp_path, copy, monkeypatch):
    monkeypatch.setattr(local_copies, "HASH_PATIENCE", 0.05)
    monkeypatch.setattr(local_copies, "HASHED_AT_ONCE", 100_000)
    goes_on = trio.Event()
    step = local_copies.LocalCopies.step

    async def slow(copies, work, *arguments):
        if work.__name__ == "add":
            await goes_on.wait()
        return await step(copies, work, *arguments)

    # A copy so large that its hash takes long would take as long here; a disk that stops lets nothing be opened either.
    monkeypatch.setattr(local_copies.LocalCopies, "step", slow)
    async with opened(tmp_path / "cache") as files:
        assert await read_whole(files, source(server, local=(copy,))) == CONTENT
        asked = len(server.requests)
        assert asked > 0
        goes_on.set()
        with trio.fail_after(5):
            while not await files.has_copy(source(server, local=(copy,))):
                await trio.lowlevel.checkpoint()
        file = await files.open(source(server, local=(copy,)))
        assert isinstance(file, local_copies.LocalFile)
        await file.close()
    assert len(server.requests) == asked


async def test_no_descriptor_stays_open(server, tmp_path, copy):
    stale = copy.with_name("b.npy")
    stale.write_bytes(bytes(len(CONTENT)))
    async with opened(tmp_path / "cache") as files:
        await read_whole(files, source(server, identity="other", local=(stale,)))
        await read_whole(files, source(server, local=(copy,)))
        names = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
        with trio.fail_after(5):
            while any(os.path.realpath(name) in {str(copy), str(stale)} for name in names):
                await trio.sleep(0.01)
                names = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
