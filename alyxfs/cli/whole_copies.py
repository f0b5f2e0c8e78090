"""Which copies an interrupted `alyxfs fetch` has hashed already: they are not hashed again when it goes on.

A line each, in the folder of the parts, which goes once all files are there: whoever fetches again after that has all
copies compared with the database anew.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from typing import TYPE_CHECKING

from alyxfs.private_files import open_file

if TYPE_CHECKING:
    from pathlib import Path


class WholeCopies:
    """See the module. Of threads of one process."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._writing = threading.Lock()
        self._known: set[tuple[str, ...]] = set()
        with contextlib.suppress(OSError), place.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                with contextlib.suppress(ValueError, TypeError):  # the last one may be half of a line
                    self._known.add(tuple(map(str, json.loads(line))))

    def has(self, copy: Path, md5: str) -> bool:
        """Whether this copy had this MD5, and nobody has touched it since."""
        return self._state(copy, md5) in self._known

    def add(self, copy: Path, md5: str) -> None:
        """Remember that this copy was found to have this MD5."""
        line = json.dumps(self._state(copy, md5)).encode() + b"\n"
        with contextlib.suppress(OSError), self._writing:  # then it is hashed again
            descriptor = open_file(self._place, os.O_WRONLY | os.O_APPEND)
            try:
                os.write(descriptor, line)
            finally:
                os.close(descriptor)

    @staticmethod
    def _state(copy: Path, md5: str) -> tuple[str, ...]:
        """What no program can change of a file without the change being seen: its time of change cannot be set."""
        found = copy.stat()
        return md5, str(found.st_ino), str(found.st_size), str(found.st_mtime_ns), str(found.st_ctime_ns)
