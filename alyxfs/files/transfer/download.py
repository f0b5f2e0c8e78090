"""The requests that bring a segment: asked, judged, resumed at the byte reached, for as long as somebody waits."""

from __future__ import annotations

import logging
import math
import random
import zlib
from contextlib import nullcontext
from typing import TYPE_CHECKING, Protocol

import trio

from alyxfs import errors
from alyxfs.files.transfer import response
from alyxfs.net import OF_FILES, next_pause, quoted_address, requested_pause, shown

if TYPE_CHECKING:
    from alyxfs.files.disk.block_file import Fingerprint
    from alyxfs.files.source import Source
    from alyxfs.files.transfer.segment import Segment
    from alyxfs.net import Network, StreamedAnswer

log = logging.getLogger(__name__)

TRIES_UNNOTICED = 3
"""Requests in a row that no server answered, after which the breaker opens for who need not wait."""
LONG_FOR_ONE = 1.0
"""Seconds of a try, or of a pause, after which another copy is asked where there is one."""
STALL = 0.25
"""Share of the deadline that may pass without a byte before the connection is given up and the fetch resumed: enough
for a new one, where the old one died in silence. Each further wait is twice as long: some servers are slow."""


class Recipient(Protocol):
    """Whom the bytes of a download are for: what it asks, and what it tells."""

    @property
    def source(self) -> Source:
        """What is known of the file."""

    def pinned(self) -> Fingerprint | None:
        """The content that every answer must be of."""

    async def accept(self, body: response.Body) -> None:
        """Hear of a usable answer before its bytes come; may change the end of the fetch, or restart it."""

    async def make_room(self) -> None:
        """Wait until memory takes more bytes."""

    def is_guess(self) -> bool:
        """Whether no program has opened the file."""

    def is_followed(self) -> bool:
        """Whether what follows it in the file will be asked for while it comes."""

    def distrusts_caches(self) -> bool:
        """Whether what proxies keep of the file may be of another content."""

    def is_delayed(self, trouble: errors.AlyxfsError) -> None:
        """Hear why nothing comes, while it is tried again: who cannot wait any longer is told."""

    async def is_to_be_left(self) -> bool:
        """Whether there is another copy to ask, instead of waiting for this one."""


async def run(network: Network, url: str, fetch: Segment, owner: Recipient) -> None:  # noqa: C901 - one branch a kind of failure
    """Fetch until ``fetch.arrived`` is ``fetch.end``, with as many requests as it takes.

    A server that does not answer, or fails, is waited for as long as somebody waits for its bytes, who has a deadline
    of his own; without any, for one deadline. Raises the domain error that says why the bytes cannot be had: at once
    where trying again is of no use, after some tries where the answers contradict each other.
    """
    attempts = _Attempts(network.deadline)
    whole = False
    while True:
        position, began, is_guess = fetch.arrived, trio.current_time(), owner.is_guess()
        asked: float | None = None
        failure: errors.AlyxfsError
        if pausing := network.pause_under_way(url):
            owner.is_delayed(pausing)
        try:
            is_renewed = attempts.failures > 0 or owner.distrusts_caches()
            await _attempt(network, url, fetch, owner, whole, attempts.stall, is_guess, is_renewed)
            if fetch.arrived >= fetch.end:
                return
            failure = errors.ServerFault(f"{shown(url)} sent fewer bytes than it announced.", url=shown(url))
        except response.Encoded as error:
            whole, failure = True, error
        except response.NotTheFile:
            raise
        except _Pause as pause:
            asked, failure = pause.seconds, pause.reason
        except (errors.ServerFault, errors.Unreachable, errors.DeadlineExceeded) as error:
            failure = error
        except errors.AddressRefused:
            if not is_guess or owner.is_guess():
                raise
            continue  # a program has opened it meanwhile
        attempts.failed(began, has_progress=fetch.arrived != position)
        if isinstance(failure, errors.Unreachable) and attempts.failures == TRIES_UNNOTICED:
            network.gave_up(url, attempts.progress)
        left = math.inf if fetch.readers else attempts.left
        wait = next_pause(OF_FILES, failure, attempts.failures, left, asked, random.random())  # noqa: S311 - no secret
        if wait is None or network.is_gone(url):
            raise failure
        is_slow = trio.current_time() - began >= LONG_FOR_ONE or wait >= LONG_FOR_ONE
        if (is_slow or attempts.failures >= TRIES_UNNOTICED) and await owner.is_to_be_left():
            raise failure
        owner.is_delayed(failure)
        log.info("%s: asking again from byte %d on in %.1f s after: %s", shown(url), fetch.arrived, wait, failure)
        await trio.sleep(wait)


class _Attempts:
    """How the tries of one fetch went since its last new byte."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self.failures = 0
        self.progress = trio.current_time()
        """Trio time of the last new byte."""
        self.stall = deadline * STALL
        """Seconds that may pass without a byte."""

    @property
    def left(self) -> float:
        """Seconds until a whole deadline has passed without a byte."""
        return self.progress + self._deadline - trio.current_time()

    def failed(self, began: float, *, has_progress: bool) -> None:
        """One more has failed, which began at this time."""
        now = trio.current_time()
        if has_progress:
            self.failures, self.progress, self.stall = 0, now, self._deadline * STALL
        elif now - began >= self.stall:
            self.stall = min(2 * self.stall, self._deadline)
        self.failures += 1


class _Pause(Exception):
    """The server said how long to wait."""

    def __init__(self, seconds: float, reason: errors.AlyxfsError) -> None:
        super().__init__(str(reason))
        self.seconds = seconds
        self.reason = reason


async def _attempt(
    network: Network,
    url: str,
    fetch: Segment,
    owner: Recipient,
    whole: bool,
    stall: float,
    is_guess: bool,
    is_renewed: bool,
) -> None:
    """One request: append what it brings to the fetch. ``is_renewed``: past what a caching proxy keeps."""
    pinned = owner.pinned()
    # With If-Range nginx begins at the first slice, whatever is asked: what has changed is seen in the answer, too.
    headers = response.range_headers(fetch.arrived, fetch.end, None if network.file_proxy is not None else pinned)
    if whole:
        headers = {"Accept-Encoding": "identity, gzip"}
    if is_renewed and network.file_proxy is not None:
        headers["Cache-Control"] = "no-cache"
    if owner.is_followed():
        network.connect_ahead(url)
    turn = network.turn(url) if fetch.background else nullcontext()
    request = network.stream_file(quoted_address(url), headers=headers, stall=stall, is_guess=is_guess)
    async with turn, request as answer:
        response.refuse_page(answer.status, answer.headers, shown(url), owner.source)
        try:
            body = response.judge(answer.status, answer.headers, shown(url), fetch.arrived, pinned)
        except (errors.Throttled, errors.ServerFault) as error:
            if (asked := requested_pause(answer.status, answer.headers)) is not None:
                raise _Pause(asked, error) from error
            raise
        network.link(url).is_filling_proxy = network.has_to_be_fetched(answer)
        await owner.accept(body)
        began, arrived = trio.current_time(), fetch.arrived
        try:
            await _receive(answer, body, fetch, owner)
        finally:
            network.link(url).received(fetch.arrived - arrived, trio.current_time() - began)


async def _receive(answer: StreamedAnswer, body: response.Body, fetch: Segment, owner: Recipient) -> None:
    if answer.read_into is not None and body.end is not None and body.start == fetch.arrived:
        while (missing := min(fetch.end, body.end) - fetch.arrived) > 0:
            count = await fetch.fill(answer.read_into, missing)
            if not count:
                return
            await owner.make_room()
        return
    inflater = zlib.decompressobj(wbits=31) if body.gzipped else None
    position = body.start
    async for chunk in answer.chunks:
        part = chunk
        if inflater is not None:
            part = _inflated(inflater, chunk, shown(answer.url))
        first = max(fetch.arrived - position, 0)
        last = fetch.end - position
        position += len(part)
        if first < len(part) and first < last:
            fetch.append(part[first:last] if first or last < len(part) else part)
            await owner.make_room()
        if body.end is not None and fetch.arrived >= fetch.end and position < body.end:
            return  # a whole file where a part was asked: the rest is of no use here
    if body.end is None and (position > fetch.end or _surely_ended(answer, inflater)):
        # Only now is the size known, and with it what the answer was of.
        fetch.shorten(position)
        size = response.fingerprint(position, answer.headers)
        await owner.accept(response.Body(0, position, size, whole=True))


def _inflated(inflater: zlib._Decompress, chunk: bytes, url: str) -> bytes:
    try:
        return inflater.decompress(chunk)
    except zlib.error as error:
        raise errors.ServerFault(f"{url} sent what is not gzip, though it says so.", status=200, url=url) from error


def _surely_ended(answer: StreamedAnswer, inflater: zlib._Decompress | None) -> bool:
    """Whether the end of a body without announced length is its end, not a connection that broke."""
    if inflater is not None:
        return inflater.eof
    return "chunked" in answer.headers.get("transfer-encoding", "").lower()
