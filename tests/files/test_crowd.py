"""Many readers at once: few long requests, each byte once, and no more memory than there is for all."""

from __future__ import annotations

import random

import pytest
import trio
import trio.testing

from alyxfs.files import extents as blocks
from alyxfs.files.disk import block_file
from alyxfs.files.memory import limiter
from alyxfs.files.transfer import task
from fault_server import FaultServer, File
from reading import opened, read_whole, source, until

MIB = 1024 * 1024
PART = 4 * MIB
READERS = 32
READ = 131072
CONTENT = random.Random(1).randbytes(READERS * PART)

pytestmark = pytest.mark.trio


@pytest.fixture
def server():
    with FaultServer({"a.bin": File(CONTENT)}) as server:
        yield server


async def read_part(files, wanted, number):
    """Read a part of the file in order, as the kernel does: some requests at a time."""
    file = await files.open(wanted)

    async def read(offset):
        assert await file.read(offset, READ) == CONTENT[offset : offset + READ]

    for offset in range(number * PART, (number + 1) * PART, 2 * READ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, offset)
            nursery.start_soon(read, offset + READ)
    await file.close()


async def test_each_byte_comes_once_in_few_requests_and_is_read_from_memory(server, tmp_path, monkeypatch):
    monkeypatch.setattr(limiter, "AHEAD", 8 * MIB)
    most_unread = from_disk = 0
    record, read = task.DownloadTask.make_room, block_file.BlockFile.read

    async def make_room(one):
        nonlocal most_unread
        most_unread = max(most_unread, files.memory.buffers.unread)
        await record(one)

    def counted(blocks, offset, size):
        nonlocal from_disk
        from_disk += size
        return read(blocks, offset, size)

    # Both only look on: what is in memory, and what comes from the disk's cache in the kernel, shows nowhere outside.
    monkeypatch.setattr(task.DownloadTask, "make_room", make_room)
    monkeypatch.setattr(block_file.BlockFile, "read", counted)
    wanted = source(server, "a.bin", digest=None)
    async with opened(tmp_path) as files, trio.open_nursery() as nursery:
        for number in range(READERS):
            nursery.start_soon(read_part, files, wanted, number)
    assert server.sent <= len(CONTENT) * 1.05, "but for what was on its way to readers that had come to their ends"
    assert len(server.requests) <= READERS * 20
    assert from_disk <= len(CONTENT) / 10
    assert most_unread <= 8 * MIB + 16 * 1.5 * MIB
    assert files.memory.buffers.unread == files.memory.buffers.unsaved == 0


async def test_where_memory_is_short_what_is_on_disk_waits_there_too(server, tmp_path, monkeypatch):
    wanted = source(server, "a.bin", digest=None)
    async with opened(tmp_path) as files:
        assert await read_whole(files, wanted) == CONTENT
    most_unread = 0
    wait = task.DownloadTask._wait_for_reader

    async def wait_for_reader(one):
        nonlocal most_unread
        await wait(one)
        most_unread = max(most_unread, files.memory.buffers.unread)

    monkeypatch.setattr(limiter, "AHEAD", 4 * MIB)
    # Only looks on, at the moment at which most is in memory.
    monkeypatch.setattr(task.DownloadTask, "_wait_for_reader", wait_for_reader)
    asked = len(server.requests)
    async with opened(tmp_path) as files, trio.open_nursery() as nursery:
        for number in range(READERS):
            nursery.start_soon(read_part, files, wanted, number)
    assert len(server.requests) == asked
    assert 0 < most_unread <= 4 * MIB + READERS * (task.LOAD_PIECE + READ)
    assert files.memory.buffers.unread == 0


async def test_a_load_that_waits_reads_no_more_of_a_cache_file_that_is_given_up(server, tmp_path, monkeypatch):
    wanted = source(server, "a.bin", digest=None)
    async with opened(tmp_path) as files:
        assert await read_whole(files, wanted) == CONTENT
    monkeypatch.setattr(limiter, "AHEAD", 0)
    given_up = False
    too_late = []
    read_into = block_file.BlockFile.read_into

    def noted(blocks, buffers, offset, **options):
        if given_up:
            too_late.append(offset)
        return read_into(blocks, buffers, offset, **options)

    # Only looks on: a read of a file that was given up leaves no trace.
    monkeypatch.setattr(block_file.BlockFile, "read_into", noted)
    async with opened(tmp_path) as files:
        file = await files.open(wanted)
        (load,) = file._file.load(blocks.Extent(0, 8 * MIB))
        await until(lambda: load.arrived == task.LOAD_PIECE and not load.saving)
        await trio.testing.wait_all_tasks_blocked()
        assert not load.done, "it waits for a reader"
        file._file.damaged()
        given_up = True
        load.join()
        await until(lambda: load.done)
        load.readers -= 1
        assert await file.read(4 * MIB, READ) == CONTENT[4 * MIB : 4 * MIB + READ]
        await file.close()
    assert not too_late


async def test_what_is_at_hand_is_given_at_once_and_what_follows_is_fetched(server, tmp_path):
    wanted = source(server, "a.bin", digest=None)
    async with opened(tmp_path) as files:
        file = await files.open(wanted)
        assert file.at_hand(0, READ) == b"", "nothing has come yet"
        assert file.at_hand(file.size, READ) == b""
        at_once = 0
        for offset in range(0, 4 * MIB, READ):
            found = bytes(file.at_hand(offset, READ))
            at_once += bool(found)
            assert (found or await file.read(offset, READ)) == CONTENT[offset : offset + READ]
        assert at_once > 0
        await until(lambda: all(item.done for item in file._file.fetches))
        asked = len(server.requests)
        for offset in range(4 * MIB, 8 * MIB, READ):
            assert file.at_hand(offset, READ) == CONTENT[offset : offset + READ]
        await until(lambda: len(server.requests) > asked)
        await file.close()


async def test_what_nobody_comes_for_is_left_at_the_server_and_fetched_when_somebody_does(
    server, tmp_path, monkeypatch
):
    monkeypatch.setattr(limiter, "AHEAD", 0)
    monkeypatch.setattr(task, "PATIENCE", 0.1)
    wanted = source(server, "a.bin", digest=None)
    async with opened(tmp_path) as files:
        file = await files.open(wanted)
        offset = 0
        for offset in range(0, 4 * MIB, READ):
            assert await file.read(offset, READ) == CONTENT[offset : offset + READ]
        await until(lambda: all(item.done for item in file._file.fetches))
        asked = len(server.requests)
        for offset in range(4 * MIB, 12 * MIB, READ):
            assert await file.read(offset, READ) == CONTENT[offset : offset + READ]
        assert len(server.requests) - asked <= 24, "it goes on by reading ahead, not by a request for each read"
        await file.close()


async def test_who_waits_for_an_answer_finds_a_connection_free(server, tmp_path):
    wanted = source(server, "a.bin", digest=None)
    async with opened(tmp_path) as files:
        file = files._pool.get(wanted)  # the fetches of a crowd, without its readers
        file.handles += 1
        server.bytes_per_second = 100_000
        for number in range(1, READERS):
            file.want([blocks.Extent(number * PART, (number + 1) * PART)], background=True)
        await until(lambda: len(server.requests) == files.network.connections_ahead)
        server.bytes_per_second = None
        handle = await files.open(wanted)
        with trio.fail_after(2):
            assert await handle.read(0, 4096) == CONTENT[:4096]
        await handle.close()
        for item in list(file.fetches):
            file.cancel(item)
        files.closed(file)
