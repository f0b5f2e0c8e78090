"""Commands to a running drive, from a program that is to start quickly: nothing here needs an event loop."""

from __future__ import annotations

import json
import os
import socket
import struct
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Protocol

from alyxfs import errors

if TYPE_CHECKING:
    from collections.abc import Iterator
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


class Talk:
    """A command that is being obeyed."""

    def __init__(self, place: Path, connection: socket.socket, stream: IO[bytes]) -> None:
        self._place = place
        self._connection = connection
        self._stream = stream
        self.answer: Any = None
        """The drive's, once it has told all news."""

    def news(self) -> Iterator[Any]:
        """What the drive tells meanwhile. Raises its own domain error, Unreachable where it ends."""
        while True:
            try:
                line = self._stream.readline()
            except OSError as error:
                raise _no_commands(self._place, error) from error
            if not line:
                raise errors.Unreachable("The drive ended before it answered.")
            said = json.loads(line)
            if "error" in said:
                raise getattr(errors, said.get("kind", ""), errors.AlyxfsError)(said["error"])
            if "result" in said:
                self.answer = said["result"]
                return
            yield said["news"]

    def say(self, **what: Any) -> None:
        """Tell the drive. Raises Unreachable."""
        try:
            self._connection.sendall(json.dumps(what).encode() + b"\n")
        except OSError as error:
            raise _no_commands(self._place, error) from error


@contextmanager
def talking(socket_path: Path, command: str, seconds: float | None = None, **arguments: Any) -> Iterator[Talk]:
    """Send a command to the drive that listens here; each word of it must come within so many seconds, or in its time.

    Raises Unreachable where none listens, AccessDenied where that is another user's.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(seconds)
        try:
            connection.connect(str(socket_path))
            owner = user_of(connection)
        except OSError as error:
            raise _no_commands(socket_path, error) from error
        if owner != os.geteuid():
            raise errors.AccessDenied(f"What listens at {socket_path} is not yours: it is told nothing.")
        with connection.makefile("rb") as stream:
            talk = Talk(socket_path, connection, stream)
            talk.say(command=command, **arguments)
            yield talk


def send_command(socket_path: Path, command: str, **arguments: Any) -> Any:
    """Send a command to the drive that listens here and return its answer.

    Raises the drive's own domain error, Unreachable where none listens, AccessDenied where that is another user's.
    """
    with talking(socket_path, command, ANSWER_SECONDS, **arguments) as talk:
        for _ in talk.news():
            pass
        return talk.answer


def _no_commands(place: Path, error: OSError) -> errors.Unreachable:
    return errors.Unreachable(f"The drive takes no commands at {place}: {error}.")
