"""An endpoint's directory on a drive that may be written to: what create, unlink and rename mean there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alyxfs import errors, names
from alyxfs.edits import Draft
from alyxfs.tree.endpoint import SUFFIX, EndpointDirectory, Query
from alyxfs.tree.node import Attributes, BytesReader, Directory, Entries, File, Kind, Node, Reader, no_such_name
from alyxfs.tree.record import RecordFile
from alyxfs.tree.scratch import ScratchFile, ScratchHandle, ScratchLink
from alyxfs.tree.workbench import Target

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from alyxfs.alyx.library import Library, Row
    from alyxfs.alyx.schema import Endpoint
    from alyxfs.tree.draft import OpenDraft, RecordHandle
    from alyxfs.tree.workbench import Workbench

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".tif", ".tiff", ".bmp")
"""A file ``notes/<id>`` with one of these is the note's picture."""
_SCRATCH_STARTS = (".", "#")


class EditedRecordFile(RecordFile):
    """A record that can be changed; while somebody writes to it, it shows the draft."""

    __slots__ = ("_directory", "_workbench")

    def __init__(self, directory: EditedDirectory, record: RecordFile) -> None:
        record.copy_to(self)
        self._directory = directory
        self._workbench = directory.workbench

    def attributes(self) -> Attributes:
        """The draft's while there is one."""
        known = super().attributes()
        opened = self._workbench.draft_of(self._directory.endpoint.name, self.key)
        if opened is not None:
            return Attributes(Kind.FILE, opened.draft.size, opened.modified, 0.0, known.name_lifetime, writable=True)
        return Attributes(Kind.FILE, known.size, known.modified, known.lifetime, known.name_lifetime, writable=True)

    async def open(self, process: int) -> Reader:
        """Remember what the program was shown: that is what its edits are compared with."""
        opened = self._workbench.draft_of(self._directory.endpoint.name, self.key)
        if opened is not None and opened.draft.pending:
            return BytesReader(opened.draft.content(), f"draft/{id(opened)}/{opened.draft.generation}")
        record = await self.record()
        if isinstance(record.document, dict):
            self._workbench.editor.bases.served(process, self._directory.endpoint.name, self.key, record.document)
        return await super().open(process)

    async def open_for_writing(self, process: int, *, truncate: bool) -> RecordHandle:
        """See File."""
        target = self._directory.target(self.key, names.encode(self.key))
        return await self._workbench.open_record(target, process, truncate=truncate)


class NewRecordFile(File):
    """A record that is being made; once the server has it, it is that record."""

    def __init__(self, directory: EditedDirectory, opened: OpenDraft, identity: str) -> None:
        self._directory = directory
        self._identity = identity
        self.opened = opened

    @property
    def identity(self) -> str:
        """See Node."""
        return self._identity

    @property
    def made(self) -> RecordFile | None:
        """The record, once there is one."""
        key = self.opened.target.key
        return None if key is None else self._directory.file_of(key, key)

    def attributes(self) -> Attributes:
        """See Node."""
        if (record := self.made) is not None:
            return record.attributes()
        return Attributes(Kind.FILE, self.opened.draft.size, self.opened.modified, 0.0, 0.0, writable=True)

    async def open(self, process: int) -> Reader:
        """See File."""
        if (record := self.made) is not None:
            return await record.open(process)
        content = self.opened.draft.content()
        return BytesReader(content, f"draft/{id(self.opened)}/{self.opened.draft.generation}")

    async def open_for_writing(self, process: int, *, truncate: bool) -> RecordHandle:
        """See File."""
        if (record := self.made) is not None:
            return await self._directory.writable(record).open_for_writing(process, truncate=truncate)
        if truncate and self.opened.draft.size:
            self.opened.draft.truncate(0)
        return self._directory.workbench.handle_of(self.opened, process)

    async def extended_attributes(self) -> dict[str, str]:
        """Whether it is still on this machine alone."""
        if (record := self.made) is not None:
            return await record.extended_attributes()
        return {"endpoint": self._directory.endpoint.name, "local": "true"}


class EditedDirectory(EndpointDirectory):
    """The records of an endpoint, the files being made, and the scratch files of editors."""

    __slots__ = ("workbench",)

    def __init__(
        self,
        library: Library,
        endpoint: Endpoint,
        workbench: Workbench,
        query: Query = (),
        *,
        link: Callable[[Endpoint, str, Query], Awaitable[Node]] | None = None,
        hidden: Mapping[str, Node] | None = None,
    ) -> None:
        super().__init__(library, endpoint, query, link=link, hidden=hidden)
        self.workbench = workbench

    def attributes(self) -> Attributes:
        """Writable."""
        known = super().attributes()
        return Attributes(known.kind, 0, known.modified, known.lifetime, known.name_lifetime, writable=True)

    def narrowed(self, query: Query) -> EndpointDirectory:
        """See EndpointDirectory."""
        return EditedDirectory(self.library, self.endpoint, self.workbench, query, link=self._link, hidden=self._hidden)

    def record_file(self, row: Row) -> RecordFile:
        """See EndpointDirectory."""
        return self.writable(super().record_file(row))

    def file_of(self, key: str, identity: str) -> RecordFile:
        """See EndpointDirectory."""
        return self.writable(super().file_of(key, identity))

    def writable(self, record: RecordFile) -> EditedRecordFile:
        """The same record, to be changed."""
        return EditedRecordFile(self, record)

    def target(self, key: str | None, stem: str) -> Target:
        """What a draft in this directory is saved to."""
        fields = self.endpoint.fields
        defaults = {name: value for name, value in self.query if name in fields and not fields[name].read_only}
        return Target(self.endpoint, key, stem, self.identity, defaults)

    async def lookup(self, name: str) -> Node:
        """A local file, a record that was made under this name, or what the server has."""
        local = self.workbench.local(self.identity, name)
        if local is not None:
            return local
        if self.workbench.is_away(self.identity, name):
            raise no_such_name(name, self.endpoint.name)
        made = self.workbench.made_as(self.endpoint.name, name)
        if made is not None and names.encode(made, SUFFIX) != name:
            return self.file_of(made, (await self.library.record(self.endpoint.name, made)).identity)
        return await super().lookup(name)

    async def entries(self) -> Entries:
        """The records that are not away, then the local files."""
        return _WithLocalFiles(self, await super().entries())

    async def create(self, name: str, process: int) -> tuple[Node, RecordHandle | ScratchHandle]:
        """A record's name made anew is that record; another ``.json`` a new one; anything else a scratch file."""
        key = self.workbench.come_back(self.identity, name)
        if key is not None:
            file = self.file_of(key, (await self.library.record(self.endpoint.name, key)).identity)
            return file, await self.writable(file).open_for_writing(process, truncate=True)
        if self._may_be_record(name):
            opened, handle = self.workbench.open_new(self.target(None, self._stem(name)), process)
            new = NewRecordFile(self, opened, f"new/{id(opened)}")
            self.workbench.put(self.identity, name, new)
            return new, handle
        if self.endpoint.name == "notes" and name.lower().endswith(PICTURE_SUFFIXES) and name[0] not in _SCRATCH_STARTS:
            picture = PictureFile(self, name)
            return picture, await picture.open_for_writing(process, truncate=False)
        scratch = ScratchFile()
        self.workbench.put(self.identity, name, scratch)
        return scratch, ScratchHandle(scratch)

    async def symlink(self, name: str, target: str) -> Node:
        """Editors lock files with links."""
        if self._may_be_record(name):
            raise errors.NotAllowed(f"{name} would be a record, and a record cannot be a link.")
        link = ScratchLink(target)
        self.workbench.put(self.identity, name, link)
        return link

    async def unlink(self, name: str, process: int) -> None:
        """A scratch file goes at once; a record by DELETE."""
        node = await self.lookup(name)
        if isinstance(node, NewRecordFile) and node.made is not None:
            self.workbench.take(self.identity, name)
            node = node.made
        if isinstance(node, RecordFile):
            await self.workbench.delete(self.identity, name, self.endpoint.name, node.key, process)
        elif self.workbench.local(self.identity, name) is not None:
            self.workbench.take(self.identity, name)
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
        if isinstance(node, NewRecordFile) and node.made is not None:
            node = node.made
        if isinstance(node, RecordFile):
            await self._rename_record(name, node, new_name, there, process)
        elif isinstance(node, (ScratchFile, NewRecordFile, ScratchLink)):
            await self._rename_local(name, node, new_name, there, process)
        else:
            raise errors.ReadOnly(f"{name} is part of the drive and cannot be renamed.")

    async def _rename_record(
        self, name: str, record: RecordFile, new_name: str, there: Node | None, process: int
    ) -> None:
        if not self._may_be_record(new_name):
            content = (await record.record()).content
            self.workbench.editor.bases.served(
                process, self.endpoint.name, record.key, (await record.record()).document
            )
            if there is not None:
                self.workbench.take(self.identity, new_name)
            self.workbench.move_away(self.identity, name, record.key, new_name, content)
            return
        if there is not None:
            raise errors.NotAllowed(f"{new_name} is another record: a record is not replaced by renaming.")
        self.workbench.touched(await self.workbench.editor.rename(self.endpoint.name, record.key, self._stem(new_name)))

    async def _rename_local(
        self,
        name: str,
        file: ScratchFile | NewRecordFile | ScratchLink,
        new_name: str,
        there: Node | None,
        process: int,
    ) -> None:
        if isinstance(file, ScratchLink) or not self._may_be_record(new_name):
            if there is not None and self.workbench.local(self.identity, new_name) is None:
                raise errors.NotAllowed(f"{new_name} cannot be replaced by this file.")
            self.workbench.move(self.identity, name, new_name)
            return
        content = file.draft.content() if isinstance(file, ScratchFile) else file.opened.draft.content()
        key = there.key if isinstance(there, RecordFile) else self.workbench.away_key(self.identity, new_name)
        saved = self.target(key, self._stem(new_name))
        untouched = isinstance(file, ScratchFile) and file.stands_for == new_name and not file.draft.pending
        if not untouched:
            await self.workbench.save_whole(saved, content, process)
        self.workbench.replaced(self.identity, name, new_name, saved)

    async def _there(self, name: str) -> Node | None:
        try:
            return await self.lookup(name)
        except errors.NotFound:
            return None

    def _may_be_record(self, name: str) -> bool:
        """Names of scratch files begin with a dot or a hash, or do not end with ``.json``; some records' do so, too."""
        if not name.endswith(SUFFIX) or name == SUFFIX:
            return False
        if name[0] not in _SCRATCH_STARTS:
            return True
        listing = self.library.known_listing(self.endpoint.name, self.query)
        key = self.key_of(name)
        return key is not None and listing is not None and any(row.key == key for row in listing.rows)

    def _stem(self, name: str) -> str:
        stem = name[: -len(SUFFIX)]
        decoded = names.decode(stem)
        return stem if decoded is None else decoded


class PictureFile(File):
    """The picture of a note: bytes that are sent as they are when the file is closed."""

    def __init__(self, directory: EditedDirectory, name: str) -> None:
        self._directory = directory
        self._name = name
        self._note = name.rsplit(".", 1)[0]
        self._draft = Draft()
        self._opened_at = directory.library.started_at

    @property
    def identity(self) -> str:
        """See Node."""
        return f"picture/{self._name}"

    def attributes(self) -> Attributes:
        """See Node."""
        return Attributes(Kind.FILE, self._draft.size, self._opened_at, 0.0, 0.0, writable=True)

    async def open(self, process: int) -> Reader:  # noqa: ARG002 - the same for all
        """See File."""
        return BytesReader(self._draft.content(), f"{self.identity}/{self._draft.generation}")

    async def open_for_writing(self, process: int, *, truncate: bool) -> _PictureHandle:  # noqa: ARG002
        """See File."""
        if truncate:
            self._draft.truncate(0)
        return _PictureHandle(self, self._draft)

    async def send(self) -> None:
        """Attach what has been written to the note."""
        workbench = self._directory.workbench
        workbench.touched(await workbench.editor.attach_image(self._note, self._draft.content(), self._name))


class _PictureHandle(ScratchHandle):
    def __init__(self, picture: PictureFile, draft: Draft) -> None:
        file = ScratchFile()
        file.draft = draft
        super().__init__(file)
        self._picture = picture

    async def flush(self) -> None:
        """Send what is new; a flush of an empty file is the shell's."""
        draft = self._file.draft
        if draft.pending and draft.size:
            generation = draft.generation
            try:
                await self._picture.send()
            finally:
                draft.mark_handled(generation)

    async def fsync(self) -> None:
        """See Writer."""
        await self.flush()


class _WithLocalFiles:
    """An open directory: the listing without the names that are away, then the local files as they were at opening."""

    def __init__(self, directory: EditedDirectory, listed: Entries) -> None:
        self._directory = directory
        self._listed = listed
        self._local = sorted(directory.workbench.local_names(directory.identity))
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
            if not workbench.is_away(identity, found[0]):
                return found
            position = found[2]
        for offset in range(position - self._end_of_list, len(self._local)):
            name = self._local[offset]
            local = workbench.local(identity, name)
            if local is not None and not (isinstance(local, NewRecordFile) and local.made is not None):
                return name, local, self._end_of_list + offset + 1
        return None
