"""What the drive knows of a data file before a byte of it has been read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Awaitable, Callable, Sequence

    from alyxfs.files.memory.buffers import Bytes


@dataclass(frozen=True)
class Source:
    """A data file as the database describes it."""

    identity: str
    """The dataset's UUID: the key of the cache."""
    name: str
    """The file's name, as ``spikes.times.npy``."""
    url: str | None
    """Of its first copy, as it is asked for; None where no server offers the bytes."""
    size: int | None
    """Bytes, from the database; None where it does not say."""
    digest: str | None
    """MD5 in hexadecimal, where the database's hash is one."""
    version: str
    """Changes with the dataset (its hash or modification time): cached bytes of another version are not used."""
    local: tuple[pathlib.Path, ...] = ()
    """Where the file may already lie on this machine; used if the size is right."""
    place: str = ""
    """Its path in the drive, for people."""
    neighbours: Callable[[], Sequence[Source]] | None = None
    """The files of the same directory in the order of their names."""
    copies: Callable[[], Awaitable[Sequence[str]]] | None = None
    """Learns the addresses of all copies, best first: one request, for when ``url`` fails."""


class OpenFile(Protocol):
    """A data file that is open for reading."""

    @property
    def size(self) -> int:
        """Bytes, as long as the file is open."""

    @property
    def content(self) -> object:
        """What it is a reader of: two readers of one source with the same value get the same bytes."""

    def check(self) -> None:
        """Raise FileChanged if the content is known to have become another one: then all reads do, from now on."""

    async def read(self, offset: int, size: int, *, ahead: bool = True) -> bytes:
        """``size`` bytes at ``offset``, fewer only at the end of the file; ``ahead``: also fetch what may come next.

        Raises NotDownloadable, AccessDenied, FileChanged, ServerFault, Throttled, Unreachable or DeadlineExceeded.
        """

    def at_hand(self, offset: int, size: int) -> Bytes:
        """As :meth:`look` where nobody has to wait for the bytes, at a fraction of its cost; else nothing."""

    async def look(self, offset: int, size: int, *, ahead: bool = True) -> Bytes:
        """As :meth:`read`, without a copy where that can be: a view holds until the caller's next await."""

    async def close(self) -> None:
        """Stop what was under way for this reader alone."""
