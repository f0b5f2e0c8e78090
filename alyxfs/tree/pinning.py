"""Data files that the user keeps on this machine, by their paths in the drive."""

from __future__ import annotations

import logging
import pathlib
from typing import TYPE_CHECKING

import trio

from alyxfs import errors
from alyxfs.files.disk import eviction, pins
from alyxfs.tree.files_at import data_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from alyxfs.tree.datafile import DataFileNode
    from alyxfs.tree.drive import Drive

log = logging.getLogger(__name__)


async def pin_files(drive: Drive, paths: Iterable[str]) -> list[dict[str, object]]:
    """Keep the data files at these paths; each is returned as it then is.

    With path, size (bytes), hash, ``share`` (0 to 1, on disk) and remark. For a recording that is inflated as it is
    read, these are the two files that it is made of. Raises NotFound, Invalid.
    """
    nodes = await data_files(drive, paths)
    states = await drive.files.pin([node.source() for node in nodes])
    await _note_names(drive, nodes)
    return [
        {
            "path": node.identity,
            "size": node.attributes().size,
            "hash": node.file.digest,
            "share": state.share,
            "remark": state.remark,
        }
        for node, state in zip(nodes, states, strict=True)
    ]


async def unpin_files(drive: Drive, paths: Iterable[str]) -> int:
    """Let the data files at these paths go when there is need for room; return how many were pinned."""
    return await drive.files.unpin([node.source() for node in await data_files(drive, paths)])


async def pinned_state(drive: Drive) -> dict[str, int]:
    """What all pinned files take, and what data files may take, in bytes. Raises ServerFault where the disk fails."""
    try:
        return {"bytes": await drive.files.pinned_bytes(), "limit": drive.files.disk.limit_bytes}
    except OSError as error:
        raise _unreadable(error) from error


async def list_pinned(drive: Drive) -> list[dict[str, object]]:
    """All pinned files of the cache directory, the oldest pin first, those of other servers included.

    Each with ``size`` (bytes), ``share`` (0 to 1, on this machine), ``pinned_at`` (Unix seconds), ``server`` and
    ``path`` (below the root of that server's drive); the last two are None where no name was noted.
    Raises ServerFault where the disk fails.
    """
    try:
        found = await trio.to_thread.run_sync(pins.kept, drive.files.directory)
    except OSError as error:
        raise _unreadable(error) from error
    return [
        {
            "path": pin.origin.path if pin.origin else None,
            "server": pin.origin.server if pin.origin else None,
            "size": pin.size,
            "share": 1.0 if share < 1 and await _has_copy(drive, pin) else share,
            "pinned_at": pin.pinned_at,
        }
        for pin, share in found
    ]


async def _has_copy(drive: Drive, pin: pins.Pin) -> bool:
    paths = pin.origin.local if pin.origin else ()
    return await drive.files.copies.has_size([pathlib.Path(path) for path in paths], pin.size)


async def _note_names(drive: Drive, nodes: Sequence[DataFileNode]) -> None:
    """Have the marks say what these files are called; without that they are kept as well, but listed without a name."""
    server = str(drive.metadata.status()["server"])
    origins = {}
    for node in nodes:
        source = node.source()
        local = tuple(map(str, source.local))
        origins[drive.files.path(source)] = pins.Origin(server, node.identity, local)
    try:
        await trio.to_thread.run_sync(eviction.name_pins, origins, drive.files.directory)
    except OSError as error:
        log.info("names of pinned files were not noted: %s", error)


def _unreadable(error: OSError) -> errors.ServerFault:
    return errors.ServerFault(f"What is pinned cannot be read in the cache directory: {error.strerror}.")
