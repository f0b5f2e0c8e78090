"""Data files that the user keeps on this machine, by their paths in the drive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alyxfs import errors
from alyxfs.tree.datafile import DataFileNode
from alyxfs.tree.drive import DATA
from alyxfs.tree.inflated import InflatedNode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from alyxfs.tree.drive import Drive


async def pin_files(drive: Drive, paths: Iterable[str]) -> list[dict[str, object]]:
    """Keep the data files at these paths; return path, size (bytes) and ``share`` (0 to 1, on disk) of each.

    For a recording that is inflated as it is read, these are the two files that it is made of. Raises NotFound,
    Invalid.
    """
    nodes = await _data_files(drive, paths)
    shares = await drive.files.pin([node.source() for node in nodes])
    return [
        {"path": node.identity, "size": node.attributes().size, "share": share}
        for node, share in zip(nodes, shares, strict=True)
    ]


async def unpin_files(drive: Drive, paths: Iterable[str]) -> int:
    """Let the data files at these paths go when there is need for room; return how many were pinned."""
    return await drive.files.unpin([node.source() for node in await _data_files(drive, paths)])


async def pinned_state(drive: Drive) -> dict[str, int]:
    """What all pinned files take, and what data files may take, in bytes."""
    return {"bytes": await drive.files.pinned_bytes(), "limit": drive.files.limit_bytes}


async def _data_files(drive: Drive, paths: Iterable[str]) -> list[DataFileNode]:
    """The data files behind these paths, each once; the tables in data/ are none and are kept anyway."""
    found: dict[str, DataFileNode] = {}
    for path in paths:
        parts = path.split("/")
        if parts[0] != DATA:
            raise errors.Invalid(f"{path} is not in {DATA}/: only data files can be pinned.")
        node = await drive.node_at(parts)
        if isinstance(node, DataFileNode | InflatedNode):
            found.update((one.identity, one) for one in node.made_of)
    return list(found.values())
