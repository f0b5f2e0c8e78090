"""All drafts that programs have open. What becomes of them at the unmount is up to ``EditingSession.finish``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alyxfs.tree.writing.open_draft import OpenDraft


class OpenDrafts:
    """The one list of them. No method awaits, so each is atomic. They are few: it is searched from end to end."""

    def __init__(self) -> None:
        self._drafts: list[OpenDraft] = []

    def __iter__(self) -> Iterator[OpenDraft]:
        """A copy, oldest first."""
        return iter(list(self._drafts))

    def add(self, opened: OpenDraft) -> None:
        """A program begins one."""
        self._drafts.append(opened)

    def remove(self, opened: OpenDraft) -> None:
        """Nobody has it open any more."""
        self._drafts.remove(opened)

    def of_record(self, endpoint: str, key: str) -> list[OpenDraft]:
        """Those that are saved to this record, oldest first."""
        return [each for each in self._drafts if each.target.key == key and each.target.endpoint.name == endpoint]

    def written_by(self, process: int, endpoint: str, key: str) -> OpenDraft | None:
        """The newest that this program has open on the record, if it is writing to it."""
        own = (each for each in reversed(self.of_record(endpoint, key)) if each.process == process)
        return next((each for each in own if each.is_being_written), None)

    def new_written_by(self, process: int, directory: str, file_name: str) -> OpenDraft | None:
        """The newest that this program has open on a record that is still to be made under this name."""
        own = (each for each in reversed(self.on_new(directory, file_name)) if each.process == process)
        return next((each for each in own if each.is_being_written), None)

    def on_new(self, directory: str, file_name: str) -> list[OpenDraft]:
        """Those of a record that is still to be made under this name, oldest first."""
        place = (None, directory, file_name)
        return [
            each for each in self._drafts if (each.target.key, each.target.directory, each.target.file_name) == place
        ]
