"""Disks without locks and hard links (exFAT, some NFS and Lustre), and those that refuse what is written.

``ALYXFS_DISK_FAULTS=all`` has more writes of a drive's cache fail, and tries each way of refusing locks.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import random
import uuid
from pathlib import Path

import pytest

from alyxfs import claims
from alyxfs.control.client import send_command
from asking import Asking
from mounted import failure_of_reading, in_front, mounted, run_alyxfs, until
from poor_disk import poor_disk
from writing import FAST

USER = {"ALYXFS_USER": "demo", "ALYXFS_PASSWORD": "demo"}
LOST = "has no locks"
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
REFUSALS = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT)
FAULTS = 40 if os.environ.get("ALYXFS_DISK_FAULTS") == "all" else 3


@pytest.fixture(params=NO_LOCKS if FAULTS > 3 else NO_LOCKS[:1], ids=errno.errorcode.get)
def disk(request, tmp_path):
    """What refuses a lock in one of the ways that there are."""
    with poor_disk(tmp_path / "source", tmp_path / "disk", request.param) as disk:
        yield disk


@pytest.fixture
def lockless(tmp_path):
    with poor_disk(tmp_path / "source", tmp_path / "disk", errno.ENOLCK) as disk:
        yield disk


@pytest.fixture(scope="module")
def dataset(changing):
    """A file of some blocks, of which the database tells the truth: its place in a drive, and its content."""
    asking = Asking(changing.url)
    for dataset in asking.rows("/datasets?exists=true&name=signal.mb64.npy"):
        address = next((record["data_url"] for record in dataset["file_records"] if record["data_url"]), None)
        if dataset["session"] and address and asking.serves(address):
            content = Asking.bytes_of(address)
            assert hashlib.md5(content).hexdigest() == dataset["hash"]
            return asking.place(asking.get("/sessions/" + dataset["session"].rsplit("/", 1)[-1]), dataset), content
    raise AssertionError("the demo has no such file")


def kept_on(disk):
    """The variables of a user whose cache and state are on this disk."""
    return {"XDG_CACHE_HOME": str(disk.path / "cache"), "XDG_STATE_HOME": str(disk.path / "state"), **USER}


def folders(disk):
    return sorted(path.name for path in (disk.path / "cache" / "alyxfs" / "servers").iterdir())


def status(path):
    return json.loads((path / ".alyxfs" / "status.json").read_text())


def remarks(path):
    return status(path)["cache_remarks"]


def bytes_asked(demo):
    return [entry for entry in demo.requests() if entry["path"].startswith("/data_files")]


def is_whole(disk, content):
    """Whether the disk holds a data file of this size."""
    kept = (disk.path / "cache").rglob("blocks-1/*/*")
    return any(path.stat().st_blocks * 512 > len(content) for path in kept)


def test_what_was_read_and_saved_is_there_at_the_next_mount(disk, changing, dataset, home):
    place, content = dataset
    changing.control(reset=True)
    with mounted(changing.url, home, "--rw", *FAST, **kept_on(disk)) as drive:
        assert (drive / place).read_bytes() == content
        name = os.listdir(drive / "sessions")[0]
        saved = str(uuid.uuid4())
        (drive / "sessions" / name).write_text(json.dumps({"narrative": saved}))
        (sentence,) = remarks(drive.path)
        assert LOST in sentence
        assert sentence in " ".join(run_alyxfs(home, "status", str(drive.path)).stdout.split())
        assert any(sentence in line for line in drive.log), "said at mount"
    changing.clear_requests()
    with mounted(changing.url, home, "--rw", *FAST, **kept_on(disk)) as drive:
        assert (drive / place).read_bytes() == content
        assert bytes_asked(changing) == []
        assert saved in (drive / "sessions" / name).read_text()
        assert '"save"' in run_alyxfs(home, "log", "--json", str(drive.path)).stdout, "the journal, too"
    assert len(folders(disk)) == 1


def test_a_killed_drive_leaves_nothing_in_the_way_of_the_next(lockless, changing, home):
    changing.control(reset=True)
    for _ in range(2):
        with in_front(changing.url, home, options=("--rw", *FAST), **kept_on(lockless)) as (process, path):
            assert os.listdir(path / "subjects")
            process.kill()
    with mounted(changing.url, home, "--rw", *FAST, **kept_on(lockless)) as drive:
        assert os.listdir(drive / "subjects")
    assert len(folders(lockless)) == 1


def test_two_drives_at_once_keep_apart(lockless, changing, dataset, home, tmp_path):
    place, content = dataset
    changing.control(reset=True)
    variables = kept_on(lockless)
    with mounted(changing.url, home, "--rw", *FAST, **variables) as first:
        refused = run_alyxfs(home, "mount", "--rw", changing.url, str(tmp_path / "third"), **variables)
        assert refused.returncode == 3
        assert f"in use by process {first.process.pid}" in refused.stderr
        with mounted(changing.url, home, *FAST, directory=tmp_path / "second", **variables) as second:
            assert (first / place).read_bytes() == (second / place).read_bytes() == content
            assert [LOST in sentence for sentence in remarks(second.path)] == [True]
            assert len(folders(lockless)) == 2
    changing.clear_requests()
    with (
        mounted(changing.url, home, *FAST, **variables) as first,
        mounted(changing.url, home, *FAST, directory=tmp_path / "second", **variables) as second,
    ):
        assert (first / place).read_bytes() == (second / place).read_bytes() == content
        assert bytes_asked(changing) == [], "each has what it kept"
    assert len(folders(lockless)) == 2


def test_a_cache_that_is_removed_costs_only_time(lockless, changing, dataset, home):
    """Also where it was claimed: the claim goes with it."""
    place, content = dataset
    changing.control(reset=True)
    with mounted(changing.url, home, *FAST, **kept_on(lockless)) as drive:
        assert (drive / place).read_bytes() == content
        for path in sorted((lockless.path / "cache").rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        os.statvfs(drive.path)
        assert os.listdir(drive / "labs")
        pinned = run_alyxfs(home, "pin", str(drive / place), timeout=60)
        assert pinned.returncode == 0, pinned.stderr
        assert is_whole(lockless, content)
        with pytest.raises(claims.Claimed), claims.claimed(next((lockless.path / "cache").rglob("owner-*")).parent):
            pass


def test_of_two_who_take_over_what_a_dead_process_left_one_has_it(tmp_path):
    with claims.claimed(tmp_path):
        (claim,) = tmp_path.iterdir()
        with pytest.raises(claims.Claimed, match=f"process {os.getpid()}"), claims.claimed(tmp_path):
            pass
        dead = json.loads(claim.read_text())
    number, _, started = dead["process"].partition(" ")
    for left in (
        json.dumps({**dead, "process": f"{number} 1{started}"}),
        json.dumps({**dead, "process": f"{number} {started.partition('@')[0]}@earlier"}),
        "",
    ):
        (claim,) = tmp_path.iterdir()
        claim.write_text(left)
        with claims.claimed(tmp_path):
            assert int(claim.name.partition("-")[2]) < int(next(tmp_path.iterdir()).name.partition("-")[2])
    (claim,) = tmp_path.iterdir()
    for left in (
        {**dead, "process": f"{number} 1@other", "machine": "other"},
        {**dead, "namespace": "pid:[1]"},
    ):
        claim.write_text(json.dumps(left))
        with pytest.raises(claims.Claimed, match=f"remove {claim}"), claims.claimed(tmp_path):
            pass


@pytest.mark.timeout(60 + FAULTS * 20)
def test_whatever_write_of_the_cache_fails_the_drive_serves_what_is_right(tmp_path, changing, dataset, home):
    """And says so; after the disk has recovered all is kept again."""
    place, content = dataset
    changing.control(reset=True)
    chance, count = random.Random(FAULTS), 60
    with (
        poor_disk(tmp_path / "source", tmp_path / "disk") as disk,
        mounted(changing.url, home, *FAST, **kept_on(disk)) as drive,
    ):
        for error in itertools.islice(itertools.cycle(REFUSALS), FAULTS):
            number, for_ever = chance.randrange(count), chance.random() < 0.5
            disk.fail(number, error, for_ever=for_ever)
            for path in ("labs", "subjects", place):
                refresh(drive, path)
            assert os.listdir(drive / "labs")
            for name in os.listdir(drive / "subjects")[:3]:
                assert json.loads((drive / "subjects" / name).read_text())
            assert (drive / place).read_bytes() == content
            os.statvfs(drive.path)
            run_alyxfs(home, "pin", str(drive / place))  # what is refused is told, and is not what is tried here
            assert (drive / place).read_bytes() == content
            state, writes = status(drive.path), disk.recover()
            count = max(count, len(writes))
            if for_ever and number < len(writes):
                assert state["cache_remarks"], (
                    f"{errno.errorcode[error]} from write {number} of {writes} on is not told"
                )
            assert state["defects"] == 0, state["last_defect"]
            pinned = run_alyxfs(home, "pin", str(drive / place))
            assert pinned.returncode == 0, pinned.stderr
            refresh(drive, "labs")
            assert os.listdir(drive / "labs")
            until(lambda: not remarks(drive.path), "the end of the trouble")


def refresh(drive, path):
    send_command(Path(status(drive.path)["control_socket"]), "refresh", path=path)


def test_a_disk_that_takes_nothing_costs_the_caching_alone(tmp_path, changing, dataset, home):
    place, content = dataset
    changing.control(reset=True)
    with poor_disk(tmp_path / "source", tmp_path / "disk") as disk:
        disk.fail(0, errno.ENOSPC, for_ever=True)
        with mounted(changing.url, home, *FAST, XDG_CACHE_HOME=str(disk.path / "cache"), **USER) as drive:
            assert (drive / place).read_bytes() == content
            assert os.listdir(drive / "labs")
            assert all("No space left" in remark for remark in remarks(drive.path))
            assert len(remarks(drive.path)) == 2, "data files, and what is known of the server"


def test_a_table_of_rows_that_a_full_disk_did_not_keep_says_so_until_they_are_asked_for_again(tmp_path, changing, home):
    """Rows are kept on the disk, not in memory: without them the table would lack some and nobody would know."""
    changing.control(reset=True)
    with (
        poor_disk(tmp_path / "source", tmp_path / "disk") as disk,
        mounted(changing.url, home, *FAST, **kept_on(disk)) as drive,
    ):
        table = drive / "labs" / ".rows.jsonl"
        disk.fail(0, errno.ENOSPC, for_ever=True)
        names = os.listdir(drive / "labs")
        assert any("is not kept in" in remark for remark in remarks(drive.path))
        disk.recover()
        assert failure_of_reading(table) == errno.EIO
        told = (
            f"{len(names)} rows of labs could not be kept on this machine, as `alyxfs status` says; `alyxfs refresh` "
            "of labs asks for them again."
        )
        assert told in (drive / ".alyxfs" / "errors.log").read_text()
        refresh(drive, "labs")
        rows = [json.loads(line) for line in table.read_bytes().splitlines()]
        assert sorted(row["name"] + ".json" for row in rows) == sorted(names)
