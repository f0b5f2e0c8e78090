"""Blocks on disk: right after any death, shared by processes, within their limit, harmless where the disk is not.

``ALYXFS_KILLS=1000`` runs the long form of the kill test (some ten minutes).
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import itertools
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
import trio

from alyxfs import errors
from alyxfs.files import disk_use, doubts, pool
from alyxfs.files.disk import block_file, eviction
from alyxfs.files.disk.block_file import Fingerprint, Verdict
from alyxfs.files.extents import BLOCK
from alyxfs.files.memory import buffers as memory
from fault_server import FaultServer, File
from poor_disk import poor_disk
from reading import (
    assert_marked_blocks_are_right,
    cache_files,
    is_here,
    opened,
    read_whole,
    remark,
    share,
    source,
    until,
)

if TYPE_CHECKING:
    from alyxfs.files.source import Source

CONTENT = random.Random(1).randbytes(3_000_003)
KILLS = int(os.environ.get("ALYXFS_KILLS", "8"))


@pytest.fixture
def server():
    # Processes that are killed and begun anew ask for the same again.
    with FaultServer({"a.npy": File(CONTENT)}, most_repeats=None) as server:
        yield server


@pytest.fixture(scope="module")
def failing_disk(tmp_path_factory):
    place = tmp_path_factory.mktemp("failing")
    with poor_disk(place / "source", place / "disk") as disk:
        yield disk


@pytest.fixture(autouse=True)
def recorded_soon(monkeypatch):
    """Put on disk what was written within some hundredths of a second, not within five."""
    monkeypatch.setattr(disk_use, "RECORD_PAUSE", 0.05)


READER = """
import json, random, sys, pathlib, trio
from alyxfs.files.cache import open_file_cache
from alyxfs.files.source import Source
from alyxfs.net import open_network

async def main(directory, url, size, seed):
    chance = random.Random(seed)
    async with open_network() as network, open_file_cache(network, pathlib.Path(directory)) as cache:
        network.alyx_at("http://127.0.0.1")
        file = await cache.open(Source("a.npy", "a.npy", url, size, None, "1"))
        print("reading", flush=True)
        while True:
            offset = chance.randrange(size)
            for _ in range(chance.choice([1, 1, 1, 8])):
                length = chance.choice([4096, 65536, 131072])
                await file.read(offset, length)
                offset += length
            await trio.sleep(chance.random() * 0.02)

import alyxfs.files.disk_use
alyxfs.files.disk_use.RECORD_PAUSE = 0.02  # many moments at which a kill can hit the recording
trio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
"""


def start_reader(directory, url, seed):
    command = [sys.executable, "-c", READER, str(directory), url, str(len(CONTENT)), str(seed)]
    reader = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert reader.stdout.readline() == b"reading\n"
    return reader


@pytest.mark.timeout(60 + KILLS)
def test_no_byte_is_wrong_after_any_kill(server, tmp_path):
    chance = random.Random(5)
    marked = 0
    for number in range(KILLS):
        if number % 10 == 0:
            directory = tmp_path / str(number)
        with start_reader(directory, server.url("a.npy"), number) as reader:
            time.sleep(chance.random() * 0.25)
            reader.send_signal(signal.SIGKILL)
        marked += assert_marked_blocks_are_right(directory, CONTENT)
    assert marked

    async def read_all():
        async with opened(directory) as files:
            assert await read_whole(files, source(server, version="1")) == CONTENT

    trio.run(read_all)


def test_processes_share_one_directory(server, tmp_path):
    readers = [start_reader(tmp_path, server.url("a.npy"), seed) for seed in range(3)]

    async def read_all():
        async with opened(tmp_path) as files:
            for _ in range(3):
                assert await read_whole(files, source(server, version="1")) == CONTENT

    trio.run(read_all)
    for reader in readers:
        with reader:
            assert reader.poll() is None
            reader.kill()
    assert assert_marked_blocks_are_right(tmp_path, CONTENT) == -(-len(CONTENT) // BLOCK)
    assert len(cache_files(tmp_path)) == 1


@pytest.mark.trio
async def test_blocks_that_another_process_fetched_are_not_fetched_again(server, tmp_path):
    async with opened(tmp_path) as one, opened(tmp_path) as other:
        file, same = await one.open(source(server)), await other.open(source(server))
        assert await same.read(0, 10) == CONTENT[:10]
        await file.read(1_000_000, 500_000)

        async def is_written():
            return await share(one, source(server)) > 0.16

        await until(is_written)
        await one.disk.record()
        before = len(server.requests)
        assert await same.read(1_000_000, 500_000) == CONTENT[1_000_000:1_500_000]
        assert len(server.requests) == before
        await file.close()
        await same.close()


def made(path, size=10 * BLOCK):
    return block_file.create(path, "id", "1", Fingerprint(size, '"e"', "date"), Verdict.UNKNOWN)


def test_the_map_never_runs_ahead_of_the_data(tmp_path):
    blocks = made(tmp_path / "a")
    steps = []
    for name in ("fdatasync", "pwrite"):
        real = getattr(os, name)
        replace = pytest.MonkeyPatch()
        replace.setattr(os, name, lambda *arguments, name=name, real=real: steps.append(name) or real(*arguments))
        try:
            blocks.write([b"x" * BLOCK], 0)
            blocks.record([(0, 1)])
        finally:
            replace.undo()
    assert steps == ["fdatasync", "pwrite"]
    blocks.close()


@pytest.mark.parametrize("marked", [9, 10])
def test_a_verdict_without_all_its_marks_holds_for_nothing(tmp_path, marked):
    blocks = made(tmp_path / "a")
    blocks.write([b"x" * 10 * BLOCK], 0)
    blocks.record([(0, marked)])
    blocks.set_verdict(Verdict.VERIFIED)
    blocks.close()
    again = block_file.open_existing(tmp_path / "a", "1")
    assert again.verdict is (Verdict.VERIFIED if marked == 10 else Verdict.UNKNOWN)
    again.close()


@pytest.mark.parametrize(
    "harm",
    [
        lambda raw: b"",
        lambda raw: raw[:4000],
        lambda raw: raw[:-1],
        lambda raw: b"alyxfs blocks 3\n" + raw[16:],
        lambda raw: raw[:16] + b"!" + raw[17:],
        lambda raw: raw[:16] + b"[1]".ljust(4079) + raw[4095:],
        lambda raw: raw[:4095] + b"\xff" + raw[4096:],
        lambda raw: raw + b"more",
    ],
)
def test_a_broken_cache_file_is_made_anew(tmp_path, harm):
    made(tmp_path / "a").close()
    (tmp_path / "a").write_bytes(harm((tmp_path / "a").read_bytes()))
    assert block_file.open_existing(tmp_path / "a", "1") is None
    assert not (tmp_path / "a").exists()
    made(tmp_path / "a").close()


def test_cache_files_are_private(tmp_path):
    directory = tmp_path / "cache"
    made(directory / "blocks-1" / "aa" / "b").close()
    assert (directory / "blocks-1" / "aa" / "b").stat().st_mode & 0o777 == 0o600
    assert (directory / "blocks-1" / "aa").stat().st_mode & 0o777 == 0o700


@pytest.mark.trio
async def test_names_of_the_server_lead_nowhere(server, tmp_path):
    async with opened(tmp_path / "cache") as files:
        odd = source(server, identity="../../../escape\0/x", version="../..")
        assert await read_whole(files, odd) == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    assert len(cache_files(tmp_path / "cache")) == 1


@pytest.mark.trio
async def test_a_cache_deleted_underneath_does_no_harm(server, tmp_path):
    async with opened(tmp_path / "cache") as files:
        file = await files.open(source(server))
        for step in range(6):
            assert await file.read(step * 300_000, 200_000) == CONTENT[step * 300_000 : step * 300_000 + 200_000]
            if step % 2:
                for path in cache_files(tmp_path / "cache"):
                    path.unlink()
                    path.parent.rmdir()
        await file.close()
        assert await read_whole(files, source(server)) == CONTENT


@pytest.mark.trio
async def test_a_cache_file_cut_by_somebody_is_noticed(server, tmp_path):
    async with opened(tmp_path) as files:
        assert await read_whole(files, source(server)) == CONTENT
        os.truncate(cache_files(tmp_path)[0], 100_000)
        assert await read_whole(files, source(server)) == CONTENT


@pytest.mark.trio
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS], ids=errno.errorcode.get)
@pytest.mark.parametrize("call", ["write", "link", "setattr", "fsync"])
async def test_a_disk_that_refuses_is_served_without(server, failing_disk, call, error):
    chance = random.Random(6)
    async with opened(failing_disk.path / f"{call}-{error}") as files:
        file = await files.open(source(server))
        assert await file.read(0, 10) == CONTENT[:10]
        failing_disk.fail(0, error, for_ever=True, only=call)
        for _ in range(30):
            offset = chance.randrange(len(CONTENT))
            assert await file.read(offset, 131072) == CONTENT[offset : offset + 131072]
        assert await read_whole(files, source(server, identity="other")) == CONTENT
        await files.disk.record()
        assert call in failing_disk.recover()
        await file.close()


def test_a_small_disk_is_served_without_caching_more(server, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    (tmp_path / "disk").mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1500k", "none", tmp_path / "disk"], check=False)
    if mount.returncode:
        pytest.skip("no tmpfs can be mounted here")

    async def read_more_than_fits():
        async with opened(tmp_path / "disk") as files:
            for name in ("1", "2"):
                assert await read_whole(files, source(server, identity=name)) == CONTENT

    try:
        trio.run(read_more_than_fits)
    finally:
        subprocess.run(["umount", "-l", tmp_path / "disk"], check=True)


@pytest.mark.trio
async def test_the_least_recently_used_go_first_and_open_files_stay(server, tmp_path):
    limit = 4 * len(CONTENT)
    async with opened(tmp_path, limit_bytes=limit) as files:
        held = await files.open(source(server, identity="held", digest=None))
        await held.read(0, len(CONTENT))
        for number in range(6):
            one = source(server, identity=str(number), digest=None)  # hashing it would keep it in use
            assert await read_whole(files, one) == CONTENT
            await until(lambda one=one: is_here(files, one))
            await files.disk.record()
            for place, path in enumerate(sorted(cache_files(tmp_path), key=lambda path: path.stat().st_mtime)):
                os.utime(path, (place, place))
        await files.disk.tidy()
        assert sum(path.stat().st_blocks * 512 for path in cache_files(tmp_path)) <= limit
        shares = [await share(files, source(server, identity=str(number))) for number in range(6)]
        assert shares == sorted(shares)
        assert shares[0] == 0
        assert shares[-1] == 1
        assert await share(files, source(server, identity="held")) == 1
        await held.close()


@pytest.mark.trio
async def test_a_full_cache_of_open_files_is_served_without(server, tmp_path):
    async with opened(tmp_path, limit_bytes=len(CONTENT) // 2) as files:
        held = await files.open(source(server, identity="held", digest=None))  # hashing would keep it in use
        assert await held.read(0, len(CONTENT)) == CONTENT
        await until(lambda: is_here(files, source(server, identity="held")))
        await files.disk.tidy()
        assert not files.may_write()
        assert await read_whole(files, source(server, identity="other")) == CONTENT
        assert len(cache_files(tmp_path)) == 1
        await held.close()
        await files.disk.tidy()
        assert files.may_write()


def test_leftovers_of_the_dead_are_removed(tmp_path):
    folder, now = tmp_path / "blocks-1" / "aa", time.time()
    folder.mkdir(parents=True)
    ages = {"new-1": now, "new-2": 0.95 * eviction.SCRATCH_SECONDS, "new-3": 1.05 * eviction.SCRATCH_SECONDS}
    ages["new-of-a-clock-ahead"] = -1.05 * eviction.SCRATCH_SECONDS
    for name, age in ages.items():
        (folder / name).write_bytes(b"x")
        os.utime(folder / name, (0, now - age))
    eviction.evict(tmp_path, 1 << 40)
    assert os.listdir(folder) == ["new-2"]


@pytest.mark.trio
async def test_a_complete_file_is_verified_once(server, tmp_path):
    async with opened(tmp_path) as files:
        await read_whole(files, source(server))
        await files.disk.record()
        await until(lambda: block_file.look(files.path(source(server)), "1")[1] is Verdict.VERIFIED)
        assert await remark(files, source(server)) is None
    assert server.sent == len(CONTENT)


@pytest.mark.trio
async def test_a_mismatch_is_fetched_once_more_then_served_with_a_remark(server, tmp_path):
    wrong = source(server, digest=hashlib.md5(b"other").hexdigest())
    async with opened(tmp_path) as files:
        file = await files.open(wrong)
        assert await file.read(0, len(CONTENT)) == CONTENT
        await files.disk.record()
        await until(lambda: remark(files, wrong))
        assert await file.read(0, len(CONTENT)) == CONTENT
        assert server.sent == 2 * len(CONTENT)
        assert "differs" in await remark(files, wrong)
        await file.close()


@pytest.mark.trio
@pytest.mark.parametrize("validators", [{}, {"etag": None, "last_modified": None}])
async def test_what_differs_is_asked_for_again_at_the_next_mount_and_after_a_while(
    server, tmp_path, monkeypatch, validators
):
    wrong = source(server, digest=hashlib.md5(CONTENT[::-1]).hexdigest())
    server.files["a.npy"] = File(CONTENT, **validators)
    async with opened(tmp_path) as files:
        await read_whole(files, wrong)
        await files.disk.record()
        await until(lambda: remark(files, wrong))
    async with opened(tmp_path) as files:
        before = server.sent
        assert await read_whole(files, wrong) == await read_whole(files, wrong) == CONTENT
        assert server.sent - before == BLOCK, "one look at its beginning"
        assert "differs" in await remark(files, wrong)
        server.files["a.npy"] = File(CONTENT[::-1], **(validators or {"etag": '"v2"'}))
        assert await read_whole(files, wrong) == CONTENT, "it is not asked again so soon"
        monkeypatch.setattr(doubts, "DIFFERED", 0.0)
        assert await read_whole(files, wrong) == CONTENT[::-1]
        await files.disk.record()
        await until(lambda: block_file.look(files.path(wrong), "1")[1] is Verdict.VERIFIED)
        assert await remark(files, wrong) is None
        server.stop()
        assert await read_whole(files, wrong) == CONTENT[::-1]


@pytest.mark.trio
async def test_what_differs_is_served_as_it_is_while_the_server_is_away(server, tmp_path):
    wrong = source(server, digest=hashlib.md5(b"other").hexdigest())
    async with opened(tmp_path) as files:
        await read_whole(files, wrong)
        await files.disk.record()
        await until(lambda: remark(files, wrong))
    server.stop()
    async with opened(tmp_path) as files:
        assert await read_whole(files, wrong) == CONTENT


@pytest.mark.trio
async def test_a_copy_damaged_on_the_way_is_an_error_for_who_has_it_open_and_healed(server, tmp_path):
    """With the same validators, so that only the hash can tell: bytes of the two must not be mixed."""
    server.files["a.npy"] = File(b"\0" + CONTENT[1:])
    right = source(server, digest=hashlib.md5(CONTENT).hexdigest())
    async with opened(tmp_path) as files:
        file = await files.open(right)
        assert (await file.read(0, len(CONTENT)))[1:] == CONTENT[1:]
        server.files["a.npy"] = File(CONTENT)
        await files.disk.record()
        await until(lambda: block_file.look(files.path(right), "1")[1] is Verdict.VERIFIED)
        for _ in range(2):
            with pytest.raises(errors.FileChanged, match="damaged on its way here"):
                await file.read(0, len(CONTENT))
        await file.close()
        assert await read_whole(files, right) == CONTENT


@pytest.mark.trio
async def test_small_files_read_in_order_come_before_they_are_asked_for(server, tmp_path):
    contents = {f"{number:03}.npy": random.Random(number).randbytes(65536) for number in range(150)}
    server.files |= {name: File(content) for name, content in contents.items()}
    server.delay = 0.05
    directory: list[Source] = []
    directory += [source(server, name, neighbours=lambda: directory) for name in contents]
    async with opened(tmp_path) as files:
        for one in directory:
            assert await read_whole(files, one) == contents[one.name]
    assert len(server.requests) == len(contents)
    assert server.most_at_once >= 8


@pytest.mark.trio
async def test_descriptors_are_bounded_whatever_is_opened(server, tmp_path, monkeypatch):
    server.most_repeats = None  # many datasets with one address
    monkeypatch.setattr(pool, "IDLE_FILES", 20)
    before = len(os.listdir("/proc/self/fd"))
    async with opened(tmp_path) as files:
        for number in range(100):
            file = await files.open(source(server, identity=str(number)))
            await file.read(0, 10)
            await file.close()
        # What is read is hashed behind the reader's back, and closed after that.
        await until(lambda: len(os.listdir("/proc/self/fd")) - before < 2 * 20 + 40)
    assert len(os.listdir("/proc/self/fd")) <= before + 2


def test_sizes_survive_lines_that_are_cut(tmp_path):
    from alyxfs.files.disk.known_sizes import KnownSizes

    (tmp_path / "sizes").write_bytes(b"a\t1\t10\nb\t1\t1\xff\nc\t1\na\t1\t12")
    sizes = KnownSizes(tmp_path / "sizes")
    assert sizes.get("a", "1", None) == 12
    assert sizes.get("b", "1", 7) == 7
    sizes.learn("d\n", "1", 5)
    assert KnownSizes(tmp_path / "sizes").get("a", "1", None) == 12
    assert json.dumps(sizes.get("d\n", "1", None)) == "5"


@pytest.mark.parametrize("may_wait", [True, False])
@pytest.mark.parametrize("size", [3_000_003, 1 << 20, (1 << 20) + 4096, 5])
def test_pieces_that_pass_the_page_cache_are_read_as_they_were_written(tmp_path, size, may_wait):
    """Written in steps, of which the disk takes whole pages directly and the rest as usual; read in either way."""
    buffers = memory.Buffers()
    content = CONTENT[:size]
    written, read = memory.Buffered(buffers, 0, size), memory.Buffered(buffers, 0, size)
    blocks = block_file.create(tmp_path / "a", "id", "1", Fingerprint(size), Verdict.UNKNOWN)
    saved_to = 0
    for start in range(0, size, 777_777):
        written.append(content[start : start + 777_777])
        end = written.end if written.end == size else written.end // 4096 * 4096
        blocks.write(written.views(saved_to, end), saved_to, may_wait=may_wait)
        saved_to = end
    while read.end < size:
        count = blocks.read_into(read.room(500_000), read.end)
        assert count > 0
        read.grow(min(count, size - read.end))
    assert read.look(0, size) == content
    assert blocks.read(size // 3, size // 2) == content[size // 3 : size // 3 + size // 2]
    blocks.close()


def test_buffers_are_used_again_and_hold_what_they_should():
    chance = random.Random(7)
    buffers = memory.Buffers()
    for _ in range(20):
        start, kept = chance.randrange(1 << 40), chance.choice([10, 300_000, 1 << 20])
        one = memory.Buffered(buffers, start, chance.choice([1000, 300_000, 3_000_003]))
        while one.end - start < len(CONTENT):
            position = one.end - start
            one.append(CONTENT[position : position + chance.randrange(1, 900_000)])
            one.drop(one.end - kept)
            assert one.end - one.start >= min(kept, one.end - start)
            assert one.look(one.start, one.end) == CONTENT[one.start - start : one.end - start]
        one.clear(is_unused=True)
        assert one.start == one.end
    assert 0 < sum(map(len, itertools.chain(*buffers._free.values()))) <= memory.MOST_FREE
    buffers.release()
    assert not any(buffers._free.values())


def test_the_largest_buffers_are_a_huge_page_each_and_lie_apart():
    buffers = memory.Buffers()
    taken = [buffers.take(size) for size in (memory.HUGE_PAGE, memory.HUGE_PAGE, memory.MIB + 1)]
    places = [ctypes.addressof(ctypes.c_char.from_buffer(one)) for one in taken]
    assert [len(one) for one in taken] == [memory.HUGE_PAGE] * 3
    assert [place % memory.HUGE_PAGE for place in places] == [0] * 3
    for number, one in enumerate(taken):
        one[:] = bytes([number]) * len(one)
    assert [one[0] + one[-1] for one in taken] == [0, 2, 4]
    setting = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if setting.exists() and "[never]" not in setting.read_text(encoding="ascii"):
        assert huge_bytes(places[0]) >= memory.HUGE_PAGE


def huge_bytes(address):
    """Bytes in huge pages of the mapping that holds this address, by proc_pid_smaps(5)."""
    inside = False
    for line in pathlib.Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines():
        if re.match("[0-9a-f]+-[0-9a-f]+ ", line):
            first, after = (int(end, 16) for end in line.split()[0].split("-"))
            inside = first <= address < after
        elif inside and line.startswith("AnonHugePages:"):
            return int(line.split()[1]) * 1024
    return 0


@pytest.mark.trio
async def test_what_is_on_disk_is_read_ahead_by_threads(server, tmp_path, monkeypatch):
    async with opened(tmp_path) as files:
        assert await read_whole(files, source(server)) == CONTENT
        await files.disk.tidy()
    asked = len(server.requests)
    in_loop = []
    read = block_file.BlockFile.read

    def noted(blocks, offset, size):
        if threading.current_thread() is threading.main_thread():
            in_loop.append(size)
        return read(blocks, offset, size)

    # Only looks on, in which thread it is.
    monkeypatch.setattr(block_file.BlockFile, "read", noted)
    async with opened(tmp_path) as files:
        assert await read_whole(files, source(server)) == CONTENT
    assert len(server.requests) == asked
    assert sum(in_loop) < len(CONTENT) / 3


@pytest.mark.trio
async def test_what_one_server_says_of_a_dataset_is_nothing_to_another(server, tmp_path):
    """Ids are no secret: a server with one of another server's must not be able to say what it holds, nor its size."""
    for address, name, size in (("http://hostile", "b.npy", None), ("http://right", "a.npy", None)):
        server.files["b.npy"] = File(bytes(500))
        async with opened(tmp_path, server=address) as files:
            file = source(server, name, identity="a", digest=None, size=size)
            assert files.known_size(file) is None
            assert await read_whole(files, file) == server.files[name].content
            assert [state.share for state in await files.pin([file])] == [1.0]
            assert await files.unpin([file]) == 1


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK], ids=errno.errorcode.get)
def test_a_file_system_without_hard_links_keeps_files_all_the_same(failing_disk, number):
    directory = failing_disk.path / f"without-{number}"
    failing_disk.fail(0, number, for_ever=True, only="link")
    path = directory / "blocks-1" / "aa" / "b"
    first = block_file.create(path, "id", "1", Fingerprint(5), Verdict.UNKNOWN)
    first.write([memoryview(b"bytes")], 0)
    first.record([(0, 1)])
    again = block_file.create(path, "id", "1", Fingerprint(5), Verdict.UNKNOWN)
    assert again.read(0, 5) == b"bytes", "the one that is there"
    assert block_file.create(path, "id", "1", Fingerprint(6), Verdict.UNKNOWN) is None
    assert "link" in failing_disk.recover()
    assert cache_files(directory) == [path]
    first.close()
    again.close()


@pytest.mark.trio
async def test_a_cache_file_that_was_closed_touches_no_other_one_that_has_its_descriptor_now(tmp_path):
    blocks = block_file.create(tmp_path / "a", "id", "1", Fingerprint(5), Verdict.UNKNOWN)
    blocks.close()
    with (tmp_path / "other").open("w+b", buffering=0) as other:
        other.write(bytes(5000))
        with pytest.raises(block_file.CutError):
            await blocks.in_thread(blocks.set_verdict, Verdict.DIFFERS)
        blocks.close()
        assert os.pread(other.fileno(), 5000, 0) == bytes(5000), "neither written to nor closed"
