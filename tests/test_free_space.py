"""What always stays free of a disk, and the trial of whether it takes anything."""

from __future__ import annotations

import errno
import os
import threading

import pytest

from alyxfs import free_space
from alyxfs.free_space import FREE_SHARE
from poor_disk import poor_disk
from small_disk import small_disk

MIB = 1024 * 1024


@pytest.mark.parametrize("error", sorted(free_space.DISK_REFUSES), ids=errno.errorcode.get)
@pytest.mark.parametrize("call", ["create", "write", "fsync"])
def test_a_disk_that_takes_nothing_says_why_and_nothing_is_left_on_it(tmp_path, call, error):
    with poor_disk(tmp_path / "source", tmp_path / "disk") as disk:
        descriptors = os.listdir("/proc/self/fd")
        assert free_space.refusal(disk.path) is None
        disk.fail(0, error, for_ever=True, only=call)
        assert free_space.refusal(disk.path).errno == error
        assert call in disk.recover()
        assert free_space.refusal(disk.path) is None
        assert os.listdir(disk.path) == []
        assert os.listdir("/proc/self/fd") == descriptors
    assert isinstance(free_space.refusal(tmp_path / "not there"), FileNotFoundError)


def test_what_is_under_way_counts_and_what_fails_gives_its_room_back(tmp_path):
    with small_disk(tmp_path / "disk", 10) as disk:
        room = -free_space.lacking(os.statvfs(disk))
        assert room == pytest.approx(10 * MIB * (1 - FREE_SHARE), abs=8192)
        with (disk / "file").open("wb") as file:
            number = file.fileno()
            with free_space.taking(number, room - 100):
                with pytest.raises(OSError, match="stay free"), free_space.taking(number, 101):
                    pytest.fail("there is no room for it")
                with free_space.taking(number, 100):
                    pass
            for _ in range(3):
                with pytest.raises(RuntimeError), free_space.taking(number, room):
                    raise RuntimeError
            with free_space.taking(number, room):
                pass
        assert free_space.refusal(disk) is None
        (disk / "of-others").write_bytes(bytes(room))
        assert free_space.refusal(disk).errno == errno.ENOSPC


def test_of_many_that_write_at_once_none_takes_what_must_stay_free(tmp_path):
    with small_disk(tmp_path / "disk", 10) as disk:
        room, begun, refused = -free_space.lacking(os.statvfs(disk)), threading.Barrier(20), []

        def write(number):
            with (disk / f"{number}").open("wb") as file:
                begun.wait(10)
                try:
                    with free_space.taking(file.fileno(), room // 10):
                        file.write(bytes(room // 10))
                        file.flush()
                except OSError as error:
                    refused.append(error.errno)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert free_space.lacking(os.statvfs(disk)) <= 0
        assert set(refused) == {errno.ENOSPC}
        assert len(refused) >= 10
