"""The whole drive: its root, and what its parts share."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from alyxfs import __version__, defects, errors, file_names
from alyxfs.alyx.datasets.aggregates import NAME as AGGREGATES
from alyxfs.alyx.datasets.aggregates import Aggregates
from alyxfs.alyx.datasets.table_form import TABLES
from alyxfs.alyx.datasets.views import AsOfView, ReleaseView, ViewedFiles
from alyxfs.drive_paths import AS_OF, DATA, RELEASES
from alyxfs.tree.actions import ActionDirectory
from alyxfs.tree.as_of import AsOfDirectory
from alyxfs.tree.data import DataDirectory
from alyxfs.tree.datafile import DataFileNode
from alyxfs.tree.describe import help_document, schema_document
from alyxfs.tree.dot_alyxfs import NAME as CONTROL
from alyxfs.tree.dot_alyxfs import FixedDirectory, TextFile, control_directory, readable_json
from alyxfs.tree.endpoint import EndpointDirectory
from alyxfs.tree.error_log import ErrorLog
from alyxfs.tree.file_tree import Data, SessionDirectory
from alyxfs.tree.inflated import InflatedNode
from alyxfs.tree.links import Links
from alyxfs.tree.node import Directory
from alyxfs.tree.only import OnlyDirectory, differences
from alyxfs.tree.record import RecordFile
from alyxfs.tree.releases import TAGS, ReleasesDirectory
from alyxfs.tree.tables.files import SESSION_DEPTH, FileTables
from alyxfs.tree.writing.directory import EditedDirectory
from alyxfs.visible_text import escaped

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from alyxfs.alyx.datasets.catalogue import Catalogue
    from alyxfs.alyx.datasets.releases import Releases
    from alyxfs.alyx.datasets.views import AnyCatalogue
    from alyxfs.alyx.metadata.cache import MetadataCache
    from alyxfs.alyx.schema.read import Endpoint, Schema
    from alyxfs.edits import SaveResult
    from alyxfs.files.cache import FileCache
    from alyxfs.tree.node import Node
    from alyxfs.tree.only import Only
    from alyxfs.tree.tables import Tables
    from alyxfs.tree.writing.editing_session import EditingSession

SHOWN_ERRORS = 5
"""Of the last ones, in ``status.json``."""


class Drive:
    """One mounted Alyx."""

    def __init__(
        self,
        metadata: MetadataCache,
        schema: Schema,
        catalogue: Catalogue,
        files: FileCache,
        tables: Tables,
        releases: Releases,
        only: Only | None = None,
    ) -> None:
        """``only``: what is shown, where that is not everything."""
        self._catalogue = catalogue
        self._releases = releases
        self._viewed = ViewedFiles()
        self._tables = tables
        self._only = only
        self.differences: list[str] = []
        """What is not as the manifest has it of which the files are shown, as sentences."""
        self.trace_file: str | None = None
        """Where it is written down what programs read."""
        self.metadata = metadata
        self.files = files
        self._schema = schema
        self.is_writable = False
        self.may_only_read = False
        """Whether the server refuses what this user writes, though the drive is writable."""
        self._editing: EditingSession | None = None
        """Set once, before the drive is mounted."""
        self.errors = ErrorLog()
        self._mounted_at = time.time()
        self.control_socket = ""
        """Path of the socket at which the drive takes commands."""
        self.cache_remarks: Callable[[], list[str]] = list
        """What people should know of the cache, as sentences."""
        self.figures: Callable[[], dict[str, object]] = dict
        """What is measured, for ``status.json``."""
        self.snapshot: dict[str, str] | None = None
        """Where it shows one: its file, and when that was made."""
        self.staged: Callable[[], int] = int
        """How many writes wait to be applied, shown here or not."""
        self.number_of_inodes: Callable[[], int] = int
        """How many the kernel remembers."""
        self.root: Directory = self._root(None)
        metadata.omissions.tell = lambda where, sentence: self.errors.note("listing", where, sentence)

    def allow_writing(self, editing: EditingSession, rejected: Path) -> None:
        """Make endpoints writable; called once, before the drive is mounted."""
        self.is_writable = True
        self._editing = editing
        self.root = self._root(editing, rejected)
        self._catalogue.session_name_lifetime = 0.0

    def undone(self, result: SaveResult) -> None:
        """Names that only this drive knows follow a write that was taken back."""
        if self._editing is not None:
            self._editing.undone(result)

    def _root(self, editing: EditingSession | None, rejected: Path | None = None) -> Directory:
        links = Links(self._catalogue)
        children: dict[str, Node] = {}
        for name, endpoint in sorted(self._schema.endpoints.items()):
            hidden = _descriptions(endpoint)
            if endpoint.action:
                if editing is not None:
                    children[name] = ActionDirectory(endpoint, editing, hidden)
            elif editing is None:
                children[name] = EndpointDirectory(
                    self.metadata, endpoint, self.files, self._tables, link=links.find, hidden=hidden
                )
            else:
                children[name] = EditedDirectory(
                    self.metadata, endpoint, self.files, self._tables, editing, link=links.find, hidden=hidden
                )
        children[DATA] = DataDirectory(self._data(self._catalogue, Aggregates(self._catalogue), DATA))
        unlisted: dict[str, Node] = {
            CONTROL: control_directory(self.status, self.errors.lines, rejected),
            AS_OF: AsOfDirectory(self._as_of_data),
        }
        if TAGS in self._schema.endpoints:
            unlisted[RELEASES] = ReleasesDirectory(self.metadata, self._release_data)
        root = FixedDirectory("", dict(sorted(children.items())), unlisted)
        return root if self._only is None else OnlyDirectory(root, self._only)

    async def compare_with_manifest(self) -> None:
        """Note what the server has otherwise than the manifest of which the files are shown."""
        if self._only is not None:
            await differences(self.root, self._only, self.differences)

    def _data(self, catalogue: AnyCatalogue, aggregates: Aggregates | None, root: str) -> Data:
        tables = FileTables(catalogue, aggregates, self._tables, self._releases, root)
        return Data(catalogue, aggregates, self.files, tables, self._releases, root)

    def _release_data(self, tag: str, root: str) -> Data:
        view = ReleaseView(self._catalogue, self._viewed, self._releases, tag)
        return self._data(view, Aggregates(self._catalogue, (("tag", tag),)), root)

    def _as_of_data(self, date: str, root: str) -> Data:
        return self._data(AsOfView(self._catalogue, self._viewed, date), None, root)

    async def forget_idle(self) -> bool:
        """Drop what nobody has looked at lately; whether that was much. What is known stays known."""
        self.files.forget_idle()
        was_viewed = self._viewed.forget_idle()
        if was_viewed:
            self._releases.forget_idle()
        was_looked_at = self._catalogue.forget_idle()
        return await self.metadata.forget_idle() or was_viewed or was_looked_at

    async def refresh(self, path: str) -> list[str]:
        """Forget what is known below a path of the drive, so that it is asked for again.

        Returns the beginnings of the identities of the nodes that this may have changed. Raises NotFound.
        """
        if self.snapshot is not None:
            raise errors.NotInSnapshot("The drive shows a snapshot, and asks nobody for what is newer.")
        parts = [part for part in path.split("/") if part not in {"", "."}]
        if not parts:
            self.files.doubt_all()
            for name in self._schema.endpoints:
                self.metadata.outdate(name)
                self.metadata.outdate_details(name)
            return [""]
        if parts[0] == DATA:
            return await self._refresh_data(parts)
        if parts[0] in {RELEASES, AS_OF}:
            return await self._refresh_view(parts)
        endpoint = self._schema.endpoints.get(parts[0])
        if endpoint is None:
            raise errors.NotFound(f"The drive has no {parts[0]!r}.")
        self.metadata.outdate(endpoint.name)
        node = await self.node_at(parts)
        if isinstance(node, RecordFile):
            self.metadata.outdate(endpoint.name, node.key)
            return [node.identity]
        self.metadata.outdate_details(endpoint.name)
        return [f"endpoint/{endpoint.name}", f"record/{endpoint.name}/"]

    async def _refresh_data(self, parts: list[str]) -> list[str]:
        self.files.unavailable.clear()
        self.files.doubt_all()
        node = await self.node_at(parts[: SESSION_DEPTH + 1])
        if isinstance(node, SessionDirectory):
            await self._catalogue.look_again(node.place)
            await self._refresh_file(parts)
            return ["/".join(parts)]
        for endpoint in ("labs", "sessions", "datasets"):
            self.metadata.outdate(endpoint)
        self.metadata.outdate_details("sessions")
        _, lab, _, subject = [*map(file_names.decode, parts[:4]), None, None, None][:4]
        if lab not in {*TABLES, AGGREGATES}:
            await self._catalogue.index.compare(lab, subject)
        return ["/".join(parts)]

    async def _refresh_view(self, parts: list[str]) -> list[str]:
        """Of a release its tables, of a date what is in ``data/``, and of a file its bytes."""
        await self.node_at(parts)
        self.files.unavailable.clear()
        self.files.doubt_all()
        for endpoint in (TAGS, "sessions", "datasets"):
            self.metadata.outdate(endpoint)
        await self._refresh_file(parts)
        return ["/".join(parts)]

    async def _refresh_file(self, parts: list[str]) -> None:
        """Where this is a data file, fetch it anew; for an inflated recording, the files that it is made of."""
        node = await self.node_at(parts)
        if isinstance(node, DataFileNode | InflatedNode):
            for file in node.made_of:
                await file.refresh()

    async def record_at(self, path: str) -> tuple[str, str]:
        """Endpoint and look-up of the record at a path of the drive. Raises NotFound, Invalid where it is none."""
        node = await self.node_at([part for part in path.split("/") if part not in {"", "."}])
        if not isinstance(node, RecordFile):
            raise errors.Invalid(f"{path} is no record.")
        return node.endpoint_name, node.key

    async def node_at(self, parts: list[str]) -> Node:
        """The node that these names lead to, from the root on. Raises NotFound."""
        node: Node = self.root
        for part in parts:
            if not isinstance(node, Directory):
                raise errors.NotFound(f"{part!r} is in no directory.")
            node = await node.lookup(part)
        return node.whole if isinstance(node, OnlyDirectory) else node

    def status(self) -> dict[str, object]:
        """The content of ``status.json``."""
        return {
            "alyxfs": __version__,
            "process": os.getpid(),
            "control_socket": self.control_socket,
            "mounted_at": self._mounted_at,
            "snapshot": self.snapshot,
            "writable": self.is_writable,
            "may_only_read": self.may_only_read,
            "errors": self.errors.count,
            "last_errors": self.errors.lines()[-SHOWN_ERRORS:],
            **(self._editing.status() if self._editing else {"dry_run": False, "writes_pending": 0}),
            "staged": self.staged(),
            "defects": defects.noted.count,
            "last_defect": defects.noted.last,
            "cache_remarks": self.cache_remarks(),
            "only": None if self._only is None else {"manifest": self._only.name, "paths": len(self._only)},
            "differences": self.differences,
            "trace": self.trace_file,
            "inodes": self.number_of_inodes(),
            **self.metadata.status(),
            **self.figures(),
            "cache_tables": self._catalogue.index.status(),
            "releases": self._releases.status(),
            "tables": self._tables.status(),
        }


def _descriptions(endpoint: Endpoint) -> dict[str, Node]:
    """The hidden files of an endpoint's directory."""
    return {
        ".schema.json": TextFile(f"schema/{endpoint.name}", lambda: readable_json(schema_document(endpoint))),
        ".help.md": TextFile(f"help/{endpoint.name}", lambda: escaped(help_document(endpoint)).encode()),
    }
