"""The data files that paths of the drive lead to, and what is known of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alyxfs import errors
from alyxfs.drive_paths import DATA, below_data
from alyxfs.tree.datafile import DataFileNode
from alyxfs.tree.inflated import InflatedNode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from alyxfs.tree.drive import Drive


async def data_files(drive: Drive, paths: Iterable[str]) -> list[DataFileNode]:
    """The data files behind these paths, each once; for a recording that is inflated, those that it is made of.

    The tables in data/ are none. Raises NotFound, Invalid.
    """
    found: dict[str, DataFileNode] = {}
    for path in paths:
        parts = path.split("/")
        if below_data(path) is None:
            raise errors.Invalid(f"{path} is not in {DATA}/: only data files can be pinned or fetched.")
        node = await drive.node_at(parts)
        if isinstance(node, DataFileNode | InflatedNode):
            found.update((one.identity, one) for one in node.made_of)
    return list(found.values())


async def describe_files(drive: Drive, paths: Iterable[str]) -> list[dict[str, object]]:
    """What the database says of the data files at these paths (see DataFileNode.description). Raises as above."""
    return [node.description() for node in await data_files(drive, paths)]
