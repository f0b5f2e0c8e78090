"""Which proposals build on which: the order in which they can be sent. Pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alyxfs.alyx.quirks import new_records as quirks
from alyxfs.alyx.quirks.writing import NOTES
from alyxfs.edits.proposals.overlay import names_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from alyxfs.edits.proposals.overlay import Overlay
    from alyxfs.edits.proposals.proposal import Proposal, ProposedRecord

ANY = ""
"""Stands for every endpoint."""


def builds_on(overlay: Overlay) -> dict[int, set[int]]:
    """By the number of each proposal, those of the earlier ones without which it would not be the same, or not hold."""
    found: dict[int, set[int]] = {each.number: set() for each in overlay}
    who_names = _who_names(overlay)
    for record in overlay.records():
        for place, later in enumerate(record.proposals):
            found[later.number] |= {each.number for each in record.proposals[:place] if _touch(each, later)}
        others = [*who_names.get((record.endpoint.name, record.key), ()), *who_names.get((ANY, record.key), ())]
        for one in (each for each in record.proposals if each.method == "POST" or each.renames):
            for other in (each for each in others if each not in record.proposals):
                later, earlier = (other, one) if other.number > one.number else (one, other)
                found[later.number].add(earlier.number)
    _add_freed_names(overlay, found)
    return found


def levels(numbers: Iterable[int], building: Mapping[int, set[int]]) -> list[list[int]]:
    """The numbers in groups, those of one group independent of each other and after all that they build on."""
    depth: dict[int, int] = {}
    for number in sorted(numbers):
        depth[number] = 1 + max((depth[each] for each in building.get(number, ()) if each in depth), default=-1)
    grouped: list[list[int]] = [[] for _ in range(1 + max(depth.values(), default=-1))]
    for number, level in depth.items():
        grouped[level].append(number)
    return grouped


def _who_names(overlay: Overlay) -> dict[tuple[str, str], list[Proposal]]:
    """The proposals that name a record, by its endpoint and look-up; what notes are about may be of ANY endpoint."""
    found: dict[tuple[str, str], list[Proposal]] = {}
    for record in overlay.records():
        fields = dict(quirks.REFERENCES.get(record.endpoint.name, {}))
        if record.endpoint.name == NOTES:
            fields["object_id"] = ANY
        for proposal in record.proposals:
            for field, endpoint in fields.items():
                for name in names_in(proposal.document.get(field)):
                    found.setdefault((endpoint, name), []).append(proposal)
    return found


def _touch(earlier: Proposal, later: Proposal) -> bool:
    """Whether two proposals of one record are about the same."""
    if "POST" in {earlier.method, later.method} or "DELETE" in {earlier.method, later.method}:
        return True
    return earlier.renames or later.renames or bool(earlier.document.keys() & later.document.keys())


def _add_freed_names(overlay: Overlay, found: dict[int, set[int]]) -> None:
    """Who takes a name builds on who gave it up."""
    given_up = {
        (record.endpoint.name, name): proposal.number
        for record in overlay.records()
        for name, proposal in _given_up(record)
    }
    for proposal in overlay:
        taken = proposal.document.get(proposal.endpoint.lookup or "")
        number = given_up.get((proposal.endpoint.name, taken)) if isinstance(taken, str) else None
        if number is not None and number < proposal.number:
            found[proposal.number].add(number)


def _given_up(record: ProposedRecord) -> list[tuple[str, Proposal]]:
    """The names that it had, each with the proposal by which it has it no longer."""
    return [(each.key, each) for each in record.proposals if each.method == "DELETE" or each.renames]
