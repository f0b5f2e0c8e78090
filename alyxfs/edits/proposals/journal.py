"""The journal of a drive that only proposes: what another drive would call sent and done is proposed here."""

from __future__ import annotations

from typing import Any

from alyxfs.edits.journal import Journal, State


class ProposalJournal(Journal):
    """A journal whose own writes are proposals; those of other drives keep their states."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._own: set[int] = set()

    def prepare(self, *arguments: Any, **values: Any) -> int:
        """See Journal."""
        number = super().prepare(*arguments, **values)
        self._own.add(number)
        return number

    def mark_sent(self, number: int, request: Any, before: Any) -> None:
        """Nothing is sent: a drive that is killed now has lost the proposal, and the next mount says so."""
        self.record(number, State.PREPARED, request=request, before=before)

    def record(self, number: int, state: State, **values: Any) -> None:
        """See Journal."""
        is_taken = state is State.DONE and number in self._own
        super().record(number, State.PROPOSED if is_taken else state, **values)
