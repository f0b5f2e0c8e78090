"""Another internet for one process: Python imports this at its start where the folder is in PYTHONPATH.

``PRETENDED_NAMES``: JSON, IP addresses by host name; of a list of lists, one for each time the name is resolved, the
last one for ever. ``PRETENDED_ROUTES``: JSON, where connections to an IP address go in truth; all others are refused,
and noted in the file ``PRETENDED_LOG``. So is what is written outside of the folders in ``PRETENDED_ROOTS`` (parted by
colons), and what of the folder ``PRETENDED_HOME`` is as much as opened there, and which programs are started.
"""

import json
import os
import socket
import sys

_names = json.loads(os.environ["PRETENDED_NAMES"])
_routes = json.loads(os.environ["PRETENDED_ROUTES"])
_resolved = dict.fromkeys(_names, 0)
_getaddrinfo, _connect = socket.getaddrinfo, socket.socket.connect
_roots = tuple(filter(None, os.environ.get("PRETENDED_ROOTS", "").split(":")))
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {
    *("os.mkdir", "os.rename", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown"),
    *("os.utime", "os.setxattr", "os.removexattr", "sqlite3.connect"),
}
_STARTS = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn"}


def note(line):
    descriptor = _open(os.environ["PRETENDED_LOG"], os.O_WRONLY | os.O_APPEND)
    try:
        os.write(descriptor, f"{line}\n".encode("utf-8", "backslashreplace"))
    finally:
        os.close(descriptor)


def watch(event, arguments):
    """Audit hook (PEP 578)."""
    if event == "open":
        paths, writes = arguments[:1], bool((arguments[2] or 0) & _WRITING)
    elif event in {"os.remove", "os.rmdir"}:  # shutil.rmtree names what is in a folder by the folder's descriptor
        folder = f"/proc/self/fd/{arguments[1]}" if arguments[1] >= 0 else ""
        paths, writes = (os.path.join(os.path.realpath(folder), os.fsdecode(arguments[0])),), True
    elif event in _CHANGES:
        paths, writes = arguments[: 2 if event in {"os.rename", "os.link"} else 1], True
    elif event in _STARTS:
        own = any(name in str(arguments) for name in ("fusermount", "alyxfs.", "ldconfig"))  # the last by ctypes
        return None if own and event != "os.system" else note(f"{event} {arguments}")
    else:
        return None
    for path in paths:
        if isinstance(path, int) or path is None:
            continue
        place = os.path.abspath(os.fsdecode(path))
        if place.startswith(_roots) or place.startswith(("/dev/", "/proc/", os.environ["PRETENDED_LOG"])):
            continue
        if writes or place.startswith(os.environ["PRETENDED_HOME"]):
            note(f"{event} {place}")
    return None


_open = os.open
if _roots:
    sys.addaudithook(watch)


def getaddrinfo(host, port, *arguments, **options):
    name = host.decode("ascii") if isinstance(host, bytes) else host
    if name not in _names:
        return _getaddrinfo(host, port, *arguments, **options)
    answers = _names[name]
    if isinstance(answers[0], list):
        answers = answers[min(_resolved[name], len(answers) - 1)]
    _resolved[name] += 1
    return [found for address in answers for found in _getaddrinfo(address, port, *arguments, **options)]


def connect(self, address):
    if self.family in {socket.AF_INET, socket.AF_INET6}:
        if address[0] not in _routes:
            note(f"{address[0]} {address[1]}")
            raise ConnectionRefusedError(111, "Connection refused")
        address = (_routes[address[0]], *address[1:])
    return _connect(self, address)


socket.getaddrinfo = getaddrinfo
socket.socket.connect = connect
