"""Orders to a running drive, through a private socket: one JSON line asks, one answers.

A read-only mount takes no writes, not even of extended attributes, so a file in the drive could not serve.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import trio

from alyxfs import errors
from alyxfs.nursery import background_tasks

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

MAXIMUM_LINE = 1024 * 1024
"""Bytes of an order; an answer, as that of `alyxfs log`, may be longer."""
ANSWER_SECONDS = 120.0
"""How long a command waits for the drive's answer."""

Handlers: TypeAlias = Mapping[str, Callable[[dict[str, Any]], Awaitable[Any]]]


@contextlib.asynccontextmanager
async def taking_orders(path: Path, handlers: Handlers) -> AsyncIterator[None]:
    """Take orders at this socket, which only its owner may use, for as long as the block lasts."""
    path.unlink(missing_ok=True)
    listening = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        await listening.bind(str(path))
    finally:
        os.umask(before)
    listening.listen()
    try:
        async with background_tasks() as nursery:
            nursery.start_soon(_accept, trio.SocketListener(listening), handlers)
            yield
    finally:
        path.unlink(missing_ok=True)


async def _accept(listener: trio.SocketListener, handlers: Handlers) -> None:
    async def handle(stream: trio.SocketStream) -> None:
        with contextlib.suppress(trio.BrokenResourceError):  # a command that was interrupted reads no answer
            line = await _read_line(stream)
            answer = await _obey(line, handlers)
            await stream.send_all(json.dumps(answer).encode() + b"\n")

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
        order = json.loads(line)
        handler = handlers[order["order"]]
    except (ValueError, KeyError, TypeError):
        return {"error": "This drive does not know that order."}
    try:
        return {"result": await handler(order)}
    except errors.AlyxfsError as error:
        return {"error": str(error), "kind": type(error).__name__}


def give_order(socket_path: Path, order: str, **arguments: Any) -> Any:
    """Send an order to the drive that listens here and return its answer. Raises the drive's own domain error."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(ANSWER_SECONDS)
        try:
            connection.connect(str(socket_path))
            connection.sendall(json.dumps({"order": order, **arguments}).encode() + b"\n")
            with connection.makefile("rb") as stream:
                line = stream.readline()
        except OSError as error:
            raise errors.Unreachable(f"The drive does not take orders at {socket_path}: {error}.") from error
    if not line:
        raise errors.Unreachable("The drive ended before it answered.")
    answer = json.loads(line)
    if "error" in answer:
        raise getattr(errors, answer.get("kind", ""), errors.AlyxfsError)(answer["error"])
    return answer["result"]
