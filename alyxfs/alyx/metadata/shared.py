"""What the listings and the records of a drive work with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from alyxfs.alyx.metadata.freshness import Freshness
    from alyxfs.alyx.metadata.write_behind import WriteBehind
    from alyxfs.alyx.omissions import Omissions
    from alyxfs.alyx.rest import Api
    from alyxfs.alyx.schema.model import Endpoint
    from alyxfs.store import Store
    from alyxfs.tasks import Tasks


@dataclass(frozen=True)
class Shared:
    """Made once for a drive, by the metadata cache."""

    api: Api
    store: Store
    saver: WriteBehind
    tasks: Tasks
    freshness: Freshness
    omissions: Omissions
    endpoint: Callable[[str], Awaitable[Endpoint]]
    """The endpoint of a name; raises NotFound where the server has none."""
