"""Want of room: what was not read for long goes, region by region, and whatever dies meanwhile no byte gets wrong."""

from __future__ import annotations

import concurrent.futures
import contextlib
import errno
import fcntl
import hashlib
import itertools
import json
import os
import random
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import trio

from alyxfs.files import disk_use
from alyxfs.files.disk import block_file, eviction, regions
from alyxfs.files.disk.block_file import PAGE, Fingerprint, Verdict
from alyxfs.files.extents import BLOCK, block_count
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

CONTENT = random.Random(1).randbytes(3_000_003)
REGION = 8 * BLOCK
COUNT = -(-len(CONTENT) // REGION)
"""Regions of the content: twelve, the last one short."""
LONG_AGO = 1_000_000_000


@pytest.fixture
def server():
    # Processes that are killed and begun anew ask for the same again.
    with FaultServer({"a.npy": File(CONTENT)}, most_repeats=None) as server:
        yield server


@pytest.fixture(autouse=True)
def small_regions(monkeypatch):
    monkeypatch.setattr(block_file, "REGION", REGION)
    monkeypatch.setattr(disk_use, "RECORD_PAUSE", 0.05)


@pytest.fixture
def failing_disk(tmp_path):
    """For each test another one: the kernel asks a disk that refused a hole once no more."""
    with poor_disk(tmp_path / "source", tmp_path / "disk") as disk:
        yield disk


@contextlib.contextmanager
def descriptor_of(path):
    descriptor = os.open(path, os.O_RDWR)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def there(path):
    """The regions of which something is on disk, each with its time of last use."""
    with descriptor_of(path) as descriptor:
        return {region.number: region.last_used for region in regions.regions_of(descriptor)}


def set_times(path, times):
    """Have regions used at these times, in seconds after LONG_AGO."""
    with descriptor_of(path) as descriptor:
        for number, moment in times.items():
            place = block_file.times_offset(len(CONTENT)) + block_file.TIME_BYTES * number
            os.pwrite(descriptor, struct.pack("<I", LONG_AGO + moment), place)


def on_disk(directory):
    return sum(path.stat().st_blocks * 512 for path in cache_files(directory))


def place_of(source):
    """Where a cache keeps this source, below its directory of blocks."""
    key = hashlib.blake2b(source.identity.encode(), digest_size=20).hexdigest()
    return f"{key[:2]}/{key[2:]}"


def made(directory, name="aa/b", content=CONTENT, verdict=Verdict.UNKNOWN):
    """Put a whole cache file into the directory, whose first regions were used before the others."""
    path = directory / "blocks-1" / name
    blocks = block_file.create(path, "id", "1", Fingerprint(len(content), '"v1"', None), verdict)
    blocks.write([memoryview(content)], 0)
    blocks.record([(0, block_count(len(content)))])
    blocks.close()
    set_times(path, {number: number for number in range(-(-len(content) // REGION))})
    return path


@pytest.mark.trio
async def test_what_was_not_read_for_long_goes_first_and_is_fetched_again(server, tmp_path):
    now = int(time.time())
    one = source(server, digest=None)  # or it would be open for being verified
    async with opened(tmp_path) as files:
        assert await read_whole(files, one) == CONTENT
        await until(lambda: is_here(files, one))
        await files.disk.tidy()
        (path,) = cache_files(tmp_path)
        assert min(there(path).values()) >= now
        set_times(path, dict.fromkeys(range(COUNT), 0))
        file = await files.open(one)
        assert await file.read(REGION + 10, 10, ahead=False) == CONTENT[REGION + 10 : REGION + 20]
        assert await file.read(5 * REGION - 5, 10, ahead=False) == CONTENT[5 * REGION - 5 : 5 * REGION + 5]
        await files.disk.tidy()
        limit = on_disk(tmp_path) - 1
        assert not eviction.evict(tmp_path, limit).is_there, "an open file is no room"
        assert set(there(path)) == set(range(COUNT))
        await file.close()
        await files.disk.tidy()
        assert eviction.evict(tmp_path, limit).is_there
        left = there(path)
        assert 0 not in left
        assert {number for number, used in left.items() if used >= now} == {1, 4, 5}
        assert on_disk(tmp_path) <= limit
        assert await share(files, one) == pytest.approx(len(left) / COUNT, abs=0.05)
        before = server.sent
        assert await read_whole(files, one) == CONTENT
        assert server.sent - before <= (COUNT - len(left)) * REGION


def test_regions_and_files_go_in_the_order_of_their_last_use(tmp_path):
    long = made(tmp_path, "aa/long")
    small = [made(tmp_path, f"aa/{number}", CONTENT[: REGION // 2]) for number in range(3)]
    for path, moment in zip(small, (1.5, 3.5, 100), strict=True):
        os.utime(path, (0, LONG_AGO + moment))
    assert eviction.evict(tmp_path, int((on_disk(tmp_path) - 3.4 * REGION) / eviction.AIM)).is_there
    assert set(there(long)) == set(range(COUNT)) - {0, 1, 2}
    assert [path.exists() for path in small] == [False, True, True]
    assert_marked_blocks_are_right(tmp_path, CONTENT)


def test_what_just_fits_stays_and_one_byte_more_is_too_much(tmp_path):
    path = made(tmp_path)
    occupied = on_disk(tmp_path)
    assert eviction.evict(tmp_path, occupied) == eviction.Room(is_there=True, occupied=occupied)
    assert set(there(path)) == set(range(COUNT))
    room = eviction.evict(tmp_path, occupied - 1)
    assert room == eviction.Room(is_there=True, occupied=on_disk(tmp_path))
    assert room.occupied <= (occupied - 1) * eviction.AIM
    assert eviction.evict(tmp_path, room.occupied) == room, "nothing more goes"


def test_a_cache_that_somebody_has_removed_has_room(tmp_path):
    assert eviction.evict(tmp_path / "removed", 1) == eviction.Room(is_there=True, occupied=0)


def test_a_large_file_of_which_little_is_there_goes_whole_by_its_own_time(tmp_path):
    little, other = made(tmp_path, "aa/little"), made(tmp_path, "aa/other", CONTENT[: REGION // 2])
    with descriptor_of(little) as descriptor:
        regions.take_away(descriptor, range(COUNT - 1))
    set_times(little, {COUNT - 1: 0})
    os.utime(little, (0, LONG_AGO + 50))
    os.utime(other, (0, LONG_AGO + 20))
    assert eviction.evict(tmp_path, on_disk(tmp_path) - 1).is_there
    assert little.exists()
    assert not other.exists()


def test_of_a_region_of_which_some_blocks_are_there_no_mark_stays(tmp_path):
    """A mark without its bytes would have zeros read in place of data."""
    path = made(tmp_path)
    with descriptor_of(path) as descriptor:
        os.pwrite(descriptor, b"\0", PAGE + 1)
    eviction.evict(tmp_path, on_disk(tmp_path) - 1)
    assert 0 not in there(path)
    assert_marked_blocks_are_right(tmp_path, CONTENT)


def test_a_file_that_has_lost_its_end_loses_more_the_next_time(tmp_path):
    path = made(tmp_path)
    set_times(path, {COUNT - 1: -1})
    assert eviction.evict(tmp_path, on_disk(tmp_path) - 1).is_there
    first = set(there(path))
    assert COUNT - 1 not in first
    assert eviction.evict(tmp_path, on_disk(tmp_path) - 1).is_there
    assert {COUNT - 2} <= set(there(path)) < first
    assert_marked_blocks_are_right(tmp_path, CONTENT)


def test_what_goes_ends_where_its_neighbour_begins_also_where_the_times_take_a_page_of_their_own(tmp_path):
    size = 4090 * BLOCK
    assert block_file.data_offset(size, is_timed=True) > block_file.data_offset(size, is_timed=False)
    content = CONTENT[: 3 * REGION]
    blocks = block_file.create(tmp_path / "a", "id", "1", Fingerprint(size), Verdict.UNKNOWN)
    blocks.write([memoryview(content)], 0)
    blocks.record([(0, 3 * REGION // BLOCK)])
    with descriptor_of(tmp_path / "a") as descriptor:
        regions.take_away(descriptor, [1])
        assert [region.number for region in regions.regions_of(descriptor)] == [0, 2]
    assert blocks.read(0, REGION) == content[:REGION]
    assert blocks.read(2 * REGION, REGION) == content[2 * REGION :]
    assert blocks.read(REGION, REGION) == bytes(REGION)
    blocks.close()


def test_a_file_of_one_region_has_none_that_goes_on_its_own(tmp_path):
    for content in (CONTENT[:REGION], CONTENT[:5], b""):
        with descriptor_of(made(tmp_path, f"aa/{len(content)}", content)) as descriptor:
            assert regions.regions_of(descriptor) == []
    with descriptor_of(made(tmp_path, "aa/of-two", CONTENT[: REGION + 1])) as descriptor:
        assert [region.number for region in regions.regions_of(descriptor)] == [0, 1]


def test_from_a_file_that_says_nothing_of_itself_nothing_is_taken_away(tmp_path):
    path = made(tmp_path)
    with descriptor_of(path) as descriptor:
        os.pwrite(descriptor, bytes(100), 0)
        before = path.read_bytes()
        assert regions.regions_of(descriptor) == []
        with pytest.raises(OSError, match="broken"):
            regions.take_away(descriptor, [0])
    assert path.read_bytes() == before
    eviction.evict(tmp_path, 1)
    assert not path.exists()


def test_who_waits_to_open_a_file_gets_it_before_all_is_taken(tmp_path, monkeypatch):
    path = made(tmp_path)
    monkeypatch.setattr(eviction, "TURN", 2.0)  # however late the other thread gets its turn on a busy machine
    with ThreadPoolExecutor() as threads:
        evicting = threads.submit(eviction.evict, tmp_path, int((on_disk(tmp_path) - 10.5 * REGION) / eviction.AIM))
        while 0 in there(path):
            assert not evicting.done()
        blocks = block_file.open_existing(path, "1")
        assert not evicting.result(30).is_there
        assert set(range(COUNT)) - set(there(path)) == set(range(eviction.REGIONS_AT_ONCE))
        blocks.close()


@pytest.mark.parametrize("why", ["pinned", "open", "gone"])
def test_what_is_pinned_open_or_gone_is_not_removed(tmp_path, why):
    path = made(tmp_path)
    with contextlib.ExitStack() as stack:
        if why == "pinned":
            eviction.pin({path: len(CONTENT)}, tmp_path)
        elif why == "open":
            held = stack.enter_context(path.open("rb"))
            fcntl.flock(held, fcntl.LOCK_SH)
        else:
            path.unlink()
        assert not eviction.remove(tmp_path, path)
        assert path.exists() == (why != "gone")
    if why == "pinned":
        assert eviction.unpin([path]) == 1
    assert eviction.remove(tmp_path, path) == (why != "gone")
    assert not path.exists()


def test_a_file_that_loses_all_goes_whole(tmp_path):
    path = made(tmp_path)
    assert eviction.evict(tmp_path, 1).is_there
    assert not path.exists()


def test_pinned_files_lose_nothing(tmp_path):
    pinned, other = made(tmp_path, "aa/pinned"), made(tmp_path, "aa/other")
    eviction.pin({pinned: len(CONTENT)}, tmp_path)
    assert not eviction.evict(tmp_path, 1).is_there
    assert set(there(pinned)) == set(range(COUNT))
    assert not other.exists()


def test_what_another_process_has_open_loses_nothing(tmp_path):
    path = made(tmp_path)
    program = "import fcntl, signal; fcntl.flock(0, fcntl.LOCK_SH); print(flush=True); signal.pause()"
    command = [sys.executable, "-c", program]
    with path.open() as held, subprocess.Popen(command, stdin=held, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        held.close()
        assert not eviction.evict(tmp_path, 1).is_there
        assert set(there(path)) == set(range(COUNT))
        holder.kill()
    assert eviction.evict(tmp_path, 1).is_there


def test_what_is_read_after_it_was_chosen_stays(tmp_path, monkeypatch):
    path = made(tmp_path)
    limit = int((on_disk(tmp_path) - 2.5 * REGION) / eviction.AIM)
    is_pinned = eviction.is_pinned

    def read_meanwhile(path):
        set_times(path, {1: 1000})
        return is_pinned(path)

    # The moment between choosing and taking: nothing that waits lies there, so that no other process could hit it.
    monkeypatch.setattr(eviction, "is_pinned", read_meanwhile)
    eviction.evict(tmp_path, limit)
    assert {0, 2, 3}.isdisjoint(there(path))
    assert 1 in there(path)


def test_a_file_that_is_read_after_it_was_chosen_stays(tmp_path, monkeypatch):
    path = made(tmp_path, content=CONTENT[: REGION // 2])
    os.utime(path, (0, LONG_AGO))
    is_pinned = eviction.is_pinned

    def read_meanwhile(path):
        os.utime(path, (0, LONG_AGO + 1))
        return is_pinned(path)

    monkeypatch.setattr(eviction, "is_pinned", read_meanwhile)  # as above
    assert not eviction.evict(tmp_path, 1).is_there
    assert path.exists()


def test_who_evicts_or_pins_waits_for_each_other_process_that_does(tmp_path):
    """Else what is being pinned could go at the same moment, as it was found unpinned."""
    path = made(tmp_path)
    eviction.pin({made(tmp_path, "aa/pinned"): len(CONTENT)}, tmp_path)
    deeds = {
        "evict": lambda: eviction.evict(tmp_path, 1),
        "pin": lambda: eviction.pin({path: len(CONTENT)}, tmp_path),
        "name": lambda: eviction.name_pins({}, tmp_path),
        "unpin": lambda: eviction.unpin([path]),
        "remove": lambda: eviction.remove(tmp_path, path),
    }
    with (tmp_path / "eviction.lock").open("rb") as held, ThreadPoolExecutor(len(deeds)) as threads:
        fcntl.flock(held, fcntl.LOCK_EX)
        begun = {name: threads.submit(deed) for name, deed in deeds.items()}
        done, _ = concurrent.futures.wait(begun.values(), timeout=0.5)  # as long as each takes without the lock
        assert [name for name, deed in begun.items() if deed in done] == []
        assert path.exists()
        fcntl.flock(held, fcntl.LOCK_UN)
        for deed in begun.values():
            deed.result(30)
    assert (tmp_path / "blocks-1" / "aa" / "pinned").exists()


def test_no_descriptor_stays_open(tmp_path):
    before = sorted(os.listdir("/proc/self/fd"))
    parts, pinned, used = made(tmp_path, "aa/parts"), made(tmp_path, "aa/pinned"), made(tmp_path, "aa/used")
    eviction.pin({pinned: len(CONTENT)}, tmp_path)
    with used.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        eviction.evict(tmp_path, on_disk(tmp_path) - REGION)
        assert 0 not in there(parts)
        assert not eviction.evict(tmp_path, 1).is_there
        assert not parts.exists()
    eviction.remove(tmp_path, used)
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_bytes_that_no_mark_speaks_of_go_first(tmp_path):
    """Who wrote them was killed before they were recorded."""
    path = made(tmp_path)
    with descriptor_of(path) as descriptor:
        os.pwrite(descriptor, bytes(REGION // BLOCK), PAGE + 6 * REGION // BLOCK)
    set_times(path, {6: -1})
    before = on_disk(tmp_path)
    eviction.evict(tmp_path, int((before - 1.5 * REGION) / eviction.AIM))
    assert set(there(path)) == set(range(COUNT)) - {6, 0, 1}
    assert before - on_disk(tmp_path) == 3 * REGION


def test_eviction_is_no_use(tmp_path):
    path = made(tmp_path)
    os.utime(path, (0, LONG_AGO))
    assert eviction.evict(tmp_path, on_disk(tmp_path) - 1).is_there
    assert path.stat().st_mtime == LONG_AGO


@pytest.mark.parametrize("refused", [errno.EOPNOTSUPP, errno.ENOSYS, errno.EIO], ids=errno.errorcode.get)
@pytest.mark.parametrize("first", [0, 2], ids=["always", "once begun"])
def test_files_go_whole_where_no_holes_can_be_made(failing_disk, refused, first):
    directory = failing_disk.path
    old, new = made(directory, "aa/old"), made(directory, "aa/new")
    set_times(new, dict.fromkeys(range(COUNT), 100))
    if first == 0:  # their files' own times count, then
        set_times(old, dict.fromkeys(range(COUNT), 200))
    os.utime(old, (0, LONG_AGO))
    failing_disk.fail(first, refused, for_ever=True, only="fallocate")
    assert eviction.evict(directory, on_disk(directory) - 1).is_there
    assert failing_disk.recover().count("fallocate") == first + 1
    assert not old.exists()
    assert set(there(new)) == set(range(COUNT))


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_files_go_whole_where_their_marks_cannot_be_taken_away(failing_disk, call):
    path = made(failing_disk.path)
    failing_disk.fail(0, errno.ENOSPC, for_ever=True, only=call)
    assert eviction.evict(failing_disk.path, on_disk(failing_disk.path) - 1).is_there
    assert failing_disk.recover().count(call) == 1
    assert not path.exists()


def test_on_a_disk_of_another_process_regions_go_as_on_any_other(failing_disk):
    path = made(failing_disk.path)
    assert eviction.evict(failing_disk.path, on_disk(failing_disk.path) - 1).is_there
    assert 0 not in there(path)
    assert COUNT - 1 in there(path)
    assert_marked_blocks_are_right(failing_disk.path, CONTENT)


# What is known of the whole content


@pytest.mark.trio
async def test_a_verified_file_is_verified_again_after_parts_of_it_went(server, tmp_path):
    async with opened(tmp_path) as files:
        path = files.path(source(server))
        await read_whole(files, source(server))
        await files.disk.record()
        await until(lambda: block_file.look(path, "1")[1] is Verdict.VERIFIED)
        await files.disk.tidy()
        set_times(path, dict.fromkeys(range(COUNT), 0))
    eviction.evict(tmp_path, on_disk(tmp_path) - 1)
    assert block_file.look(path, "1")[1] is Verdict.UNKNOWN
    server.files["a.npy"] = File(bytes(len(CONTENT)))  # with the same validators: only the hash can tell
    async with opened(tmp_path) as files:
        file = await files.open(source(server))
        assert (await file.read(0, 10)) == bytes(10)
        server.files["a.npy"] = File(CONTENT)
        assert await read_whole(files, source(server)) != CONTENT
        await files.disk.record()
        await until(lambda: block_file.look(path, "1")[1] is Verdict.VERIFIED)
        assert await read_whole(files, source(server)) == CONTENT
        await file.close()


@pytest.mark.trio
async def test_a_remark_is_made_again_only_when_it_was_seen_again(server, tmp_path):
    wrong = source(server, digest=hashlib.md5(b"other").hexdigest())
    made(tmp_path, place_of(wrong), verdict=Verdict.DIFFERS)
    eviction.evict(tmp_path, on_disk(tmp_path) - 1)
    async with opened(tmp_path) as files:
        assert await remark(files, wrong) is None
        assert await read_whole(files, wrong) == CONTENT
        assert 0 < server.sent < len(CONTENT)
        await files.disk.record()
        await until(lambda: remark(files, wrong))
    assert server.sent < len(CONTENT)


@pytest.mark.trio
async def test_verifying_is_no_use(server, tmp_path):
    path = made(tmp_path, place_of(source(server)))
    async with opened(tmp_path) as files:
        file = await files.open(source(server))
        await until(lambda: block_file.look(path, "1")[1] is Verdict.VERIFIED)
        await file.close()
    assert set(there(path).values()) == {LONG_AGO + number for number in range(COUNT)}


# The format before


def made_by_format_1(path):
    """As it was written before regions had times."""
    path.parent.mkdir(parents=True)
    fields = {"identity": "a.npy", "version": "1", "size": len(CONTENT), "etag": '"v1"', "last_modified": None}
    header = (b"alyxfs blocks 1\n" + json.dumps(fields).encode()).ljust(4095) + b"\0"
    blocks = -(-len(CONTENT) // 32768)
    path.write_bytes(header + (b"\1" * blocks).ljust(4096, b"\0") + CONTENT.ljust(32768 * blocks, b"\0"))


@pytest.mark.trio
async def test_cache_files_of_the_format_before_are_used_and_go_whole(server, tmp_path):
    path = tmp_path / "blocks-1" / place_of(source(server))
    made_by_format_1(path)
    async with opened(tmp_path) as files:
        assert await read_whole(files, source(server)) == CONTENT
        await until(lambda: block_file.look(path, "1")[1] is Verdict.VERIFIED)
    assert server.requests == []
    assert path.read_bytes().startswith(b"alyxfs blocks 1\n")
    newer = made(tmp_path)
    os.utime(path, (0, LONG_AGO - 1))
    assert eviction.evict(tmp_path, on_disk(tmp_path) - 1).is_there
    assert not path.exists()
    assert set(there(newer)) == set(range(COUNT))


@pytest.mark.parametrize("size", [0, 1, REGION, REGION + 1, 37 * REGION + 5, 20_000 * REGION])
def test_the_times_lie_between_map_and_data(size):
    times, data = block_file.times_offset(size), block_file.data_offset(size, is_timed=True)
    assert times >= PAGE + block_count(size)
    assert data % PAGE == times % block_file.TIME_BYTES == 0
    if size <= REGION:
        assert data == block_file.data_offset(size, is_timed=False)
    else:
        assert data >= times + block_file.TIME_BYTES * block_file.region_count(size)


# Death at any step


class Disk:
    """Notes what is done to one file, and tells what may be on disk after power loss at each moment."""

    def __init__(self, path, monkeypatch):
        self.before = path.read_bytes()
        self.inode = path.stat().st_ino
        self.steps = []
        self._note(monkeypatch, os, "pwrite", lambda data, offset: ("write", offset, bytes(data)))
        self._note(monkeypatch, os, "pwritev", lambda parts, offset: ("write", offset, b"".join(parts)))
        self._note(monkeypatch, os, "fdatasync", lambda: ("sync", 0, b""))
        self._note(monkeypatch, regions, "punch", lambda offset, length: ("write", offset, bytes(length)))

    def _note(self, monkeypatch, place, name, described):
        real = getattr(place, name)

        def noted(descriptor, *arguments):
            result = real(descriptor, *arguments)
            if os.fstat(descriptor).st_ino == self.inode:
                self.steps.append(described(*arguments))
            return result

        monkeypatch.setattr(place, name, noted)

    def states(self):
        """What the file may be: all that was synced, and any part of what was done since."""
        for end in range(len(self.steps) + 1):
            done = self.steps[:end]
            synced = max((number for number, step in enumerate(done) if step[0] == "sync"), default=-1) + 1
            since = done[synced:]
            for kept in itertools.product((True, False), repeat=len(since)):
                content = bytearray(self.before)
                for _, offset, data in [*done[:synced], *itertools.compress(since, kept)]:
                    content[offset : offset + len(data)] = data
                yield end, bytes(content)


@pytest.mark.timeout(60)
def test_no_power_loss_at_any_step_makes_a_byte_wrong_or_a_verdict_untrue(tmp_path, monkeypatch):
    path = made(tmp_path, verdict=Verdict.VERIFIED)
    with monkeypatch.context() as patch:
        disk = Disk(path, patch)
        eviction.evict(tmp_path, int((on_disk(tmp_path) - 2.5 * REGION) / eviction.AIM))
        gone = set(range(COUNT)) - set(there(path))
        assert gone == {0, 1, 2}
        blocks = block_file.open_existing(path, "1")
        blocks.write([memoryview(CONTENT[REGION : REGION + 2 * BLOCK])], REGION)
        blocks.record([(REGION // BLOCK, REGION // BLOCK + 2)])
        blocks.close()
        states = set(disk.states())
    assert [step[0] for step in disk.steps].count("sync") == 3
    assert len(states) > 30
    for end, content in states:
        path.write_bytes(content)
        marked = assert_marked_blocks_are_right(tmp_path, CONTENT)
        share, verdict = block_file.look(path, "1")
        assert share == 1 or verdict is Verdict.UNKNOWN, f"after step {end}"
        assert marked >= (COUNT - len(gone) - 1) * REGION // BLOCK


READER = """
import random, sys, pathlib, trio
from alyxfs.files import disk_use
from alyxfs.files.cache import open_file_cache
from alyxfs.files.source import Source
from alyxfs.files.disk import block_file, eviction, regions
from alyxfs.net import open_network

CONTENT = random.Random(1).randbytes(3_000_003)

async def main(directory, url, seed):
    chance = random.Random(seed)
    async with open_network() as network, open_file_cache(network, directory, limit_bytes=2_000_000) as files:
        network.alyx_at("http://127.0.0.1")
        print("reading", flush=True)
        while True:
            file = await files.open(Source("a.npy", "a.npy", url, len(CONTENT), None, "1"))
            for _ in range(chance.choice([1, 3, 10])):
                offset = chance.randrange(len(CONTENT))
                length = chance.choice([4096, 65536, 131072])
                assert await file.read(offset, length) == CONTENT[offset : offset + length], "wrong bytes"
            await file.close()
            await files.disk.tidy()

block_file.REGION = 8 * 32768
disk_use.RECORD_PAUSE = 0.02
eviction.TURN = 0
trio.run(main, pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
"""


@contextlib.contextmanager
def reading(directory, url, seed):
    """A process that reads and evicts, until it is killed."""
    command = [sys.executable, "-c", READER, str(directory), url, str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as reader:
        try:
            assert reader.stdout.readline() == b"reading\n"
            yield reader
            assert reader.poll() is None, "it has read wrong bytes"
        finally:
            reader.kill()


@pytest.mark.timeout(90)
def test_processes_that_read_and_evict_are_killed_and_no_byte_is_wrong(server, tmp_path):
    chance = random.Random(8)
    marked, counts = 0, set()
    with reading(tmp_path, server.url("a.npy"), 100):
        for number in range(6):
            with reading(tmp_path, server.url("a.npy"), number):
                time.sleep(0.1 + chance.random() * 0.4)
            marked += assert_marked_blocks_are_right(tmp_path, CONTENT)
            counts |= {len(there(path)) for path in cache_files(tmp_path) if not path.name.startswith("new-")}
    assert marked
    assert len(counts) > 1, "nothing was evicted in parts"


DYING = """
import os, pathlib, signal, sys
from alyxfs.files.disk import block_file, eviction, regions

def counted(real):
    def call(*arguments, **options):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return real(*arguments, **options)
    return call

block_file.REGION = 8 * 32768
for line in sys.stdin:
    limit, left = map(int, line.split())
    child = os.fork()
    if not child:
        for place, name in (os, "pwrite"), (os, "fdatasync"), (regions, "punch"), (os, "utime"):
            setattr(place, name, counted(getattr(place, name)))
        eviction.evict(pathlib.Path(sys.argv[1]), limit)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.timeout(60)
def test_killed_at_any_step_it_goes_on_the_next_time(server, tmp_path):
    async def read_all():
        async with opened(tmp_path) as files:
            assert await read_whole(files, one) == CONTENT

    one = source(server)
    path = tmp_path / "blocks-1" / place_of(one)
    command = [sys.executable, "-c", DYING, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as dying:
        for step in itertools.count():
            path.unlink(missing_ok=True)
            made(tmp_path, place_of(one), verdict=Verdict.VERIFIED)
            limit = int((on_disk(tmp_path) - 2.5 * REGION) / eviction.AIM)
            print(limit, step, file=dying.stdin, flush=True)
            if dying.stdout.readline() == "0\n":
                break
            assert assert_marked_blocks_are_right(tmp_path, CONTENT) >= (COUNT - 4) * REGION // BLOCK
            eviction.evict(tmp_path, limit)
            assert on_disk(tmp_path) <= limit
            trio.run(read_all)
        dying.stdin.close()
    steps = 1 + 2 + 3 + 1 + 3 + 1
    assert step == steps, "can there be holes; the verdict, synced; the marks of three regions, synced; holes; the time"
