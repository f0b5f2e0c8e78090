"""One extent of a file on its way from the server: requested, resumed at the byte reached, held until it is on disk."""

from __future__ import annotations

import logging
import math
import random
import re
import zlib
from contextlib import nullcontext
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

import trio

from alyxfs import errors
from alyxfs.files import answers
from alyxfs.files.blockfile import PAGE, BlockFile, Fingerprint
from alyxfs.files.blocks import Extent
from alyxfs.files.held import Held
from alyxfs.net import retry_after, shown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from alyxfs.files.held import Buffers, Bytes
    from alyxfs.net import Network, StreamedAnswer

log = logging.getLogger(__name__)

TRIES = 5
"""Requests in a row without a single new byte, after which the fetch gives up."""
FIRST_PAUSE = 0.1
"""Seconds before the second try; each further pause is twice as long, with jitter."""
PATIENCE = 0.75
"""Share of the deadline after which a fetch without progress gives up, so that its readers hear the reason."""
STALL = 0.25
"""Share of the deadline that may pass without a byte before the connection is given up and the fetch resumed."""
_LONE_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")
KEPT_BEHIND = 1024 * 1024
"""Bytes before the furthest read that stay in memory: the kernel sends several reads at a time, in any order."""
RETRIED_STATUSES = frozenset({None, 200, 206, 500, 502, 503, 504})
"""Statuses of a ServerFault that may be gone the next time; None: the connection broke."""


class Fetch:
    """The bytes ``start`` to ``end`` of a file, from the moment they are asked for.

    State, all of it changed only between two awaits of the one task that runs the fetch (``append``, ``finish``), of
    the one that saves (``saved``, ``forget``) and of readers (``readers``):

    - bytes from ``held_from`` to ``arrived`` are in memory, those from ``start`` to ``saved_to`` in the block file;
    - ``error`` is set once, when the fetch has failed for good.
    """

    def __init__(self, extent: Extent, buffers: Buffers, *, background: bool, from_disk: bool = False) -> None:
        self.start, self.end = extent
        self.saved_to = self.start
        self.saved_in: BlockFile | None = None
        """The block file that holds the bytes up to ``saved_to``."""
        self.read_to = self.start
        """Up to where somebody has read."""
        self.readers = 0
        """Readers that wait for bytes of this fetch."""
        self.background = background
        """Goes on without readers: read-ahead, and files that come whole."""
        self.from_disk = from_disk
        """The bytes come from the block file, not from the server."""
        self.error: errors.AlyxfsError | None = None
        self.done = False
        self.saving = False
        """A thread is writing the first parts to the block file, or reading the next ones from it."""
        self.unsavable = from_disk
        """Need not be saved; or the disk refused a part, and what follows stays in memory."""
        self.is_kept = False
        """Ended, and its bytes stay in memory for a while."""
        self.whole = False
        """The server sends the file from its beginning, as it knows no ranges."""
        self.missing: Extent | None = None
        """What was asked for and is not coming, as nobody read what came before it."""
        self.scope = trio.CancelScope()
        self._filling = False
        """A socket is being read into the buffers."""
        self._buffers = buffers
        self._held = Held(buffers, self.start, extent.length)
        self._news = trio.lowlevel.ParkingLot()
        self._wanted = trio.lowlevel.ParkingLot()
        self._counted_unread = self._counted_unsaved = 0
        """Bytes for which this fetch is in ``Buffers.unread`` and ``Buffers.unsaved``."""

    @property
    def arrived(self) -> int:
        """The end of the bytes that came."""
        return self._held.end

    @property
    def held_from(self) -> int:
        """The first byte that is in memory."""
        return self._held.start

    @property
    def held(self) -> int:
        """Bytes in memory."""
        return self._held.end - self._held.start

    @property
    def unsaved_length(self) -> int:
        """Bytes in memory that the block file still lacks and will get."""
        return 0 if self.unsavable else self._held.end - max(self._held.start, self.saved_to)

    @property
    def is_saved(self) -> bool:
        """Whether all that came is in the block file."""
        return self.from_disk or self.saved_to >= self._held.end

    @property
    def is_unread(self) -> bool:
        """Whether it has or will have bytes in memory that nobody has read yet."""
        return not self.done or self.held_from < self.arrived > self.read_to

    @property
    def unread_length(self) -> int:
        """Bytes in memory, or on their way there, that nobody has read yet."""
        return self.end - max(self.held_from, self.read_to) if self.is_unread else 0

    @property
    def unread_arrived(self) -> int:
        """Bytes in memory that nobody has read yet."""
        return max(0, self._held.end - max(self._held.start, self.read_to))

    @property
    def reach(self) -> Extent:
        """The bytes that are in memory or will come there."""
        return Extent(self.held_from, self.arrived if self.done else self.end)

    def covers(self, position: int) -> bool:
        """Whether the byte is in memory, will come there, or is in the block file through this fetch."""
        if position < self.saved_to:
            return position >= self.start
        return self.held_from <= position < (self.arrived if self.done else self.end)

    def holds(self, start: int, end: int) -> bool:
        """Whether all of these bytes are in memory."""
        return self._held.start <= start and end <= self._held.end

    def restart(self, end: int) -> None:
        """Begin at the beginning of the file, before the first byte came: the server sends it whole."""
        self.start = self.saved_to = self.read_to = 0
        self.end = end
        self._held = Held(self._buffers, 0, end)
        self.whole = self.background = True

    def append(self, part: bytes) -> None:
        """Take the next bytes and wake who waits for them."""
        self._held.append(part)
        self._count()
        self._news.unpark_all()

    async def fill(self, read_into: Callable[[memoryview], Awaitable[int]], most: int) -> int:
        """Have the next bytes put into memory, and wake who waits for them; return how many came."""
        self._filling = True
        try:
            count = await read_into(self._held.room(1)[0][:most])
        finally:
            self._filling = False
        if not self.done:
            self.filled(count)
        return count

    def room(self, most: int) -> list[memoryview]:
        """Memory for the next bytes, of at least so many."""
        return self._held.room(most)

    def filled(self, count: int) -> None:
        """So many bytes were put into the memory that :meth:`room` gave: wake who waits for them."""
        self._held.grow(count)
        self._count()
        self._news.unpark_all()

    def take(self, position: int, end: int) -> Bytes:
        """The bytes in memory from ``position`` on, at most to ``end``; ``position`` must be held and have arrived."""
        end = min(end, self._held.end)
        self.read_to = max(self.read_to, end)
        self._wanted.unpark_all()
        found = self._held.look(position, end)
        if self.is_saved:
            self._held.drop(self.read_to - KEPT_BEHIND)
        self._count()
        return found

    def unsaved(self) -> tuple[list[memoryview], int]:
        """What is not in the block file yet, from ``saved_to`` on, and where it ends: at a page, until all came."""
        end = self.arrived if self.done else self.arrived // PAGE * PAGE
        return self._held.views(self.saved_to, end), max(self.saved_to, end)

    def saved(self, end: int, blocks: BlockFile) -> None:
        """The block file has the bytes up to ``end``."""
        self.saved_to = end
        self.saved_in = blocks
        self._count()

    def never_save(self) -> None:
        """The block file does not take it: what it has of it stays there, the rest only in memory."""
        self.unsavable = True
        self._count()

    def forget(self, bytes_kept: int) -> None:
        """Let the oldest bytes go, about all but the last ``bytes_kept``, which never will be saved."""
        if not self.saving:
            self._held.drop(self.arrived - bytes_kept)
        if self.held_from > self.saved_to:
            self.unsavable = True
        self._count()

    def forget_saved(self, bytes_kept: int) -> None:
        """Let the oldest bytes go that are saved, about all but the last ``bytes_kept``."""
        self._held.drop(min(self.saved_to, self.arrived - bytes_kept))
        self._count()

    def release(self) -> None:
        """Let go of all memory: who looks here finds nothing any more."""
        self._held.clear(is_unused=self.done and not self.saving and not self._filling)
        self._count()

    def disregard(self) -> None:
        """Nobody will read what is left of it."""
        self.read_to = self.end
        self._count()

    def cut(self) -> None:
        """Leave the rest at the server."""
        self.missing = Extent(self.arrived, self.end)
        self.end = self.arrived

    def finish(self, error: errors.AlyxfsError | None = None) -> None:
        """No byte will follow; with an error, what is missing will not come."""
        self.error = error
        self.done = True
        self._news.unpark_all()

    def _count(self) -> None:
        unread, unsaved = self.unread_arrived, self.unsaved_length
        self._buffers.unread += unread - self._counted_unread
        self._buffers.unsaved += unsaved - self._counted_unsaved
        self._counted_unread, self._counted_unsaved = unread, unsaved

    def join(self) -> None:
        """One reader more waits for bytes of this fetch."""
        self.readers += 1
        self._wanted.unpark_all()

    async def wanted(self) -> None:
        """Sleep until somebody reads, or waits for more."""
        await self._wanted.park()

    async def news(self) -> None:
        """Sleep until bytes arrive, are saved, or the fetch ends."""
        await self._news.park()


class Demands(Protocol):
    """What the owner of a fetch wants to be asked."""

    def pinned(self) -> Fingerprint | None:
        """The content that every answer must be of."""

    async def accept(self, body: answers.Body) -> None:
        """Hear of a usable answer before its bytes come; may change the end of the fetch, or restart it."""

    async def make_room(self) -> None:
        """Wait until memory takes more bytes."""


async def run(network: Network, url: str, fetch: Fetch, owner: Demands) -> None:  # noqa: C901 - one branch a kind of failure
    """Fetch until ``fetch.arrived`` is ``fetch.end``, with as many requests as it takes.

    Raises the domain error that says why the bytes cannot be had: at once where trying again is of no use, else after
    TRIES requests, or too long a time, without a new byte.
    """
    patience = network.deadline * PATIENCE
    tries = 0
    whole = False
    progress = trio.current_time()
    while True:
        position = fetch.arrived
        pause = FIRST_PAUSE * 2**tries * random.uniform(0.5, 1)  # noqa: S311 - jitter, no secret
        last: errors.AlyxfsError
        try:
            await _attempt(network, url, fetch, owner, whole=whole)
            if fetch.arrived >= fetch.end:
                return
            last = errors.ServerFault(f"{shown(url)} sent fewer bytes than it announced.", url=shown(url))
        except answers.Encoded as error:
            whole, last = True, error
        except _Pause as asked:
            pause, last = asked.seconds, asked.reason
        except errors.ServerFault as error:
            if error.status not in RETRIED_STATUSES:
                raise
            last = error
        except errors.Unreachable as error:
            if network.is_down(url):
                raise
            last = error
        if fetch.arrived != position:
            tries, progress = 0, trio.current_time()
        tries += 1
        if tries >= TRIES or trio.current_time() + pause > progress + patience:
            if isinstance(last, errors.Unreachable):
                network.gave_up(url, progress)
            raise last
        log.info("%s: asking again from byte %d on in %.1f s after: %s", shown(url), fetch.arrived, pause, last)
        await trio.sleep(pause)


class _Pause(Exception):
    """The server said how long to wait."""

    def __init__(self, seconds: float, reason: errors.AlyxfsError) -> None:
        super().__init__(str(reason))
        self.seconds = seconds
        self.reason = reason


async def _attempt(network: Network, url: str, fetch: Fetch, owner: Demands, *, whole: bool) -> None:
    """One request: append what it brings to the fetch."""
    pinned = owner.pinned()
    headers = answers.range_headers(fetch.arrived, fetch.end, pinned)
    if whole:
        headers = {"Accept-Encoding": "identity, gzip"}
    stall = network.deadline * STALL
    turn = network.turn(url) if fetch.background else nullcontext()
    async with turn, network.stream(quoted(url), headers=headers, deadline=math.inf, stall=stall) as answer:
        try:
            body = answers.judge(answer.status, answer.headers, shown(url), fetch.arrived, pinned)
        except (errors.Throttled, errors.ServerFault) as error:
            if "retry-after" in answer.headers or isinstance(error, errors.Throttled):
                raise _Pause(retry_after(answer.headers), error) from error
            raise
        await owner.accept(body)
        await _receive(answer, body, fetch, owner)


async def _receive(answer: StreamedAnswer, body: answers.Body, fetch: Fetch, owner: Demands) -> None:
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
        fetch.end = min(fetch.end, position)
        size = Fingerprint(position, answer.headers.get("etag"), answer.headers.get("last-modified"))
        await owner.accept(answers.Body(0, position, size, whole=True))


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


def quoted(url: str) -> str:
    """The address as Alyx gives it, with ``#`` and the like quoted; what is quoted already stays."""
    scheme, separator, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return scheme + separator + host + slash + quote(_LONE_PERCENT.sub("%25", path), safe="/%:@!$&'()*+,;=~?")
