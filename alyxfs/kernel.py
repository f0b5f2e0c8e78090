"""Kernel requests to nodes: inodes, handles, errno. The only module that imports pyfuse3."""

from __future__ import annotations

import errno
import functools
import hashlib
import logging
import os
import pathlib
import stat
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

import pyfuse3
import trio

from alyxfs import errors
from alyxfs.nursery import background_tasks
from alyxfs.tree import (
    Attributes,
    DataReader,
    Directory,
    Drive,
    Entries,
    File,
    Kind,
    Link,
    Node,
    Reader,
    Writable,
    Writer,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Sequence

    from pyfuse3 import FileHandleT, FileNameT, FlagT, InodeT, ModeT, RequestContext

log = logging.getLogger(__name__)

BLOCK = 4096
"""Bytes in a block of df."""
PREFERRED_READ = 32768
"""Bytes that programs are told to read at a time: a larger piece makes Python's open() fetch more of a header than it
needs, and the kernel reads ahead as much again (measured with np.load: 225 kB instead of 928 kB for 100 rows)."""
XATTR_PREFIX = "user.alyx."
ERROR_XATTR = "error"
RENAME_NOREPLACE = 1
"""linux/fs.h: fail if the new name is taken."""
NO_ATTRIBUTE = errno.ENODATA
"""What Linux answers for an extended attribute that is not there."""

_ERRNO: tuple[tuple[type[errors.AlyxfsError], int], ...] = (
    (errors.Invalid, errno.EINVAL),
    (errors.AccessDenied, errno.EACCES),
    (errors.NotFound, errno.ENOENT),
    (errors.NotAllowed, errno.EPERM),
    (errors.ReadOnly, errno.EROFS),
    (errors.Conflict, errno.ESTALE),
    (errors.Exists, errno.EEXIST),
    (errors.HasDependents, errno.ENOTEMPTY),
    (errors.Throttled, errno.EAGAIN),
    (errors.TooLarge, errno.EFBIG),
    (errors.NotDownloadable, errno.ENODATA),
    (errors.DeadlineExceeded, errno.ETIMEDOUT),
    (errors.AlyxfsError, errno.EIO),
)

WRITE_DEADLINES = 4
"""A write reads the record, sends, and may have to look what came of it: requests with a deadline each."""
_ON_HANDLES = frozenset({"read", "write", "flush", "fsync"})
"""Operations whose first argument is a handle, not an inode."""
_WRITES = frozenset({"flush", "fsync", "release", "unlink", "rename"})

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def errno_of(error: errors.AlyxfsError) -> int:
    """The errno of a domain error: the only place that knows it."""
    return next(number for kind, number in _ERRNO if isinstance(error, kind))


class Inodes:
    """Numbers for nodes: made from their identity, so the same at every mount.

    ``_nodes`` and ``_lookups`` change together in methods that never await.
    """

    def __init__(self, root: Node) -> None:
        self._nodes: dict[int, Node] = {pyfuse3.ROOT_INODE: root}
        self._lookups: dict[int, int] = {pyfuse3.ROOT_INODE: 1}

    def number(self, node: Node) -> int:
        """The inode number of a node; a collision of hashes moves the later node to another number."""
        attempt = node.identity
        if not attempt:
            return int(pyfuse3.ROOT_INODE)
        while True:
            digest = hashlib.blake2b(attempt.encode("utf-8", "surrogatepass"), digest_size=8).digest()
            number = int.from_bytes(digest, "big") >> 1 | 0x100
            holder = self._nodes.get(number)
            if holder is None or holder.identity == node.identity:
                return number
            attempt += "\0"

    def remember(self, number: int, node: Node) -> None:
        """Count one look-up by the kernel; the newest node stands for the inode."""
        self._nodes[number] = node
        self._lookups[number] = self._lookups.get(number, 0) + 1

    def forget(self, number: int, count: int) -> None:
        """Take look-ups back; the last one drops the node."""
        left = self._lookups[number] - count
        if left > 0 or number == pyfuse3.ROOT_INODE:
            self._lookups[number] = left
        else:
            del self._lookups[number], self._nodes[number]

    def node(self, number: int) -> Node:
        """The node that the kernel means."""
        return self._nodes[number]

    def numbers(self, beginnings: tuple[str, ...]) -> list[int]:
        """The inodes whose node's identity begins with one of these; an empty beginning means all."""
        return [number for number, node in self._nodes.items() if node.identity.startswith(beginnings)]


def _handled(
    operation: Callable[Parameters, Coroutine[Any, Any, Result]],
) -> Callable[Parameters, Coroutine[Any, Any, Result]]:
    """Bound an operation by the deadline and turn its errors into errno."""

    @functools.wraps(operation)
    async def wrapper(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        kernel = cast("Kernel", args[0])
        subject = args[1] if len(args) > 1 and isinstance(args[1], int) else 0
        try:
            with trio.fail_after(kernel.deadline * (WRITE_DEADLINES if operation.__name__ in _WRITES else 1)):
                return await operation(*args, **kwargs)
        except pyfuse3.FUSEError:
            raise
        except trio.TooSlowError as slow:
            sentence = f"The operation did not end within {kernel.deadline:g} s."
            kernel.note(operation.__name__, subject, args, errors.DeadlineExceeded(sentence))
            raise pyfuse3.FUSEError(errno.ETIMEDOUT) from slow
        except errors.AlyxfsError as error:
            kernel.note(operation.__name__, subject, args, error)
            raise pyfuse3.FUSEError(errno_of(error)) from error
        except Exception as error:
            log.exception("%s failed in a way that is a defect of alyxfs", operation.__name__)
            sentence = f"A defect of alyxfs: {type(error).__name__}: {error}"
            kernel.note(operation.__name__, subject, args, errors.AlyxfsError(sentence))
            raise pyfuse3.FUSEError(errno.EIO) from error

    return wrapper


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
        self._next_handle = 1
        self._open_directories: dict[int, Entries] = {}
        self._open_files: dict[int, tuple[int, Reader]] = {}
        self._readers: dict[int, list[Reader]] = {}
        """The open files by inode number: as long as one is open, its size is the size of the file."""
        self._versions: dict[int, str] = {}
        """Which version of its content the kernel's page cache may hold, by inode number."""
        self._errors: dict[int, str] = {}
        """The last error of a node, for its ``user.alyx.error``."""
        self._appending: set[int] = set()
        """Handles that write at the end of the file, wherever the kernel believes that to be."""

    def note(self, operation: str, subject: int, args: Sequence[object], error: errors.AlyxfsError) -> None:
        """Remember an error where people look for it. A name that is not there is no error worth a line."""
        if isinstance(error, errors.NotFound) and operation in {"lookup", "getxattr"}:
            return
        known = self._open_files[subject][0] if operation in _ON_HANDLES and subject in self._open_files else subject
        try:
            path = self._inodes.node(known).identity
        except KeyError:
            path = f"inode {known}"
        if len(args) > 2 and isinstance(args[2], bytes):  # noqa: PLR2004 - a name in this directory
            path = f"{path}/{os.fsdecode(args[2])}"
        elif known in self._inodes._nodes:  # noqa: SLF001 - one module
            self._errors[known] = str(error)
        self._drive.note_error(operation, path or "/", str(error))

    @_handled
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

    @_handled
    async def getattr(self, inode: InodeT, ctx: RequestContext) -> pyfuse3.EntryAttributes:
        """The attributes of an inode; never a request to the server."""
        return self._entry(inode, self._inodes.node(inode).attributes())

    async def forget(self, inode_list: Sequence[tuple[InodeT, int]]) -> None:
        """The kernel drops names."""
        for number, count in inode_list:
            self._inodes.forget(number, count)
            if number not in self._inodes._nodes:  # noqa: SLF001 - one module
                self._versions.pop(number, None)
                self._errors.pop(number, None)

    @_handled
    async def readlink(self, inode: InodeT, ctx: RequestContext) -> FileNameT:
        """The target of a link."""
        node = self._inodes.node(inode)
        if not isinstance(node, Link):
            raise pyfuse3.FUSEError(errno.EINVAL)
        return node.target.encode("utf-8", "surrogatepass")

    @_handled
    async def opendir(self, inode: InodeT, ctx: RequestContext) -> FileHandleT:
        """Open a directory; an endpoint's first page is fetched here, so that its errors show."""
        entries = await self._directory(inode).entries()
        handle = self._new_handle()
        self._open_directories[handle] = entries
        return handle

    @_handled
    async def readdir(self, fh: FileHandleT, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """Entries from a position on: what has come is given at once, a page is awaited only for the first."""
        entries = self._open_directories[fh]
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
        del self._open_directories[fh]

    @_handled
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
        same = self._versions.get(inode) == reader.content_version
        self._versions[inode] = reader.content_version
        if not same:  # nor is the size that the kernel may remember
            self._forget_attributes(inode)
        return pyfuse3.FileInfo(fh=handle, keep_cache=same, direct_io=_past_the_cache(flags))

    @_handled
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
        self._versions[number] = writer.content_version
        self._inodes.remember(number, node)
        opened = pyfuse3.FileInfo(fh=handle, direct_io=_past_the_cache(flags))
        return opened, self._entry(number, node.attributes())

    @_handled
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
            writer = self._open_files[fh][1] if fh is not None else self._writer_of(inode)
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

    @_handled
    async def write(self, fh: FileHandleT, off: int, buf: bytes) -> int:
        """Bytes of a program."""
        writer = self._writer(fh)
        return await writer.write(writer.size if fh in self._appending else off, buf)

    @_handled
    async def fsync(self, fh: FileHandleT, datasync: bool) -> None:
        """Save now."""
        if isinstance(self._open_files[fh][1], Writable):
            await self._writer(fh).fsync()

    async def fsyncdir(self, fh: FileHandleT, datasync: bool) -> None:
        """Nothing waits in a directory."""

    @_handled
    async def unlink(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        """Remove a file."""
        await self._directory(parent_inode).unlink(_decoded(name), process_of(ctx.pid))

    @_handled
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

    @_handled
    async def symlink(
        self, parent_inode: InodeT, name: FileNameT, target: FileNameT, ctx: RequestContext
    ) -> pyfuse3.EntryAttributes:
        """Make a link."""
        node = await self._directory(parent_inode).symlink(_decoded(name), os.fsdecode(target))
        number = self._inodes.number(node)
        entry = self._entry(number, node.attributes())
        self._inodes.remember(number, node)
        return entry

    @_handled
    async def mkdir(
        self, parent_inode: InodeT, name: FileNameT, mode: ModeT, ctx: RequestContext
    ) -> pyfuse3.EntryAttributes:
        """Directories are the server's endpoints."""
        raise errors.NotAllowed(f"{_decoded(name)!r} cannot be made: the directories are what the server offers.")

    @_handled
    async def rmdir(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        """Directories are the server's endpoints."""
        raise errors.NotAllowed(f"{_decoded(name)!r} cannot be removed: the directories are what the server offers.")

    @_handled
    async def link(
        self, inode: InodeT, new_parent_inode: InodeT, new_name: FileNameT, ctx: RequestContext
    ) -> pyfuse3.EntryAttributes:
        """A record has one name."""
        raise errors.NotAllowed(f"{_decoded(new_name)!r} cannot be made: a record has one name only.")

    @_handled
    async def read(self, fh: FileHandleT, off: int, size: int) -> bytes:
        """Bytes of an open file."""
        return await self._open_files[fh][1].read(off, size)

    @_handled
    async def flush(self, fh: FileHandleT) -> None:
        """A descriptor is closed: what was written is saved if it is whole."""
        if isinstance(self._open_files[fh][1], Writable):
            await self._writer(fh).flush()

    @_handled
    async def release(self, fh: FileHandleT) -> None:
        """Close a file."""
        inode, reader = self._open_files.pop(fh)
        self._appending.discard(fh)
        self._readers[inode].remove(reader)
        if not self._readers[inode]:
            del self._readers[inode]
        await reader.close()

    @_handled
    async def statfs(self, ctx: RequestContext) -> pyfuse3.StatvfsData:
        """The space of the cache: the only space that using the drive takes."""
        cache = os.statvfs(self._cache_directory)
        data = pyfuse3.StatvfsData()
        data.f_bsize = data.f_frsize = BLOCK
        scale = cache.f_frsize / BLOCK
        data.f_blocks = int(cache.f_blocks * scale)
        data.f_bfree = int(cache.f_bfree * scale)
        data.f_bavail = int(cache.f_bavail * scale)
        data.f_namemax = 255
        return data

    @_handled
    async def getxattr(self, inode: InodeT, name: FileNameT, ctx: RequestContext) -> bytes:
        """One of ``user.alyx.*``."""
        values = await self._extended_attributes(inode)
        value = values.get(os.fsdecode(name))
        if value is None:
            raise pyfuse3.FUSEError(NO_ATTRIBUTE)
        return value.encode()

    @_handled
    async def listxattr(self, inode: InodeT, ctx: RequestContext) -> Sequence[FileNameT]:
        """The names of the extended attributes."""
        return [name.encode() for name in await self._extended_attributes(inode)]

    async def invalidate(self, beginnings: Collection[str]) -> None:
        """Make the kernel drop what it keeps of nodes whose identity begins with one of these.

        In a thread: the kernel waits for reads of these pages that are under way, and this loop answers them.
        """
        for number in self._inodes.numbers(tuple(beginnings)):
            await self._invalidate(number)

    async def _invalidate(self, number: int) -> None:
        self._versions.pop(number, None)
        if self.has_ended:
            return
        try:
            await trio.to_thread.run_sync(pyfuse3.invalidate_inode, number)
        except OSError as error:
            if not self._is_gone(error):
                raise

    def _is_gone(self, error: OSError) -> bool:
        """Whether the kernel has forgotten the inode meanwhile, or the whole drive."""
        return error.errno == errno.ENOENT or self.has_ended

    async def invalidate_file(self, dataset: str) -> None:
        """Make the kernel drop what it keeps of a data file that is open: its size or content was not as thought."""
        for number, reader in list(self._open_files.values()):
            # A smaller size the kernel learns by itself from the short read; told so while that read is under way
            # it would keep the old size and show zeros (fuse_read_update_size in fs/fuse/file.c of Linux).
            if isinstance(reader, DataReader) and reader.dataset == dataset and reader.size >= reader.size_at_open:
                await self._invalidate(number)

    async def _extended_attributes(self, number: int) -> dict[str, str]:
        values = {XATTR_PREFIX + name: value for name, value in await self._named_attributes(number)}
        if number in self._errors:
            values[XATTR_PREFIX + ERROR_XATTR] = self._errors[number]
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
        """A handle for an open file.

        Appending is left to the handle: the kernel appends at the size it remembers, which may be an estimate.
        """
        handle = self._new_handle()
        if flags & os.O_APPEND and isinstance(reader, Writable):
            self._appending.add(handle)
        self._open_files[handle] = (number, reader)
        self._readers.setdefault(number, []).append(reader)
        self._errors.pop(number, None)
        return handle

    def _writer(self, handle: int) -> Writer:
        writer = self._open_files[handle][1]
        assert isinstance(writer, Writable), "the kernel writes only to what was opened for writing"
        return cast("Writer", writer)

    def _writer_of(self, number: int) -> Reader | None:
        """The newest open file of this inode that can be written to."""
        return next((each for each in reversed(self._readers.get(number, ())) if isinstance(each, Writable)), None)

    def _directory(self, number: int) -> Directory:
        node = self._inodes.node(number)
        if not isinstance(node, Directory):
            raise pyfuse3.FUSEError(errno.ENOTDIR)
        return node

    def _new_handle(self) -> int:
        handle = self._next_handle
        self._next_handle += 1
        return handle

    def _entry(self, number: int, attributes: Attributes) -> pyfuse3.EntryAttributes:
        size = self._size(number, attributes)
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = cast("Any", number)
        entry.st_mode = _WRITABLE_MODES[attributes.kind] if attributes.writable else _MODES[attributes.kind]
        entry.st_nlink = 1  # a directory of one link tells find not to reckon with its subdirectories
        entry.st_uid = _OWNER
        entry.st_gid = _GROUP
        entry.st_size = size
        entry.st_blksize = PREFERRED_READ
        entry.st_blocks = (size + 511) // 512
        nanoseconds = int(attributes.modified * 1e9)
        entry.st_atime_ns = entry.st_mtime_ns = entry.st_ctime_ns = nanoseconds
        entry.attr_timeout = attributes.lifetime
        entry.entry_timeout = attributes.name_lifetime
        return entry

    def _size(self, number: int, attributes: Attributes) -> int:
        """That of a draft while it is written, the exact one of a record, else that of its last reader."""
        readers = self._readers.get(number)
        if not readers:
            return attributes.size
        writer = self._writer_of(number)
        if writer is not None:
            return writer.size
        is_exact_record = attributes.writable and attributes.lifetime > 0
        return attributes.size if is_exact_record else readers[-1].size


_OWNER = os.getuid()
_GROUP = os.getgid()
_MODES = {
    Kind.DIRECTORY: stat.S_IFDIR | 0o555,
    Kind.FILE: stat.S_IFREG | 0o444,
    Kind.LINK: stat.S_IFLNK | 0o777,
}
_WRITABLE_MODES = {**_MODES, Kind.DIRECTORY: stat.S_IFDIR | 0o755, Kind.FILE: stat.S_IFREG | 0o644}


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


async def serve(
    kernel: Kernel,
    mount_point: pathlib.Path,
    source: str,
    ready: Callable[[], object],
    *,
    writable: bool,
    allow_other: bool,
    read_ahead: int,
) -> None:
    """Mount, call ``ready`` once the kernel's requests are answered, and serve until the drive is unmounted.

    Cancelling unmounts. Raises ConfigurationError where the mount is refused.
    """
    options = set(pyfuse3.default_options)
    options |= {f"fsname={source.replace(',', '%2C')}", "subtype=alyxfs"}
    if not writable:
        options.add("ro")
    if allow_other:
        options.add("allow_other")
    try:
        pyfuse3.init(kernel, str(mount_point), options)
    except RuntimeError as error:
        raise errors.ConfigurationError(
            f"{mount_point} cannot be mounted: {error}. Is fuse3 installed, /dev/fuse there and the directory yours?"
        ) from error
    try:
        async with background_tasks() as nursery:

            async def announce() -> None:
                state = await trio.to_thread.run_sync(os.stat, mount_point, abandon_on_cancel=True)
                if read_ahead:
                    set_read_ahead(state.st_dev, read_ahead)
                log.info("mounted at %s", mount_point)
                ready()

            nursery.start_soon(announce)
            await pyfuse3.main()
    finally:
        kernel.has_ended = True
        pyfuse3.close(unmount=True)


def set_read_ahead(device: int, kibibytes: int) -> None:
    """Tell the kernel how far to read ahead on this mount; raises ConfigurationError where it does not let us."""
    setting = pathlib.Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb")
    try:
        setting.write_text(str(kibibytes))
    except OSError as error:
        raise errors.ConfigurationError(
            f"The kernel's read-ahead cannot be set ({error.strerror}): it takes root."
        ) from error
