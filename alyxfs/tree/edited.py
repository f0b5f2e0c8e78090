"""An endpoint's directory on a drive that may be written to: what create, unlink and rename mean there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alyxfs import errors, names
from alyxfs.edits import FIELD_OF_FILTER
from alyxfs.tree.draft import DraftReader
from alyxfs.tree.endpoint import EndpointDirectory, Query
from alyxfs.tree.newrecord import NewRecordFile
from alyxfs.tree.node import Attributes, BytesReader, Directory, Entries, Kind, Node, Reader, no_such_name
from alyxfs.tree.pictures import NOTES, EditedPicture, Picture, note_of
from alyxfs.tree.record import SUFFIX, RecordFile, version_of
from alyxfs.tree.scratch import ScratchFile, ScratchHandle, ScratchLink
from alyxfs.tree.workbench import Target

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from alyxfs.alyx.library import Library, Row
    from alyxfs.alyx.schema import Endpoint
    from alyxfs.files import FileCache, Source
    from alyxfs.tree.draft import OpenDraft, RecordHandle
    from alyxfs.tree.node import Writer
    from alyxfs.tree.workbench import Workbench

_SCRATCH_STARTS = (".", "#")


class EditedRecordFile(RecordFile):
    """A record that can be changed; while somebody writes to it, it shows the draft."""

    __slots__ = ("_directory",)

    def __init__(self, directory: EditedDirectory, record: RecordFile) -> None:
        record.copy_to(self)
        self._directory = directory

    def attributes(self) -> Attributes:
        """The draft's while there is one. A name that can be changed is looked up anew each time."""
        known = super().attributes()
        name_lifetime = known.name_lifetime if self._directory.endpoint.lookup == "id" else 0.0
        if (opened := self._draft()) is not None:
            return Attributes(Kind.FILE, opened.draft.size, opened.modified, 0.0, name_lifetime, writable=True)
        return Attributes(Kind.FILE, known.size, known.modified, known.lifetime, name_lifetime, writable=True)

    async def open(self, process: int) -> Reader:
        """Remember what the program was shown: that is what its edits are compared with.

        Of another's draft that is what the other was shown: what the draft lacks was not taken out by its reader.
        """
        bases, endpoint = self._directory.workbench.editor.bases, self._directory.endpoint.name
        if (opened := self._draft()) is not None:
            base = bases.base_of(opened.process, endpoint, self.key)
            if base is not None:
                bases.served(process, endpoint, self.key, base)
            return DraftReader(opened)
        record = await self.record()
        if (opened := self._draft()) is not None:  # begun while the record was fetched
            return await self.open(process)
        if isinstance(record.document, dict):
            bases.served(process, endpoint, self.key, record.document)
        return BytesReader(record.content, version_of(record.content))

    async def open_for_writing(self, process: int, *, truncate: bool) -> RecordHandle:
        """See File."""
        target = self._directory.target(names.encode(self.key, SUFFIX), self)
        return await self._directory.workbench.open_record(target, process, truncate=truncate)

    def _draft(self) -> OpenDraft | None:
        opened = self._directory.workbench.draft_of(self._directory.endpoint.name, self.key)
        return opened if opened is not None and opened.was_changed else None


class EditedDirectory(EndpointDirectory):
    """The records of an endpoint, the files being made, and the scratch files of editors."""

    __slots__ = ("workbench",)

    def __init__(
        self,
        library: Library,
        endpoint: Endpoint,
        files: FileCache,
        workbench: Workbench,
        query: Query = (),
        *,
        link: Callable[[Endpoint, str, Query], Awaitable[Node]] | None = None,
        hidden: Mapping[str, Node] | None = None,
    ) -> None:
        super().__init__(library, endpoint, files, query, link=link, hidden=hidden)
        self.workbench = workbench

    def attributes(self) -> Attributes:
        """Writable."""
        known = super().attributes()
        return Attributes(known.kind, 0, known.modified, known.lifetime, known.name_lifetime, writable=True)

    def narrowed(self, query: Query) -> EndpointDirectory:
        """See EndpointDirectory."""
        return EditedDirectory(
            self.library, self.endpoint, self._files, self.workbench, query, link=self._link, hidden=self._hidden
        )

    def record_file(self, row: Row) -> EditedRecordFile:
        """See EndpointDirectory."""
        return EditedRecordFile(self, super().record_file(row))

    def file_of(self, key: str, identity: str) -> EditedRecordFile:
        """See EndpointDirectory."""
        return EditedRecordFile(self, super().file_of(key, identity))

    def target(self, file_name: str, record: RecordFile | None) -> Target:
        """What a draft in this directory is saved to."""
        if record is not None:
            return Target(self.endpoint, record.key, file_name, self.identity, record.record_identity)
        return Target(self.endpoint, None, file_name, self.identity, defaults=self._defaults())

    async def lookup(self, name: str) -> Node:
        """A local file, a record that was made under this name, or what the server has."""
        local = self.workbench.names.file(self.identity, name)
        if local is not None:
            return local
        if self.workbench.away_key(self.identity, name) is not None:
            raise no_such_name(name, self.endpoint.name)
        made = self.workbench.names.made_as(self.identity, name)
        if made is not None and names.encode(made, SUFFIX) != name:
            return await self._record_of(made)
        return await super().lookup(name)

    async def entries(self) -> Entries:
        """The records that are not away, then the local files."""
        return _WithLocalFiles(self, await super().entries())

    async def create(self, name: str, process: int) -> tuple[Node, Writer]:
        """A record's name made anew is that record; another ``.json`` a new one; anything else a scratch file."""
        key = self.workbench.come_back(self.identity, name)
        if key is not None:
            file = await self._record_of(key)
            return file, await file.open_for_writing(process, truncate=True)
        if self._may_be_record(name):
            handle = self.workbench.open_new(self.target(name, None), process)
            new = NewRecordFile(self, handle.opened)
            self.workbench.names.put(self.identity, name, new)
            return new, handle
        note_name = note_of(name) if self.endpoint.name == NOTES and name[0] not in _SCRATCH_STARTS else None
        if note_name is not None and self.key_of(note_name) is not None:
            note = await super().lookup(note_name)
            assert isinstance(note, RecordFile)
            picture = self.picture(name, note, None)
            return picture, await picture.open_for_writing(process, truncate=True)
        scratch = ScratchFile(self.workbench.memory)
        self.workbench.names.put(self.identity, name, scratch)
        return scratch, ScratchHandle(scratch)

    async def symlink(self, name: str, target: str) -> Node:
        """Editors lock files with links."""
        if self._may_be_record(name):
            raise errors.NotAllowed(f"{name} would be a record, and a record cannot be a link.")
        link = ScratchLink(target)
        self.workbench.names.put(self.identity, name, link)
        return link

    async def unlink(self, name: str, process: int) -> None:
        """A scratch file goes at once; a record by DELETE."""
        if self.workbench.names.file(self.identity, name) is not None:
            self.workbench.names.take(self.identity, name)
            return
        if self._may_be_record(name):
            self.workbench.deletions.refuse_stopped(f"{self.endpoint.name}/{name}", process)
        node = await self.lookup(name)
        if isinstance(node, RecordFile):
            await self.workbench.deletions.delete(self.identity, name, self.endpoint.name, node.key, process)
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
        if self._may_be_record(new_name):
            if isinstance(there, RecordFile):
                raise errors.NotAllowed(f"{new_name} is another record: a record is not replaced by renaming.")
            target = self.target(name, record)
            await self.workbench.rename(target, self.target(new_name, None).stem)
            self.workbench.names.take(self.identity, new_name)
            return
        self._refuse_replacing(new_name, there)
        content = (await record.record()).content
        self.workbench.names.move_away(self.identity, name, record.key, new_name, content)

    async def _rename_local(
        self,
        name: str,
        file: ScratchFile | NewRecordFile | ScratchLink,
        new_name: str,
        there: Node | None,
        process: int,
    ) -> None:
        if isinstance(file, ScratchLink) or not self._may_be_record(new_name):
            self._refuse_replacing(new_name, there)
            self.workbench.names.move(self.identity, name, new_name)
            return
        is_away = self.workbench.names.away_key(self.identity, new_name) is not None
        key = self.workbench.come_back(self.identity, new_name)  # before anything is awaited: a DELETE may wait
        if key is not None:
            there = await self._record_of(key)
        is_backup = is_away and isinstance(file, ScratchFile) and file.stands_for == new_name and not file.draft.pending
        if not is_backup:
            target = self.target(new_name, there if isinstance(there, RecordFile) else None)
            await self.workbench.save_whole(target, file.draft.content(), process)
        self.workbench.names.take(self.identity, name)

    def _refuse_replacing(self, name: str, there: Node | None) -> None:
        if there is not None and self.workbench.names.file(self.identity, name) is None:
            raise errors.NotAllowed(f"{name} cannot be replaced by this file.")

    async def _there(self, name: str) -> Node | None:
        try:
            return await self.lookup(name)
        except errors.NotFound:
            return None

    async def _record_of(self, key: str) -> EditedRecordFile:
        return self.file_of(key, (await self.library.record(self.endpoint.name, key)).identity)

    def _may_be_record(self, name: str) -> bool:
        """Names of scratch files begin with a dot or a hash, or do not end with ``.json``; some records' do so, too."""
        if not name.endswith(SUFFIX) or name == SUFFIX:
            return False
        if name[0] not in _SCRATCH_STARTS:
            return True
        listing = self.library.known_listing(self.endpoint.name, self.filters)
        key = self.key_of(name)
        return key is not None and listing is not None and any(row.key == key for row in listing.rows)

    def picture(self, name: str, note: RecordFile, source: Source | None) -> Picture:
        """See EndpointDirectory."""
        return EditedPicture(name, note, self._files, source, self.workbench, self.target(name, note))

    def _defaults(self) -> dict[str, Any]:
        """What the query says of a record's plain fields; a list of names as a list of one, "null" as nothing."""
        fields = self.endpoint.fields
        field_of = FIELD_OF_FILTER.get(self.endpoint.name, {})
        named = {field_of.get(name, name): value for name, value in self.query}
        given = {
            name: value
            for name, value in named.items()
            if name in fields and not fields[name].read_only and value not in {"", "null"}
        }
        return {name: [value] if fields[name].kind == "array" else value for name, value in given.items()}


class _WithLocalFiles:
    """An open directory: the listing without the names that are away, then the local files as they were at opening."""

    def __init__(self, directory: EditedDirectory, listed: Entries) -> None:
        self._directory = directory
        self._listed = listed
        self._local = directory.workbench.names.names(directory.identity)
        self._end_of_list: int | None = None

    def ready(self, position: int) -> bool:
        return self._end_of_list is not None or self._listed.ready(position)

    async def at(self, position: int) -> tuple[str, Node, int] | None:
        workbench, identity = self._directory.workbench, self._directory.identity
        while self._end_of_list is None or position < self._end_of_list:
            found = await self._listed.at(position)
            if found is None:
                self._end_of_list = position
                break
            if workbench.away_key(identity, found[0]) is None:
                return found
            position = found[2]
        for offset in range(position - self._end_of_list, len(self._local)):
            name = self._local[offset]
            local = workbench.names.file(identity, name)
            if local is not None:
                return name, local, self._end_of_list + offset + 1
        return None
