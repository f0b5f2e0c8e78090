"""The end of the drive's private socket at which it takes commands: one JSON line asks, one answers.

A read-only mount takes no writes, not even of extended attributes, so a file in the drive could not serve.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
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

Handlers: TypeAlias = Mapping[str, Callable[[dict[str, Any]], Awaitable[Any]]]


@contextlib.asynccontextmanager
async def serving_control(path: Path, handlers: Handlers) -> AsyncIterator[None]:
    """Take commands at this socket, which only its owner may use, for as long as the block lasts."""
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
            tasks.keep(_accept, trio.SocketListener(listening), handlers)
            yield
    finally:
        path.unlink(missing_ok=True)


async def _accept(listener: trio.SocketListener, handlers: Handlers) -> None:
    async def handle(stream: trio.SocketStream) -> None:
        try:
            peer = user_of(stream.socket)
            if peer not in {os.geteuid(), 0}:  # the socket's mode keeps others out; this holds whatever becomes of it
                log.warning("a command of user %s is refused", peer)
                return
            answer = await _obey(await _read_line(stream), handlers)
            await stream.send_all(json.dumps(answer).encode() + b"\n")
        except trio.BrokenResourceError:
            pass  # a command that was interrupted reads no answer
        except Exception as error:  # noqa: BLE001 - one command must not end the others
            note_defect(error, "a command to the drive")

    await trio.serve_listeners(handle, [listener])


async def _read_line(stream: trio.SocketStream) -> bytes:
    line = b""
    with trio.move_on_after(5):
        while not line.endswith(b"\n") and len(line) < MAXIMUM_LINE:
            received = await stream.receive_some()
            if not received:
                break
            line += received
    return line


async def _obey(line: bytes, handlers: Handlers) -> dict[str, Any]:
    try:
        command = json_text.decode(line)
        handler = handlers[command["command"]]
    except (ValueError, KeyError, TypeError):
        return {"error": "This drive does not know that command."}
    try:
        return {"result": await handler(command)}
    except Exception as error:  # noqa: BLE001 - whoever gave the command is told
        failure = as_domain_error(error, f"the command {command['command']}")
        return {"error": str(failure), "kind": type(failure).__name__}
