"""``data/.rest``: where ONE in remote mode keeps answers of the server.

ONE makes this folder in its cache directory unless it is told ``cache_rest=None``, and ``data/`` takes no folder. So it
is there already, unlisted, as a link to a private one in the cache of the drive.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from alyxfs.private_files import make_folder
from alyxfs.tree.node import Link, no_such_name

if TYPE_CHECKING:
    from alyxfs.files.cache import FileCache

log = logging.getLogger(__name__)

NAME = ".rest"
"""As ONE calls it (rest_cache_dir in one/webclient.py)."""


async def answers_of_one(files: FileCache, parent: str, modified: float) -> Link:
    """The link. The folder is made anew where somebody has deleted the cache; raises NotFound where it cannot be."""
    folder = files.places.values("one-answers")
    try:
        await trio.to_thread.run_sync(make_folder, folder)
    except OSError as error:
        log.info("there is no place for answers to ONE: %s", error)
        raise no_such_name(NAME, parent) from error
    return Link(f"{parent}/{NAME}", str(folder), modified, 0.0)
