"""A tiny process that outlives the daemon, so that no program hangs on a drive whose daemon was killed.

The kernel gives up a drive when /dev/fuse is closed. A killed process closes it when its last thread has ended, and a
thread that waits in the kernel for one of the process's own answers never ends. The guardian, which never opens
/dev/fuse, then aborts the connection, so that every program gets an error, and unmounts what is left.

It is told of the daemon's end by the parent-death signal, which comes when the thread that started the guardian has
ended, however many others are left (PR_SET_PDEATHSIG in prctl(2)); and by the end of a pipe.

This file is also the program that it runs: it uses the standard library only, so that it starts in some milliseconds
and takes little memory.
"""

from __future__ import annotations

import errno
import os
import re
import select
import signal
import sys
from pathlib import Path
from typing import NamedTuple

CONNECTIONS = Path("/sys/fs/fuse/connections")
MOUNT_TABLE = Path("/proc/self/mountinfo")
ENDED = b"ended\n"
"""What the daemon says when it has unmounted the drive itself."""
PATIENCE = 5.0
"""Seconds to wait for the guardian's end, for the program that unmounts, and for a drive to answer."""
SOON = 0.5
"""Seconds in which a drive answers, and a dead process loses its threads."""

_PR_SET_PDEATHSIG = 1
"""linux/prctl.h."""
_FORCED_AND_DETACHED = 1 | 2 | 8
"""MNT_FORCE, MNT_DETACH and UMOUNT_NOFOLLOW of sys/mount.h: the first aborts the connection, where root says so."""
_ESCAPED = re.compile(rb"\\([0-7]{3})")


class Guardian:
    """The daemon's side. Must be made in the daemon's main thread, before the drive is mounted."""

    def __init__(self, mount_point: Path) -> None:
        import subprocess  # noqa: PLC0415 - the guardian itself does without it until the daemon is dead

        self._process = subprocess.Popen(  # noqa: S603 - this very file
            [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(mount_point)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # what ends the daemon from a terminal is not for its guardian
            cwd="/",
            env={"PATH": os.environ.get("PATH", os.defpath)},  # and no password or token
        )
        self._mount_point = mount_point

    def mounted(self) -> None:
        """The drive is mounted now."""
        minors = [mount.minor for mount in drives() if mount.place == self._mount_point]
        if minors:
            self._say(b"%d %d\n" % Connection.of(minors[-1]))

    def dismiss(self) -> None:
        """The drive is unmounted: nothing is left to guard."""
        self._say(ENDED)
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)

    def _say(self, words: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(words)
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # somebody has killed it


class Mount(NamedTuple):
    """A line of the table of mounts (proc_pid_mountinfo(5)), as far as it matters here."""

    minor: int
    """Of the device; also the name of the connection's directory among the CONNECTIONS."""
    file_system: bytes
    place: Path


class Connection(NamedTuple):
    """What tells a drive from one that was mounted before or after it."""

    minor: int
    """Given again once it is free."""
    inode: int
    """Of the connection's directory, never given again soon; 0 where it cannot be seen: the file system of connections
    need not be mounted."""

    @classmethod
    def of(cls, minor: int) -> Connection:
        """The present connection of this device."""
        try:
            return cls(minor, (CONNECTIONS / str(minor)).stat().st_ino)
        except OSError:
            return cls(minor, 0)


def drives() -> list[Mount]:
    """The drives of alyxfs that are mounted, the last one at a place last; none of them is asked."""
    found = []
    for line in MOUNT_TABLE.read_bytes().rstrip(b"\n").split(b"\n"):  # a carriage return in a name ends no line
        fields = line.split(b" ")
        place = _ESCAPED.sub(lambda code: bytes([int(code[1], 8)]), fields[4])
        kind = fields[fields.index(b"-") + 1]
        found.append(Mount(int(fields[2].split(b":")[1]), kind, Path(os.fsdecode(place))))
    return [mount for mount in found if mount.file_system == b"fuse.alyxfs"]


def is_dead(mount_point: Path, daemon: int) -> bool:
    """Whether nobody answers at this place any more.

    Who is slow is waited for, unless the dead daemon has threads left: such a thread waits for the end of the drive.
    """
    import threading  # noqa: PLC0415 - see above

    failures = []

    def look() -> None:
        try:
            os.statvfs(mount_point)  # attributes would come from the kernel's cache
        except OSError as error:
            failures.append(error.errno)

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    looking.join(SOON)
    if not _has_threads(daemon):
        looking.join(PATIENCE)
    return looking.is_alive() or bool({errno.ENOTCONN, errno.ECONNABORTED} & set(failures))


def abort(minor: int) -> bool:
    """Make every request of the drive fail, those under way, too; False where the kernel does not let us."""
    try:
        (CONNECTIONS / str(minor) / "abort").write_bytes(b"1")
    except OSError:
        return False
    return True


def force_unmount(mount_point: Path) -> bool:
    """Make every request of the drive fail, and take it away, whoever uses it; False where we are not root."""
    import ctypes  # noqa: PLC0415 - see above

    return bool(ctypes.CDLL(None).umount2(os.fsencode(mount_point), _FORCED_AND_DETACHED) == 0)


def unmount(mount_point: Path) -> None:
    """Take away what is mounted there, whoever uses it."""
    import subprocess  # noqa: PLC0415 - see above

    if force_unmount(mount_point):
        return
    command = ["fusermount3", "-u", "-z", "--", str(mount_point)]
    subprocess.run(command, stdin=subprocess.DEVNULL, timeout=PATIENCE, check=False)  # noqa: S603


def _is_running(daemon: int) -> bool:
    """Whether its main thread is: the process has its number for as long as any of its threads lives."""
    try:
        state = Path(f"/proc/{daemon}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except OSError:
        return False
    return state not in {b"Z", b"X"}


def _has_threads(process: int) -> bool:
    """Whether a process has other threads than its main one, which has ended."""
    try:
        return len(list(Path(f"/proc/{process}/task").iterdir())) > 1
    except OSError:
        return False


def _wait(daemon: int) -> bytes:
    """All that the daemon says until it has ended, or is dead."""
    import ctypes  # noqa: PLC0415 - see above

    told, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.set_wakeup_fd(tell)
    signal.signal(signal.SIGUSR1, lambda *_: None)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGUSR1)
    words = b""
    is_dead = not _is_running(daemon) or os.getppid() != daemon  # before we could be told
    os.set_blocking(0, False)
    while not words.endswith(ENDED):
        if not is_dead:
            is_dead = told in select.select([0, told], [], [])[0]
        try:
            part = os.read(0, 1024)
        except BlockingIOError:
            if is_dead:
                break
            continue
        if not part:
            break
        words += part
    return words


def main(daemon: int, mount_point: Path) -> None:
    """Guard the drive that the daemon, our parent, mounts here."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends with the daemon
    words = _wait(daemon)
    if words.endswith(ENDED):
        return
    connection = Connection(*map(int, words.split())) if words else None
    for mount in drives():
        is_its_own = connection is None or connection == Connection.of(mount.minor)
        if connection is None or not connection.inode:
            # It died before it could tell, or what it told may be true of a drive that was mounted since.
            is_its_own = is_its_own and mount.place == mount_point and is_dead(mount_point, daemon)
        if is_its_own:
            abort(mount.minor)
            unmount(mount.place)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
