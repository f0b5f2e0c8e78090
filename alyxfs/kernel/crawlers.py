"""Programs that read everything there is, unasked: they get the data files that are on this machine, and no others."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from cachetools import TTLCache, cached

from alyxfs import errors
from alyxfs.kernel.processes import BELIEVED, parent_of
from alyxfs.processes import program_name

if TYPE_CHECKING:
    from alyxfs.tree import File, Reader

INDEXER = "an indexer, for which all files would be fetched to find the words in them"
THUMBNAILER = "a thumbnailer, for which all files would be fetched to look for pictures in them"
BACKUP = "a backup program, for which all files would be fetched that the server keeps anyway"
CRAWLERS = {
    **dict.fromkeys(("updatedb", "updatedb.mlocate", "updatedb.plocate", "recollindex"), INDEXER),
    **dict.fromkeys(("tracker-miner-fs", "tracker-extract", "localsearch", "localsearch-3"), INDEXER),
    **dict.fromkeys(("localsearch-extractor", "baloo_file", "baloo_file_extractor"), INDEXER),
    **dict.fromkeys(("tumblerd", "ffmpegthumbnailer", "gnome-desktop-thumbnailer"), THUMBNAILER),
    **dict.fromkeys(("gdk-pixbuf-thumbnailer", "totem-video-thumbnailer", "evince-thumbnailer"), THUMBNAILER),
    **dict.fromkeys(("borg", "restic", "duplicity", "rdiff-backup", "kopia", "rsnapshot"), BACKUP),
}
"""What each of them is, by the name of its program."""
LONGEST_NAME = 15
"""Characters of a program's name that the kernel keeps (TASK_COMM_LEN in linux/sched.h, without the NUL at the end)."""
HANDS = frozenset({"rsync", "cp", "sh", "dash", "bash"})
"""Programs that others start to do their work, as rsnapshot does rsync; else they are a person's own."""

_BY_KEPT_NAME = {name[:LONGEST_NAME]: name for name in CRAWLERS}


class Crawlers:
    """State: ``refused`` grows in :meth:`open` alone."""

    def __init__(self, *, are_allowed: bool) -> None:
        self._are_allowed = are_allowed
        self.refused: Counter[str] = Counter()
        """How many times a file was not opened, by the name of the program."""

    async def open(self, node: File, process: int) -> Reader:
        """As the node does. Raises CrawlerRefused where a crawler would have bytes fetched."""
        name = crawler(process) if node.is_fetched and not self._are_allowed else None
        if name is None:
            return await node.open(process)
        reader = await node.open_here(process)
        if reader is None:
            self.refused[name] += 1
            raise errors.CrawlerRefused(
                f"{name} is not given data files that are not on this machine. It is {CRAWLERS[name]}. What it is to "
                "have can be pinned (`alyxfs pin`), or the drive mounted with --allow-crawlers."
            )
        return reader


@cached(TTLCache(1000, BELIEVED))
def crawler(process: int) -> str | None:
    """The name of the crawler that this process is, or works for; None where it is, as most are, a person's own."""
    while (name := program_name(process)) in HANDS:
        process = parent_of(process)
    return _BY_KEPT_NAME.get(name)
