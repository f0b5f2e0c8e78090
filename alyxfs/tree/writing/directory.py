"""An endpoint's directory on a drive that may be written to: what create, unlink and rename mean there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alyxfs import errors, file_names
from alyxfs.alyx.quirks.writing import NOTES
from alyxfs.edits import FIELD_OF_FILTER
from alyxfs.tree.endpoint import EndpointDirectory, ListingEntries, Query, named
from alyxfs.tree.node import Attributes, BytesReader, Directory, Entries, Node, Reader, no_such_name
from alyxfs.tree.note_images import Picture, note_of
from alyxfs.tree.record import SUFFIX, RecordFile, version_of
from alyxfs.tree.writing.new_record import NewRecordFile
from alyxfs.tree.writing.note_image import EditedPicture
from alyxfs.tree.writing.open_draft import DraftReader
from alyxfs.tree.writing.scratch import LocalNode, ScratchFile, ScratchHandle, ScratchLink
from alyxfs.tree.writing.target import Target

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from alyxfs.alyx.metadata.cache import Listing, MetadataCache, Row
    from alyxfs.alyx.schema.read import Endpoint
    from alyxfs.files.cache import FileCache
    from alyxfs.files.source import Source
    from alyxfs.tree.node import Writer
    from alyxfs.tree.tables import Tables
    from alyxfs.tree.writing.editing_session import EditingSession
    from alyxfs.tree.writing.open_draft import RecordHandle

DELETABLE_NAME_LIFETIME = 1.0
"""Seconds that the kernel may keep the name of a record that can be deleted through another directory: long enough for
``ls -l`` and ``find``. It is not told of the deletion, see ``alyxfs.kernel.invalidation``."""

_SCRATCH_STARTS = (".", "#")


class EditedRecordFile(RecordFile):
    """A record that can be changed: to those who do not write to it, as it was last saved.

    ``other_name`` is a file name under which the record was made, and which leads to it.
    """

    __slots__ = ("_directory", "_other_name")

    shows_drafts = True

    def __init__(self, directory: EditedDirectory, record: RecordFile, other_name: str | None = None) -> None:
        record.copy_to(self)
        self._directory = directory
        self._other_name = other_name

    @property
    def identity(self) -> str:
        """Another name is another inode: what is written to it may be another record."""
        known = super().identity
        return known if self._other_name is None else f"{known}/{self._directory.identity}/{self._other_name}"

    def attributes(self) -> Attributes:
        """While a program writes to it, the kernel asks each time: the program sees its draft, others the record.

        A name that can be changed is looked up anew each time.
        """
        known = super().attributes()
        is_written = self._directory.editing.drafts.of_record(self._endpoint.name, self.key)
        lifetime = 0.0 if is_written else known.lifetime
        is_fixed = self._endpoint.lookup == "id" and self._other_name is None
        name_lifetime = min(known.name_lifetime, DELETABLE_NAME_LIFETIME) if is_fixed else 0.0
        return known._replace(lifetime=lifetime, name_lifetime=name_lifetime, writable=True)

    async def open(self, process: int) -> Reader:
        """Its own draft for a program that has one; remember what others were shown: their edits are compared to it."""
        own = self._directory.editing.drafts.written_by(process, self._endpoint.name, self.key)
        if own is not None:
            return DraftReader(own)
        record = await self.record()
        if self._other_name is not None:
            self._directory.editing.names.note_read(self._directory.identity, self._other_name, process)
        if isinstance(record.document, dict):
            self._directory.editing.editor.bases.served(process, self._endpoint.name, self.key, record.document)
        return BytesReader(record.content, version_of(record.content))

    async def extended_attributes(self) -> dict[str, str]:
        """Which record this is, and the numbers of what is proposed of it."""
        known = await super().extended_attributes()
        numbers = self._directory.editing.editor.proposals_of(self._endpoint.name, self.key)
        return {**known, "proposed": ", ".join(map(str, numbers))} if numbers else known

    async def open_for_writing(self, process: int, *, truncate: bool) -> RecordHandle:
        """See File."""
        return await self._directory.editing.open_record(self.target(), process, truncate=truncate)

    def target(self) -> Target:
        """What is saved to it."""
        return self._directory.target(self._other_name or file_names.encode(self.key, SUFFIX), self)


class EditedDirectory(EndpointDirectory):
    """The records of an endpoint, the files being made, and the scratch files of editors."""

    __slots__ = ("editing",)

    def __init__(
        self,
        metadata: MetadataCache,
        endpoint: Endpoint,
        files: FileCache,
        tables: Tables,
        editing: EditingSession,
        query: Query = (),
        *,
        link: Callable[[Endpoint, str, Query], Awaitable[Node]] | None = None,
        hidden: Mapping[str, Node] | None = None,
    ) -> None:
        super().__init__(metadata, endpoint, files, tables, query, link=link, hidden=hidden)
        self.editing = editing

    def attributes(self) -> Attributes:
        """Writable."""
        known = super().attributes()
        return Attributes(known.kind, 0, known.modified, known.lifetime, known.name_lifetime, writable=True)

    def narrowed(self, query: Query) -> EndpointDirectory:
        """See EndpointDirectory."""
        return EditedDirectory(
            self.metadata,
            self.endpoint,
            self._files,
            self._tables,
            self.editing,
            query,
            link=self._link,
            hidden=self._hidden,
        )

    def record_file(self, row: Row) -> EditedRecordFile:
        """See EndpointDirectory."""
        return EditedRecordFile(self, super().record_file(row))

    def file_of(self, key: str, identity: str) -> EditedRecordFile:
        """See EndpointDirectory."""
        return EditedRecordFile(self, super().file_of(key, identity))

    def target(self, file_name: str, record: RecordFile | None) -> Target:
        """What a draft in this directory is saved to."""
        if record is None:
            return Target(self.endpoint, None, file_name, self.identity, defaults=self._defaults())
        is_other_name = file_name == self._made_here(record.key, file_name)
        defaults = self._defaults() if is_other_name else {}
        return Target(
            self.endpoint, record.key, file_name, self.identity, record.record_identity, defaults, is_other_name
        )

    def _made_here(self, key: str, file_name: str) -> str | None:
        is_other = file_names.encode(key, SUFFIX) != file_name
        return file_name if is_other and self.editing.names.made_as(self.identity, file_name) == key else None

    async def lookup(self, name: str) -> Node:
        """A local file, a record that was made under this name, or what the server has."""
        local = await self.local(name)
        if local is not None:
            return local
        if self.editing.away_key(self.identity, name) is not None:
            raise no_such_name(name, self.endpoint.name)
        made = self.editing.names.made_as(self.identity, name)
        if made is not None and file_names.encode(made, SUFFIX) != name:
            return EditedRecordFile(self, await self._record_of(made), name)
        return await super().lookup(name)

    async def local(self, name: str, listing: Listing | None = None) -> LocalNode | None:
        """The local file of this name. It gives way to a record of its name that this listing has, or the known one."""
        local = self.editing.names.file(self.identity, name)
        if local is None:
            return None
        if listing is None and self.metadata.listed_at(self.endpoint.name, self.filters) is not None:
            listing = self._listing()
        if listing is None or listing.stale or min(listing.begun_at, listing.fetched_at) <= local.left_at:
            return local
        await listing.ready()
        if named(listing).find(name) is None:
            return local
        await self.editing.give_way(self.target(name, None))
        return self.editing.names.file(self.identity, name)

    async def entries(self) -> Entries:
        """The records that are not away, then the local files."""
        return _WithLocalFiles(self, await super().entries())

    async def create(self, name: str, process: int) -> tuple[Node, Writer]:
        """A record's name made anew is that record; another ``.json`` a new one; anything else a scratch file."""
        key = self.editing.come_back(self.identity, name)
        if key is not None:
            # No request for a truncated one: the kernel lets nobody else make or remove a file here meanwhile.
            record = self.file_of(key, key) if self.endpoint.lookup == "id" else await self._record_of(key)
            file = EditedRecordFile(self, record, self._made_here(key, name))
            return file, await file.open_for_writing(process, truncate=True)
        if await self._may_be_record(name):
            new = NewRecordFile(self.editing, self.target(name, None), lambda key: self.file_of(key, key))
            self.editing.names.put(self.identity, name, new)
            return new, await new.open_for_writing(process, truncate=True)
        note_name = note_of(name) if self.endpoint.name == NOTES and name[0] not in _SCRATCH_STARTS else None
        if note_name is not None and self.key_of(note_name) is not None:
            note = await super().lookup(note_name)
            assert isinstance(note, RecordFile)
            picture = self.picture(name, note, None)
            return picture, await picture.open_for_writing(process, truncate=True)
        scratch = ScratchFile(self.editing.memory)
        self.editing.names.put(self.identity, name, scratch)
        return scratch, ScratchHandle(scratch)

    async def symlink(self, name: str, target: str) -> Node:
        """Editors lock files with links."""
        if await self._may_be_record(name):
            raise errors.NotAllowed(f"{name} would be a record, and a record cannot be a link.")
        link = ScratchLink(target)
        self.editing.names.put(self.identity, name, link)
        return link

    async def unlink(self, name: str, process: int) -> None:
        """A scratch file goes at once; a record by DELETE."""
        if self.editing.names.file(self.identity, name) is not None:
            self.editing.names.take(self.identity, name)
            return
        if await self._may_be_record(name):
            self.editing.deletions.refuse_stopped(f"{self.endpoint.name}/{name}", process)
        node = await self.lookup(name)
        if isinstance(node, RecordFile):
            await self.editing.deletions.delete(self.identity, name, self.endpoint.name, node.key, process)
        elif isinstance(node, Picture):
            raise errors.NotAllowed(f"The server cannot take the picture {name} from its note; it can be replaced.")
        else:
            raise errors.ReadOnly(f"{name} is part of the drive and cannot be removed.")

    async def rename(self, name: str, target: Directory, new_name: str, process: int, *, replace: bool) -> None:
        """A local file over a record is a save; a record given a scratch name stays on the server; else PATCH."""
        if target.identity != self.identity:
            raise errors.NotAllowed(f"{name} cannot be moved to another directory: copy it and remove the first one.")
        there = await self._there(new_name)
        if there is not None and not replace:
            raise errors.Exists(f"{new_name} exists already.")
        node = await self.lookup(name)
        if isinstance(node, RecordFile):
            await self._rename_record(name, node, new_name, there)
        elif isinstance(node, (ScratchFile, NewRecordFile, ScratchLink)):
            await self._rename_local(name, node, new_name, there, process)
        else:
            raise errors.ReadOnly(f"{name} is part of the drive and cannot be renamed.")

    async def _rename_record(self, name: str, record: RecordFile, new_name: str, there: Node | None) -> None:
        if await self._may_be_record(new_name):
            if isinstance(there, RecordFile):
                raise errors.NotAllowed(f"{new_name} is another record: a record is not replaced by renaming.")
            target = self.target(name, record)
            await self.editing.rename(target, self.target(new_name, None).stem)
            self.editing.names.take(self.identity, new_name)
            return
        self._refuse_replacing(new_name, there)
        content = (await record.record()).content
        self.editing.names.move_away(self.identity, name, record.key, new_name, content)

    async def _rename_local(
        self,
        name: str,
        file: ScratchFile | NewRecordFile | ScratchLink,
        new_name: str,
        there: Node | None,
        process: int,
    ) -> None:
        is_record = isinstance(there, RecordFile) or await self._may_be_record(new_name)
        if isinstance(file, ScratchLink) or not is_record:
            self._refuse_replacing(new_name, there)
            self.editing.names.move(self.identity, name, new_name)
            return
        is_away = self.editing.names.away_key(self.identity, new_name) is not None
        key = self.editing.come_back(self.identity, new_name)  # before anything is awaited: a DELETE may wait
        if key is not None:
            there = await self._record_of(key)
        is_backup = is_away and isinstance(file, ScratchFile) and file.stands_for == new_name and not file.draft.pending
        if not is_backup:
            target = self.target(new_name, there if isinstance(there, RecordFile) else None)
            await self.editing.save_whole(target, file.draft.content(), process)
        self.editing.names.take(self.identity, name)

    def _refuse_replacing(self, name: str, there: Node | None) -> None:
        if there is not None and self.editing.names.file(self.identity, name) is None:
            raise errors.NotAllowed(f"{name} cannot be replaced by this file.")

    async def _there(self, name: str) -> Node | None:
        try:
            return await self.lookup(name)
        except errors.NotFound:
            return None

    async def _record_of(self, key: str) -> EditedRecordFile:
        return self.file_of(key, (await self.metadata.record(self.endpoint.name, key)).identity)

    async def _may_be_record(self, name: str) -> bool:
        """Names of scratch files begin with a dot or a hash, or do not end with ``.json``; some records' do so, too."""
        if not name.endswith(SUFFIX) or name == SUFFIX:
            return False
        if name[0] not in _SCRATCH_STARTS:
            return True
        listing = await self.metadata.known_listing(self.endpoint.name, self.filters)
        key = self.key_of(name)
        return key is not None and listing is not None and any(row.key == key for row in listing.rows)

    def picture(self, name: str, note: RecordFile, source: Source | None) -> Picture:
        """See EndpointDirectory."""
        return EditedPicture(name, note, self._files, source, self.editing, self.target(name, note))

    def _defaults(self) -> dict[str, Any]:
        """What the query says of a record's plain fields; a list of names as a list of one, "null" as nothing."""
        fields = self.endpoint.fields
        field_of = FIELD_OF_FILTER.get(self.endpoint.name, {})
        queried = {field_of.get(name, name): value for name, value in self.query}
        given = {
            name: value
            for name, value in queried.items()
            if name in fields and not fields[name].read_only and value not in {"", "null"}
        }
        return {name: [value] if fields[name].kind == "array" else value for name, value in given.items()}


class _WithLocalFiles:
    """An open directory: the listing without the names that are away, or local, then the local files at opening."""

    def __init__(self, directory: EditedDirectory, listed: Entries) -> None:
        self._directory = directory
        self._listed = listed
        self._listing = listed.listing if isinstance(listed, ListingEntries) else None
        self._local = directory.editing.names.names(directory.identity)
        self._end_of_list: int | None = None

    def ready(self, position: int) -> bool:
        return self._end_of_list is not None or self._listed.ready(position)

    async def at(self, position: int) -> tuple[str, Node | None, int] | None:
        editing, identity = self._directory.editing, self._directory.identity
        if self._end_of_list is None or position < self._end_of_list:
            found = await self._listed.at(position)
            if found is not None:
                name, node, following = found
                is_hidden = editing.away_key(identity, name) is not None or await self._is_local(name)
                return name, None if is_hidden else node, following
            self._end_of_list = position
        for offset in range(position - self._end_of_list, len(self._local)):
            name = self._local[offset]
            local = editing.names.file(identity, name)
            if local is not None:
                return name, local, self._end_of_list + offset + 1
        return None

    async def _is_local(self, name: str) -> bool:
        """Whether the name comes later as a local file: a record was made elsewhere under the name of a new one."""
        return name in self._local and await self._directory.local(name, self._listing) is not None
