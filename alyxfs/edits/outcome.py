"""What really happened to a write that got no clear answer: read the server, never send again.

A 500 may have saved (measured on Alyx 3.6.1), and a connection that breaks says nothing at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alyxfs import errors
from alyxfs.alyx.identities import id_at_the_end, named_by
from alyxfs.alyx.quirks import writing as quirks
from alyxfs.alyx.rest import MAXIMUM_PAGE
from alyxfs.edits.entry import State
from alyxfs.edits.merge import MISSING, differences_after_saving, same, same_after_saving

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from alyxfs.alyx.rest import Api
    from alyxfs.alyx.schema.read import Endpoint

MAXIMUM_PAGES = 3
"""Pages of candidates to look through for a record that may have been made; its list is filtered as far as possible."""


@dataclass(frozen=True)
class Outcome:
    """What reading the server told."""

    state: State
    """DONE, REFUSED (the write did not happen) or UNKNOWN."""
    remark: str
    key: str | None = None
    after: Any = None


def is_duplicate(error: errors.AlyxfsError) -> bool:
    """Whether a database refused the row, in the words of PostgreSQL or SQLite that Alyx passes on with its 500."""
    return "unique constraint" in str(error).lower()


async def of_patch(api: Api, endpoint: Endpoint, key: str, request: Mapping[str, Any], before: Any) -> Outcome:
    """Compare the record with what was sent and with what was there before."""
    new_key = str(request.get(endpoint.lookup or "", key))
    for candidate in dict.fromkeys([new_key, key]):
        try:
            record = await api.detail(endpoint.name, candidate, endpoint.lookup)
        except errors.NotFound:
            continue
        return _compare(candidate, request, before or {}, record)
    return Outcome(State.REFUSED, "the record is not on the server any more")


def _compare(key: str, request: Mapping[str, Any], before: Mapping[str, Any], record: dict[str, Any]) -> Outcome:
    meant = {
        field: value
        for field, value in request.items()
        if not same_after_saving(value, before.get(field, MISSING), field=field)
    }
    missed = differences_after_saving(meant, record)
    if not missed:
        return Outcome(State.DONE, "the record holds what was sent", key, record)
    if all(same(record.get(field, MISSING), before.get(field, MISSING), unordered=True) for field in meant):
        return Outcome(State.REFUSED, "the record is as it was before", key, record)
    return Outcome(State.UNKNOWN, f"the record holds other values of {', '.join(missed)} than were sent", key, record)


async def of_image(api: Api, key: str, before: Any) -> Outcome:
    """Whether the note has another picture than before."""
    try:
        note = await api.detail("notes", key, "id")
    except errors.NotFound:
        return Outcome(State.REFUSED, "the note is not on the server any more")
    picture = note.get("image")
    if picture == (before or {}).get("image"):
        return Outcome(State.REFUSED, "the note's picture is as it was before", key, note)
    if not picture:
        return Outcome(
            State.UNKNOWN, "the note has no picture any more, neither the one before nor the new one", key, note
        )
    return Outcome(State.DONE, "the note has a new picture", key, note)


async def of_delete(api: Api, endpoint: Endpoint, key: str) -> Outcome:
    """Whether the record is gone."""
    try:
        record = await api.detail(endpoint.name, key, endpoint.lookup)
    except errors.NotFound:
        return Outcome(State.DONE, "the record is gone", key)
    return Outcome(State.REFUSED, "the record is still there", key, record)


async def of_post(api: Api, endpoint: Endpoint, request: Mapping[str, Any], taken: Container[str]) -> Outcome:
    """Look for a record that holds what was sent; ``taken`` are keys of records that were there before."""
    if endpoint.lookup not in (None, "id") and endpoint.lookup in request:
        return await _of_named_post(api, endpoint, str(request[endpoint.lookup or ""]), request)
    filters = _filters(endpoint, request)
    if not filters:
        return Outcome(State.UNKNOWN, f"the list of {endpoint.name} cannot be searched for it")
    found, shown = [], _shown(endpoint, request)
    for number in range(MAXIMUM_PAGES):
        page = await api.page(endpoint.name, filters, MAXIMUM_PAGE, number * MAXIMUM_PAGE)
        for row in page.rows:
            key = key_of(endpoint, row)
            if key and key not in taken and _fits(shown, row):
                record = row if shown.keys() <= row.keys() else await api.detail(endpoint.name, key, endpoint.lookup)
                if not differences_after_saving(shown, record):
                    found.append((key, record))
        if len(page.rows) < MAXIMUM_PAGE:
            break
    if len(found) == 1:
        return Outcome(State.DONE, f"a record with these values is there: {found[0][0]}", *found[0])
    if found:
        keys = ", ".join(key for key, _ in found)
        return Outcome(State.UNKNOWN, f"{len(found)} records with these values are there: {keys}")
    return Outcome(State.REFUSED, "no record with these values is there")


async def _of_named_post(api: Api, endpoint: Endpoint, key: str, request: Mapping[str, Any]) -> Outcome:
    try:
        record = await api.detail(endpoint.name, key, endpoint.lookup)
    except errors.NotFound:
        return Outcome(State.REFUSED, "no such record is there")
    missed = differences_after_saving(_shown(endpoint, request), record)
    if missed:
        return Outcome(State.UNKNOWN, f"the record is there, with other values of {', '.join(missed)}", key, record)
    return Outcome(State.DONE, "the record is there", key, record)


def key_of(endpoint: Endpoint, record: Mapping[str, Any]) -> str | None:
    """The look-up of a record: its own field, or the end of its address (weighings and datasets have only that)."""
    return named_by(record, endpoint.lookup) if endpoint.lookup else None


def refuse_unusable(endpoint: Endpoint, method: str, key: str, sent: Mapping[str, Any], answer: Any) -> None:
    """Raise ServerFault where the answer to a write is not the record that was written: what it did is to be read."""
    if method == "DELETE" or endpoint.lookup is None:
        return
    named = key_of(endpoint, answer) if isinstance(answer, dict) else None
    if named is None and (method == "POST" or not isinstance(answer, dict)):
        raise errors.ServerFault(f"The server answered {method} {endpoint.name}/{key} without the record.")
    if method != "POST" and named not in {None, key, str(sent.get(endpoint.lookup))}:
        raise errors.ServerFault(f"The server answered {method} {endpoint.name}/{key} with another record, {named}.")


def _filters(endpoint: Endpoint, request: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    if endpoint.name == quirks.NOTES:
        return (("django", f"object_id,{request['object_id']}"),) if request.get("object_id") else ()
    return tuple(
        (field, id_at_the_end(str(request[field])))
        for field in quirks.FOUND_AGAIN_BY.get(endpoint.name, ())
        if field in endpoint.filters and request.get(field) not in (None, "")
    )


def _fits(request: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    return all(same_after_saving(value, row[field], field=field) for field, value in request.items() if field in row)


def _shown(endpoint: Endpoint, request: Mapping[str, Any]) -> dict[str, Any]:
    """Without the fields that no record shows as sent: pictures come back as an address."""
    hidden = {*quirks.CREATE_ONLY.get(endpoint.name, ()), *quirks.FILLED_IN_BY_SERVER.get(endpoint.name, ())}
    hidden |= {"image"} if endpoint.name == quirks.NOTES else set()
    return {field: value for field, value in request.items() if field not in hidden}
