"""An endpoint, or a query of it, as a directory of record files."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

from alyxfs import errors, file_names
from alyxfs.alyx.metadata.listing import whole
from alyxfs.alyx.metadata.rows import ID
from alyxfs.alyx.quirks.writing import NOTES
from alyxfs.tree.local_query import is_selected
from alyxfs.tree.node import FOREVER, Attributes, Directory, Entries, FixedEntries, Kind, Node, no_such_name
from alyxfs.tree.note_images import Picture, note_of, source_of
from alyxfs.tree.record import SUFFIX, RecordFile
from alyxfs.tree.tables.records import RECORDS, record_table
from alyxfs.tree.tables.rows import ROW_TABLES, row_table

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from alyxfs.alyx.metadata.cache import Listing, MetadataCache, Row
    from alyxfs.alyx.metadata.row_list import RowList
    from alyxfs.alyx.schema.read import Endpoint
    from alyxfs.files.cache import FileCache
    from alyxfs.files.source import Source
    from alyxfs.tree.tables import Tables
    from alyxfs.tree.tables.file import TableFile

_DOUBLED = re.compile(r"(.+)~([0-9a-f]{4,32})")

NAMES = "names"
"""By which a listing has the file names of its rows."""

BOOLEANS = frozenset({"true", "false"})
"""The server ignores any other value and gives everything (measured on 3.6.1)."""

Query = tuple[tuple[str, str], ...]
"""Filters and their values, in the order of the directories."""


class NamedListing:
    """The file names of the rows of a listing, made as they come; where each is a record's id, as they are asked for.

    ``_names`` and ``_positions`` grow together, in :meth:`_catch_up`, which never awaits.
    """

    def __init__(self, rows: RowList) -> None:
        self._rows = rows
        self._names: list[str] = []
        self._positions: dict[str, int] = {}

    def at(self, position: int) -> str:
        """The name of the row at this position, which has come."""
        if self._rows.are_named_by_id:
            return f"{self._rows[position].key}{SUFFIX}"
        if position >= len(self._names):
            self._catch_up()
        return self._names[position]

    def find(self, name: str) -> Row | None:
        """The row of this name among those that have come."""
        if self._rows.are_named_by_id:
            position = self._rows.position(name.removesuffix(SUFFIX)) if name.endswith(SUFFIX) else None
        else:
            self._catch_up()
            position = self._positions.get(name)
        return None if position is None else self._rows[position]

    def _catch_up(self) -> None:
        rows = self._rows
        for position in range(len(self._names), len(rows)):
            name = self._free_name(rows[position])
            self._names.append(name)
            self._positions[name] = position

    def _free_name(self, row: Row) -> str:
        """The look-up as a name; a second record with the same one gets the start of its id behind it."""
        name = file_names.encode(row.key, SUFFIX)
        mark = row.identity.replace("-", "")
        length = 4
        while name in self._positions and length <= len(mark):
            name = file_names.encode(row.key, f"~{mark[:length]}{SUFFIX}")
            length += 4
        return name


def named(listing: Listing) -> NamedListing:
    """The names of a listing's rows, which are kept as long as these."""
    known: NamedListing | None = listing.made.get(NAMES)
    if known is None:
        known = listing.made[NAMES] = NamedListing(listing.rows)
    return known


class EndpointDirectory(Directory):
    """The records of an endpoint; with a query, those that it selects."""

    __slots__ = ("_files", "_hidden", "_link", "_tables", "endpoint", "metadata", "query")

    def __init__(
        self,
        metadata: MetadataCache,
        endpoint: Endpoint,
        files: FileCache,
        tables: Tables,
        query: Query = (),
        *,
        link: Callable[[Endpoint, str, Query], Awaitable[Node]] | None = None,
        hidden: Mapping[str, Node] | None = None,
    ) -> None:
        self.metadata = metadata
        self.endpoint = endpoint
        self.query = query
        self._files = files
        self._tables = tables
        self._link = link
        self._hidden = hidden or {}

    @property
    def identity(self) -> str:
        """The endpoint and its query."""
        return "/".join(["endpoint", self.endpoint.name, *(f"{name}={value}" for name, value in self.query)])

    @property
    def filters(self) -> Query:
        """What the server is asked to select: nothing where it has no filters, and the query is done here."""
        return self.query if self.endpoint.filters else ()

    def attributes(self) -> Attributes:
        """The time of the last listing."""
        listed_at = self.metadata.listed_at(self.endpoint.name, self.filters)
        modified = self.metadata.started_at if listed_at is None else listed_at
        return Attributes(Kind.DIRECTORY, 0, modified, 10.0, FOREVER)

    async def entries(self) -> Entries:
        """Open the listing; endpoints without one show nothing, their records are entered by name."""
        if not self.endpoint.listed:
            return FixedEntries(())
        if self._is_done_here:
            return FixedEntries(await self._selected())
        listing = self._listing()
        await listing.has(0)
        return ListingEntries(self, listing)

    async def lookup(self, name: str) -> Node:
        """A listed record costs nothing, one that was never listed a request, an impossible name nothing."""
        if name in self._hidden and not self.query:
            return self._hidden[name]
        if (name in ROW_TABLES or name == RECORDS) and self.endpoint.listed:
            return self._table(name)
        if "=" in name and not name.endswith(SUFFIX):
            return await self._queried_or_linked(name)
        if name.endswith(SUFFIX):
            row = await self._listed(name)
            file = self.record_file(row) if row is not None else await self._unlisted(name)
            if self._is_done_here and not await self._is_selected(file):
                raise no_such_name(name, self.identity)
            return file
        if self._is_done_here:
            raise no_such_name(name, self.identity)
        note_name = note_of(name) if self.endpoint.name == NOTES else None
        if note_name is not None and self.key_of(note_name) is not None:
            return await self._picture_of(name, note_name)
        if self._link is not None:
            return await self._link(self.endpoint, name, self.query)
        raise no_such_name(name, self.endpoint.name)

    def record_file(self, row: Row) -> RecordFile:
        """The file of a listed row."""
        return RecordFile(self.metadata, self.endpoint, row.key, row.identity, row.size, row.modified)

    def key_of(self, name: str) -> str | None:
        """The look-up value behind a file name, or None where no record can have this name."""
        stem = file_names.decode(name[: -len(SUFFIX)]) if name.endswith(SUFFIX) else None
        if not stem:
            return None
        if self.endpoint.lookup == "id" and not ID.fullmatch(stem):
            return None
        return stem

    def _listing(self) -> Listing:
        return self.metadata.listing(self.endpoint.name, self.filters)

    async def _listed(self, name: str) -> Row | None:
        """The row of this name, where the directory was listed; never a request."""
        if self.metadata.listed_at(self.endpoint.name, self.filters) is None:
            return None
        listing = self._listing()
        if listing.laid_aside is not None and await self._has_record(name):
            return None
        await listing.ready()
        return named(listing).find(name)

    async def _has_record(self, name: str) -> bool:
        """Whether the one record of this name is on this machine, so that it is found without its row."""
        key = self.key_of(name) if self.endpoint.lookup == "id" and self.endpoint.detailed and not self.query else None
        return key is not None and await self.metadata.has_record(self.endpoint.name, key)

    async def _queried_or_linked(self, name: str) -> Node:
        """A query; where there is no such filter it may be a record whose name holds the sign."""
        try:
            return self._queried(name)
        except errors.NeverFound as unknown_filter:
            if self._link is None or self.endpoint.lookup == "id" or self._is_done_here:
                raise
            try:
                return await self._link(self.endpoint, name, self.query)
            except errors.NotFound:
                raise unknown_filter from None

    def _queried(self, name: str) -> Directory:
        filter_name, value = split_query(name)
        offered = self.endpoint.filters.get(filter_name)
        if offered is None and not self.endpoint.filters:
            return self._queried_here(filter_name, value)
        if offered is None:
            known = ", ".join(sorted(self.endpoint.filters))
            raise errors.NeverFound(f"{self.endpoint.name} has no filter {filter_name!r}; it has: {known}.")
        if not value.strip():
            raise errors.Invalid(f"The filter {filter_name} needs a value: without one the server gives everything.")
        if filter_name != "django" and any(filter_name == name for name, _ in self.query):
            raise errors.Invalid(
                f"The filter {filter_name} stands twice in this path, and the server would take only the last one: "
                "use django= for a second condition on the same field."
            )
        if offered.kind == "boolean" and value.lower() not in BOOLEANS:
            raise errors.Invalid(f"The filter {filter_name} takes true or false, not {value!r}.")
        return self.narrowed((*self.query, (filter_name, value)))

    def narrowed(self, query: Query) -> EndpointDirectory:
        """The directory of a query of this endpoint."""
        return EndpointDirectory(
            self.metadata, self.endpoint, self._files, self._tables, query, link=self._link, hidden=self._hidden
        )

    def picture(self, name: str, note: RecordFile, source: Source | None) -> Picture:
        """The picture of a note."""
        return Picture(name, note, self._files, source)

    def _table(self, name: str) -> TableFile:
        async def selects(row: Row) -> bool:
            return await self._is_selected(self.record_file(row))

        listing = self._listing()
        chosen = selects if self._is_done_here else None
        if name == RECORDS:
            return record_table(self._tables, self.metadata, self.endpoint, self.identity, listing, chosen)
        return row_table(self._tables, self.metadata, self.identity, name, listing, chosen, self.endpoint)

    @property
    def _is_done_here(self) -> bool:
        return self.query != self.filters

    def _queried_here(self, field: str, value: str) -> Directory:
        """A query of a plain field; raises NotFound for one that records do not have."""
        if field not in self.endpoint.fields:
            known = ", ".join(sorted(self.endpoint.fields))
            raise errors.NeverFound(f"{self.endpoint.name} has no field {field!r}; it has: {known}.")
        return self.narrowed((*self.query, (field, value)))

    async def _selected(self) -> list[tuple[str, Node]]:
        """The records that a query done here selects: these lists are short, so each is looked at whole."""
        listing = self._listing()
        selected: list[tuple[str, Node]] = []
        position = 0
        while await listing.has(position):
            name, file = named(listing).at(position), self.record_file(listing.rows[position])
            if await self._is_selected(file):
                selected.append((name, file))
            position += 1
        return selected

    async def _is_selected(self, file: RecordFile) -> bool:
        document = (await file.record()).document
        return isinstance(document, dict) and is_selected(document, self.query)

    def file_of(self, key: str, identity: str) -> RecordFile:
        """The file of a record that was not listed."""
        return RecordFile(self.metadata, self.endpoint, key, identity)

    async def _picture_of(self, name: str, note_name: str) -> Picture:
        note = await self.lookup(note_name)
        assert isinstance(note, RecordFile)
        source = await source_of(note, name)
        if source is None:
            raise no_such_name(name, self.endpoint.name)
        picture = self.picture(name, note, source)
        await picture.learn_size()
        return picture

    async def _unlisted(self, name: str) -> RecordFile:
        key = self.key_of(name)
        if key is None or not self.endpoint.detailed or self.filters:
            return await self._listed_only(name)
        try:
            record = await self.metadata.record(self.endpoint.name, key)
        except errors.NotFound:
            if _DOUBLED.fullmatch(name[: -len(SUFFIX)]) or len(name.encode()) >= file_names.MAXIMUM_BYTES:
                return await self._listed_only(name)
            raise
        return self.file_of(key, record.identity)

    async def _listed_only(self, name: str) -> RecordFile:
        """Names that no detail address leads to (doubled, shortened, made here) are known by a whole listing alone."""
        possible = not self.endpoint.detailed or self.endpoint.lookup != "id" or self.key_of(name) is not None
        if not (possible and self.endpoint.listed):
            raise no_such_name(name, self.endpoint.name)
        listing = self._listing()
        await whole(listing)
        row = named(listing).find(name)
        if row is None:
            raise no_such_name(name, self.endpoint.name)
        return self.record_file(row)


def split_query(name: str) -> tuple[str, str]:
    """``name=value`` of a query's directory; what a file name cannot hold is percent-encoded in the value."""
    filter_name, _, value = name.partition("=")
    return filter_name, unquote(value)


class ListingEntries:
    """An open endpoint directory: it keeps the listing it was opened with."""

    def __init__(self, directory: EndpointDirectory, listing: Listing) -> None:
        self._directory = directory
        self.listing = listing
        self._rows, self._asked_for = listing.rows, 0
        """What the listing had when it was asked last, and how many rows: once a page, not for each entry."""

    def ready(self, position: int) -> bool:
        """Whether the row's page has come."""
        return position < len(self.listing.rows) or self.listing.complete

    async def at(self, position: int) -> tuple[str, Node, int] | None:
        """Wait for the row's page."""
        if position >= self._asked_for or self._rows is not self.listing.rows:
            if not await self.listing.has(position):
                return None
            self._rows, self._asked_for = self.listing.rows, len(self.listing.rows)
        return named(self.listing).at(position), self._directory.record_file(self._rows[position]), position + 1
