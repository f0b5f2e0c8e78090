"""How a write is taken back: which edit, which new record, or which delete that takes, and what of it stays undone.

All of a record that the API shows is compared, not only what was asked for: the server fills in and moves other fields.
What the API does not show is told from the tables of quirks/losses and quirks/side_effects.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from alyxfs import errors
from alyxfs.alyx.quirks import losses as lost
from alyxfs.alyx.quirks import side_effects
from alyxfs.alyx.quirks import writing as quirks
from alyxfs.edits import losses, validate
from alyxfs.edits.entry import State
from alyxfs.edits.merge import MISSING, edited_fields, same
from alyxfs.edits.request import LOST

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from alyxfs.alyx.schema.read import Endpoint
    from alyxfs.edits.entry import Entry


ANSWERED_CLEARLY = frozenset({200, 201})
"""The HTTP statuses after which a POST has made the record that it answered with."""


@dataclass
class Way:
    """The edit that takes a PATCH back."""

    base: dict[str, Any]
    """The fields as the write left them."""
    mine: dict[str, Any]
    """As they are to be again."""
    kept: dict[str, str] = field(default_factory=dict)
    """Fields that cannot be as they were, each with the reason."""


def refuse_impossible(entry: Entry, server: str, earlier: Entry | None) -> None:
    """Raise NotAllowed, with the reason, for a write that cannot be taken back; ``earlier`` is another undo of it."""
    name = f"Write {entry.number} ({entry.operation} of {entry.endpoint}/{entry.key})"
    if entry.server != server:
        raise errors.NotAllowed(f"{name} was made on {entry.server}, not here.")
    if entry.state is State.APPLIED:
        raise errors.NotAllowed(f"{name} was staged. {entry.remark} Undo that write.")
    if entry.state is not State.DONE:
        raise errors.NotAllowed(f"{name} cannot be undone: it is {entry.state.value}.")
    if entry.operation in {"act", "attach"}:
        raise errors.NotAllowed(f"{name} cannot be undone: the server offers no way back.")
    if entry.method == "POST" and entry.status not in ANSWERED_CLEARLY:
        raise errors.NotAllowed(
            f"{name} cannot be undone: the server gave no clear answer, so it may be that the record was there before. "
            "Look, and delete it yourself."
        )
    if earlier is not None and earlier.state is State.DONE:
        raise errors.NotAllowed(f"{name} was undone by write {earlier.number} already.")
    if earlier is not None:
        raise errors.NotAllowed(
            f"{name} may be undone already: it is not known what came of write {earlier.number}, which was to do that. "
            "Look at the record; the next mount looks, too, and then it can be undone if it was not."
        )


def as_one(parts: Sequence[Entry]) -> Entry:
    """Several writes of one record as one, under the number of the last."""
    first, last = parts[0], parts[-1]
    request = {name: value for part in parts for name, value in (part.request or {}).items()} or first.request
    return replace(last, method=first.method, key=first.key, before=first.before, request=request, status=first.status)


def undo_first(entry: Entry, later: Sequence[Entry]) -> str | None:
    """What is to be undone before this, because it deleted what the record names; None where there is nothing such.

    ``later`` are writes that are done, oldest first.
    """
    named = set(_texts(entry.before))
    undone = {each.undo_of for each in later}
    missing = [
        each
        for each in later
        if each.method == "DELETE" and each.number not in undone and each.number != entry.number
        if each.key in named or each.key == entry.key
    ]
    if not missing:
        return None
    records = ", ".join(f"{each.endpoint}/{each.key}, which write {each.number} deleted" for each in missing)
    return f"It needs {records}: undo that first."


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)
    elif isinstance(value, str):
        yield value.rpartition("/")[2]


def with_new_ids(entry: Entry, again: Mapping[str, str]) -> Entry:
    """The entry as if it told of the records of today: those that were made again have a new id."""
    if not again:
        return entry
    before, after, request = (translated(each, again) for each in (entry.before, entry.after, entry.request))
    return replace(entry, key=again.get(entry.key, entry.key), before=before, after=after, request=request)


def translated(value: Any, again: Mapping[str, str]) -> Any:
    """A value with other ids in it, also at the end of addresses."""
    if isinstance(value, dict):
        return {name: translated(item, again) for name, item in value.items()}
    if isinstance(value, list):
        return [translated(item, again) for item in value]
    if isinstance(value, str):
        start, slash, last = value.rpartition("/")
        return f"{start}{slash}{again.get(last, last)}"
    return value


def way_back(entry: Entry, endpoint: Endpoint, now: Mapping[str, Any]) -> Way:
    """The edit that makes a record as it was before a PATCH; ``now`` is what the server has.

    A field that the server changed of its own accord is left alone where somebody changed it since; one that was asked
    for is put into the edit all the same, and conflicts.
    """
    before, after, asked = entry.before or {}, entry.after or {}, entry.request or {}
    way = Way({}, {})
    for name in differences(before, after, endpoint):
        reason = losses.refusal(endpoint, name, before[name])
        if reason:
            way.kept[name] = reason
        elif name not in asked and not _same(endpoint, name, now.get(name, MISSING), after.get(name, MISSING)):
            way.kept[name] = "it was changed since"
        else:
            way.base[name], way.mine[name] = after.get(name), before[name]
    return way


def differences(before: Mapping[str, Any], now: Mapping[str, Any], endpoint: Endpoint) -> list[str]:
    """The fields that are not as they were, but for those that name the record or change from one look to the next."""
    passing = {"url", "id", *stamps(endpoint), *quirks.COMPUTED.get(endpoint.name, ())}
    return [
        name
        for name, value in before.items()
        if name not in passing and not _same(endpoint, name, value, now.get(name, MISSING))
    ]


def stamps(endpoint: Endpoint) -> tuple[str, ...]:
    """The times that the server alone sets."""
    tables = (side_effects.STAMPS, side_effects.STAMPS_OF_NEW)
    return tuple(name for table in tables for name in table.get(endpoint.name, ()))


def record_again(entry: Entry, endpoint: Endpoint) -> dict[str, Any]:
    """A deleted record as a new one, without what the server sets itself."""
    hidden = validate.computed_fields(endpoint) | quirks.NOT_IN_PATCH.get(endpoint.name, {}).keys()
    return {name: value for name, value in (entry.before or {}).items() if name not in hidden}


def to_mend(wanted: Mapping[str, Any], now: Mapping[str, Any], endpoint: Endpoint) -> dict[str, Any]:
    """What of a record is not as it is to be and can be sent once more on its own.

    The server changes some fields because others were sent: a subject's ``json`` gets the history of its names.
    """
    trimmed = losses.trimmed_fields(endpoint, wanted)
    return {
        name: wanted[name]
        for name in differences(wanted, now, endpoint)
        if name not in trimmed and losses.refusal(endpoint, name, wanted[name]) is None
    }


def sentence(
    entry: Entry,
    endpoint: Endpoint,
    key: str,
    wanted: Mapping[str, Any],
    now: Mapping[str, Any] | None,
    kept: Mapping[str, str] | None = None,
) -> str:
    """Say what was done, and what of it is not as it is to be.

    ``wanted`` are fields as they are to be, ``now`` is the record, None where the undo deleted it; ``kept`` are fields
    that were left alone, with the reason.
    """
    name, before = f"{entry.endpoint}/{entry.key}", entry.before or {}
    if now is None:
        said = [f"{name} was deleted again."]
    elif entry.method == "DELETE":
        said = [f"{name} was made again{_named_otherwise(entry.key, key, now)}."]
    else:
        said = [f"Write {entry.number} of {endpoint.name}/{key} is taken back."]
    if now is not None:
        said += _not_as_before(wanted, now, endpoint, kept or {})
        anew = [each for each in stamps(endpoint) if each in side_effects.HIDDEN_STAMPS or _is_new(each, before, now)]
        said += [f"The server set {', '.join(anew)} anew."] if anew else []
    if entry.method == "DELETE":
        said += _gone(entry, endpoint)
    method, fields = (entry.method, entry.request) if entry.method != "DELETE" else ("POST", entry.before)
    records = tuple(each for each in (entry.before, entry.after) if each)
    if stays := side_effects.side_effects(endpoint.name, method, frozenset(fields or ()), records):
        said.append(f"What no undo takes back: {' '.join(stays)}")
    return " ".join(said)


def _named_otherwise(former: str, key: str, now: Mapping[str, Any]) -> str:
    if key != former:
        return f" as {key}: the server gives a new id, and what named the old one does not name it"
    return " with a new id, and what named the old one does not name it" if "id" in now else ""


def _is_new(stamp: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    return stamp in now and now[stamp] != before.get(stamp)


def _gone(entry: Entry, endpoint: Endpoint) -> list[str]:
    """What was lost with a deleted record; what may be, where a drive that was killed did not find out."""
    if LOST in (entry.answer or {}):
        found = entry.answer[LOST]
        return [f"Not restored, because no new record gets it: {', '.join(found)}."] if found else []
    held = [each.name for each in lost.HELD.get(endpoint.name, ())]
    return [f"Not restored, where it held any: {', '.join(held)}."] if held else []


def _not_as_before(
    wanted: Mapping[str, Any], now: Mapping[str, Any], endpoint: Endpoint, kept: Mapping[str, str]
) -> list[str]:
    trimmed = losses.trimmed_fields(endpoint, wanted)
    words = []
    for name in differences(wanted, now, endpoint):
        reason = kept.get(name) or losses.refusal(endpoint, name, wanted[name])
        if reason is None and name in trimmed:
            reason = "the server takes the blanks at its ends away"
        words.append(f"{name} ({reason})" if reason else name)
    return [f"Not as before: {', '.join(words)}."] if words else []


def refuse_changed(endpoint: Endpoint, key: str, made: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise Conflict where a record is no longer as its POST left it: deleting it would lose somebody's work."""
    shared = {name: value for name, value in now.items() if name in made}
    computed, unordered = validate.computed_fields(endpoint), validate.unordered_fields(endpoint)
    changed = edited_fields(dict(made), shared, computed=computed, unordered=unordered)
    if changed:
        raise errors.Conflict(f"{endpoint.name}/{key} was changed since ({', '.join(changed)}), so it is not deleted.")


def _same(endpoint: Endpoint, name: str, one: Any, other: Any) -> bool:
    return same(one, other, unordered=name in validate.unordered_fields(endpoint))
