"""The data files that paths of the drive lead to, and what is known of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alyxfs import errors
from alyxfs.drive_paths import DATA, below_data
from alyxfs.tree.datafile import DataFileNode
from alyxfs.tree.inflated import COMPRESSED, HEADER, RAW, InflatedNode

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from alyxfs.tree.drive import Drive


async def data_files(drive: Drive, paths: Iterable[str]) -> list[DataFileNode]:
    """The data files behind these paths, each once; for a recording that is inflated, those that it is made of.

    The tables in data/ are none. Raises NotFound, Invalid.
    """
    found: dict[str, DataFileNode] = {}
    for path in paths:
        if below_data(path) is None:
            raise errors.Invalid(f"{path} is not in {DATA}/: only data files can be pinned or fetched.")
        found.update((node.identity, node) for node in await _made_of(drive, path))
    return list(found.values())


async def _made_of(drive: Drive, path: str) -> Sequence[DataFileNode]:
    """An inflated recording whose header cannot be read has no size, but is made of the same files."""
    try:
        nodes = [await drive.node_at(path.split("/"))]
    except errors.NotFound:
        raise
    except errors.AlyxfsError:
        if not path.endswith(RAW):
            raise
        stem = path[: -len(RAW)]
        nodes = [await drive.node_at(f"{stem}{ending}".split("/")) for ending in (COMPRESSED, HEADER)]
    return [one for node in nodes if isinstance(node, DataFileNode | InflatedNode) for one in node.made_of]


async def describe_files(drive: Drive, paths: Iterable[str]) -> list[dict[str, object]]:
    """What the database says of the data files at these paths (see DataFileNode.description). Raises as above."""
    return [node.description() for node in await data_files(drive, paths)]
