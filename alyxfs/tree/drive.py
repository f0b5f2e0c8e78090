"""The whole drive: its root, and what its parts share."""

from __future__ import annotations

import os
import time
from collections import deque
from typing import TYPE_CHECKING

from alyxfs import __version__, documents, errors, names
from alyxfs.alyx.tables import TABLES
from alyxfs.tree.actions import ActionDirectory
from alyxfs.tree.aggregates import NAME as AGGREGATES
from alyxfs.tree.control import NAME as CONTROL
from alyxfs.tree.control import FixedDirectory, TextFile, control_directory
from alyxfs.tree.data import SESSION_DEPTH, DataDirectory, SessionDirectory
from alyxfs.tree.describe import help_document, schema_document
from alyxfs.tree.edited import EditedDirectory
from alyxfs.tree.endpoint import EndpointDirectory
from alyxfs.tree.links import Links
from alyxfs.tree.node import Directory
from alyxfs.tree.record import RecordFile

if TYPE_CHECKING:
    from pathlib import Path

    from alyxfs.alyx.library import Library
    from alyxfs.alyx.schema import Endpoint, Schema
    from alyxfs.files import FileCache
    from alyxfs.tree.catalogue import Catalogue
    from alyxfs.tree.node import Node
    from alyxfs.tree.workbench import Workbench

DATA = "data"
REMEMBERED_ERRORS = 1000
"""Lines that ``.alyxfs/errors.log`` keeps."""


class Drive:
    """One mounted Alyx."""

    def __init__(self, library: Library, schema: Schema, catalogue: Catalogue, files: FileCache) -> None:
        self._catalogue = catalogue
        self.library = library
        self.files = files
        self._schema = schema
        self._is_writable = False
        self._errors: deque[str] = deque(maxlen=REMEMBERED_ERRORS)
        self._mounted_at = time.time()
        self.orders = ""
        """Path of the socket at which the drive takes orders."""
        self.root = self._root(None)

    def allow_writing(self, workbench: Workbench, rejected: Path) -> None:
        """Make endpoints writable; called once, before the drive is mounted."""
        self._is_writable = True
        self.root = self._root(workbench, rejected)
        self._catalogue.session_name_lifetime = 0.0

    def _root(self, workbench: Workbench | None, rejected: Path | None = None) -> FixedDirectory:
        links = Links(self._catalogue)
        children: dict[str, Node] = {}
        for name, endpoint in sorted(self._schema.endpoints.items()):
            hidden = _descriptions(endpoint)
            if endpoint.action:
                if workbench is not None:
                    children[name] = ActionDirectory(endpoint, workbench, hidden)
            elif workbench is None:
                children[name] = EndpointDirectory(self.library, endpoint, self.files, link=links.find, hidden=hidden)
            else:
                children[name] = EditedDirectory(
                    self.library, endpoint, self.files, workbench, link=links.find, hidden=hidden
                )
        children[DATA] = DataDirectory(self._catalogue, self.files)
        control = control_directory(self.status, self.error_lines, rejected)
        return FixedDirectory("", dict(sorted(children.items())), {CONTROL: control})

    def note_error(self, operation: str, path: str, sentence: str) -> None:
        """Remember an error for people; errno is only its summary."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S")
        self._errors.append(f"{stamp} {operation} {path}: {' '.join(sentence.splitlines())}")

    def error_lines(self) -> str:
        """The content of ``errors.log``, oldest first."""
        return "".join(f"{line}\n" for line in self._errors)

    async def refresh(self, path: str) -> list[str]:
        """Forget what is known below a path of the drive, so that it is asked for again.

        Returns the beginnings of the identities of the nodes that this may have changed. Raises NotFound.
        """
        parts = [part for part in path.split("/") if part not in {"", "."}]
        if not parts:
            for name in self._schema.endpoints:
                self.library.forget(name)
                self.library.forget_details(name)
            return [""]
        if parts[0] == DATA:
            return await self._refresh_data(parts)
        endpoint = self._schema.endpoints.get(parts[0])
        if endpoint is None:
            raise errors.NotFound(f"The drive has no {parts[0]!r}.")
        self.library.forget(endpoint.name)
        node = await self.node_at(parts)
        if isinstance(node, RecordFile):
            self.library.forget(endpoint.name, node.key)
            return [node.identity]
        self.library.forget_details(endpoint.name)
        return [f"endpoint/{endpoint.name}", f"record/{endpoint.name}/"]

    async def _refresh_data(self, parts: list[str]) -> list[str]:
        node = await self.node_at(parts[: SESSION_DEPTH + 1])
        if isinstance(node, SessionDirectory):
            for place in node.places:
                await self._catalogue.look_again(place)
            return ["/".join(parts)]
        for endpoint in ("labs", "sessions", "datasets"):
            self.library.forget(endpoint)
        self.library.forget_details("sessions")
        _, lab, _, subject = [*map(names.decode, parts[:4]), None, None, None][:4]
        if lab not in {*TABLES, AGGREGATES}:
            await self._catalogue.inventory.compare(lab, subject)
        return ["/".join(parts)]

    async def node_at(self, parts: list[str]) -> Node:
        """The node that these names lead to, from the root on. Raises NotFound."""
        node: Node = self.root
        for part in parts:
            if not isinstance(node, Directory):
                raise errors.NotFound(f"{part!r} is in no directory.")
            node = await node.lookup(part)
        return node

    def status(self) -> dict[str, object]:
        """The content of ``status.json``."""
        return {
            "alyxfs": __version__,
            "process": os.getpid(),
            "orders": self.orders,
            "mounted_at": self._mounted_at,
            "writable": self._is_writable,
            "errors": len(self._errors),
            **self.library.status(),
            "cache_tables": self._catalogue.inventory.status(),
        }


def _descriptions(endpoint: Endpoint) -> dict[str, Node]:
    """The hidden files of an endpoint's directory."""
    return {
        ".schema.json": TextFile(f"schema/{endpoint.name}", lambda: documents.render(schema_document(endpoint))),
        ".help.md": TextFile(f"help/{endpoint.name}", lambda: help_document(endpoint).encode()),
    }
