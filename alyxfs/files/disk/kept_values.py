"""Values by some names, kept across mounts: a line for each, with the names and the value separated by tabs.

A line is appended at once, in a single write, so several processes may append at the same time; the last line of the
same names counts.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from alyxfs.private_files import make_folder, open_file

if TYPE_CHECKING:
    import pathlib

log = logging.getLogger(__name__)


class KeptValues:
    """See the module. ``names`` is how many names a value has."""

    def __init__(self, path: pathlib.Path, names: int) -> None:
        self._path = path
        self._values: dict[tuple[str, ...], str] = {}
        try:
            lines = path.read_text(errors="replace").split("\n")
        except OSError:
            return
        for line in lines:
            *found, value = line.split("\t")
            if len(found) == names:
                self._values[tuple(found)] = value

    def get(self, *names: str) -> str | None:
        """The value of these names, if it is known."""
        return self._values.get(names)

    def put(self, *names: str, value: str, is_kept: bool = True) -> None:
        """Remember a value, for this mount alone where it is not to be kept, or cannot be."""
        self._values[names] = value
        fields = [*names, value]
        if not is_kept or any(character in field for field in fields for character in "\t\n"):
            return
        try:
            make_folder(self._path.parent)
            descriptor = open_file(self._path, os.O_WRONLY | os.O_APPEND)
            try:
                os.write(descriptor, ("\t".join(fields) + "\n").encode(errors="replace"))
            finally:
                os.close(descriptor)
        except OSError as error:
            log.info("%s is remembered for this mount only: %s", " ".join(fields), error)
