"""The operations of the file system: what the kernel asks, found in the tree."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any, cast

import pyfuse3
import trio

from alyxfs import errors
from alyxfs.kernel.entries import entry_of, space_of
from alyxfs.kernel.failures import answered_at_once, handled, within
from alyxfs.kernel.inodes import Inodes
from alyxfs.kernel.openfiles import OpenFiles
from alyxfs.tree import DataReader, Directory, Drive, File, Link, Writable

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Collection, Sequence

    from pyfuse3 import FileHandleT, FileNameT, FlagT, InodeT, ModeT, RequestContext

    from alyxfs.tree import Attributes, Reader

XATTR_PREFIX = "user.alyx."
ERROR_XATTR = "error"
RENAME_NOREPLACE = 1
"""linux/fs.h: fail if the new name is taken."""
NO_ATTRIBUTE = errno.ENODATA
"""What Linux answers for an extended attribute that is not there."""
_ON_HANDLES = frozenset({"read", "write", "flush", "fsync"})
"""Operations whose first argument is a handle, not an inode."""


class Kernel(pyfuse3.Operations):
    """The kernel's requests. Handles are numbers of open files and directories."""

    supports_dot_lookup = False
    enable_writeback_cache = False

    def __init__(self, drive: Drive, *, deadline: float, cache_directory: pathlib.Path) -> None:
        super().__init__()
        self._drive = drive
        self._inodes = Inodes(drive.root)
        self._cache_directory = cache_directory
        self.deadline = deadline
        """Seconds that any operation may take."""
        self.has_ended = False
        """Whether the kernel no longer listens: set before the drive is unmounted."""
        self._open = OpenFiles()

    def note(self, operation: str, subject: int, args: Sequence[object], error: errors.AlyxfsError) -> None:
        """Remember an error where people look for it. That a name is not there is worth a line only with a reason."""
        is_plain = isinstance(error, errors.NotFound) and not isinstance(error, errors.NeverFound)
        if is_plain and operation in {"lookup", "getxattr"}:
            return
        known = self._open.inode(subject) if operation in _ON_HANDLES and subject in self._open else subject
        try:
            path = self._inodes.node(known).identity
        except KeyError:
            path = f"inode {known}"
        if len(args) > 2 and isinstance(args[2], bytes):  # noqa: PLR2004 - a name in this directory
            path = f"{path}/{os.fsdecode(args[2])}"
        elif known in self._inodes:
            self._inodes.errors[known] = str(error)
        self._drive.note_error(operation, path or "/", str(error))

    @handled
    async def lookup(
        self,
        parent_inode: InodeT,
        name: FileNameT,
        ctx: RequestContext,
    ) -> pyfuse3.EntryAttributes:
        """The entry of a name."""
        directory = self._directory(parent_inode)
        node = await directory.lookup(_decoded(name))
        number = self._inodes.number(node)
        entry = self._entry(number, node.attributes())
        self._inodes.remember(number, node)
        return entry

    @answered_at_once
    async def getattr(self, inode: InodeT, ctx: RequestContext) -> pyfuse3.EntryAttributes:
        """The attributes of an inode; never a request to the server."""
        return self._entry(inode, self._inodes.node(inode).attributes())

    async def forget(self, inode_list: Sequence[tuple[InodeT, int]]) -> None:
        """The kernel drops names."""
        for number, count in inode_list:
            self._inodes.forget(number, count)

    @answered_at_once
    async def readlink(self, inode: InodeT, ctx: RequestContext) -> FileNameT:
        """The target of a link."""
        node = self._inodes.node(inode)
        if not isinstance(node, Link):
            raise pyfuse3.FUSEError(errno.EINVAL)
        return node.target.encode("utf-8", "surrogatepass")

    @handled
    async def opendir(self, inode: InodeT, ctx: RequestContext) -> FileHandleT:
        """Open a directory; an endpoint's first page is fetched here, so that its errors show."""
        return self._open.open_directory(await self._directory(inode).entries())

    @answered_at_once
    async def readdir(self, fh: FileHandleT, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """Entries from a position on: what has come is given at once, a page is awaited only for the first."""
        entries = self._open.entries(fh)
        if not entries.ready(start_id):
            await within(self.deadline, entries.at(start_id))
        position = start_id
        while position == start_id or entries.ready(position):
            found = await entries.at(position)
            if found is None:
                return
            name, node, following = found
            number = self._inodes.number(node)
            entry = self._entry(number, node.attributes())
            if not pyfuse3.readdir_reply(token, name.encode(), entry, following):
                return
            self._inodes.remember(number, node)
            position = following

    async def releasedir(self, fh: FileHandleT) -> None:
        """Close a directory."""
        self._open.close_directory(fh)

    @handled
    async def open(self, inode: InodeT, flags: FlagT, ctx: RequestContext) -> pyfuse3.FileInfo:
        """Open a file for reading; the kernel keeps its pages as long as the content is the same."""
        node = self._inodes.node(inode)
        if not isinstance(node, File):
            raise pyfuse3.FUSEError(errno.EISDIR)
        process = process_of(ctx.pid)
        if flags & os.O_ACCMODE == os.O_RDONLY:
            reader = await node.open(process)
        else:
            reader = await node.open_for_writing(process, truncate=bool(flags & os.O_TRUNC))
        handle = self._opened(inode, reader, flags)
        same = self._inodes.versions.get(inode) == reader.content_version
        self._inodes.versions[inode] = reader.content_version
        if not same:  # nor is the size that the kernel may remember
            self._forget_attributes(inode)
        return pyfuse3.FileInfo(fh=handle, keep_cache=same, direct_io=_past_the_cache(flags))

    @handled
    async def create(
        self,
        parent_inode: InodeT,
        name: FileNameT,
        mode: ModeT,
        flags: FlagT,
        ctx: RequestContext,
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        """Make a file and open it."""
        node, writer = await self._directory(parent_inode).create(_decoded(name), process_of(ctx.pid))
        number = self._inodes.number(node)
        handle = self._opened(number, writer, flags)
        self._inodes.versions[number] = writer.content_version
        self._inodes.remember(number, node)
        opened = pyfuse3.FileInfo(fh=handle, direct_io=_past_the_cache(flags))
        return opened, self._entry(number, node.attributes())

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
        node = self._inodes.node(inode)
        if fields.update_size:
            writer = self._open.reader(fh) if fh is not None else self._open.newest_writer(inode)
            if writer is not None and isinstance(writer, Writable):
                await writer.truncate(attr.st_size)
            elif isinstance(node, File):
                await self._truncate_closed(node, attr.st_size, process_of(ctx.pid))
        elif not node.attributes().writable:
            raise errors.ReadOnly(f"{node.identity} is read-only.")
        return self._entry(inode, node.attributes())

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
        if isinstance(self._open.reader(fh), Writable):
            await self._open.writer(fh).fsync()

    async def fsyncdir(self, fh: FileHandleT, datasync: bool) -> None:
        """Nothing waits in a directory."""

    @handled
    async def unlink(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        """Remove a file."""
        await self._directory(parent_inode).unlink(_decoded(name), process_of(ctx.pid))

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
        await self._directory(parent_inode_old).rename(
            _decoded(name_old),
            self._directory(parent_inode_new),
            _decoded(name_new),
            process_of(ctx.pid),
            replace=not flags & RENAME_NOREPLACE,
        )

    @handled
    async def symlink(
        self, parent_inode: InodeT, name: FileNameT, target: FileNameT, ctx: RequestContext
    ) -> pyfuse3.EntryAttributes:
        """Make a link."""
        node = await self._directory(parent_inode).symlink(_decoded(name), os.fsdecode(target))
        number = self._inodes.number(node)
        entry = self._entry(number, node.attributes())
        self._inodes.remember(number, node)
        return entry

    @answered_at_once
    async def mkdir(
        self, parent_inode: InodeT, name: FileNameT, mode: ModeT, ctx: RequestContext
    ) -> pyfuse3.EntryAttributes:
        """Directories are the server's endpoints."""
        raise errors.NotAllowed(f"{_decoded(name)!r} cannot be made: the directories are what the server offers.")

    @answered_at_once
    async def rmdir(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        """Directories are the server's endpoints."""
        raise errors.NotAllowed(f"{_decoded(name)!r} cannot be removed: the directories are what the server offers.")

    @answered_at_once
    async def link(
        self, inode: InodeT, new_parent_inode: InodeT, new_name: FileNameT, ctx: RequestContext
    ) -> pyfuse3.EntryAttributes:
        """A record has one name."""
        raise errors.NotAllowed(f"{_decoded(new_name)!r} cannot be made: a record has one name only.")

    @answered_at_once
    async def read(self, fh: FileHandleT, off: int, size: int) -> bytes | memoryview:  # type: ignore[override]
        """Bytes of an open file. pyfuse3 writes them to the kernel before any other task has its turn."""
        reader = self._open.reader(fh)
        if isinstance(reader, DataReader) and (found := reader.at_hand(off, size)):
            return found
        return await within(self.deadline, reader.read(off, size))

    @handled
    async def flush(self, fh: FileHandleT) -> None:
        """A descriptor is closed: what was written is saved if it is whole."""
        if isinstance(self._open.reader(fh), Writable):
            await self._open.writer(fh).flush()

    @handled
    async def release(self, fh: FileHandleT) -> None:
        """Close a file."""
        await self._open.close_file(fh).close()

    @answered_at_once
    async def statfs(self, ctx: RequestContext) -> pyfuse3.StatvfsData:
        """The space of the cache: the only space that using the drive takes."""
        return space_of(self._cache_directory)

    @handled
    async def getxattr(self, inode: InodeT, name: FileNameT, ctx: RequestContext) -> bytes:
        """One of ``user.alyx.*``."""
        values = await self._extended_attributes(inode)
        value = values.get(os.fsdecode(name))
        if value is None:
            raise pyfuse3.FUSEError(NO_ATTRIBUTE)
        return value.encode()

    @handled
    async def listxattr(self, inode: InodeT, ctx: RequestContext) -> Sequence[FileNameT]:
        """The names of the extended attributes."""
        return [name.encode() for name in await self._extended_attributes(inode)]

    async def invalidate(self, beginnings: Collection[str]) -> None:
        """Make the kernel drop what it keeps of nodes whose identity begins with one of these.

        In a thread: the kernel waits for reads of these pages that are under way, and this loop answers them.
        """
        for number in self._inodes.numbers(tuple(beginnings)):
            await self._invalidate(number)

    async def forget_names(self, directories: str, names: Collection[str]) -> None:
        """Make the kernel look these names up anew in all directories whose identity begins so."""
        for number in self._inodes.numbers((directories,)):
            for name in names:
                await self._in_thread(pyfuse3.invalidate_entry, number, name.encode())

    async def _invalidate(self, number: int) -> None:
        self._inodes.versions.pop(number, None)
        await self._in_thread(pyfuse3.invalidate_inode, number)

    async def _in_thread(self, tell_kernel: Callable[..., None], *arguments: int | bytes) -> None:
        if self.has_ended:
            return
        try:
            await trio.to_thread.run_sync(tell_kernel, *arguments)
        except OSError as error:
            if not self._is_gone(error):
                raise

    def _is_gone(self, error: OSError) -> bool:
        """Whether the kernel has forgotten the inode meanwhile, or the whole drive."""
        return error.errno == errno.ENOENT or self.has_ended

    async def invalidate_file(self, dataset: str) -> None:
        """Make the kernel drop what it keeps of a data file that is open: its size or content was not as thought."""
        for number, reader in self._open:
            # A smaller size the kernel learns by itself from the short read; told so while that read is under way
            # it would keep the old size and show zeros (fuse_read_update_size in fs/fuse/file.c of Linux).
            if isinstance(reader, DataReader) and reader.dataset == dataset and reader.size >= reader.size_at_open:
                await self._invalidate(number)

    async def _extended_attributes(self, number: int) -> dict[str, str]:
        values = {XATTR_PREFIX + name: value for name, value in await self._named_attributes(number)}
        if number in self._inodes.errors:
            values[XATTR_PREFIX + ERROR_XATTR] = self._inodes.errors[number]
        return values

    async def _named_attributes(self, number: int) -> list[tuple[str, str]]:
        return list((await self._inodes.node(number).extended_attributes()).items())

    def _forget_attributes(self, number: int) -> None:
        """Make the kernel ask again for size and times; pages are left alone, so that this waits for nobody."""
        try:
            pyfuse3.invalidate_inode(cast("Any", number), attr_only=True)
        except OSError as error:
            if not self._is_gone(error):
                raise

    def _opened(self, number: int, reader: Reader, flags: int) -> int:
        self._inodes.errors.pop(number, None)
        return self._open.open_file(number, reader, flags)

    def _directory(self, number: int) -> Directory:
        node = self._inodes.node(number)
        if not isinstance(node, Directory):
            raise pyfuse3.FUSEError(errno.ENOTDIR)
        return node

    def _entry(self, number: int, attributes: Attributes) -> pyfuse3.EntryAttributes:
        return entry_of(number, attributes, self._size(number, attributes))

    def _size(self, number: int, attributes: Attributes) -> int:
        """That of a draft while it is written, the exact one of a record, else that of its last reader."""
        reader = self._open.newest_reader(number)
        if reader is None:
            return attributes.size
        writer = self._open.newest_writer(number)
        if writer is not None:
            return writer.size
        is_exact_record = attributes.writable and attributes.lifetime > 0
        return attributes.size if is_exact_record else reader.size


def _past_the_cache(flags: int) -> bool:
    """Whether a handle writes past the kernel's pages, in which other programs would find bytes of an unsaved draft.

    Files that are open for reading, too, need them: a shared mapping is nothing but pages.
    """
    return flags & os.O_ACCMODE == os.O_WRONLY or bool(flags & os.O_APPEND)


def _decoded(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise errors.NotFound(f"{name!r} is not UTF-8; no name of the drive is.") from error


def process_of(thread: int) -> int:
    """The process of a thread: the kernel tells which thread asks (Tgid in proc_pid_status(5))."""
    try:
        with open(f"/proc/{thread}/status", "rb") as file:  # noqa: PTH123 - once for every open, no path arithmetic
            for line in file:
                if line.startswith(b"Tgid:"):
                    return int(line.split()[1])
    except (OSError, ValueError):
        pass  # it has ended already
    return thread
