"""What programs read through the drive, for those who want to know: see ``alyxfs trace``."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from alyxfs import clock, errors
from alyxfs.kernel.processes import is_descendant, is_there
from alyxfs.tree import read_of

if TYPE_CHECKING:
    from alyxfs.tree import Node, Reader

MOST_TRACES = 100
"""Commands that are watched at a time."""


class Traces:
    """State: ``_traces`` changes in :meth:`begin` and :meth:`end`, which never await."""

    def __init__(self) -> None:
        self._traces: dict[int, _Trace] = {}

    def begin(self, process: int) -> None:
        """From now on note what a process, and those that it starts, open for reading. Raises Exists, TooLarge."""
        self._traces = {root: trace for root, trace in self._traces.items() if is_there(root)}
        if process in self._traces:
            raise errors.Exists(f"The process {process} is watched already.")
        if len(self._traces) >= MOST_TRACES:
            raise errors.TooLarge(f"{MOST_TRACES} commands are watched already.")
        self._traces[process] = _Trace()

    def end(self, process: int) -> list[dict[str, object]]:
        """What they have read, in the order of the first reads. Raises NotFound."""
        trace = self._traces.pop(process, None)
        if trace is None:
            raise errors.NotFound(f"The process {process} is not watched.")
        return list(trace.read.values())

    def watched(self, node: Node, reader: Reader, process: int) -> Reader:
        """The same file that a process has opened, but that what it reads is noted, if anybody wants to know."""
        for root, trace in self._traces.items():
            if is_descendant(process, root):
                reader = _WatchedReader(reader, trace, node)
        return reader


class _Trace:
    def __init__(self) -> None:
        self.mark = secrets.token_hex(4)
        self.read: dict[str, dict[str, object]] = {}
        """By path."""


class _WatchedReader:
    """Pages that the kernel has from before would hide what is read: this is another version to it."""

    def __init__(self, reader: Reader, trace: _Trace, node: Node) -> None:
        self._reader = reader
        self._version = f"{reader.content_version}/{trace.mark}"
        now = clock.now()
        self._noted = []
        for each in read_of(node, reader):
            noted = trace.read.setdefault(str(each["path"]), {**each, "bytes": 0, "first": now, "last": now})
            noted["last"] = now
            self._noted.append(noted)

    @property
    def content_version(self) -> str:
        return self._version

    @property
    def size(self) -> int:
        return self._reader.size

    async def read(self, offset: int, size: int) -> bytes | memoryview:
        found = await self._reader.read(offset, size)
        for noted in self._noted:
            noted["bytes"] = int(str(noted["bytes"])) + len(found)
            noted["last"] = clock.now()
        return found

    async def close(self) -> None:
        await self._reader.close()
