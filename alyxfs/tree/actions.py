"""Addresses to POST to that hold no records (register-file, new-download): write JSON, read the answer back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from alyxfs import errors, json_text
from alyxfs.edits import Moment, Step, next_step
from alyxfs.tree.node import Attributes, Directory, FixedEntries, Kind, Node, no_such_name
from alyxfs.tree.writing.scratch import ScratchFile, ScratchHandle

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alyxfs.alyx.schema.read import Endpoint
    from alyxfs.tree.writing.editing_session import EditingSession

REQUEST = "new.json"
"""What is written to it is sent; what is read from it afterwards is the server's answer."""


class ActionDirectory(Directory):
    """One action: ``register-file/new.json``."""

    def __init__(self, endpoint: Endpoint, editing: EditingSession, hidden: Mapping[str, Node]) -> None:
        self._endpoint = endpoint
        self._hidden = hidden
        self._request = _RequestFile(endpoint, editing)

    @property
    def identity(self) -> str:
        """See Node."""
        return f"action/{self._endpoint.name}"

    def attributes(self) -> Attributes:
        """See Node."""
        return Attributes(Kind.DIRECTORY, 0, self._request.attributes().modified, 10.0, 60.0, writable=True)

    async def entries(self) -> FixedEntries:
        """See Directory."""
        return FixedEntries([(REQUEST, self._request)])

    async def lookup(self, name: str) -> Node:
        """See Directory."""
        if name == REQUEST:
            return self._request
        if name in self._hidden:
            return self._hidden[name]
        raise no_such_name(name, self._endpoint.name)

    def _refusal(self, name: str) -> errors.ReadOnly:
        return errors.ReadOnly(f"{self._endpoint.name} takes {REQUEST} alone, not {name!r}.")


class _RequestFile(ScratchFile):
    """What is written is sent once it is whole; then the file holds the answer."""

    def __init__(self, endpoint: Endpoint, editing: EditingSession) -> None:
        super().__init__(memory=None)  # one for each of two or three addresses
        self._endpoint = endpoint
        self._editing = editing

    @property
    def identity(self) -> str:
        return f"action/{self._endpoint.name}/{REQUEST}"

    async def open_for_writing(self, process: int, *, truncate: bool) -> _RequestHandle:  # noqa: ARG002 - as all do
        if truncate:
            self.draft.truncate(0)
        return _RequestHandle(self)

    async def settle(self, moment: Moment) -> None:
        step = next_step(self.draft, moment)
        generation, content = self.draft.generation, self.draft.content()
        try:
            if step in {Step.SEND, Step.REFUSE}:
                answer = await self._editing.act(self._endpoint.name, content)
                self.draft.truncate(0)
                self.draft.write(0, json_text.render(answer))
                self.modified = time.time()
                generation = self.draft.generation
            elif step is Step.KEEP:
                reason = f"{self._endpoint.name}/{REQUEST} was closed with text that is no JSON object."
                await self._editing.editor.keep_draft(self._endpoint.name, "new", content, reason)
        finally:
            self.draft.mark_handled(generation)


class _RequestHandle(ScratchHandle):
    _file: _RequestFile

    async def flush(self) -> None:
        await self._file.settle(Moment.FLUSH)

    async def fsync(self) -> None:
        await self._file.settle(Moment.FSYNC)
