"""Compressed recordings read as if they were not: the ``x.bin`` beside an ``x.cbin`` and its ``x.ch``.

The format is mtscomp's, version 1.0 (github.com/int-brain-lab/mtscomp): the .ch file is JSON; the .cbin is a row of
chunks, each of them ``zlib`` of the differences along time (and, as an option, along channels) of its samples,
channel after channel ("F" order) or sample after sample ("C"). ``chunk_bounds`` count samples, ``chunk_offsets`` bytes.
"""

from __future__ import annotations

import bisect
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import trio

from alyxfs import errors, json_text
from alyxfs.files.extents import LARGEST
from alyxfs.tasks import nobody_waits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import numpy as np

    from alyxfs.files.memory.buffers import Bytes
    from alyxfs.files.source import OpenFile, Source
    from alyxfs.tasks import Tasks

MEMORY = 128 * 1024 * 1024
"""Bytes of inflated chunks that are kept; a chunk of a second of 384 channels has 23 MB."""
LARGEST_HEADER = 8 * 1024 * 1024
"""Bytes of a .ch file; an hour in chunks of a second has about 0.1 MB."""
MOST_HEADER_MEMORY = 32 * 1024 * 1024
"""Bytes that it may take in memory."""
LARGEST_CHUNK = 64 * 1024 * 1024
"""Bytes of a chunk, inflated or not: it is inflated as a whole, and a few bytes of zlib can become any number."""
INFLATED_AT_ONCE = 2
"""Chunks: each is some tenths of a second of CPU, without Python's lock."""
ESTABLISHED = 4
"""Chunks read one after the other, after which the next one is inflated ahead: who wants the second in which a chunk
was made reads it, and through the kernel the end of the one before and the beginning of the next one."""
ESTABLISHED_STEPS = 2
"""So often a visit comes at the same distance before the chunks of the next one are inflated ahead."""
MOST_AHEAD = 2
"""Chunks that are inflated ahead: fetched are more."""


@dataclass(frozen=True)
class Header:
    """What a .ch file says."""

    bounds: tuple[int, ...]
    """Of the chunks, in samples; one more than there are chunks."""
    offsets: tuple[int, ...]
    """Of the chunks in the .cbin, in bytes; one more than there are chunks."""
    channels: int
    data_type: np.dtype[Any]
    by_channel: bool
    time_differences: bool
    channel_differences: bool

    @property
    def row(self) -> int:
        """Bytes of a sample of all channels."""
        return self.channels * self.data_type.itemsize

    @property
    def size(self) -> int:
        """Bytes of the inflated file."""
        return self.bounds[-1] * self.row

    def chunk_at(self, offset: int) -> int:
        """The chunk that holds this byte of the inflated file."""
        return bisect.bisect_right(self.bounds, offset // self.row) - 1


def parse_header(text: bytes, name: str) -> Header:
    """Read a .ch file; raises ServerFault with a sentence where it is none that can be used."""
    np = _numpy()
    try:
        fields = json_text.decode(text, MOST_HEADER_MEMORY)
        if fields["algorithm"] != "zlib" or str(fields["version"]) != "1.0":
            raise errors.ServerFault(f"{name} describes a compression that is not known here.")
        header = Header(
            bounds=tuple(fields["chunk_bounds"]),
            offsets=tuple(fields["chunk_offsets"]),
            channels=fields["n_channels"],
            data_type=np.dtype(str(fields["dtype"])),
            by_channel={"F": True, "C": False}[fields["chunk_order"]],
            time_differences=bool(fields["do_time_diff"]),
            channel_differences=bool(fields["do_spatial_diff"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise errors.ServerFault(f"{name} is no header of a compressed recording: {error}.") from error
    numbers = (*header.bounds, *header.offsets, header.channels)
    if (
        not all(type(number) is int for number in numbers)
        or header.channels < 1
        or header.data_type.kind not in "iuf"
        or len(header.bounds) != len(header.offsets)
        or len(header.bounds) < 2  # noqa: PLR2004 - the two ends of a single chunk
        or not all(_rises(edges) for edges in (header.bounds, header.offsets))
        or header.size > LARGEST
    ):
        raise errors.ServerFault(f"{name} is no header of a compressed recording: its numbers make no sense.")
    if _longest(header.bounds) * header.row > LARGEST_CHUNK or _longest(header.offsets) > LARGEST_CHUNK:
        raise errors.ServerFault(
            f"{name} tells of chunks of more than {LARGEST_CHUNK:,} bytes, too many to be inflated."
        )
    return header


def inflate(header: Header, chunk: int, compressed: bytes, name: str) -> memoryview:
    """Give the bytes of a chunk, sample after sample; raises ServerFault where they are not what the header says."""
    np = _numpy()
    samples = header.bounds[chunk + 1] - header.bounds[chunk]
    expected = samples * header.row
    try:
        inflater = zlib.decompressobj()
        raw = inflater.decompress(compressed, expected + 1)
    except zlib.error as error:
        raise errors.ServerFault(f"Chunk {chunk} of {name} is damaged: {error}.") from error
    if len(raw) != expected or not inflater.eof:  # its checksum is at the end
        raise errors.ServerFault(f"Chunk {chunk} of {name} has not the size that its header says.")
    values = np.frombuffer(raw, header.data_type)
    del raw  # its memory goes with the first array that is made of it
    values = values.reshape((header.channels, samples)) if header.by_channel else values.reshape(samples, -1).T
    if header.channel_differences:
        values = np.cumsum(values, axis=0, dtype=header.data_type)
    if header.time_differences:
        values = np.cumsum(values, axis=1, dtype=header.data_type)
    return memoryview(np.ascontiguousarray(values.T)).cast("B")


ContentKey = tuple[str, str, str, object]
"""Name, identity and version of a file, and which content of these."""


def content_key(source: Source, file: OpenFile) -> ContentKey:
    """What stays the same as long as every read gives the same bytes."""
    return source.name, source.identity, source.version, file.content


class Inflater:
    """The compressed recordings of one cache, whose ``open`` is given: their headers, and the chunks inflated last.

    State: changes only between two awaits, in :meth:`chunk` and :meth:`header`.
    """

    def __init__(self, open_file: Callable[[Source], Awaitable[OpenFile]]) -> None:
        self._open = open_file
        self._headers: OrderedDict[ContentKey, Header] = OrderedDict()
        self._chunks: OrderedDict[tuple[ContentKey, int], memoryview] = OrderedDict()
        self._coming: dict[tuple[ContentKey, int], trio.Event] = {}
        self._threads = trio.CapacityLimiter(INFLATED_AT_ONCE)

    async def open_header(self, source: Source) -> tuple[OpenFile, Header]:
        """Open a .ch file and parse it, once for each content."""
        file = await self._open(source)
        try:
            key = content_key(source, file)
            if key not in self._headers:
                if file.size > LARGEST_HEADER:
                    raise errors.ServerFault(f"{source.name} is too large for a header of a compressed recording.")
                text = await file.read(0, file.size, ahead=False)
                self._headers[key] = await trio.to_thread.run_sync(parse_header, text, source.name)
                while len(self._headers) > 16:  # noqa: PLR2004 - some 100 kB each
                    self._headers.popitem(last=False)
            return file, self._headers[key]
        except BaseException:
            await file.close()
            raise

    def known_chunk(self, content: ContentKey, index: int) -> memoryview | None:
        """Give a chunk if it is inflated already."""
        found = self._chunks.get((content, index))
        if found is not None:
            self._chunks.move_to_end((content, index))
        return found

    async def chunk(self, content: ContentKey, file: OpenFile, header: Header, index: int) -> memoryview:
        """Fetch and inflate a chunk; whoever else asks for it meanwhile waits for this."""
        key = content, index
        while True:
            found = self.known_chunk(content, index)
            if found is not None:
                return found
            coming = self._coming.get(key)
            if coming is None:
                break
            await coming.wait()
        self._coming[key] = trio.Event()
        try:
            begin, end = header.offsets[index : index + 2]
            compressed = await file.read(begin, end - begin)
            inflated = await trio.to_thread.run_sync(
                inflate, header, index, compressed, content[0], limiter=self._threads
            )
            self._chunks[key] = inflated
            while len(self._chunks) > 1 and sum(map(len, self._chunks.values())) > MEMORY:
                self._chunks.popitem(last=False)
            return inflated
        finally:
            self._coming.pop(key).set()


class Chunks:
    """The chunks that one reader comes to: what it will need next. A visit is chunks one after the other."""

    def __init__(self) -> None:
        self._first = self._last = -1
        """Of the present visit."""
        self._length = 0
        """Chunks of the visit before."""
        self._step = self._steps = 0
        """The distance of the last two visits in chunks, and how often it came."""

    def read(self, index: int) -> list[int]:
        """Take note of a chunk; return those to have ready, in order. Some of them may not exist."""
        if self._last < 0:
            self._first = index
        elif index not in {self._last, self._last + 1}:
            step = index - self._first
            self._steps = self._steps + 1 if step == self._step else 1
            self._step, self._length = step, self._last - self._first + 1
            self._first = index
        self._last = index
        count = index - self._first + 1
        if self._steps >= ESTABLISHED_STEPS and count <= self._length:
            following = self._first + self._step
            rest = range(index + 1, self._first + self._length)
            return [*rest, *range(following, following + self._length)][:MOST_AHEAD]
        return [index + 1] if count >= ESTABLISHED else []


class InflatedFile:
    """One reader of an inflated recording."""

    def __init__(
        self,
        inflater: Inflater,
        tasks: Tasks,
        recording: tuple[Source, OpenFile],
        header: tuple[OpenFile, Header],
    ) -> None:
        self._inflater = inflater
        self._tasks = tasks
        source, self._file = recording
        self._header_file, self._header = header
        name, identity, version, content = content_key(source, self._file)
        self._content = (name, identity, version, (content, self._header_file.content))
        """What the chunks are made of: with another header they are others."""
        self._chunks = Chunks()
        self._wanted: list[int] = []
        """Chunks to inflate ahead."""
        self._ahead: trio.CancelScope | None = None
        """While that is under way."""

    @property
    def size(self) -> int:
        """Bytes."""
        return self._header.size

    @property
    def content(self) -> object:
        """See OpenFile."""
        return self._content, self._header_file.content

    def check(self) -> None:
        """See OpenFile."""
        self._file.check()
        self._header_file.check()

    async def read(self, offset: int, size: int, *, ahead: bool = True) -> bytes:
        """See OpenFile."""
        return bytes(await self.look(offset, size, ahead=ahead))

    def at_hand(self, offset: int, size: int) -> Bytes:
        """See OpenFile; what lies in two chunks is left to :meth:`look`."""
        self.check()
        end = min(offset + size, self.size)
        if end <= offset:
            return b""
        index = self._header.chunk_at(offset)
        chunk = self._inflater.known_chunk(self._content, index)
        part = b"" if chunk is None else self._part(chunk, index, offset, end)
        if len(part) < end - offset:
            return b""
        self._look_ahead(index)
        return part

    async def look(self, offset: int, size: int, *, ahead: bool = True) -> Bytes:
        """See OpenFile. Where the chunk is inflated already, this does not yield to other tasks."""
        self.check()
        end = min(offset + size, self.size)
        parts: list[memoryview] = []
        while offset < end:
            index = self._header.chunk_at(offset)
            chunk = self._inflater.known_chunk(self._content, index)
            if chunk is None:
                chunk = await self._inflater.chunk(self._content, self._file, self._header, index)
            if ahead:
                self._look_ahead(index)
            part = self._part(chunk, index, offset, end)
            parts.append(part)
            offset += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def close(self) -> None:
        """See OpenFile."""
        if self._ahead is not None:
            self._ahead.cancel()
        await self._file.close()
        await self._header_file.close()

    def _part(self, chunk: memoryview, index: int, offset: int, end: int) -> memoryview:
        """What this chunk has of the bytes from ``offset`` on, up to ``end``."""
        begin = self._header.bounds[index] * self._header.row
        return chunk[offset - begin : end - begin]

    def _look_ahead(self, index: int) -> None:
        """Inflate in the background what the reader will come to."""
        count = len(self._header.bounds) - 1
        self._wanted = [wanted for wanted in self._chunks.read(index) if 0 <= wanted < count]
        if self._wanted and self._ahead is None:
            self._ahead = trio.CancelScope()
            # Who reads a chunk that cannot be inflated will hear why.
            self._tasks.start(self._inflate_ahead, self._ahead, failed=nobody_waits, ended=self._is_ahead)

    async def _inflate_ahead(self, scope: trio.CancelScope) -> None:
        """One after the other, as the cache sees in this order what is fetched."""
        with scope:
            while self._wanted:
                index = self._wanted.pop(0)
                await self._inflater.chunk(self._content, self._file, self._header, index)

    def _is_ahead(self) -> None:
        self._ahead = None


def _rises(edges: tuple[int, ...]) -> bool:
    return edges[0] == 0 and all(before < after for before, after in pairwise(edges))


def _longest(edges: tuple[int, ...]) -> int:
    return max(after - before for before, after in pairwise(edges))


def _numpy() -> Any:
    try:
        import numpy as np  # noqa: PLC0415 - 0.1 s and 20 MB that only who reads compressed recordings pays
    except ImportError as error:
        raise errors.ConfigurationError("Reading compressed recordings needs numpy: pip install numpy.") from error
    return np
