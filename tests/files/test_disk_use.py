"""What becomes of the cache when its disk refuses, is full or recovers: when it is asked again, and what is said."""

from __future__ import annotations

import errno
import logging
import os

import pytest
import trio
import trio.testing

from alyxfs.files import disk_use
from alyxfs.files.cached_file import CachedFile
from alyxfs.files.disk import block_file, eviction, pins
from alyxfs.files.disk.block_file import Fingerprint, Verdict
from alyxfs.files.disk_use import DISK_PAUSE, RECORD_PAUSE, TIDY_PAUSE, DiskUse
from poor_disk import poor_disk

pytestmark = pytest.mark.trio

REFUSED = "the disk of the cache refused to take data files"
FULL = "Data files are not cached for now: all room is taken by open and pinned files."
NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


class Files:
    """All files of a cache, of which there are none but those that a test puts in, and what is asked of them."""

    def __init__(self, *files):
        self.files = files
        self.forgotten = 0
        self.released = 0

    def all(self):
        return self.files

    def forget_recorded(self):
        self.forgotten += 1

    def release(self):
        self.released += 1


class File:
    """One of them, and its cache file, which notes what is recorded."""

    absent = 1
    record = CachedFile.record

    def __init__(self, *runs, is_used=False):
        self.unrecorded = list(runs)
        self.is_used = is_used
        self.fetches = []
        self.blocks = self
        self.recorded = []
        self.may_go_on = trio.Event()
        self.may_go_on.set()

    async def in_thread(self, _record, runs, threads=None):
        await self.may_go_on.wait()
        self.recorded.append(runs)
        self.is_used = False


class Fetch:
    done = False


def disk_of(directory, limit=1 << 30, *files):
    held = Files(*files)
    return DiskUse(directory, limit, held, held), held


def cached(directory, name, size=100_000):
    path = directory / "blocks-1" / "aa" / name
    blocks = block_file.create(path, name, "1", Fingerprint(size), Verdict.UNKNOWN)
    blocks.write([memoryview(bytes([1]) * size)], 0)
    blocks.record([(0, block_file.block_count(size))])
    blocks.close()
    return path


async def test_a_disk_that_refused_is_asked_again_after_a_pause_and_says_so_until_it_takes_something(
    tmp_path, autojump_clock, caplog
):
    caplog.set_level(logging.INFO, logger=disk_use.__name__)
    disk, _ = disk_of(tmp_path)
    assert disk.may_write()
    assert disk.trouble == ""
    for _ in range(3):
        disk.refused(NO_SPACE)
    assert not disk.may_write()
    assert REFUSED in disk.trouble
    assert "(No space left on device): they come from the server until it does." in disk.trouble
    assert caplog.text.count("are not cached for 30 s") == 1, "once, however many writes it refuses"
    await trio.sleep(DISK_PAUSE - 0.1)
    assert not disk.may_write()
    await trio.sleep(0.1)
    assert disk.may_write()
    assert REFUSED in disk.trouble, "it is only tried again"
    disk.wrote(1)
    assert disk.trouble == ""
    disk.refused(OSError("of another kind"))
    assert "(of another kind)" in disk.trouble


@pytest.mark.parametrize(("limit", "share"), [(1_000_000, 50_000), (100 << 30, 1 << 30)])
async def test_how_full_the_disk_is_is_looked_at_when_a_share_of_the_limit_was_written(tmp_path, limit, share):
    disk, _ = disk_of(tmp_path, limit)
    disk.wrote(share // 2)
    disk.wrote(share - share // 2)
    assert not disk._tidy_now.is_set()
    disk.wrote(1)
    assert disk._tidy_now.is_set(), "what was written adds up"
    disk._tidy_now = trio.Event()
    disk.wrote(share)
    assert not disk._tidy_now.is_set(), "and counts once"
    assert disk.occupied == 2 * share + 1, "which is told before it is looked at"


async def test_what_was_not_used_for_long_goes_and_it_is_known_what_stays(tmp_path):
    old, new = cached(tmp_path, "old"), cached(tmp_path, "new")
    os.utime(old, (0, 1))
    size = new.stat().st_blocks * 512
    disk, held = disk_of(tmp_path, int(1.5 * size))
    assert disk.occupied == 0
    written = File((0, 3))
    disk.to_record(written)
    await disk.tidy()
    assert written.recorded == [[(0, 3)]], "or what was used a moment ago would go"
    assert (old.exists(), new.exists()) == (False, True)
    assert disk.occupied == size
    assert held.forgotten == 1, "files that are open for nobody are no hindrance"
    assert (disk.trouble, disk.may_write()) == ("", True)


async def test_where_all_that_is_there_must_stay_nothing_is_written_until_there_is_room(tmp_path, autojump_clock):
    pinned = cached(tmp_path, "pinned")
    eviction.pin({pinned: 100_000}, tmp_path)
    disk, _ = disk_of(tmp_path, 1000)
    await disk.tidy()
    assert pinned.exists()
    assert disk.occupied == pinned.stat().st_blocks * 512
    assert disk.trouble == FULL
    assert not disk.may_write()
    await trio.sleep(DISK_PAUSE)
    assert disk.may_write(), "so that it is tried again"
    await disk.tidy()
    assert not disk.may_write()
    assert pins.remove(pinned)
    await disk.tidy()
    assert (disk.trouble, disk.may_write(), disk.occupied) == ("", True, 0)


async def test_a_disk_that_refused_and_has_room_is_tried_before_it_is_trusted(tmp_path):
    with poor_disk(tmp_path / "source", tmp_path / "disk") as broken:
        disk, _ = disk_of(broken.path)
        await disk.tidy()
        assert "write" not in broken.recover(), "one that refused nothing is not troubled"
        broken.fail(0, errno.EROFS, for_ever=True, only="write")
        disk.refused(NO_SPACE)
        await disk.tidy()
        assert REFUSED in disk.trouble
        assert not disk.may_write()
        broken.recover()
        await disk.tidy()
        assert (disk.trouble, disk.may_write()) == ("", True)


async def test_a_directory_that_cannot_be_looked_through_is_no_reason_to_stop(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger=disk_use.__name__)
    (tmp_path / "a file").touch()
    disk, _ = disk_of(tmp_path / "a file")
    disk.refused(NO_SPACE)
    await disk.tidy()
    assert "the cache directory cannot be looked through" in caplog.text
    assert REFUSED in disk.trouble, "nothing was learned"
    assert not disk.may_write()


async def test_what_was_written_or_used_is_recorded_once(tmp_path):
    written, used, other = File((0, 3)), File(is_used=True), File()
    disk, _ = disk_of(tmp_path, 1 << 30, used, other)
    disk.to_record(written)
    disk.to_record(written)
    for _ in range(2):
        await disk.record()
        assert (written.recorded, used.recorded, other.recorded) == ([[(0, 3)]], [[]], [])
    written.unrecorded = [(3, 4)]
    await disk.record()
    assert len(written.recorded) == 1, "what is written later says so itself"


async def test_what_has_begun_to_be_recorded_is_recorded_also_where_who_asked_is_called_off(tmp_path):
    written, later = File((0, 3)), File((1, 2))
    written.may_go_on = trio.Event()
    disk, _ = disk_of(tmp_path)
    disk.to_record(written)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(disk.record)
        await trio.testing.wait_all_tasks_blocked()
        disk.to_record(later)
        nursery.start_soon(disk.record)
        await trio.testing.wait_all_tasks_blocked()
        assert later.recorded == [], "one round at a time: who waits for the second waits for the first, too"
        nursery.cancel_scope.cancel()
        written.may_go_on.set()
    assert written.recorded == [[(0, 3)]]
    assert later.recorded == [[(1, 2)]]


async def test_the_directory_is_looked_at_each_minute_and_at_once_when_it_is_told(tmp_path, autojump_clock):
    disk, _ = disk_of(tmp_path)
    looks = []

    async def noted():  # without a thread, while which is busy this clock would go on
        looks.append(trio.current_time())

    disk.tidy = noted
    async with trio.open_nursery() as nursery:
        nursery.start_soon(disk.tidy_for_ever)
        await trio.sleep(1.5 * TIDY_PAUSE)
        assert len(looks) == 2
        assert TIDY_PAUSE <= looks[1] - looks[0] <= TIDY_PAUSE + 2
        disk.refused(NO_SPACE)
        await trio.sleep(3)
        assert len(looks) == 3, "a refusal is a reason to make room"
        await trio.sleep(TIDY_PAUSE / 2)
        assert len(looks) == 3, "once"
        for _ in range(20):
            disk.refused(NO_SPACE)
            await trio.sleep(0.1)
        assert len(looks) <= 3 + 3, "a second apart, however often it is told"
        nursery.cancel_scope.cancel()


async def test_what_was_written_is_recorded_and_memory_given_back_once_nothing_comes_any_more(tmp_path, autojump_clock):
    file, written = File(), File((0, 3))
    disk, held = disk_of(tmp_path, 1 << 30, file)
    disk.to_record(written)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(disk.record_for_ever)
        await trio.sleep(3.5 * RECORD_PAUSE)
        assert held.released == 0, "nothing has come"
        assert written.recorded == [[(0, 3)]]
        file.fetches = [Fetch()]
        await trio.sleep(3 * RECORD_PAUSE)
        assert held.released == 0, "it is coming"
        file.fetches[0].done = True
        await trio.sleep(2 * RECORD_PAUSE)
        assert held.released == 1
        await trio.sleep(3 * RECORD_PAUSE)
        assert held.released == 1, "once"
        disk.wrote(10)  # what came and went between two looks is a reason, too
        while held.released < 2:  # noqa: ASYNC110 - the clock goes on while a thread is busy: no sleep is long enough
            await trio.sleep(RECORD_PAUSE)
        await trio.sleep(3 * RECORD_PAUSE)
        assert held.released == 2
        nursery.cancel_scope.cancel()
