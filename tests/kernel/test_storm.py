"""Many programs in one directory: nothing locks up, and when the daemon is killed in the middle every program ends.

``ALYXFS_CROWD=200 ALYXFS_STORM=60`` and ``ALYXFS_KILLS=200`` run the long forms: so many programs, seconds and kills.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from pathlib import Path

import pytest

from alyxfs.mount import KERNEL_GRACE
from asking import Asking
from crowd import Crowd, expected
from mounted import in_front, mounted, until
from processes import is_notifying, is_running
from writing import FAST

CROWD = int(os.environ.get("ALYXFS_CROWD", "12"))
SECONDS = float(os.environ.get("ALYXFS_STORM", "5"))
KILLS = int(os.environ.get("ALYXFS_KILLS", "3"))
KILLED_CROWD = 16
AT_ONCE = 2.0
"""Seconds in which every program must have ended after a kill."""
DEADLINE = 30.0 + KERNEL_GRACE + 2.0
"""Seconds that an operation may take: the option's default, what the kernel's side adds, and two for a busy machine."""
OPTIONS = ("--rw", *FAST, "--deletes-per-minute", "1000000")
SUPPORT = Path(__file__).parents[1] / "support"


def truth(asking, mark):
    """The tokens of all records of a storm on the server, by id."""
    rows = asking.rows(f"/sessions?task_protocol={mark}-")
    return {row["id"]: row["task_protocol"] for row in rows if row["task_protocol"].startswith(f"{mark}-")}


def check(steps, found):
    """Each record is there once, as its program left it, and there is no other; returns how the steps ended."""
    tokens = Counter(found.values())
    assert all(count == 1 for count in tokens.values()), f"doubled: {tokens.most_common(3)}"
    explained = set()
    for program in steps:
        assert all(step["right"] for step in program if "ended" in step), "a program read what it had not written"
        for record, states in expected(program).items():
            now = states & tokens.keys()
            assert len(now) <= 1, f"{record} was made twice: {now}"
            assert now or None in states, f"{record} is lost: it should be one of {states}"
            explained |= now
    assert tokens.keys() <= explained, f"nobody made {tokens.keys() - explained}"
    return Counter(step["errno"] for program in steps for step in program if "ended" in step)


@pytest.mark.timeout(SECONDS + 600)
def test_no_operation_of_many_programs_in_one_directory_takes_longer_than_it_may(changing, home):
    changing.control(reset=True)
    mark = f"storm{uuid.uuid4().hex[:8]}"
    with mounted(changing.url, home, *OPTIONS) as drive:
        crowd = Crowd(CROWD, drive / "sessions", SECONDS, mark)
        try:
            late = crowd.wait(SECONDS + 2 * DEADLINE)
        finally:
            crowd.kill()
        assert not late, "programs hang"
        steps = crowd.steps()
        took = [step["seconds"] for program in steps for step in program if "ended" in step]
        longest = {name: max(seconds.get(name, 0.0) for seconds in took) for name in {*itertools.chain(*took)}}
        assert len(os.listdir(drive / "sessions")) > 0
        ended = check(steps, truth(Asking(changing.url), mark))
        print(f"{CROWD} programs, {SECONDS:g} s: {len(took)} steps, the longest took {longest}, ended {dict(ended)}")
        assert ended.keys() == {0}
        assert max(longest.values()) < DEADLINE, longest


def killable(demo, home, *program):
    """A writable drive of the demo in a process that may be killed."""
    credentials = {"ALYXFS_USER": "demo", "ALYXFS_PASSWORD": "demo"}
    return in_front(demo.url, home, *program, options=OPTIONS, **credentials)


@pytest.mark.timeout(KILLS * 30 + 120)
def test_when_the_daemon_is_killed_in_a_storm_every_program_ends_and_nothing_is_lost_or_doubled(changing, home):
    """Every fourth time the kill is made while a thread is inside a notification that waits for the directory."""
    changing.control(reset=True)
    asking, chance = Asking(changing.url), random.Random(KILLS)
    place, slowest, inside, ended = home / "inode", 0.0, 0, Counter()
    for kill in range(KILLS):
        mark = f"kill{uuid.uuid4().hex[:8]}"
        is_inside = kill % 4 == 0
        program = (str(SUPPORT / "notifying_drive.py"), str(place)) if is_inside else ("-m", "alyxfs")
        with killable(changing, home, *program) as (process, path):
            place.write_text(f"name {(path / 'sessions').stat().st_ino}")
            crowd = Crowd(KILLED_CROWD, path / "sessions", 60, mark)
            try:
                until(lambda crowd=crowd: crowd.ended() > KILLED_CROWD, "the storm")
                time.sleep(chance.uniform(0.0, 1.0))
                if is_inside:
                    process.send_signal(signal.SIGUSR2)
                    until(lambda process=process: seen_inside(process), "a thread inside a notification")
                inside += is_notifying(process.pid)
                process.kill()
                killed = time.monotonic()
                late = crowd.wait(AT_ONCE)
                slowest = max(slowest, time.monotonic() - killed)
            finally:
                crowd.kill()
            assert not late, f"kill {kill}: programs {late} hang"
            until(lambda process=process: not is_running(process.pid), "the end of the daemon", AT_ONCE)
            until(lambda path=path: not os.path.ismount(path), "the unmount", AT_ONCE)
        with killable(changing, home, "-m", "alyxfs") as (_, path):
            assert os.listdir(path / "sessions")
            ended += check(crowd.steps(), truth(asking, mark))
    print(f"{KILLS} kills, {inside} inside a notification: the last program ended after {slowest:.2f} s, {dict(ended)}")
    assert inside >= KILLS // 4


MAPPING = """
import errno, mmap, os, sys
while True:
    for path in sys.argv[1:]:
        child = os.fork()
        if child == 0:  # a page that cannot be had ends it by a signal
            try:
                with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pages:
                    for offset in range(0, len(pages), 4096):
                        pages[offset]
            except OSError as error:
                os._exit(error.errno in {errno.ENOTCONN, errno.ECONNABORTED, errno.ENOENT})
            os._exit(0)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1:
            sys.exit(0)
"""


@pytest.mark.timeout(KILLS * 30 + 120)
def test_when_it_is_killed_while_files_of_another_size_are_mapped_every_program_ends(changing, home):
    """Every fourth time the kill is made while a thread is inside a notification that waits for a page."""
    changing.control(reset=True)
    chance, slowest, inside = random.Random(KILLS), 0.0, 0
    place = home / "inode"
    for kill in range(KILLS):
        shutil.rmtree(home / ".cache" / "alyxfs" / "files", ignore_errors=True)
        is_inside = kill % 4 == 0
        program = (str(SUPPORT / "notifying_drive.py"), str(place)) if is_inside else ("-m", "alyxfs")
        with killable(changing, home, *program) as (process, path):
            files = sorted(path.glob("data/*/Subjects/KS002/2023-02-03/001/**/odd.sizeToo*"))
            assert files
            command = [sys.executable, "-S", "-c", MAPPING, *map(str, files)]
            programs = [subprocess.Popen(command) for _ in range(KILLED_CROWD // 2)]
            try:
                time.sleep(chance.uniform(0.5, 2.0))
                assert os.listdir(path / "subjects"), "nothing locks up"
                assert all(program.poll() is None for program in programs)
                if is_inside:
                    place.write_text("pages")
                    process.send_signal(signal.SIGUSR2)
                    until(lambda process=process: stays_inside(process), "a thread that stays inside a notification")
                    inside += 1
                process.kill()
                killed = time.monotonic()
                for program in programs:
                    program.wait(max(0.0, killed + AT_ONCE - time.monotonic()))
                slowest = max(slowest, time.monotonic() - killed)
            finally:
                for program in programs:
                    program.kill()
                    program.wait(10)
            until(lambda path=path: not os.path.ismount(path), "the unmount", AT_ONCE)
    print(f"{KILLS} kills, {inside} inside a notification: the last program ended after {slowest:.2f} s")
    assert inside == (KILLS + 3) // 4


def seen_inside(process):
    """Whether a thread is there; else it has been, and another one is sent."""
    if is_notifying(process.pid):
        return True
    process.send_signal(signal.SIGUSR2)
    return False


def stays_inside(process):
    """Whether a thread is there, and not only in passing."""
    return all(is_notifying(process.pid) for _ in range(20))
