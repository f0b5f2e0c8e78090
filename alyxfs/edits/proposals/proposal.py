"""One proposal, and all that is proposed of one record. Nothing here awaits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from alyxfs.edits import validate
from alyxfs.edits.merge import MISSING, three_way

if TYPE_CHECKING:
    from collections.abc import Iterable

    from alyxfs.alyx.schema.model import Endpoint


@dataclass(eq=False)
class Proposal:
    """A write that is kept here and shown as if it had been sent."""

    number: int
    """In the journal."""
    method: str
    endpoint: Endpoint
    key: str
    """The record's look-up when it was proposed; of a new record, what it was given."""
    document: dict[str, Any]
    """The values as the server would store them; of a new record, all of it."""
    before: dict[str, Any]
    """The record as it was shown when this was proposed; empty for a new one."""
    picture: bytes | None = None
    """Of a note, where it is given one."""
    conflict: str | None = None
    """Why it could not be saved as things stand on the server now."""

    @property
    def name(self) -> str:
        """For sentences."""
        return f"{self.endpoint.name}/{self.key}"

    @property
    def renames(self) -> bool:
        """Whether it gives the record another look-up."""
        return self.method == "PATCH" and (self.endpoint.lookup or "") in self.document


@dataclass(eq=False)
class ProposedRecord:
    """All proposals of one record, in their order."""

    endpoint: Endpoint
    origin: str | None
    """Its look-up on the server; None for a record that is proposed itself."""
    identity: str
    """As its rows tell; of a new one, too."""
    key: str
    """Its look-up in what is shown."""
    proposals: list[Proposal] = field(default_factory=list)
    takes_with_it: list[ProposedRecord] = field(default_factory=list)
    """Records that the server would delete with it."""
    taken_with: ProposedRecord | None = None
    """The record whose delete takes this one with it."""

    @property
    def is_new(self) -> bool:
        """Whether the server does not have it."""
        return self.origin is None

    @property
    def is_deleted(self) -> bool:
        """Whether it is proposed to be deleted."""
        return self.taken_with is not None or any(each.method == "DELETE" for each in self.proposals)

    @property
    def first_before(self) -> dict[str, Any]:
        """The record as the server had it when the first of its proposals was made."""
        return self.proposals[0].before if self.proposals else {}

    @property
    def picture(self) -> bytes | None:
        """The picture of a note that is proposed last."""
        return next((each.picture for each in reversed(self.proposals) if each.picture is not None), None)

    def shown(self, theirs: dict[str, Any] | None, *, but: Proposal | None = None) -> dict[str, Any]:
        """The record, or a row of it, with the proposals merged into it, each as a save would be.

        ``theirs`` is what the server has; None for a new one. A proposal that conflicts with it changes nothing. With
        ``but``, the record without this one. See :meth:`conflicts` for who conflicts.
        """
        return self._folded(theirs, but)[0]

    def conflicts(self, theirs: dict[str, Any] | None, *, but: Proposal | None = None) -> dict[int, str]:
        """The sentences, by number, of the proposals that what the server has now does not allow."""
        return self._folded(theirs, but)[1]

    def _folded(self, theirs: dict[str, Any] | None, but: Proposal | None) -> tuple[dict[str, Any], dict[int, str]]:
        shown = dict(theirs or {})
        conflicts: dict[int, str] = {}
        for proposal in self.proposals:
            if proposal is but or proposal.method == "DELETE":
                continue
            if proposal.method == "POST":
                shown = dict(proposal.document)
                continue
            merged = three_way(
                _within(proposal.before, shown),
                {**_within(proposal.before, shown), **_within(proposal.document, shown)},
                shown,
                computed=validate.computed_fields(self.endpoint) - proposal.document.keys(),
                unordered=validate.unordered_fields(self.endpoint),
            )
            if merged.disagreements:
                conflicts[proposal.number] = _sentence(proposal, merged.disagreements)
            else:
                shown.update(merged.patch)
        return shown, conflicts


def _within(document: dict[str, Any], shown: dict[str, Any]) -> dict[str, Any]:
    """Of a row, the fields that it has; of an empty one, all."""
    return {name: value for name, value in document.items() if name in shown} if shown else dict(document)


def _sentence(proposal: Proposal, disagreements: Iterable[Any]) -> str:
    fields = "; ".join(
        f"{one.name} was {_words(one.base)}, you wrote {_words(one.mine)}, the server has {_words(one.theirs)}"
        for one in disagreements
    )
    return f"{proposal.name} was changed on the server, too, and is shown as it is there: {fields}."


def _words(value: Any) -> str:
    return "not there" if value is MISSING else validate.quoted(value)
