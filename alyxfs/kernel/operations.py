"""The operations of the file system: what the kernel asks, found in the tree."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pyfuse3
import trio

from alyxfs import errors
from alyxfs.counters import counted
from alyxfs.defects import as_domain_error, note_defect
from alyxfs.kernel import extended_attributes
from alyxfs.kernel.attributes import entry_of, is_owner, own_entry, space_of
from alyxfs.kernel.crawlers import Crawlers
from alyxfs.kernel.failures import answered_at_once, bounded, handled, within
from alyxfs.kernel.handles import Handles
from alyxfs.kernel.inodes import Inodes
from alyxfs.kernel.invalidation import Invalidation, forget_attributes
from alyxfs.kernel.looks import Looks
from alyxfs.kernel.names import decoded
from alyxfs.kernel.open_directory import OWN, OpenDirectory, given_at_once
from alyxfs.kernel.processes import process_of
from alyxfs.kernel.subjects import Subjects
from alyxfs.kernel.traces import Traces, WatchedDataReader
from alyxfs.tree import DataReader, Directory, Drive, File, Link, Writable

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Sequence

    from pyfuse3 import FileHandleT, FileNameT, FlagT, InodeT, ModeT, RequestContext

    from alyxfs.tree import Attributes, Node

RENAME_NOREPLACE = 1
"""linux/fs.h: fail if the new name is taken."""


class Kernel(pyfuse3.Operations):
    """The kernel's requests. Handles are numbers of open files and directories."""

    supports_dot_lookup = False
    enable_writeback_cache = False

    def __init__(
        self,
        drive: Drive,
        invalidation: Invalidation,
        *,
        deadline: float,
        cache_directory: pathlib.Path,
        allow_crawlers: bool = False,
    ) -> None:
        super().__init__()
        self.drive, self.inodes = drive, Inodes(drive.root)
        drive.number_of_inodes = self.inodes.__len__
        self._cache_directory = cache_directory
        self.deadline = deadline  # seconds that any operation may take
        self._open = Handles()
        self.subjects = Subjects(self.inodes, self._open, drive.errors)
        self._looks = Looks()
        self.crawlers = Crawlers(are_allowed=allow_crawlers)
        self.traces = Traces(self._open, self.inodes)
        self.invalidation = invalidation
        invalidation.attach(self.inodes)

    @property
    def open_files(self) -> int:
        """How many files programs have open."""
        return len(self._open)

    def is_open(self, number: int) -> bool:
        """Whether a program has this inode open."""
        return self._open.is_open(number)

    @handled
    async def lookup(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> pyfuse3.EntryAttributes:
        """The entry of a name."""
        directory = await self._directory(parent_inode)
        node = await directory.lookup(decoded(name))
        number = self.inodes.number(node)
        entry = self._entry(number, attributes := node.attributes(), ctx.pid)
        self.inodes.remember(number, node, parent_inode)
        self._looks.note(number, attributes, ctx.pid)
        return entry

    @answered_at_once
    async def getattr(self, inode: InodeT, ctx: RequestContext) -> pyfuse3.EntryAttributes:
        """The attributes of an inode; never a request to the server."""
        node = await self._node(inode)
        self._refuse_if_outdated(inode)
        return self._entry(inode, node.attributes(), ctx.pid)

    async def forget(self, inode_list: Sequence[tuple[InodeT, int]]) -> None:
        """The kernel drops names. It gets no answer, so nothing may be raised."""
        try:
            for number, count in inode_list:
                self.inodes.forget(number, count)
        except Exception as error:  # noqa: BLE001 - see above
            note_defect(error, "forget")

    @answered_at_once
    async def readlink(self, inode: InodeT, ctx: RequestContext) -> FileNameT:
        """The target of a link."""
        node = await self._node(inode)
        if not isinstance(node, Link):
            raise pyfuse3.FUSEError(errno.EINVAL)
        return node.target.encode("utf-8", "surrogatepass")

    @answered_at_once
    async def opendir(self, inode: InodeT, ctx: RequestContext) -> FileHandleT:
        """Open a directory; an endpoint's first page is fetched here, so that its errors show."""
        directory = await self._directory(inode)
        self._refuse_strangers(directory, ctx)
        if (entries := directory.entries_at_hand()) is None:
            entries = await bounded(self.deadline, directory.entries())
        return self._open.open_directory(OpenDirectory(directory, (inode, self.inodes.parent(inode)), entries))

    @answered_at_once
    async def readdir(self, fh: FileHandleT, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """Entries from a position on: what has come is given at once, a page is awaited only for the first."""
        directory = self._open.directory(fh)
        if directory.is_rewound(start_id):
            await within(self.deadline, directory.look_again())
        for own, number, position in directory.own_names(start_id):
            # The kernel counts no look-up of these.
            if not pyfuse3.readdir_reply(token, own, own_entry(number), position):
                return
        position, given = max(start_id, OWN), start_id < OWN
        if (known := directory.known(position)) is not None:
            for given_number, listed in given_at_once(known, position, token, self._listed):
                self.inodes.remember(given_number, listed, directory.number)
            return
        while (is_ready := directory.ready(position)) or not given:
            coming = directory.at(position)
            found = await coming if is_ready else await within(self.deadline, coming)
            if found is None:
                return
            name, node, position = found
            if node is None or (entry := self._listed(node)) is None:
                continue
            if not pyfuse3.readdir_reply(token, name, entry, position):
                return
            self.inodes.remember(int(entry.st_ino), node, directory.number)
            given = True

    def _listed(self, node: Node) -> pyfuse3.EntryAttributes | None:
        """The entry of a node in a directory; None for one that cannot be shown, which is not to cost the others."""
        try:
            return self._entry(self.inodes.number(node), node.attributes())
        except Exception as error:  # noqa: BLE001 - noted where people look for it
            self.drive.errors.note("readdir", node.identity, str(as_domain_error(error, "readdir")))
            return None

    @answered_at_once
    async def releasedir(self, fh: FileHandleT) -> None:
        """Close a directory."""
        self._open.close_directory(fh)

    @handled
    async def open(self, inode: InodeT, flags: FlagT, ctx: RequestContext) -> pyfuse3.FileInfo:
        """Open a file for reading; the kernel keeps its pages as long as the content is the same."""
        node = await self._node(inode)
        self._refuse_if_outdated(inode)
        if not isinstance(node, File):
            raise pyfuse3.FUSEError(errno.EISDIR)
        self._refuse_strangers(node, ctx)
        process = process_of(ctx.pid)
        if self._looks.came_before_open(inode, process):
            await node.finish()
        if flags & os.O_ACCMODE == os.O_RDONLY:
            reader = self.traces.watched(node, await self.crawlers.open(node, process), process)
            if self.inodes.is_outdated(inode):  # found out by opening it
                await reader.close()
                self._refuse_if_outdated(inode)
        else:
            reader = await node.open_for_writing(process, truncate=bool(flags & os.O_TRUNC))
        version = reader.content_version
        is_paged = self._is_paged(inode, node, flags)
        if not node.content and self._open.has_other_pages(inode, version):  # else it stands for one content
            is_paged = False
        if is_owner(ctx.uid):
            self.inodes.errors.pop(node.identity, None)
        handle = self._open.open_file(inode, reader, flags, process, is_paged=is_paged)
        same = (before := self.inodes.versions.get(inode)) == version
        if is_paged:
            self.inodes.versions[inode] = version
        if not same and (before is not None or not self.invalidation.has_told(inode, node)):  # nor is the size
            forget_attributes(inode)
        return pyfuse3.FileInfo(fh=handle, keep_cache=same or not is_paged, direct_io=not is_paged)

    @handled
    async def create(
        self, parent_inode: InodeT, name: FileNameT, mode: ModeT, flags: FlagT, ctx: RequestContext
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        """Make a file and open it."""
        process = process_of(ctx.pid)
        node, writer = await (await self._directory(parent_inode)).create(decoded(name), process)
        number = self.inodes.number(node)
        is_paged = self._is_paged(number, node, flags)
        self.inodes.errors.pop(node.identity, None)
        handle = self._open.open_file(number, writer, flags, process, is_paged=is_paged)
        if is_paged:
            self.inodes.versions[number] = writer.content_version
        self.inodes.remember(number, node, parent_inode)
        opened = pyfuse3.FileInfo(fh=handle, direct_io=not is_paged)
        return opened, self._entry(number, node.attributes(), ctx.pid)

    @handled
    async def setattr(
        self,
        inode: InodeT,
        attr: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: FileHandleT | None,
        ctx: RequestContext,
    ) -> pyfuse3.EntryAttributes:
        """A new size; times, owner and mode belong to the server, so changes of them are passed over in silence."""
        node = await self._node(inode)
        if fields.update_size:
            writer = self._open.reader(fh) if fh is not None else self._open.writer_of(inode, ctx.pid)
            if writer is not None and isinstance(writer, Writable):
                await writer.truncate(attr.st_size)
            elif isinstance(node, File):
                await self._truncate_closed(node, attr.st_size, process_of(ctx.pid))
        elif not node.attributes().writable:
            raise errors.ReadOnly(f"{node.identity or 'The top of the drive'} is read-only.")
        return self._entry(inode, node.attributes(), ctx.pid)

    async def _truncate_closed(self, node: File, size: int, process: int) -> None:
        writer = await node.open_for_writing(process, truncate=size == 0)
        try:
            await writer.truncate(size)
            await writer.fsync()
        finally:
            await writer.close()

    @handled
    async def write(self, fh: FileHandleT, off: int, buf: bytes) -> int:
        """Bytes of a program."""
        writer = self._open.writer(fh)
        return await writer.write(writer.size if self._open.appends(fh) else off, buf)

    @handled
    async def fsync(self, fh: FileHandleT, datasync: bool) -> None:
        """Save now."""
        if self._open.is_for_writing(fh):
            await self._open.writer(fh).fsync()

    @answered_at_once
    async def fsyncdir(self, fh: FileHandleT, datasync: bool) -> None:
        """Nothing waits in a directory."""

    @handled
    async def unlink(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        """Remove a file."""
        await (await self._directory(parent_inode)).unlink(decoded(name), process_of(ctx.pid))

    @handled
    async def rename(
        self,
        parent_inode_old: InodeT,
        name_old: FileNameT,
        parent_inode_new: InodeT,
        name_new: FileNameT,
        flags: FlagT,
        ctx: RequestContext,
    ) -> None:
        """Give a file another name."""
        if flags & ~RENAME_NOREPLACE:
            raise pyfuse3.FUSEError(errno.EINVAL)
        await (await self._directory(parent_inode_old)).rename(
            decoded(name_old),
            await self._directory(parent_inode_new),
            decoded(name_new),
            process_of(ctx.pid),
            replace=not flags & RENAME_NOREPLACE,
        )

    @handled
    async def symlink(
        self, parent_inode: InodeT, name: FileNameT, target: FileNameT, ctx: RequestContext
    ) -> pyfuse3.EntryAttributes:
        """Make a link."""
        node = await (await self._directory(parent_inode)).symlink(decoded(name), os.fsdecode(target))
        number = self.inodes.number(node)
        entry = self._entry(number, node.attributes())
        self.inodes.remember(number, node, parent_inode)
        return entry

    @answered_at_once
    async def mkdir(
        self, parent_inode: InodeT, name: FileNameT, mode: ModeT, ctx: RequestContext
    ) -> pyfuse3.EntryAttributes:
        """Directories are the server's endpoints."""
        raise errors.NotAllowed(f"{decoded(name)!r} cannot be made: the directories are what the server offers.")

    @answered_at_once
    async def rmdir(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        """Directories are the server's endpoints."""
        raise errors.NotAllowed(f"{decoded(name)!r} cannot be removed: the directories are what the server offers.")

    @answered_at_once
    async def link(
        self, inode: InodeT, new_parent_inode: InodeT, new_name: FileNameT, ctx: RequestContext
    ) -> pyfuse3.EntryAttributes:
        """A record has one name."""
        raise errors.NotAllowed(f"{decoded(new_name)!r} cannot be made: a record has one name only.")

    @answered_at_once
    async def read(self, fh: FileHandleT, off: int, size: int) -> bytes | memoryview:  # type: ignore[override]
        """Bytes of an open file. pyfuse3 writes them to the kernel before any other task has its turn."""
        reader = self._open.reader(fh)
        if not isinstance(reader, DataReader | WatchedDataReader):
            return await within(self.deadline, reader.read(off, size))
        found = reader.at_hand(off, size) or await within(self.deadline, reader.read(off, size))
        counted.served += len(found)
        return found

    @handled
    async def flush(self, fh: FileHandleT) -> None:
        """A descriptor is closed: what was written is saved if it is whole."""
        if self._open.is_for_writing(fh):
            await self._open.writer(fh).flush()

    @handled
    async def release(self, fh: FileHandleT) -> None:
        """Close a file."""
        await self._open.close_file(fh).close()

    @handled
    async def statfs(self, ctx: RequestContext) -> pyfuse3.StatvfsData:
        """The space of the cache: the only space that using the drive takes."""
        return await trio.to_thread.run_sync(space_of, self._cache_directory, abandon_on_cancel=True)

    @handled
    async def getxattr(self, inode: InodeT, name: FileNameT, ctx: RequestContext) -> bytes:
        """One of ``user.alyx.*``."""
        wanted = os.fsdecode(name)
        is_ours = wanted.startswith(extended_attributes.PREFIX)  # ls asks each file for those of others
        value = (await self._extended_attributes(inode)).get(wanted) if is_ours else None
        if value is None or (wanted == extended_attributes.ERROR and not is_owner(ctx.uid)):
            raise pyfuse3.FUSEError(extended_attributes.NOT_THERE)
        return value.encode("utf-8", "backslashreplace")

    @handled
    async def listxattr(self, inode: InodeT, ctx: RequestContext) -> Sequence[FileNameT]:
        """The names of the extended attributes."""
        return [name.encode() for name in await self._extended_attributes(inode)]

    async def _extended_attributes(self, number: int) -> dict[str, str]:
        node = await self._node(number)
        return await extended_attributes.values_of(node, self.inodes.errors.get(node.identity))

    def _refuse_if_outdated(self, number: int) -> None:
        """With this error the kernel looks the name up again (retry_estale in include/linux/namei.h of Linux).

        Who has the file open already gets it as it is.
        """
        if self.inodes.is_outdated(number):
            raise pyfuse3.FUSEError(errno.ESTALE)

    def _refuse_strangers(self, node: Node, ctx: RequestContext) -> None:
        """Raise AccessDenied for what is private: the kernel may remember an older mode."""
        if not is_owner(ctx.uid) and node.attributes().private:
            raise errors.AccessDenied(f"{node.identity} is for the owner of the drive alone.")

    async def _node(self, number: int) -> Node:
        if self.inodes.is_dropped(number):
            await within(self.deadline, self.inodes.find_again(number))
            if self.inodes.is_dropped(number):
                raise pyfuse3.FUSEError(errno.ESTALE)  # as of what is outdated
        return self.inodes.node(number)

    async def _directory(self, number: int) -> Directory:
        node = await self._node(number)
        if not isinstance(node, Directory):
            raise pyfuse3.FUSEError(errno.ENOTDIR)
        return node

    def _is_paged(self, number: int, node: Node, flags: int) -> bool:
        """Whether a file that is opened goes through the kernel's pages, as a shared mapping must.

        What is only written goes past them, as they would show it to others, and so does what grows, as it has no size.
        Each program may see other bytes of a record on a writable drive, and the kernel has one set of pages, and one
        size that limits them: they are given to who reads and writes while nobody else writes.
        """
        access = flags & os.O_ACCMODE
        if access == os.O_WRONLY or flags & os.O_APPEND or node.attributes().is_growing:
            return False
        shows_drafts = isinstance(node, File) and node.shows_drafts
        return not shows_drafts or (access == os.O_RDWR and not self._open.is_written(number))

    def _entry(self, number: int, attributes: Attributes, thread: int = 0) -> pyfuse3.EntryAttributes:
        size = self._open.size_of(number, attributes, thread)
        return entry_of(number, attributes, size, writable_drive=self.drive.is_writable)
