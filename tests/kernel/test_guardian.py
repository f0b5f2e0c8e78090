"""When the daemon dies, in whatever way, no program hangs on its drive, and the place can be used again."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from mounted import in_front, run_alyxfs, until
from processes import children, is_notifying, is_running
from small_alyx import small_alyx

SUPPORT = Path(__file__).parents[1] / "support"
AT_ONCE = 2.0
"""Seconds in which a program must have its error; on an idle machine it takes some hundredths."""


@pytest.fixture
def alyx():
    with small_alyx() as alyx:
        alyx.put("subjects", [{"nickname": "A"}])
        yield alyx
        if alyx.slow is not None:
            alyx.slow.set()


def killable(alyx, home, *program):
    """A drive in a process that may be killed."""
    return in_front(alyx.url, home, *program, ALYXFS_TOKEN="good")


def reading(path):
    """A program that reads a file; it says whether it got it."""
    return subprocess.Popen(["cat", str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def ends_with_an_error(program):
    began = time.monotonic()
    _, said = program.communicate(timeout=30)
    assert program.returncode != 0
    assert time.monotonic() - began < AT_ONCE, said


def is_on_guard(guardian):
    """Whether it has begun to wait for the signal that tells of the daemon's end."""
    caught = re.search(r"SigCgt:\s+(\w+)", Path(f"/proc/{guardian}/status").read_text()).group(1)
    return bool(int(caught, 16) & 1 << signal.SIGUSR1 - 1)


def can_be_used_again(alyx, home, path):
    if alyx.slow is not None:
        alyx.slow.set()
        alyx.slow = None
    until(lambda: not os.path.ismount(path), "the unmount", AT_ONCE)
    done = run_alyxfs(home, "mount", alyx.url, str(path), ALYXFS_TOKEN="good")
    assert done.returncode == 0, done.stderr
    assert os.listdir(path / "subjects") == ["A.json"]
    assert run_alyxfs(home, "umount", str(path)).returncode == 0


def test_programs_that_wait_get_an_error_when_the_daemon_is_killed(alyx, home):
    with killable(alyx, home) as (process, path):
        os.listdir(path / "subjects")
        (guardian,) = children(process.pid)
        alyx.slow = threading.Event()
        program = reading(path / "subjects" / "A.json")
        until(lambda: any("/subjects/A" in asked for asked in alyx.asked), "the program's request")
        process.kill()
        ends_with_an_error(program)
        until(lambda: not is_running(guardian), "the guardian's own end", AT_ONCE)
        can_be_used_again(alyx, home, path)


def test_also_where_a_thread_is_inside_a_notification_and_cannot_die(alyx, home):
    place = home / "inode"
    with killable(alyx, home, str(SUPPORT / "notifying_drive.py"), str(place)) as (process, path):
        if not os.access(f"/proc/{process.pid}/stack", os.R_OK):
            pytest.skip("where a thread is in the kernel, root alone is told")
        os.listdir(path / "subjects")
        place.write_text(f"name {(path / 'subjects').stat().st_ino}")
        alyx.slow = threading.Event()
        program = reading(path / "subjects" / "B.json")  # the look-up holds the directory's lock
        until(lambda: any("/subjects/B" in asked for asked in alyx.asked), "the program's request")
        process.send_signal(signal.SIGUSR2)
        until(lambda: is_notifying(process.pid), "the thread inside the notification")
        process.kill()
        ends_with_an_error(program)
        assert process.wait(AT_ONCE) == -signal.SIGKILL
        can_be_used_again(alyx, home, path)


@pytest.mark.parametrize("background", [True, False])
def test_it_holds_nothing_of_who_started_the_drive_and_goes_with_the_drive(alyx, home, background):
    path = home / "drive"
    with contextlib.ExitStack() as stack:
        if background:
            done = run_alyxfs(home, "mount", alyx.url, str(path), ALYXFS_TOKEN="good")
            assert done.returncode == 0, done.stderr
            stack.callback(subprocess.run, ["umount", "-l", str(path)], capture_output=True, check=False)
            daemon = int(run_alyxfs(home, "status", "--json", str(path)).stdout.split('"process": ')[1].split(",")[0])
        else:
            daemon = stack.enter_context(killable(alyx, home))[0].pid
        (guardian,) = children(daemon)
        until(lambda: is_on_guard(guardian), "the guardian")
        held = {os.readlink(each) for each in Path(f"/proc/{guardian}/fd").iterdir()}
        assert {each for each in held if not each.startswith("pipe:")} == {os.devnull}
        assert not held & {os.readlink(each) for each in Path("/proc/self/fd").iterdir() if each.exists()} - {
            os.devnull
        }
        assert b"good" not in Path(f"/proc/{guardian}/environ").read_bytes(), "nor a token"
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(guardian, number)  # as a session that ends does to all its processes
        assert is_running(guardian)
        subprocess.run(["umount", str(path)], check=True)
        until(lambda: not is_running(daemon), "the end of the daemon")
        assert not is_running(guardian)


def test_what_is_mounted_there_meanwhile_is_left_alone(alyx, home):
    """The guardian of a drive that was killed comes late: the drive that it sees there is another one."""
    with killable(alyx, home) as (process, path):
        (guardian,) = children(process.pid)
        os.kill(guardian, signal.SIGSTOP)
        process.kill()
        process.wait(10)
        subprocess.run(["umount", "-l", str(path)], check=True)
        done = run_alyxfs(home, "mount", alyx.url, str(path), ALYXFS_TOKEN="good")
        assert done.returncode == 0, done.stderr
        os.kill(guardian, signal.SIGCONT)
        until(lambda: not is_running(guardian), "the guardian's end")
        assert os.listdir(path / "subjects") == ["A.json"]
        assert run_alyxfs(home, "umount", str(path)).returncode == 0
