"""All that is proposed, laid over what the server gives. Nothing here awaits, so that each method is atomic."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from alyxfs.alyx.identities import UUID, id_at_the_end, identity_of, named_by
from alyxfs.alyx.metadata import rows
from alyxfs.alyx.quirks import new_records as quirks
from alyxfs.alyx.quirks.writing import HOLD_NAMES_OF, NOTES
from alyxfs.edits.proposals.proposal import ProposedRecord
from alyxfs.edits.proposals.rebase import Applied, based_on
from alyxfs.edits.undo import translated

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from alyxfs.alyx.schema.model import Endpoint
    from alyxfs.edits.proposals.proposal import Proposal

_FREE = frozenset({"json", "extended_qc", "arguments"})
"""Fields that hold whatever people write into them, and no records."""


class Overlay:
    """The one list of proposals; it changes in :meth:`add`, :meth:`take_along` and :meth:`withdraw` alone.

    Names in the proposals are kept as they are to be: where a record is renamed, what names it is changed here, too.
    """

    def __init__(self) -> None:
        self._records: dict[str, list[ProposedRecord]] = {}
        # Made of the records after each change, as every row of every list is looked up here.
        self._of_server: dict[tuple[str, str], ProposedRecord] = {}
        self._new_names: dict[str, dict[str, str]] = {}
        self._is_growing = False

    @contextmanager
    def all_at_once(self) -> Iterator[None]:
        """What is added in the block is looked up by what the server has at its end only."""
        self._is_growing = True
        try:
            yield
        finally:
            self._is_growing = False
            self._index()

    def records(self) -> Iterator[ProposedRecord]:
        """All records of which something is proposed."""
        return (each for records in self._records.values() for each in records)

    def __iter__(self) -> Iterator[Proposal]:
        """All proposals, oldest first."""
        found = [each for record in self.records() for each in record.proposals]
        return iter(sorted(found, key=lambda proposal: proposal.number))

    def of(self, endpoint: str) -> list[ProposedRecord]:
        """The records of an endpoint of which something is proposed."""
        return self._records.get(endpoint, [])

    def live(self, endpoint: str, key: str) -> ProposedRecord | None:
        """What is proposed of the record that has this look-up now."""
        return next((each for each in self.of(endpoint) if each.key == key and not each.is_deleted), None)

    def is_gone(self, endpoint: str, key: str) -> bool:
        """Whether the server has a record of this look-up that is to be deleted, or to have another one."""
        return any(each.origin == key for each in self.of(endpoint)) and self.live(endpoint, key) is None

    def of_identity(self, endpoint: str, identity: str) -> ProposedRecord | None:
        """What is proposed of a record of the server."""
        return self._of_server.get((endpoint, identity))

    def record_of(self, number: int) -> tuple[ProposedRecord, Proposal] | None:
        """The record of a proposal, and the proposal."""
        for record in self.records():
            for proposal in record.proposals:
                if proposal.number == number:
                    return record, proposal
        return None

    def add(self, proposal: Proposal) -> ProposedRecord:
        """Take a new proposal, the latest of all."""
        endpoint = proposal.endpoint
        record = None if proposal.method == "POST" else self.live(endpoint.name, proposal.key)
        if record is None:
            is_new = proposal.method == "POST"
            document = proposal.document if is_new else proposal.before
            identity = rows.identity_of(endpoint, document, proposal.key)
            record = self._add_record(endpoint, proposal.key, identity, is_new=is_new)
        record.proposals.append(proposal)
        new_key = proposal.document.get(endpoint.lookup or "")
        if proposal.method == "PATCH" and isinstance(new_key, str) and new_key != record.key:
            self._rename(record, new_key)
        self._index()
        return record

    def take_along(self, record: ProposedRecord, others: Iterable[tuple[Endpoint, str, str]]) -> None:
        """The delete of a record takes others with it: their endpoint, look-up and identity."""
        for endpoint, key, identity in others:
            found = self.live(endpoint.name, key) or self._add_record(endpoint, key, identity, is_new=False)
            found.taken_with = record
            record.takes_with_it.append(found)
        self._index()

    def withdraw(self, record: ProposedRecord, proposal: Proposal) -> None:
        """Forget a proposal, and what it brought with it."""
        names = [each.document.get(record.endpoint.lookup or "") for each in record.proposals if each is not proposal]
        record.proposals.remove(proposal)
        if proposal.method == "DELETE":
            _give_back(record)
        elif proposal.renames:
            former = [name for name in names if isinstance(name, str)]
            self._rename(record, former[-1] if former else record.origin or record.key)
        self._clean()

    def sent(self, number: int, after: Mapping[str, Any] | None) -> None:
        """A proposal is the server's now; ``after`` is the record as it has it, None where that was deleted.

        What else is proposed stays, in terms of what the server has now: a new record has its own id there.
        """
        found = self.record_of(number)
        if found is None:
            return
        record, proposal = found
        lookup = record.endpoint.lookup or "id"
        real = dict(after or {})
        key = named_by(real, lookup) or record.key
        record.proposals.remove(proposal)
        for other in record.proposals:
            other.before = based_on(other.before, [Applied({**proposal.before, **proposal.document}, real)])
        if proposal.method == "DELETE":
            _give_back(record)
        elif proposal.method == "POST":
            record.origin, record.identity = key, rows.identity_of(record.endpoint, real, key)
            if record.key == proposal.key:
                record.key = key
            if key != proposal.key and UUID.fullmatch(proposal.key):
                self._give_ids({proposal.key: key})
        elif proposal.renames:
            record.origin = key
        self._clean()

    def _give_ids(self, ids: Mapping[str, str]) -> None:
        for record in self.records():
            for proposal in record.proposals:
                proposal.key = ids.get(proposal.key, proposal.key)
                proposal.document = translated(proposal.document, ids)
                proposal.before = translated(proposal.before, ids)

    def _clean(self) -> None:
        self._records = {
            name: [each for each in records if each.proposals or each.taken_with is not None]
            for name, records in self._records.items()
        }
        self._index()

    def _index(self) -> None:
        if self._is_growing:
            return
        existing = [(name, each) for name, records in self._records.items() for each in records if not each.is_new]
        self._of_server = {(name, each.identity): each for name, each in existing}
        self._new_names = {}
        for name, each in existing:
            if each.origin is not None and each.origin != each.key and not each.is_deleted:
                self._new_names.setdefault(name, {})[each.origin] = each.key

    def in_the_way(self, record: ProposedRecord, proposal: Proposal, theirs: dict[str, Any] | None) -> set[int]:
        """The numbers of later proposals that would not hold without this one."""
        later = [each for each in record.proposals if each.number > proposal.number]
        if proposal.method == "POST":
            return {each.number for each in (*later, *self.naming(record))}
        broken = record.conflicts(theirs, but=proposal).keys() - record.conflicts(theirs).keys()
        if proposal.renames:  # who was proposed later may know the new name alone
            broken |= {each.number for each in (*later, *self.naming(record))}
        if proposal.method == "DELETE" or proposal.renames:  # its name is free now
            former = record.key if proposal.method == "DELETE" else proposal.key
            taken = self.live(record.endpoint.name, former)
            if taken is not None and taken is not record:
                broken |= {each.number for each in taken.proposals}
        return {number for number in broken if number > proposal.number}

    def naming(self, record: ProposedRecord) -> list[Proposal]:
        """The proposals of other records that name this one."""
        found = []
        for endpoint, records in self._records.items():
            fields = [
                name for name, other in quirks.REFERENCES.get(endpoint, {}).items() if other == record.endpoint.name
            ]
            fields += ["object_id"] if endpoint == NOTES else []
            others = [each for each in records if each is not record and not each.is_deleted]
            found += [
                proposal
                for each in others
                for proposal in each.proposals
                if any(record.key in names_in(proposal.document.get(field)) for field in fields)
            ]
        return found

    def _add_record(self, endpoint: Endpoint, key: str, identity: str, *, is_new: bool) -> ProposedRecord:
        record = ProposedRecord(endpoint, None if is_new else key, identity, key)
        self._records.setdefault(endpoint.name, []).append(record)
        return record

    def _rename(self, record: ProposedRecord, new_key: str) -> None:
        old, record.key = record.key, new_key
        names = {record.endpoint.name: {old: new_key}}
        for other in HOLD_NAMES_OF.get(record.endpoint.name, ()):
            for proposal in (each for one in self.of(other) for each in one.proposals):
                proposal.document = with_names(proposal.document, names)
                proposal.before = with_names(proposal.before, names)

    # What is shown

    def with_new_names(self, endpoint: str, document: dict[str, Any]) -> dict[str, Any]:
        """A record or row of the server with the names that others are to have."""
        if not self._new_names:
            return document
        names = {
            other: changed
            for other, holders in HOLD_NAMES_OF.items()
            if (endpoint in holders or endpoint == other) and (changed := self._new_names.get(other))
        }
        return with_names(document, names) if names else document

    def with_others_inside(self, endpoint: str, key: str, document: dict[str, Any]) -> dict[str, Any]:
        """A detail that shows the records inside it as they are proposed, without those that are to go."""
        touched = {
            each.identity: each
            for records in self._records.values()
            for each in records
            if UUID.fullmatch(each.identity)
        }
        if not touched:
            return document
        shown = {name: _inside(name, value, touched) for name, value in document.items()}
        for name, (other, field) in quirks.EMBEDDED.get(endpoint, {}).items():
            if isinstance(shown.get(name), list) and other not in quirks.SHOWN_ELSEWHERE:
                shown[name] = shown[name] + self._new_ones(other, field, {key, str(document.get("id"))})
        return shown

    def _new_ones(self, endpoint: str, field: str, names: set[str]) -> list[dict[str, Any]]:
        """New records that name another one in this field."""
        found = [each.shown(None) for each in self.of(endpoint) if each.is_new and not each.is_deleted]
        return [each for each in found if id_at_the_end(str(each.get(field))) in names]

    def origin_of(self, endpoint: str, key: str) -> str | None:
        """The look-up under which the server has this record; None where it has none of it."""
        record = self.live(endpoint, key)
        if record is not None:
            return record.origin
        return None if self.is_gone(endpoint, key) else key


def _inside(name: str, value: Any, touched: Mapping[str, ProposedRecord]) -> Any:
    """A value of a record, with the records in it as they are proposed."""
    if isinstance(value, list):
        return [_inside(name, item, touched) for item in value if not _is_to_go(item, touched)]
    if not isinstance(value, dict) or name in _FREE:
        return value
    record = touched.get(identity_of(value) or "")
    shown = value if record is None or record.is_deleted else record.shown(value)
    return {field: _inside(field, item, touched) for field, item in shown.items()}


def _give_back(record: ProposedRecord) -> None:
    """What was to go with a record is not, any more."""
    for other in record.takes_with_it:
        other.taken_with = None
    record.takes_with_it.clear()


def names_in(value: Any) -> list[str]:
    """The look-ups in a field that names records, by name or address."""
    values = value if isinstance(value, list) else [value]
    return [id_at_the_end(each) for each in values if isinstance(each, str)]


def _is_to_go(item: Any, touched: Mapping[str, ProposedRecord]) -> bool:
    record = touched.get(identity_of(item) or "") if isinstance(item, dict) else None
    return record is not None and record.is_deleted


def with_names(document: dict[str, Any], names: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """A document with other names in the fields that name records, also in records inside it."""
    return {name: _named(name, value, names) for name, value in document.items()}


def _named(field: str, value: Any, names: Mapping[str, Mapping[str, str]]) -> Any:
    if isinstance(value, dict):
        return with_names(value, names) if field not in _FREE else value
    if isinstance(value, list):
        return [_named(field, item, names) for item in value]
    if isinstance(value, str):
        return names.get(quirks.NAMES.get(field, ""), {}).get(value, value)
    return value
