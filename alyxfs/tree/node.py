"""What the kernel layer sees of the drive: nodes, their attributes, and open files and directories."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from alyxfs import errors

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

FOREVER = 3600.0
"""Seconds that the kernel may keep what cannot change while the drive is mounted."""


class Kind(enum.Enum):
    """What a node is to the kernel."""

    DIRECTORY = "directory"
    FILE = "file"
    LINK = "link"


class Attributes(NamedTuple):
    """What stat shows of a node: made anew for each name at each listing."""

    kind: Kind
    size: int
    """Bytes; an estimate where ``lifetime`` is 0."""
    modified: float
    """Unix seconds."""
    lifetime: float
    """Seconds that the kernel may keep size and time. 0 makes it ask again after open, when the size is exact."""
    name_lifetime: float = 60.0
    """Seconds that the kernel may keep the name."""
    writable: bool = False
    """Whether it can be changed at all."""
    is_estimate: bool = False
    """Whether the size is a guess: that of an open file is better."""
    is_growing: bool = False
    """Whether the bytes come while they are read, so that an open file has no size yet.

    Such a file is read past the kernel's pages; a program that has looked at it before opens it when it is whole.
    """
    private: bool = False
    """Whether it is for the drive's owner alone, also where others are let into the drive."""


class Node:
    """A name in the drive."""

    __slots__ = ()

    number = 0
    """The inode number by which the kernel knows it, where that is kept: to work it out takes a hash."""

    is_found_again = False
    """Whether it may be dropped: the entries of its directory lead to it again, at no more requests than a look-up, and
    nothing is lost that it holds."""

    def keep_number(self, number: int) -> None:
        """For those that are kept from one listing to the next."""

    @property
    def identity(self) -> str:
        """Unique in the drive and the same at every mount: the inode number is made from it."""
        raise NotImplementedError

    @property
    def content(self) -> str:
        """Which content it shows, where that can become another one while programs have it open.

        A node with another content is another inode: the kernel keeps pages and size by inode, for all who have it
        open, and would mix the two. Never awaits.
        """
        return ""

    @property
    def datasets(self) -> tuple[str, ...]:
        """The datasets whose bytes it shows, by UUID."""
        return ()

    def attributes(self) -> Attributes:
        """What is known without asking anybody; never awaits."""
        raise NotImplementedError

    async def extended_attributes(self) -> dict[str, str]:
        """The ``user.alyx.*`` attributes by their last part."""
        return {}


class Entries(Protocol):
    """An open directory: its entries by position, in an order that does not change while it is open."""

    def ready(self, position: int) -> bool:
        """Whether :meth:`at` answers this position without waiting."""

    async def at(self, position: int) -> tuple[str, Node | None, int] | None:
        """The name and node at or after a position, and the position after it; None past the end.

        None as the node stands for a name that is not to be shown at present.
        """


class Reader(Protocol):
    """An open file."""

    @property
    def content_version(self) -> str:
        """Changes with the content: the kernel's pages of another version are dropped at open."""

    @property
    def size(self) -> int:
        """Bytes of the whole file."""

    async def read(self, offset: int, size: int) -> bytes | memoryview:
        """Up to ``size`` bytes; fewer only at the end of the file. A view holds until the caller's next await."""

    async def close(self) -> None:
        """Called once, after the last read."""


class Writer(Reader, Protocol):
    """A file that is open for writing; errors of saving come from flush and fsync."""

    async def write(self, offset: int, data: bytes) -> int:
        """Bytes taken; raises TooLarge."""

    async def truncate(self, size: int) -> None:
        """Cut, or extend with zeros."""

    async def flush(self) -> None:
        """A descriptor was closed."""

    async def fsync(self) -> None:
        """The program wants it saved now."""


@runtime_checkable
class Writable(Protocol):
    """What tells a Writer from a Reader."""

    async def truncate(self, size: int) -> None:
        """See Writer."""


class Directory(Node):
    """A node with names in it."""

    __slots__ = ()

    async def lookup(self, name: str) -> Node:
        """The node of this name; raises NotFound."""
        raise NotImplementedError

    async def entries(self) -> Entries:
        """Open the directory."""
        raise NotImplementedError

    def entries_at_hand(self) -> Entries | None:
        """As :meth:`entries`, where all of it is in memory and nobody need be asked; else None."""
        return None

    async def create(self, name: str, process: int) -> tuple[Node, Writer]:  # noqa: ARG002 - for those that can
        """Make a file and open it; ``process`` is the program's id."""
        raise self._refusal(name)

    async def unlink(self, name: str, process: int) -> None:  # noqa: ARG002
        """Remove a file."""
        raise self._refusal(name)

    async def rename(self, name: str, target: Directory, new_name: str, process: int, *, replace: bool) -> None:  # noqa: ARG002
        """Give a file another name, in this directory or another; without ``replace`` the new name must be free."""
        raise self._refusal(name)

    async def symlink(self, name: str, target: str) -> Node:  # noqa: ARG002
        """Make a link."""
        raise self._refusal(name)

    def _refusal(self, name: str) -> errors.ReadOnly:
        return errors.ReadOnly(
            f"{name!r} cannot be changed here: {self.identity or 'the top of the drive'} is read-only."
        )


class File(Node):
    """A node with bytes in it."""

    __slots__ = ()

    shows_drafts = False
    """Whether programs that have it open may see different bytes: their own drafts, or the versions at their opening.

    The kernel has one set of pages for all of them, so that not all can read through these.
    """

    is_fetched = False
    """Whether its bytes come from a file server, and stay on this machine."""

    async def finish(self) -> None:
        """Wait until it is growing no more."""

    async def open(self, process: int) -> Reader:
        """Open the file for a program (its process id)."""
        raise NotImplementedError

    async def open_here(self, process: int) -> Reader | None:
        """As :meth:`open`, for a program for which nothing is to be fetched; None where that would be needed."""
        return await self.open(process)

    async def open_for_writing(self, process: int, *, truncate: bool) -> Writer:  # noqa: ARG002 - for those that can
        """Open the file to change it, emptied first if so asked."""
        raise errors.ReadOnly(f"{self.identity} cannot be changed: it is read-only.")


class Link(Node):
    """A symbolic link; made fresh at each look-up.

    ``modified``: Unix seconds. ``lifetime``: seconds that the kernel may keep it.
    """

    __slots__ = ("_identity", "_lifetime", "_modified", "target")

    def __init__(self, identity: str, target: str, modified: float, lifetime: float = 60.0) -> None:
        self._identity = identity
        self._lifetime = lifetime
        self._modified = modified
        self.target = target

    @property
    def identity(self) -> str:
        """See Node."""
        return self._identity

    def attributes(self) -> Attributes:
        """See Node."""
        size = len(self.target.encode("utf-8", "surrogatepass"))
        return Attributes(Kind.LINK, size, self._modified, self._lifetime, self._lifetime)


class FixedEntries:
    """The entries of a directory that is known as a whole when it is opened."""

    def __init__(self, entries: Sequence[tuple[str, Node]]) -> None:
        self.all = entries

    def ready(self, position: int) -> bool:  # noqa: ARG002 - the protocol's signature
        """See Entries."""
        return True

    async def at(self, position: int) -> tuple[str, Node, int] | None:
        """See Entries."""
        return (*self.all[position], position + 1) if position < len(self.all) else None


class BytesReader:
    """An open file whose whole content is in memory."""

    def __init__(self, content: bytes, content_version: str) -> None:
        self.content = content
        self._content_version = content_version

    @property
    def content_version(self) -> str:
        """See Reader."""
        return self._content_version

    @property
    def size(self) -> int:
        """See Reader."""
        return len(self.content)

    async def read(self, offset: int, size: int) -> bytes:
        """See Reader."""
        return self.content[offset : offset + size]

    async def close(self) -> None:
        """See Reader."""


async def entries_of(directory: Directory) -> AsyncGenerator[Node, None]:
    """What a directory shows, without the names; raises what opening and reading it raises."""
    entries, position = await directory.entries(), 0
    while (found := await entries.at(position)) is not None:
        _, node, position = found
        if node is not None:
            yield node


def no_such_name(name: str, where: str) -> errors.NotFound:
    """The error of a look-up that finds nothing."""
    return errors.NotFound(f"There is no {name!r} in {where}.")
