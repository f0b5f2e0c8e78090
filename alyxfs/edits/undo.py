"""How a write is taken back: which edit, which new record, or which delete that takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alyxfs import errors
from alyxfs.edits import quirks, validate
from alyxfs.edits.journal import State
from alyxfs.edits.merge import MISSING, edited_fields, same

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from alyxfs.alyx.schema import Endpoint
    from alyxfs.edits.journal import Entry


def refuse_impossible(entry: Entry, server: str, undone_by: int | None) -> None:
    """Raise NotAllowed, with the reason, for a write that cannot be taken back here."""
    name = f"Write {entry.number} ({entry.operation} of {entry.endpoint}/{entry.key})"
    if entry.server != server:
        raise errors.NotAllowed(f"{name} was made on {entry.server}, not here.")
    if entry.state is not State.DONE:
        raise errors.NotAllowed(f"{name} cannot be undone: it is {entry.state.value}.")
    if entry.operation in {"act", "attach"}:
        raise errors.NotAllowed(f"{name} cannot be undone: the server offers no way back.")
    if undone_by is not None:
        raise errors.NotAllowed(f"{name} was undone by write {undone_by} already.")


def reverse_edit(entry: Entry) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields that a PATCH changed: as it left them (the base) and as they are to be again."""
    before, after = entry.before or {}, entry.after or {}
    changed = [field for field in entry.request or {} if not same(before.get(field), after.get(field))]
    return {field: after.get(field) for field in changed}, {field: before.get(field) for field in changed}


def record_again(entry: Entry, endpoint: Endpoint) -> dict[str, Any]:
    """A deleted record as a new one, without what the server sets itself."""
    hidden = validate.computed_fields(endpoint) | quirks.NOT_IN_PATCH.get(endpoint.name, {}).keys()
    return {field: value for field, value in (entry.before or {}).items() if field not in hidden}


def sentence_of_new_record(entry: Entry, key: str, now: Mapping[str, Any], endpoint: Endpoint) -> str:
    """Say under which look-up a deleted record is there again, and what of it is not as it was."""
    again = "" if key == entry.key else f" as {key}: the server gives a new id"
    sentence = f"{entry.endpoint}/{entry.key} was made again{again}."
    lost = not_restored(entry.before or {}, now, {"url", endpoint.lookup or ""})
    if entry.endpoint == "users":
        lost.append("password")
    if lost:
        sentence += f" Not as before: {', '.join(lost)}."
    if key != entry.key:
        sentence += " What named its old id does not name the new one."
    return sentence


def not_restored(before: Mapping[str, Any], now: Mapping[str, Any], own: Container[str]) -> list[str]:
    """The fields of a record made again that are not as they were; ``own`` are those that name the record."""
    return [
        field
        for field, value in before.items()
        if field not in own and not same(value, now.get(field, MISSING), unordered=True)
    ]


def refuse_changed(endpoint: Endpoint, key: str, made: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise Conflict where a record is no longer as its POST left it: deleting it would lose somebody's work."""
    shared = {field: value for field, value in now.items() if field in made}
    computed, unordered = validate.computed_fields(endpoint), validate.unordered_fields(endpoint)
    changed = edited_fields(dict(made), shared, computed=computed, unordered=unordered)
    if changed:
        raise errors.Conflict(f"{endpoint.name}/{key} was changed since ({', '.join(changed)}), so it is not deleted.")
