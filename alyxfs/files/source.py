"""What the drive knows of a data file before a byte of it has been read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Sequence

    from alyxfs.files.held import Bytes


@dataclass(frozen=True)
class Source:
    """A data file as the database describes it."""

    identity: str
    """The dataset's UUID: the key of the cache."""
    name: str
    """The file's name, as ``spikes.times.npy``."""
    url: str | None
    """As the server gave it, ``#`` raw; None where no server offers the bytes."""
    size: int | None
    """Bytes, from the database; None where it does not say."""
    digest: str | None
    """MD5 in hexadecimal, where the database's hash is one."""
    version: str
    """Changes with the dataset (its hash or modification time): cached bytes of another version are not used."""
    local: tuple[pathlib.Path, ...] = ()
    """Where the file may already lie on this machine; used if the size is right."""
    neighbours: Callable[[], Sequence[Source]] | None = None
    """The files of the same directory in the order of their names."""


class OpenFile(Protocol):
    """A data file that is open for reading."""

    @property
    def size(self) -> int:
        """Bytes; may change once, at the first answer of a file server that knows better than the database."""

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
