"""The end of the drive's private socket at which it takes commands: one JSON line asks, one answers.

Some commands are conversations: more is told and said before the answer. A read-only mount takes no writes, not even of
extended attributes, so a file in the drive could not serve.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import trio

from alyxfs import json_text
from alyxfs.control.client import user_of
from alyxfs.defects import as_domain_error, note_defect
from alyxfs.private_files import FILE_MODE, claim_folder
from alyxfs.tasks import background_tasks

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

MAXIMUM_LINE = 1024 * 1024
"""Bytes of a command; an answer, as that of `alyxfs log`, may be longer."""

COMMAND_SECONDS = 5.0
"""How long whoever has connected may take to say what is to be done."""


class Conversation:
    """What follows a command, up to its answer."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream

    async def tell(self, news: Any) -> None:
        """Tell whoever gave the command. Raises trio.BrokenResourceError where that has ended."""
        await self._stream.send_all(json.dumps({"news": news}).encode() + b"\n")

    async def hear(self) -> Any:
        """What is said next, by a program that runs for as long as it likes; None where it has ended, or is no JSON."""
        try:
            return json_text.decode(await _read_line(self._stream, math.inf))
        except ValueError:
            return None


Handlers: TypeAlias = Mapping[str, Callable[[dict[str, Any]], Awaitable[Any]]]
Talks: TypeAlias = Mapping[str, Callable[[dict[str, Any], Conversation], Awaitable[Any]]]


@contextlib.asynccontextmanager
async def serving_control(path: Path, handlers: Handlers, talks: Talks | None = None) -> AsyncIterator[None]:
    """Take commands at this socket, which only its owner may use, for as long as the block lasts.

    ``talks`` are those that are conversations.
    """
    claim_folder(path.parent)
    path.unlink(missing_ok=True)
    listening = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
    await listening.bind(str(path))
    # Nobody can connect before it listens. The sticky bit keeps what clears temporary places away from it, however long
    # the drive is mounted (XDG Base Directory Specification, of XDG_RUNTIME_DIR; systemd-tmpfiles).
    path.chmod(FILE_MODE | stat.S_ISVTX)
    listening.listen()
    try:
        async with background_tasks() as tasks:
            tasks.keep(_accept, trio.SocketListener(listening), handlers, talks or {})
            yield
    finally:
        path.unlink(missing_ok=True)


async def _accept(listener: trio.SocketListener, handlers: Handlers, talks: Talks) -> None:
    async def handle(stream: trio.SocketStream) -> None:
        try:
            peer = user_of(stream.socket)
            if peer not in {os.geteuid(), 0}:  # the socket's mode keeps others out; this holds whatever becomes of it
                log.warning("a command of user %s is refused", peer)
                return
            answer = await _obey(await _read_line(stream, COMMAND_SECONDS), handlers, talks, Conversation(stream))
            await stream.send_all(json.dumps(answer).encode() + b"\n")
        except trio.BrokenResourceError:
            pass  # a command that was interrupted reads no answer
        except Exception as error:  # noqa: BLE001 - one command must not end the others
            note_defect(error, "a command to the drive")

    await trio.serve_listeners(handle, [listener])


async def _read_line(stream: trio.SocketStream, seconds: float) -> bytes:
    line = b""
    with trio.move_on_after(seconds):
        while not line.endswith(b"\n") and len(line) < MAXIMUM_LINE:
            received = await stream.receive_some()
            if not received:
                break
            line += received
    return line


async def _obey(line: bytes, handlers: Handlers, talks: Talks, conversation: Conversation) -> dict[str, Any]:
    try:
        command = json_text.decode(line)
        name = command["command"]
        work = partial(talks[name], command, conversation) if name in talks else partial(handlers[name], command)
    except (ValueError, KeyError, TypeError):
        return {"error": "This drive does not know that command."}
    try:
        return {"result": await work()}
    except trio.BrokenResourceError:  # who is told has ended
        raise
    except Exception as error:  # noqa: BLE001 - whoever gave the command is told
        failure = as_domain_error(error, f"the command {command['command']}")
        return {"error": str(failure), "kind": type(failure).__name__}
