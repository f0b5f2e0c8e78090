"""True sizes of the files whose size in the database is wrong or missing, kept across mounts.

One line a file, ``identity version size`` separated by tabs, appended at once; the last line of a file counts. Several
processes may append at the same time: each line is a single write.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pathlib

log = logging.getLogger(__name__)


class KnownSizes:
    """See the module."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._sizes: dict[tuple[str, str], int] = {}
        try:
            lines = path.read_text(errors="replace").split("\n")
        except OSError:
            return
        for line in lines:
            fields = line.split("\t")
            if len(fields) == 3 and fields[2].isdecimal():  # noqa: PLR2004 - the three of the module's description
                self._sizes[fields[0], fields[1]] = int(fields[2])

    def get(self, identity: str, version: str, otherwise: int | None) -> int | None:
        """The true size in bytes if it was learned, else what the database says."""
        return self._sizes.get((identity, version), otherwise)

    def learn(self, identity: str, version: str, size: int) -> None:
        """Remember a size that the file server told."""
        self._sizes[identity, version] = size
        fields = [identity, version, str(size)]
        if any(character in field for field in fields for character in "\t\n"):
            return
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(descriptor, ("\t".join(fields) + "\n").encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            log.info("the size of %s is remembered for this mount only: %s", identity, error)
