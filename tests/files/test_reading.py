"""Reading data files: every byte right, each fault overcome or told by its own error, no request too many."""

from __future__ import annotations

import errno
import hashlib
import logging
import random
import threading

import pytest
import trio
import trio.testing

from alyxfs import errors
from alyxfs.files import pool
from alyxfs.files.disk.block_file import BlockFile
from alyxfs.files.extents import BLOCK, Extent
from fault_server import FAULTS, FaultServer, File
from poor_disk import poor_disk
from reading import opened, read_whole, share, source, until

CONTENT = random.Random(1).randbytes(1_000_003)

pytestmark = pytest.mark.trio


@pytest.fixture
def server():
    with FaultServer({"a.npy": File(CONTENT)}) as server:
        yield server


async def test_any_read_gives_the_bytes_of_the_file(server, tmp_path):
    chance = random.Random(2)
    async with opened(tmp_path) as cache:
        file = await cache.open(source(server))
        for _ in range(100):
            offset, size = chance.randrange(len(CONTENT) + 10), chance.choice([1, 4096, 131072, 400_000])
            assert await file.read(offset, size) == CONTENT[offset : offset + size]
        await file.close()


async def test_opening_asks_nothing_and_a_small_read_costs_one_small_request(server, tmp_path):
    async with opened(tmp_path) as cache:
        file = await cache.open(source(server))
        assert server.requests == []
        await file.read(500_000, 4096)
        assert len(server.requests) == 1
        assert server.sent <= 65536
        assert await file.read(500_100, 4000) == CONTENT[500_100:504_100]
        assert len(server.requests) == 1
        await file.close()


async def test_what_was_read_is_there_after_a_remount_without_the_server(server, tmp_path):
    async with opened(tmp_path) as cache:
        assert await read_whole(cache, source(server)) == CONTENT
    server.stop()
    async with opened(tmp_path) as cache:
        assert await share(cache, source(server)) == 1
        assert await read_whole(cache, source(server)) == CONTENT


async def test_another_version_of_the_dataset_is_fetched_anew(server, tmp_path):
    async with opened(tmp_path) as cache:
        await read_whole(cache, source(server))
    server.files["a.npy"] = File(CONTENT[::-1], etag='"v2"')
    async with opened(tmp_path) as cache:
        assert await share(cache, source(server, version="2")) == 0
        assert await read_whole(cache, source(server, version="2")) == CONTENT[::-1]


async def test_readers_of_one_block_share_one_request(server, tmp_path):
    server.delay = 0.1
    async with opened(tmp_path) as cache, trio.open_nursery() as nursery:

        async def read_start():
            file = await cache.open(source(server))
            assert await file.read(0, 10_000) == CONTENT[:10_000]
            await file.close()

        for _ in range(20):
            nursery.start_soon(read_start)
    assert len(server.requests) == 1


async def test_who_reads_a_large_file_in_order_has_a_connection_for_its_next_piece(server, tmp_path):
    content = random.Random(3).randbytes(20 * 1024 * 1024)
    server.files["large.bin"] = File(content)
    server.frozen.set()
    async with opened(tmp_path) as cache, trio.open_nursery() as nursery:
        file = await cache.open(source(server, "large.bin"))
        nursery.start_soon(file.read, 0, 256 * 1024)
        await until(lambda: server.connections == 2 and server.requests)
        assert len(server.requests) == 1
        server.frozen.clear()
        for offset in range(0, len(content), 256 * 1024):
            assert await file.read(offset, 256 * 1024) == content[offset : offset + 256 * 1024]
        await file.close()
    assert server.connections == 2


async def test_a_server_that_takes_one_connection_at_a_time_is_read_over_that(server, tmp_path, caplog):
    content = random.Random(3).randbytes(20 * 1024 * 1024)
    server.files["large.bin"] = File(content)
    async with opened(tmp_path) as cache:
        file = await cache.open(source(server, "large.bin"))
        await file.read(len(content) - 4096, 4096)  # makes the connection
        server.stop_listening()
        with caplog.at_level(logging.DEBUG, "alyxfs.net.client"):
            assert await file.read(0, 256 * 1024) == content[: 256 * 1024]
            await until(lambda: "no second connection" in caplog.text)
        server.start_again()
        assert await file.read(256 * 1024, len(content)) == content[256 * 1024 :]
        await file.close()


async def test_a_header_or_a_small_file_costs_one_connection(server, tmp_path):
    server.files["large.bin"] = File(bytes(20 * 1024 * 1024))
    async with opened(tmp_path) as cache:
        file = await cache.open(source(server, "large.bin"))
        await file.read(0, 4096)
        await file.close()
        await read_whole(cache, source(server), 256 * 1024)
    assert server.connections == 1


async def test_a_reader_that_goes_away_stops_what_only_it_wanted(server, tmp_path):
    server.frozen.set()
    async with opened(tmp_path) as cache:
        file = await cache.open(source(server))
        with trio.move_on_after(0.2):
            await file.read(0, 10)
        server.frozen.clear()
        await until(lambda: server.open_connections == 0)
        assert await file.read(0, 10) == CONTENT[:10]
        await file.close()


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "stall"])
async def test_a_fault_at_each_second_request_is_overcome(server, tmp_path, fault):
    async with opened(tmp_path) as cache:
        file = await cache.open(source(server))
        for offset in range(0, len(CONTENT), 300_000):
            server.script = [fault, "none", fault, "none", fault]
            assert await file.read(offset, 200_000) == CONTENT[offset : offset + 200_000]
        await file.close()
        assert await read_whole(cache, source(server)) == CONTENT


async def test_a_stall_is_given_up_and_resumed_at_the_byte_reached(server, tmp_path):
    server.script = ["stall"]
    async with opened(tmp_path, deadline=2) as cache:
        file = await cache.open(source(server))
        assert await file.read(0, 250_000) == CONTENT[:250_000]
        await file.close()
    first, second = server.ranges()[:2]
    assert first == "bytes=0-262143"
    assert second.startswith("bytes=")
    assert second.endswith("-262143")
    assert int(second[6:].split("-")[0]) > 0


async def test_a_resumed_request_is_conditional(server, tmp_path):
    server.script = ["drop"]
    async with opened(tmp_path) as cache:
        await read_whole(cache, source(server))
    assert "if-range" not in server.requests[0].headers
    assert all(request.headers["if-range"] == '"v1"' for request in server.requests[1:])


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, errors.NotDownloadable),
        (410, errors.NotDownloadable),
        (401, errors.AccessDenied),
        (403, errors.AccessDenied),
        (500, errors.ServerFault),
        (503, errors.ServerFault),
        (418, errors.ServerFault),
    ],
)
async def test_a_refusal_has_its_own_error_and_a_sentence(server, tmp_path, status, error):
    server.status = status
    async with opened(tmp_path, deadline=2) as cache:
        file = await cache.open(source(server))
        with trio.fail_after(4), pytest.raises(error, match=r"a\.npy.*\.$"):
            await file.read(0, 10)
        server.status = None
        assert await file.read(0, 10) == CONTENT[:10]
        await file.close()


@pytest.mark.parametrize("fault", ["status_500", "status_503", "status_401", "drop", "short", "no_range", "garbage"])
async def test_what_is_secret_in_an_address_is_told_nobody(server, tmp_path, caplog, fault):
    caplog.set_level(logging.DEBUG, "alyxfs")
    address = server.url("a.npy") + "?X-Amz-Signature=secret2"
    server.script = [fault] * 10
    told = ""
    async with opened(tmp_path, deadline=2) as cache:
        file = await cache.open(source(server, url=address))
        try:
            await file.read(0, 1_000_000)
        except errors.AlyxfsError as error:
            told = f"{error} {error.url}"
        await file.close()
        file = await cache.open(source(server, identity="b", url=address.replace("http://", "http://user:secret1@")))
        with pytest.raises(errors.AddressRefused, match="--file-password") as refusal:
            await file.read(0, 10)
        told += f"{refusal.value} {refusal.value.url}"
        await file.close()
    assert server.requests[0].path.endswith("secret2"), "the server gets it"
    assert "a.npy?…" in caplog.text + told
    assert "secret" not in caplog.text + told


async def test_a_long_pause_asked_for_is_throttled_and_a_short_one_obeyed(server, tmp_path):
    async with opened(tmp_path, deadline=3) as cache:
        file = await cache.open(source(server))
        server.script, server.retry_after = ["status_429"], "1"
        started = trio.current_time()
        assert await file.read(0, 10) == CONTENT[:10]
        assert trio.current_time() - started >= 1
        server.script, server.retry_after = ["status_429"], "100"
        with pytest.raises(errors.Throttled):
            await file.read(500_000, 10)
        await file.close()


async def test_a_file_without_address_or_server_says_so(server, tmp_path):
    async with opened(tmp_path, deadline=2) as cache:
        with pytest.raises(errors.NotDownloadable, match="no server offers"):
            await cache.open(source(server, url=None))
        server.stop()
        file = await cache.open(source(server))
        with trio.fail_after(6), pytest.raises(errors.Unreachable):
            await file.read(0, 10)
        server.start_again()
        with trio.fail_after(10):
            while True:
                try:
                    assert await file.read(0, 10) == CONTENT[:10]
                    break
                except errors.Unreachable:
                    await trio.sleep(0.1)
        await file.close()


async def test_a_read_ends_within_the_deadline_whatever_the_server_does(server, tmp_path):
    server.frozen.set()
    async with opened(tmp_path, deadline=1) as cache:
        file = await cache.open(source(server))
        with trio.fail_after(2.5), pytest.raises((errors.DeadlineExceeded, errors.Unreachable)):
            await file.read(0, 10)
        await file.close()


@pytest.mark.parametrize("size", [100_000, len(CONTENT) - 1, len(CONTENT) + 1, 5 * len(CONTENT)])
@pytest.mark.parametrize("offset", [0, 70_000, 99_990])
async def test_a_wrong_size_fails_every_reader_it_was_told_to_and_the_next_one_is_right(server, tmp_path, size, offset):
    changed = []
    async with opened(tmp_path, on_change=changed.append) as cache:
        files = [await cache.open(source(server, size=size)) for _ in range(2)]
        for file in [*files, *files]:
            for place in (offset, 0, offset):
                with pytest.raises(errors.FileChanged, match=r"has 1,000,003 bytes .* open it again\.$"):
                    await file.read(place, 10)
                assert not file.at_hand(place, 10)
            assert file.size == size
        assert changed == ["a.npy"]
        for file in files:
            await file.close()
        file = await cache.open(source(server, size=size))
        assert file.size == len(CONTENT) == cache.known_size(source(server, size=size))
        assert await file.read(0, 2_000_000) == CONTENT
        await file.close()
    async with opened(tmp_path) as cache:
        assert cache.known_size(source(server, size=size)) == len(CONTENT)
        assert await read_whole(cache, source(server, size=size)) == CONTENT


async def test_an_unknown_size_is_learned_when_the_file_is_opened(server, tmp_path):
    changed = []
    async with opened(tmp_path, on_change=changed.append) as cache:
        file = await cache.open(source(server, size=None))
        assert file.size == len(CONTENT) == cache.known_size(source(server, size=None))
        assert changed == ["a.npy"]
        assert await file.read(0, 2_000_000) == CONTENT
        await file.close()
    async with opened(tmp_path) as cache:
        assert cache.known_size(source(server, size=None)) == len(CONTENT)


async def test_what_lies_behind_the_true_end_is_an_error_not_an_end(server, tmp_path):
    async with opened(tmp_path) as cache:
        file = await cache.open(source(server, size=3_000_000))
        for _ in range(2):
            with pytest.raises(errors.FileChanged):
                await file.read(2_500_000, 100)
        await file.close()
        assert await read_whole(cache, source(server, size=3_000_000)) == CONTENT


async def test_an_empty_file_costs_nothing(server, tmp_path):
    async with opened(tmp_path) as cache:
        file = await cache.open(source(server, size=0, digest=hashlib.md5(b"").hexdigest()))
        assert await file.read(0, 100) == b""
        await file.close()
    assert server.requests == []


async def test_a_file_said_to_be_empty_with_the_hash_of_something_is_looked_at(server, tmp_path):
    async with opened(tmp_path) as cache:
        assert await read_whole(cache, source(server, size=0)) == CONTENT


@pytest.mark.parametrize("other", [CONTENT[::-1], CONTENT[::-1][:700_000], CONTENT[::-1] * 2])
async def test_after_a_change_on_the_server_who_had_it_open_gets_errors_for_good(server, tmp_path, other):
    async with opened(tmp_path) as cache:
        file, idle = await cache.open(source(server)), await cache.open(source(server))
        assert await file.read(0, 1000) == CONTENT[:1000]
        server.files["a.npy"] = File(other, etag='"v2"', last_modified="Wed, 04 Dec 2019 10:00:00 GMT")
        for reader in (file, idle, file, idle):
            for offset in (500_000, 0, 500_000, 999_000):
                with pytest.raises(errors.FileChanged, match=r"a\.npy changed on its server .*; open it again\.$"):
                    await reader.read(offset, 1000)
                assert not reader.at_hand(offset, 1000)
        new = await cache.open(source(server))
        assert new.size == len(other)
        assert await new.read(0, len(other)) == other
        with pytest.raises(errors.FileChanged):
            await file.read(0, 1000)
        for reader in (file, idle, new):
            await reader.close()


async def test_a_change_is_noticed_although_the_file_was_closed_meanwhile_and_is_not_on_disk(
    server, tmp_path, monkeypatch
):
    """The kernel may have pages of what was read: they must not be mixed with what comes now."""
    monkeypatch.setattr(pool, "IDLE_FILES", 0)
    with poor_disk(tmp_path / "source", tmp_path / "disk") as disk:
        disk.fail(0, errno.ENOSPC, for_ever=True)
        async with opened(disk.path) as cache:
            file = await cache.open(source(server))
            await file.read(0, 1000)
            await file.close()
            await until(lambda: not cache._pool.all())
            before = cache.generation("a.npy", "1")
            server.files["a.npy"] = File(CONTENT[::-1], etag='"v2"', last_modified="Wed, 04 Dec 2019 10:00:00 GMT")
            file = await cache.open(source(server))
            with pytest.raises(errors.FileChanged):
                await file.read(500_000, 1000)
            await file.close()
            assert cache.generation("a.npy", "1") != before
            assert await read_whole(cache, source(server)) == CONTENT[::-1]


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
async def test_a_change_is_seen_by_its_date_or_its_weak_tag(server, tmp_path, etag):
    server.files["a.npy"] = File(CONTENT, etag=etag)
    async with opened(tmp_path) as cache:
        file = await cache.open(source(server))
        await file.read(0, 1000)
        server.files["a.npy"] = File(
            CONTENT[::-1], etag=etag and 'W/"other"', last_modified="Wed, 04 Dec 2019 10:00:00 GMT"
        )
        with pytest.raises(errors.FileChanged):
            await file.read(500_000, 1000)
        await file.close()


@pytest.mark.parametrize("size", [len(CONTENT), None])
@pytest.mark.parametrize("kind", [{}, {"length": False}, {"gzipped": True}, {"etag": None, "last_modified": None}])
async def test_a_server_without_ranges_is_read_once_from_the_beginning(server, tmp_path, size, kind):
    server.files["a.npy"] = File(CONTENT, ranges=False, **kind)
    async with opened(tmp_path) as cache:
        file = await cache.open(source(server, size=size))
        assert await file.read(700_000, 1000) == CONTENT[700_000:701_000]
        assert await file.read(0, 2_000_000) == CONTENT
        await file.close()
    assert len(server.requests) <= (1 if kind != {"gzipped": True} else 2) + (size is None and "length" in kind)


async def test_a_file_on_this_machine_is_used_if_its_size_is_right(server, tmp_path):
    right, wrong = tmp_path / "right.npy", tmp_path / "wrong.npy"
    right.write_bytes(CONTENT)
    wrong.write_bytes(CONTENT[:-1])
    async with opened(tmp_path / "cache") as cache:
        assert await read_whole(cache, source(server, local=(tmp_path / "none", wrong, right))) == CONTENT
        assert server.requests == []
        file = await cache.open(source(server, local=(wrong, tmp_path)))
        assert await file.read(0, 10) == CONTENT[:10]
        await file.close()
    assert len(server.requests) == 1


async def test_a_number_sign_and_spaces_in_an_address_are_quoted(server, tmp_path):
    name = "alf/#2024-05-06#/a b%.npy"
    server.files[name] = File(CONTENT)
    async with opened(tmp_path) as cache:
        assert await read_whole(cache, source(server, name)) == CONTENT
    assert server.requests[0].path == "/alf/%232024-05-06%23/a%20b%25.npy"


async def test_sequential_reads_are_few_large_requests(server, tmp_path):
    content = random.Random(3).randbytes(40_000_000)
    server.files["big.bin"] = File(content)
    async with opened(tmp_path) as cache:
        file = await cache.open(source(server, "big.bin"))
        for offset in range(0, len(content), 131072):
            assert await file.read(offset, 131072) == content[offset : offset + 131072]
            await trio.lowlevel.checkpoint()
        await file.close()
    assert len(server.requests) <= 40
    assert server.sent == len(content)


async def test_random_reads_fetch_no_more_than_they_touch(server, tmp_path):
    content = random.Random(3).randbytes(40_000_000)
    server.files["big.bin"] = File(content)
    chance = random.Random(4)
    async with opened(tmp_path) as cache:
        file = await cache.open(source(server, "big.bin"))
        for _ in range(100):
            offset = chance.randrange(len(content) - 4096)
            assert await file.read(offset, 4096) == content[offset : offset + 4096]
        await file.close()
    assert len(server.requests) <= 100
    assert server.sent <= 100 * 2 * BLOCK


async def test_rows_at_a_fixed_distance_come_ahead_and_nothing_between_them(server, tmp_path):
    content = random.Random(3).randbytes(40_000_000)
    server.files["big.bin"] = File(content)
    server.delay = 0.02
    async with opened(tmp_path) as cache:
        file = await cache.open(source(server, "big.bin"))
        for offset in range(0, len(content), 400_000):
            assert await file.read(offset, 4096) == content[offset : offset + 4096]
        await file.close()
    assert server.sent <= 100 * 2 * BLOCK
    assert server.most_at_once >= 8


async def test_backward_reads_are_read_ahead_too(server, tmp_path):
    content = random.Random(3).randbytes(20_000_000)
    server.files["big.bin"] = File(content)
    async with opened(tmp_path) as cache:
        file = await cache.open(source(server, "big.bin"))
        for offset in range(len(content) // 131072 * 131072, -1, -131072):
            assert await file.read(offset, 131072) == content[offset : offset + 131072]
        await file.close()
    assert len(server.requests) <= 40


@pytest.mark.parametrize("what", ["start anew", "damaged", "drop"])
async def test_a_load_from_disk_whose_memory_is_let_go_meanwhile_does_no_harm(server, tmp_path, monkeypatch, what):
    """The disk is slow, and while it reads into the memory of a load the file becomes another one, or is damaged."""
    goes_on = threading.Event()
    read_into = BlockFile.read_into

    def slowly(self, *arguments, **options):
        goes_on.wait(10)
        return read_into(self, *arguments, **options)

    async with opened(tmp_path) as cache:
        await read_whole(cache, source(server))
        file = cache._pool.get(source(server))
        await until(lambda: file.is_idle)
        await cache.disk.record()
        await until(lambda: not cache.verifier.is_busy)
        cache.memory.release()
        file.handles += 1
        # A disk that stops would stop the event loop as well, as soon as that looks into the file.
        monkeypatch.setattr(BlockFile, "read_into", slowly)
        [item] = file.load(Extent(0, 524_288))
        await trio.testing.wait_all_tasks_blocked(0.05)
        if what == "start anew":
            file.start_anew(errors.FileChanged("another one"), None)
        elif what == "damaged":
            file.damaged()
        else:
            file.drop(item)
        goes_on.set()
        await until(lambda: item not in file.fetches and not item.saving)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert not item.buffered
        assert cache.memory.buffers.unread == 0
        cache.closed(file)
        assert await read_whole(cache, source(server)) == CONTENT


async def test_a_server_that_says_gzip_of_what_is_none_is_told_and_no_byte_of_it_read(server, tmp_path):
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1000003\r\n\r\n"
    server.raw["a.npy"] = head + CONTENT
    async with opened(tmp_path, deadline=1.0) as cache:
        file = await cache.open(source(server))
        with pytest.raises(errors.ServerFault) as failure:
            await file.read(0, 1000)
        assert f"{server.url('a.npy')} sent what is not gzip, though it says so." in str(failure.value)
        await file.close()
        assert await share(cache, source(server)) == 0
        del server.raw["a.npy"]
        assert await read_whole(cache, source(server)) == CONTENT


async def test_a_file_of_which_the_server_says_nothing_is_not_opened_for_longer_than_the_deadline(server, tmp_path):
    """Of an unknown size, so that it must be asked for before it can be shown."""
    server.frozen.set()
    async with opened(tmp_path, deadline=1.0) as cache:
        with trio.fail_after(10), pytest.raises(errors.Unreachable) as failure:
            await cache.open(source(server, size=None, digest=None))
        where = f"http://127.0.0.1:{server.port}"
        assert str(failure.value) == f"{where} cannot be reached: no bytes for too long a time. It was tried for 1 s."
        server.frozen.clear()
        assert await read_whole(cache, source(server, size=None, digest=None)) == CONTENT
