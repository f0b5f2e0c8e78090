"""What programs read through the drive, for those who want to know: see ``alyxfs trace``."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from alyxfs import clock, errors
from alyxfs.kernel.processes import is_descendant, is_there
from alyxfs.tree import DataReader, read_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from alyxfs.kernel.handles import Handles
    from alyxfs.kernel.inodes import Inodes
    from alyxfs.tree import Node, Reader

MOST_TRACES = 100
"""Commands that are watched at a time."""
MOST_READ = 200_000
"""Files and records that a trace holds, at some 1 KiB each. More are counted."""


class Traces:
    """State: ``_traces`` changes in :meth:`begin` and :meth:`end`, ``of_all`` in :meth:`begin_for_all`; none awaits."""

    def __init__(self, handles: Handles, inodes: Inodes) -> None:
        self._handles = handles
        self._inodes = inodes
        self._traces: dict[int, _Trace] = {}
        """By the process that wants to know."""
        self.of_all: Trace | None = None
        """What all programs read, where that is noted."""

    def begin_for_all(self) -> Trace:
        """From now on note what any program opens for reading."""
        self.of_all = Trace()
        return self.of_all

    def begin(self, process: int, asker: int) -> None:
        """From now on note what a process, and those that it starts, open for reading or have open.

        The trace is kept for ``asker``, the process that wants to know, until it asks or has ended.
        Raises Exists, NotFound, TooLarge.
        """
        self._traces = {asking: trace for asking, trace in self._traces.items() if is_there(asking)}
        if asker in self._traces:
            raise errors.Exists(f"The process {asker} watches another one already.")
        if not is_there(process):
            raise errors.NotFound(f"There is no process {process}.")
        if len(self._traces) >= MOST_TRACES:
            raise errors.TooLarge(f"{MOST_TRACES} commands are watched already.")
        trace = self._traces[asker] = _Trace(process)
        for file in self._handles.read_by(lambda opener: is_descendant(opener, process)):
            file.reader = _watched(file.reader, self._inodes.node(file.number), [trace.trace], mark="")

    def end(self, asker: int) -> Trace:
        """What was read of what this process wanted to know. Raises NotFound."""
        trace = self._traces.pop(asker, None)
        if trace is None:
            raise errors.NotFound(f"The process {asker} watches none.")
        return trace.trace

    def watched(self, node: Node, reader: Reader, process: int) -> Reader:
        """The same file that a process has opened, but that what it reads is noted, if anybody wants to know."""
        traces = [one.trace for one in self._traces.values() if is_descendant(process, one.process)]
        if self.of_all is not None:
            traces.append(self.of_all)
        # Pages that the kernel has from before would hide what is read: this is another version to it.
        return _watched(reader, node, traces, mark="".join(f"/{trace.mark}" for trace in traces)) if traces else reader


class Trace:
    """What was read. All of it only grows, in :meth:`note` and where readers count, which never await there."""

    def __init__(self) -> None:
        self.mark = secrets.token_hex(4)
        self.began = clock.now()
        """Unix seconds."""
        self.read: dict[tuple[str, object], dict[str, object]] = {}
        """By path and hash, in the order of the first reads: what changes while it is read stands there twice."""
        self.left_out = 0
        """How many times something was opened for which there was no room."""
        self.changes = 0
        """Grows with whatever is noted."""

    def note(self, read: Iterable[dict[str, object]]) -> list[dict[str, object]]:
        """Note that these (see ``read_of``) were opened; returned is where to count their bytes."""
        now = clock.now()
        noted = []
        for one in read:
            key = (str(one["path"]), one.get("hash"))
            if key not in self.read and len(self.read) >= MOST_READ:
                self.left_out += 1
                continue
            entry = self.read.setdefault(key, {**one, "bytes": 0, "first": now, "last": now})
            entry["last"] = now
            noted.append(entry)
        self.changes += 1
        return noted

    def so_far(self) -> list[dict[str, object]]:
        """What was read, as it is now."""
        return [dict(one) for one in self.read.values()]


@dataclass(frozen=True)
class _Trace:
    process: int
    """That is watched, with those that it starts."""
    trace: Trace = field(default_factory=Trace)


@dataclass(frozen=True)
class _Noted:
    trace: Trace
    entries: Sequence[dict[str, object]]

    def count(self, size: int) -> None:
        now = clock.now()
        for entry in self.entries:
            entry["bytes"] = int(str(entry["bytes"])) + size
            entry["last"] = now
        self.trace.changes += 1


class WatchedReader:
    """An open file of which is noted how much of it is read."""

    def __init__(self, reader: Reader, content_version: str) -> None:
        self.reader = reader
        self._version = content_version
        self.noted: list[_Noted] = []

    @property
    def content_version(self) -> str:
        """See Reader."""
        return self._version

    @property
    def size(self) -> int:
        """See Reader."""
        return self.reader.size

    async def read(self, offset: int, size: int) -> bytes | memoryview:
        """See Reader."""
        found = await self.reader.read(offset, size)
        self._count(len(found))
        return found

    async def close(self) -> None:
        """See Reader."""
        await self.reader.close()

    def _count(self, size: int) -> None:
        for noted in self.noted:
            noted.count(size)


class WatchedDataReader(WatchedReader):
    """The same of a data file."""

    reader: DataReader

    def at_hand(self, offset: int, size: int) -> bytes | memoryview:
        """See DataReader."""
        found = self.reader.at_hand(offset, size)
        if found:
            self._count(len(found))
        return found


def _watched(reader: Reader, node: Node, traces: Sequence[Trace], mark: str) -> WatchedReader:
    """``mark``: what its version has behind that of its content."""
    if not isinstance(reader, WatchedReader):
        kind = WatchedDataReader if isinstance(reader, DataReader) else WatchedReader
        reader = kind(reader, f"{reader.content_version}{mark}")
    read = read_of(node, reader.reader)
    reader.noted += [_Noted(trace, trace.note(read)) for trace in traces]
    return reader
