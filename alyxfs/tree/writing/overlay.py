"""Names that mean something on this machine alone: scratch files, records moved away, names of new records.

Editors save by writing scratch files and renaming. So a record's name may be away for a moment, or stand under
another name, while the record itself stays untouched on the server.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from alyxfs.tree.writing.scratch import ScratchFile

if TYPE_CHECKING:
    from alyxfs.edits import SharedMemory
    from alyxfs.tree.writing.open_draft import OpenDraft
    from alyxfs.tree.writing.scratch import LocalNode

AWAY_SECONDS = 30.0
"""Editors make a name anew at once; after this the record shows under it again, whatever became of the editor."""


@dataclass
class MadeRecord:
    """A record that was made under a name that is not its own."""

    key: str
    """That the server gave it."""
    process: int
    """Who made it."""
    has_been_read: bool = False
    """Whether that process has opened the name for reading since."""


class LocalNames:
    """By identity of the directory and name. No method awaits, so each is atomic."""

    def __init__(self, memory: SharedMemory) -> None:
        self._memory = memory
        self._files: dict[tuple[str, str], LocalNode] = {}
        self._away: dict[tuple[str, str], tuple[str, float]] = {}
        """Names whose record was moved away, with its key and the trio time at which it shows again by itself."""
        self._made: dict[tuple[str, str], MadeRecord] = {}
        """The newest record that was made under each name."""

    def file(self, directory: str, name: str) -> LocalNode | None:
        """The local file of this name."""
        return self._files.get((directory, name))

    def names(self, directory: str) -> list[str]:
        """The names of all local files in a directory, sorted."""
        return sorted(name for where, name in self._files if where == directory)

    def files(self) -> list[tuple[str, str, LocalNode]]:
        """Directory, name and file of all."""
        return [(directory, name, file) for (directory, name), file in self._files.items()]

    def put(self, directory: str, name: str, file: LocalNode) -> None:
        """A local file appears."""
        self._files[directory, name] = file

    def take(self, directory: str, name: str) -> None:
        """A local file goes, if it is there; a record that was moved away to it has its own name again."""
        file = self._files.pop((directory, name), None)
        if isinstance(file, ScratchFile) and file.stands_for is not None:
            self.come_back(directory, file.stands_for)

    def move(self, directory: str, name: str, new_name: str) -> None:
        """Rename a local file; one that has the new name already is replaced."""
        file = self._files.pop((directory, name))
        self.take(directory, new_name)
        self._files[directory, new_name] = file
        file.moved(new_name)

    def leave(self, opened: OpenDraft) -> None:
        """A program has closed a draft of a new record that was not saved."""
        file = self._files.get((opened.target.directory, opened.target.file_name))
        if file is not None:
            file.leave(opened)

    def move_away(self, directory: str, name: str, key: str, new_name: str, content: bytes) -> None:
        """``X.json`` becomes ``X.json~``: the record stays where it is, its content is kept under the new name."""
        file = ScratchFile(self._memory, content)
        file.stands_for = name
        self.take(directory, new_name)
        self._files[directory, new_name] = file
        self._away[directory, name] = (key, trio.current_time() + AWAY_SECONDS)

    def away_key(self, directory: str, name: str) -> str | None:
        """The key of the record whose name was moved away."""
        key, until = self._away.get((directory, name), (None, 0.0))
        if key is not None and trio.current_time() >= until:
            del self._away[directory, name]
            return None
        return key

    def come_back(self, directory: str, name: str) -> str | None:
        """The name is the record's again, whose key this is."""
        key = self.away_key(directory, name)
        self._away.pop((directory, name), None)
        return key

    def made(self, directory: str, name: str, key: str, process: int) -> None:
        """From now on this name leads to the record of this key, which this program made."""
        self._made[directory, name] = MadeRecord(key, process)

    def made_as(self, directory: str, name: str) -> str | None:
        """The key of the record that was made under this name last."""
        made = self._made.get((directory, name))
        return None if made is None else made.key

    def made_record(self, directory: str, name: str) -> MadeRecord | None:
        """Who made it, and whether they know it."""
        return self._made.get((directory, name))

    def note_read(self, directory: str, name: str, process: int) -> None:
        """A program has opened the name for reading: it sees the id of the record that was made."""
        made = self._made.get((directory, name))
        if made is not None and made.process == process:
            made.has_been_read = True

    def unmade(self, directory: str, key: str) -> None:
        """The record is gone, and so are the names that led to it in this directory and those below."""
        for place in [place for place, made in self._made.items() if made.key == key]:
            if place[0] == directory or place[0].startswith(f"{directory}/"):
                del self._made[place]
