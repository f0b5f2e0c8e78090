"""A second user of the machine, who tries everything that a path allows."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import socket
import stat
import traceback
import warnings

import pytest

NUMBER = 65534
"""The user "nobody"."""
PATIENCE = 60.0

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user of the machine")


def as_stranger(function, *arguments):
    """What the function returns (as JSON carries it) when the other user calls it, in a process of its own."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads of pytest hold nothing that is used here
        process = os.fork()
    if process == 0:
        os.close(reading)
        try:
            os.setgroups([])
            os.setgid(NUMBER)
            os.setuid(NUMBER)
            answer = {"result": function(*arguments)}
        except BaseException:  # noqa: BLE001 - the parent raises it
            answer = {"failure": traceback.format_exc()}
        with os.fdopen(writing, "w") as pipe:
            json.dump(answer, pipe)
        os._exit(0)
    os.close(writing)
    try:
        text = b""
        while select.select([reading], [], [], PATIENCE)[0] and (part := os.read(reading, 65536)):
            text += part
    finally:
        os.close(reading)
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
    answer = json.loads(text)
    assert "failure" not in answer, answer["failure"]
    return answer["result"]


def trials(path):
    """Every way of learning from a path or of changing it, by name."""

    def connect():
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)

    def read():
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            return file.read(1)

    return {
        "stat": lambda: os.lstat(path),
        "list": lambda: os.listdir(path),
        "read": read,
        "link": lambda: os.readlink(path),
        "xattrs": lambda: [os.getxattr(path, name) for name in os.listxattr(path)],
        "error": lambda: os.getxattr(path, "user.alyx.error"),
        "connect": connect,
        "write": lambda: os.close(os.open(path, os.O_WRONLY)),
        "truncate": lambda: os.truncate(path, 0),
        "chmod": lambda: os.chmod(path, 0o777),
        "chown": lambda: os.chown(path, NUMBER, NUMBER),
        "utime": lambda: os.utime(path),
        "set": lambda: os.setxattr(path, "user.alyx.mine", b"1"),
        "rename": lambda: os.rename(path, path + ".mine"),
        "unlink": lambda: os.unlink(path),
        "create": lambda: os.close(os.open(os.path.join(path, "mine.json"), os.O_CREAT | os.O_WRONLY)),
        "mkdir": lambda: os.mkdir(os.path.join(path, "mine")),
        "symlink": lambda: os.symlink("/", os.path.join(path, "mine")),
    }


LOOKING = {"stat", "list", "read", "link", "xattrs"}
NOTHING_THERE = {errno.ENOTDIR, errno.EINVAL, errno.EISDIR, errno.ECONNREFUSED, errno.ENXIO, errno.ELOOP, errno.ENOTSUP}
"""Answers that tell of the kind of the thing alone: a directory cannot be read, a file not listed."""


def what_works(paths):
    """The trials that succeed, by path."""
    found = {}
    for path in paths:
        found[path] = []
        for name, attempt in trials(path).items():
            with contextlib.suppress(OSError):
                if attempt() or name != "xattrs":  # that a private file has no attributes is no secret
                    found[path].append(name)
    return {path: names for path, names in found.items() if names}


def everything_below(directory):
    """All paths below a directory, as root sees them, without entering other file systems."""
    device = os.lstat(directory).st_dev
    yield str(directory)
    for entry in os.scandir(directory):
        state = entry.stat(follow_symlinks=False)
        if stat.S_ISDIR(state.st_mode) and state.st_dev == device:
            yield from everything_below(entry.path)
        else:
            yield entry.path
