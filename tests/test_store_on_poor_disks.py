"""What is known of a server on disks that are full, or refuse what is written.

``ALYXFS_DISK_FAULTS=all`` has every write of a transaction fail; else some.
"""

from __future__ import annotations

import errno
import os
import random

import pytest

from alyxfs.free_space import FREE_SHARE
from alyxfs.store import Store, StoredRecord
from poor_disk import poor_disk
from small_disk import small_disk, watching

ALL = os.environ.get("ALYXFS_DISK_FAULTS") == "all"


def record(identity, body=b"{}", at=1000.0):
    return StoredRecord(identity, identity, True, body, at, at)


def test_some_of_a_small_disk_stays_free(tmp_path):
    with small_disk(tmp_path / "disk", 8) as disk, watching(disk) as watch:
        opened = Store(disk / "store.sqlite")
        for number in range(100):
            body = random.Random(number).randbytes(100_000)
            opened.put_records("labs", [record(str(number), body)])
        assert "nearly full" in opened.trouble
        opened.outdate("labs", "1")
        assert opened.record("labs", "1").fetched_at == 0, "a mark takes no room"
        assert opened.record("labs", "1").body == random.Random(1).randbytes(100_000)
        opened.close()
    assert watch.least >= FREE_SHARE


def test_what_a_disk_refuses_is_kept_in_memory_until_it_takes_it(tmp_path):
    with poor_disk(tmp_path / "source", tmp_path / "disk") as disk:
        disk.fail(0, errno.ENOSPC, for_ever=True)
        opened = Store(disk.path / "cache" / "store.sqlite")
        opened.put_records("labs", [record("1")])
        assert opened.record("labs", "1") is not None
        assert "No space left" in opened.trouble
        disk.recover()
        opened._file._try_again_at = 0.0
        opened.put_records("labs", [record("2")])
        assert opened.record("labs", "2") is not None
        assert not opened.trouble
        opened.close()
        opened = Store(disk.path / "cache" / "store.sqlite")
        assert opened.record("labs", "2") is not None
        opened.close()


def test_what_changes_nothing_is_no_sign_that_the_disk_takes_things_again(tmp_path):
    with poor_disk(tmp_path / "source", tmp_path / "disk") as disk:
        opened = Store(disk.path / "cache" / "store.sqlite")
        disk.fail(0, errno.ENOSPC, for_ever=True)
        opened.put_records("labs", [record("1")])
        opened.forget_listing("labs", "")
        assert "is full" in opened.trouble
        disk.recover()
        opened.put_records("labs", [record("1")])
        assert not opened.trouble
        opened.close()


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT], ids=errno.errorcode.get)
@pytest.mark.parametrize("for_ever", [False, True])
def test_whatever_write_of_it_fails_nothing_is_raised_and_it_goes_on(tmp_path, error, for_ever):
    with poor_disk(tmp_path / "source", tmp_path / "disk") as disk:
        for number in range(0, 16, 1 if ALL else 5):
            path = disk.path / str(number) / "store.sqlite"
            Store(path).close()
            opened = Store(path)
            opened.put_records("labs", [record("1", b"before")])
            disk.fail(number, error, for_ever=for_ever)
            opened.put_records("labs", [record(str(one), b"x" * 50_000, at=2000.0) for one in range(20)])
            assert opened.record("labs", "1") is None or opened.record("labs", "1").body in {b"before", b"x" * 50_000}
            opened.put_document("schema", b"{}")
            disk.recover()
            opened._file._try_again_at = 0.0
            opened.put_records("labs", [record("1", b"after", at=3000.0)])
            assert opened.record("labs", "1").body == b"after"
            assert not opened.trouble
            opened.close()
            opened = Store(path)
            assert opened.record("labs", "1").body == b"after"
            opened.close()
