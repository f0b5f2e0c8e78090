"""The whole drive: its root, and what its parts share."""

from __future__ import annotations

import os
import time
from collections import deque
from typing import TYPE_CHECKING

from alyxfs import __version__, documents
from alyxfs.tree.control import NAME as CONTROL
from alyxfs.tree.control import FixedDirectory, TextFile, control_directory
from alyxfs.tree.data import DataDirectory
from alyxfs.tree.describe import help_document, schema_document
from alyxfs.tree.endpoint import EndpointDirectory
from alyxfs.tree.links import Links

if TYPE_CHECKING:
    from alyxfs.alyx.library import Library
    from alyxfs.alyx.schema import Endpoint, Schema
    from alyxfs.files import FileCache
    from alyxfs.tree.catalogue import Catalogue
    from alyxfs.tree.node import Node

REMEMBERED_ERRORS = 1000
"""Lines that ``.alyxfs/errors.log`` keeps."""


class Drive:
    """One mounted Alyx."""

    def __init__(self, library: Library, schema: Schema, catalogue: Catalogue, files: FileCache) -> None:
        self.library = library
        self.files = files
        self._errors: deque[str] = deque(maxlen=REMEMBERED_ERRORS)
        self._mounted_at = time.time()
        links = Links(catalogue)
        children: dict[str, Node] = {
            name: EndpointDirectory(library, endpoint, link=links.find, hidden=_descriptions(endpoint))
            for name, endpoint in sorted(schema.endpoints.items())
            if endpoint.listed or endpoint.detailed
        }
        children["data"] = DataDirectory(catalogue, files)
        self.root = FixedDirectory(
            "", dict(sorted(children.items())), {CONTROL: control_directory(self.status, self.error_lines)}
        )

    def note_error(self, operation: str, path: str, sentence: str) -> None:
        """Remember an error for people; errno is only its summary."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S")
        self._errors.append(f"{stamp} {operation} {path}: {sentence}")

    def error_lines(self) -> str:
        """The content of ``errors.log``, oldest first."""
        return "".join(f"{line}\n" for line in self._errors)

    def status(self) -> dict[str, object]:
        """The content of ``status.json``."""
        return {
            "alyxfs": __version__,
            "process": os.getpid(),
            "mounted_at": self._mounted_at,
            "errors": len(self._errors),
            **self.library.status(),
        }


def _descriptions(endpoint: Endpoint) -> dict[str, Node]:
    """The hidden files of an endpoint's directory."""
    return {
        ".schema.json": TextFile(f"schema/{endpoint.name}", lambda: documents.render(schema_document(endpoint))),
        ".help.md": TextFile(f"help/{endpoint.name}", lambda: help_document(endpoint).encode()),
    }
