"""Commands to a running drive, from a program that is to start quickly: nothing here needs an event loop."""

from __future__ import annotations

import json
import os
import socket
import struct
from typing import TYPE_CHECKING, Any, Protocol

from alyxfs import errors

if TYPE_CHECKING:
    from pathlib import Path

_CREDENTIALS = struct.Struct("iII")
"""struct ucred."""
ANSWER_SECONDS = 120.0
"""How long a command waits for the drive's answer."""


class _Connection(Protocol):
    def getsockopt(self, level: int, name: int, size: int, /) -> bytes: ...


def user_of(connection: _Connection) -> int:
    """The user at the other end, as the kernel knows it (SO_PEERCRED in unix(7): process, user, group)."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(credentials)[1])


def send_command(socket_path: Path, command: str, **arguments: Any) -> Any:
    """Send a command to the drive that listens here and return its answer.

    Raises the drive's own domain error, Unreachable where none listens, AccessDenied where that is another user's.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(ANSWER_SECONDS)
        try:
            connection.connect(str(socket_path))
            if user_of(connection) != os.geteuid():
                raise errors.AccessDenied(f"What listens at {socket_path} is not yours: it is told nothing.")
            connection.sendall(json.dumps({"command": command, **arguments}).encode() + b"\n")
            with connection.makefile("rb") as stream:
                line = stream.readline()
        except OSError as error:
            raise errors.Unreachable(f"The drive takes no commands at {socket_path}: {error}.") from error
    if not line:
        raise errors.Unreachable("The drive ended before it answered.")
    answer = json.loads(line)
    if "error" in answer:
        raise getattr(errors, answer.get("kind", ""), errors.AlyxfsError)(answer["error"])
    return answer["result"]
