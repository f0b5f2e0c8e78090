"""A drive of which a thread makes the kernel forget something on SIGUSR2, as none of alyxfs does.

``python notifying_drive.py PLACE mount …``; the file PLACE holds what: ``name NUMBER``, a name in the directory with
this inode number, or ``pages``, those of every file that was opened. To drop a name the kernel waits for every request
of its directory, to drop a page for who is reading it, also where they wait for this process: it answers no read then.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from pathlib import Path

import pyfuse3

from alyxfs.cli import main
from alyxfs.kernel.operations import Kernel

PAUSE = 0.001
"""Seconds between two rounds."""
STOPPED = 60.0
"""Seconds in which a drive whose pages are dropped answers nothing."""


class PageDropper:
    """Drops the pages of all files that were opened, until it waits for a page that is being read."""

    def __init__(self) -> None:
        self._opened: set[int] = set()
        self._open = Kernel.open
        Kernel.open = lambda kernel, inode, *arguments: self._note(kernel, inode, *arguments)

    async def _note(self, kernel, inode, *arguments):
        self._opened.add(inode)
        return await self._open(kernel, inode, *arguments)

    def begin(self) -> None:
        Kernel.read = lambda *_: time.sleep(STOPPED)  # in the one thread that answers
        threading.Thread(target=self._drop_for_ever, daemon=True).start()

    def _drop_for_ever(self) -> None:
        while True:
            for number in list(self._opened):
                with contextlib.suppress(FileNotFoundError):  # the kernel knows it no more
                    pyfuse3.invalidate_inode(number)
            time.sleep(PAUSE)


def notify(place: str, pages: PageDropper) -> None:
    what, *number = Path(place).read_text().split()
    if what == "pages":
        pages.begin()
    else:
        threading.Thread(target=pyfuse3.invalidate_entry, args=(int(*number), b"name"), daemon=True).start()


if __name__ == "__main__":
    place, dropper = sys.argv.pop(1), PageDropper()
    signal.signal(signal.SIGUSR2, lambda *_: notify(place, dropper))
    main()
