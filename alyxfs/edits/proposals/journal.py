"""The journal of a drive that sends nothing by itself: what another drive would call sent and done is proposed here."""

from __future__ import annotations

from typing import Any

from alyxfs.edits.entry import State
from alyxfs.edits.journal import Journal


class ProposalJournal(Journal):
    """A journal whose own writes are proposals; those of other drives keep their states."""

    _accepted = State.PROPOSED
    """The state of a proposal."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._own: set[int] = set()

    def prepare(self, *arguments: Any, **values: Any) -> int:
        """See Journal."""
        number = super().prepare(*arguments, **values)
        self._own.add(number)
        return number

    def mark_sent(self, number: int, request: Any, before: Any, picture: bytes | None = None) -> None:
        """Nothing is sent: a drive that is killed now has lost the proposal, and the next mount says so."""
        if number in self._own:
            self.record(number, State.PREPARED, request=request, before=before, picture=picture)
        else:
            super().mark_sent(number, request, before, picture)

    def record(self, number: int, state: State, **values: Any) -> None:
        """See Journal."""
        is_taken = state in {State.DONE, State.PROPOSED} and number in self._own
        super().record(number, self._accepted if is_taken else state, **values)

    def note_conflict(self, number: int, conflict: str | None) -> None:
        """A proposal is in conflict with what the server has, or no longer."""
        super().record(number, self._accepted if conflict is None else State.CONFLICT, remark=conflict)


class StagingJournal(ProposalJournal):
    """One whose proposals are kept until they are applied or discarded.

    What applies them, or takes back what was sent, is no proposal.
    """

    _accepted = State.STAGED

    def prepare(self, *arguments: Any, **values: Any) -> int:
        """See Journal."""
        number = super().prepare(*arguments, **values)
        if values.get("applies") is not None or values.get("undo_of") is not None:
            self._own.discard(number)
        return number

    def note_conflict(self, number: int, conflict: str | None) -> None:
        """See ProposalJournal; what was sent or forgotten meanwhile stays that."""
        self.note_staged(number, conflict)
