"""Answers, whole or still under way."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from alyxfs import counters, errors
from alyxfs.net.addresses import shown
from alyxfs.net.failures import FAILURES, broken_off
from alyxfs.net.http1 import Body

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    import httpx

log = logging.getLogger(__name__)

RECEIVED = "alyxfs.received"
"""The extension of a response that counts its bytes."""
LARGEST_BODY = 24 * 1024**2
"""Bytes of an answer that is read whole, where the caller does not say: half more than a list page is planned to have
(PAGE_BYTES in alyx/pagination), and than a record may have that is written."""
LARGEST_REFUSAL = 1024**2
"""Bytes that are read of an answer that is no success: only its words matter."""


@dataclass(frozen=True)
class Answer:
    """One whole HTTP answer."""

    status: int
    headers: Mapping[str, str]
    """Names are case-insensitive."""
    body: bytes
    url: str


@dataclass(frozen=True)
class StreamedAnswer:
    """An answer whose body is still under way."""

    status: int
    headers: Mapping[str, str]
    url: str
    chunks: AsyncIterator[bytes]
    """The body as sent, without content decoding; raises a domain error where the connection breaks."""
    read_into: Callable[[memoryview], Awaitable[int]] | None
    """Puts the next bytes of the body into a buffer, with no copy between, and says how many; 0 at its end. None where
    the answer does not tell its length. Use this or ``chunks``; it raises the same."""


async def whole(response: httpx.Response, largest: int) -> Answer:
    """The answer with its body as it was sent, since a few compressed bytes could become any number.

    Of a refusal only the beginning is read. Raises ServerFault, or AnswerTooLarge past ``largest`` bytes.
    """
    url = shown(str(response.url))
    is_compressed = response.headers.get("content-encoding", "").strip().lower() not in {"", "identity"}
    answer = streamed(response)
    parts, length = [], 0
    try:
        if is_compressed and not response.is_error:
            raise errors.ServerFault(
                f"{url} came compressed though it was asked for as it is: the server, or a proxy on the way, ignores "
                "Accept-Encoding.",
                status=response.status_code,
                url=url,
            )
        async for part in answer.chunks:
            if is_compressed:
                break
            parts.append(part)
            length += len(part)
            if length > largest and not response.is_error:
                raise errors.AnswerTooLarge(f"{url} sends more than {largest} bytes.", url=url)
            if length > LARGEST_REFUSAL and response.is_error:
                break
    except BaseException:
        part = b""  # the error leads to this frame: what it is kept for would hold the body, too
        parts.clear()
        raise
    finally:
        await end(response, answer)
    return Answer(response.status_code, response.headers, b"".join(parts), answer.url)


def streamed(response: httpx.Response) -> StreamedAnswer:
    """The answer while its body comes; see :func:`end`."""
    return StreamedAnswer(
        response.status_code, response.headers, str(response.url), _chunks(response), _read_into(response)
    )


async def end(response: httpx.Response, answer: StreamedAnswer) -> None:
    """Leave no generator suspended where the reader left before the end: httpx nests six of them, and closes none.

    With the connection closed the next read fails, which unwinds them all.
    """
    if not response.is_stream_consumed or response.is_closed:
        return
    with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
        body = response.extensions.get("body")
        await (body.break_off() if isinstance(body, Body) else response.extensions["network_stream"].aclose())
        try:
            async for _ in answer.chunks:
                pass
        except errors.ServerFault as error:
            log.debug("left before its end: %s", error)


async def close(response: httpx.Response) -> None:
    """Keep the connection where all was read, else close it."""
    body = response.extensions.get("body")
    if isinstance(body, Body) and body.was_given_back():
        return
    with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
        await response.aclose()


async def _chunks(response: httpx.Response) -> AsyncIterator[bytes]:
    count = _counter(response)
    try:
        async for chunk in response.aiter_raw():
            count(len(chunk))
            yield chunk
    except FAILURES as error:
        raise broken_off(error, str(response.url)) from error


def _read_into(response: httpx.Response) -> Callable[[memoryview], Awaitable[int]] | None:
    body = response.extensions.get("body")
    if not isinstance(body, Body) or not body.is_announced:
        return None
    count = _counter(response)

    async def read_into(buffer: memoryview) -> int:
        try:
            length = await body.read_into(buffer)
        except FAILURES as error:
            raise broken_off(error, str(response.url)) from error
        count(length)
        return length

    return read_into


def _counter(response: httpx.Response) -> Callable[[int], None]:
    """Takes the bytes that came."""
    received: counters.Body = response.extensions[RECEIVED]
    return received.came
