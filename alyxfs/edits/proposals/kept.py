"""Proposals made again of what the journal holds: those that outlive the drive on which they were made."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from alyxfs import errors
from alyxfs.alyx.identities import UUID, named_by
from alyxfs.edits import undo
from alyxfs.edits.proposals import answers
from alyxfs.edits.proposals.overlay import Overlay
from alyxfs.edits.proposals.proposal import Proposal
from alyxfs.edits.proposals.rebase import Applied, based_on
from alyxfs.edits.request import TAKEN_WITH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from alyxfs.alyx.schema.read import Endpoint, Schema
    from alyxfs.edits.entry import Entry
    from alyxfs.edits.journal import Journal


def staged_entries(journal: Journal, server: str, schema: Schema) -> list[Entry]:
    """What is staged, oldest first, in terms of the records that the server has now. Blocks."""
    ids = given_ids(journal, server)
    return [as_of_today(journal, each, ids, schema) for each in journal.staged(server)]


def given_ids(journal: Journal, server: str) -> dict[str, str]:
    """The ids that new records had while they were staged, with those that the server gave them. Blocks."""
    return {former: given for former, given in journal.applied_ids(server).items() if UUID.fullmatch(former)}


def as_of_today(journal: Journal, entry: Entry, ids: Mapping[str, str], schema: Schema) -> Entry:
    """A staged entry as if it had been made after all that is applied: new records have the server's ids. Blocks.

    Its key is the look-up that the record had before; the log tells the one that it is to have.
    """
    applied = [
        Applied(staged.after or {}, done.after or {})
        for staged, done in journal.applied_of(entry.endpoint, entry.key)
        if staged.number < entry.number < done.number
    ]
    entry = replace(entry, before=based_on(entry.before, applied))
    endpoint = schema.endpoints.get(entry.endpoint)
    if entry.method == "PATCH" and endpoint is not None and isinstance(entry.before, dict):
        entry = replace(entry, key=named_by(entry.before, endpoint.lookup or "id") or entry.key)
    return undo.with_new_ids(entry, ids)


def overlay_of(
    entries: Iterable[Entry], schema: Schema, address: Callable[[str, str | None], str]
) -> tuple[Overlay, list[str]]:
    """All of them laid one over the other, and a sentence for each that cannot be shown.

    ``address`` gives that of an endpoint and key.
    """
    overlay, sentences = Overlay(), []
    with overlay.all_at_once():
        for entry in entries:
            endpoint = schema.endpoints.get(entry.endpoint)
            if entry.operation == "act":
                continue
            if endpoint is None:
                sentences.append(
                    f"Write {entry.number} ({entry.operation} of {entry.endpoint}/{entry.key}) stays staged and is not "
                    "shown: the server has no such endpoint any more."
                )
                continue
            record = overlay.add(_proposal_of(entry, endpoint, address))
            others = (entry.answer or {}).get(TAKEN_WITH, ()) if entry.method == "DELETE" else ()
            overlay.take_along(
                record, [(schema.endpoints[name], key, one) for name, key, one in others if name in schema.endpoints]
            )
    return overlay, sentences


def _proposal_of(entry: Entry, endpoint: Endpoint, address: Callable[[str, str | None], str]) -> Proposal:
    picture = entry.draft if entry.operation == "attach" else entry.picture
    document = dict(entry.request or {})
    if entry.method == "POST":
        document = dict(entry.after or {})
    elif picture is not None:
        document["image"] = picture_address(entry.number, str(document.get("image")), address)
    values = document if entry.method == "POST" else answers.stored(endpoint, document, address)
    before = entry.before if isinstance(entry.before, dict) and entry.method != "POST" else {}
    return Proposal(entry.number, entry.method, endpoint, entry.key, values, dict(before), picture)


def picture_address(number: int, name: str, address: Callable[[str, str | None], str]) -> str:
    """Where the picture of a proposal would be."""
    return address("uploaded", f"proposed-{number}.{name.rpartition('.')[2]}")


def refuse_not_staged(entry: Entry, server: str) -> None:
    """Raise NotAllowed for a write that is not staged for this server."""
    name = f"Write {entry.number} ({entry.operation} of {entry.endpoint}/{entry.key})"
    if entry.server != server:
        raise errors.NotAllowed(f"{name} was made on {entry.server}, not here.")
    if entry.state.value != "staged":
        raise errors.NotAllowed(f"{name} is not staged: it is {entry.state.value}.")
