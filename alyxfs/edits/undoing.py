"""Takes writes back: each undo is a write of its own, checked, merged and journalled as any other."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from alyxfs import errors, json_text
from alyxfs.alyx.quirks import writing as quirks
from alyxfs.edits import outcome, undo
from alyxfs.edits.entry import State
from alyxfs.edits.request import Write
from alyxfs.edits.write import in_thread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alyxfs.alyx.schema.read import Endpoint
    from alyxfs.edits.commit import Committer
    from alyxfs.edits.delete_limit import DeleteGuard
    from alyxfs.edits.entry import Entry
    from alyxfs.edits.request import SaveResult


async def take_back(committer: Committer, guard: DeleteGuard, entry: Entry) -> SaveResult:
    """PATCH back what a write changed, POST again what it deleted, DELETE what it made.

    Raises Conflict where somebody changed the same since, NotAllowed where it cannot be taken back.
    """
    parts = await _parts(committer, entry)
    for part in parts:
        undone_by = await in_thread(committer.exchange.journal.undone_by, part.number)
        earlier = None if undone_by is None else await in_thread(committer.exchange.journal.entry, undone_by)
        undo.refuse_impossible(entry, committer.exchange.server, earlier)
    entry = undo.as_one(parts)
    again = await in_thread(committer.exchange.journal.made_again, committer.exchange.server)
    former, entry = entry, undo.with_new_ids(entry, again)
    described = await committer.described(entry.endpoint)
    key = (outcome.key_of(described, entry.after) if entry.after else None) or entry.key
    async with committer.alone(entry.endpoint, key):
        if entry.method == "POST":
            guard.take(described, key)
            return await _undo_create(committer, entry, described, key)
        try:
            if entry.method == "DELETE":
                return await _undo_delete(committer, replace(entry, key=former.key), described)
            return await _undo_patch(committer, entry, described, key)
        except (errors.Invalid, errors.NotFound, errors.ServerFault) as error:
            later = await _done(committer)
            if not (hint := undo.undo_first(entry, later)):
                raise
            raise type(error)(f"{error} {hint}", status=error.status, url=error.url) from error


async def _parts(committer: Committer, entry: Entry) -> list[Entry]:
    """The writes of one undo: what the first one moved besides is sent once more. Any other write is one by itself."""
    if entry.undo_of is None or entry.state is not State.DONE:
        return [entry]
    numbers = [each.number for each in await _done(committer) if each.undo_of == entry.undo_of]
    return [await in_thread(committer.exchange.journal.entry, number) for number in numbers]


async def _done(committer: Committer) -> list[Entry]:
    """All writes that are done, oldest first, without their records."""
    return await in_thread(partial(committer.exchange.journal.entries, states=(State.DONE.value,)))


async def _undo_patch(committer: Committer, entry: Entry, endpoint: Endpoint, key: str) -> SaveResult:
    theirs = await committer.read_again(endpoint, key)
    way = undo.way_back(entry, endpoint, theirs)
    if way.kept and not way.mine:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in way.kept.items())
        raise errors.NotAllowed(f"Write {entry.number} cannot be undone ({reasons}).")
    try:
        result = await _send_back(committer, entry, endpoint, key, way)
    except (errors.Invalid, errors.ServerFault) as error:
        is_certain = await in_thread(committer.exchange.journal.undone_by, entry.number) is None
        if len(way.mine) == 1 or not is_certain:
            raise
        result = await _send_back_singly(committer, entry, endpoint, key, way, error)
    now = result.document or await committer.read_again(endpoint, result.key)
    # What somebody else changed since is merged into what was sent, and stays; what this moved besides goes back.
    moved = {name: theirs[name] for name in undo.differences(theirs, now, endpoint)}
    sent = {name: value for name, value in result.sent.items() if name in way.mine}
    wanted = {**moved, **{name: (entry.before or {})[name] for name in way.kept}, **way.mine, **sent}
    return await _mended(committer, entry, endpoint, result, now, wanted, way.kept)


async def _send_back(committer: Committer, entry: Entry, endpoint: Endpoint, key: str, way: undo.Way) -> SaveResult:
    undoing = Write("undo", endpoint.name, key, "PATCH", json_text.render(way.mine), entry.number)
    async with committer.exchange.followed(undoing) as write:
        await committer.exchange.enter(write)
        return await committer.patch(write, endpoint, key, way.base, way.mine)


async def _send_back_singly(
    committer: Committer, entry: Entry, endpoint: Endpoint, key: str, way: undo.Way, error: errors.AlyxfsError
) -> SaveResult:
    """Where the server refuses the fields together, each by itself, the name of the record last.

    ``way.kept`` gets those that it refuses. Raises ``error`` where it takes none.
    """
    result: SaveResult | None = None
    sent: dict[str, Any] = {}
    for name in sorted(way.mine, key=lambda field: field == endpoint.lookup):
        one = undo.Way({name: way.base[name]}, {name: way.mine[name]})
        try:
            result = await _send_back(committer, entry, endpoint, key, one)
            sent |= result.sent
        except (errors.Invalid, errors.ServerFault):
            way.kept[name] = "the server refuses it"
    if result is None:
        raise error
    return replace(result, sent=sent)


async def _undo_create(committer: Committer, entry: Entry, endpoint: Endpoint, key: str) -> SaveResult:
    undoing = Write("undo", entry.endpoint, key, "DELETE", None, entry.number)
    async with committer.exchange.followed(undoing) as write:
        await committer.exchange.enter(write)
        result = await committer.delete(write, endpoint, key, entry.after or {})
    return await _said(committer, result, undo.sentence(entry, endpoint, key, {}, None))


async def _undo_delete(committer: Committer, entry: Entry, endpoint: Endpoint) -> SaveResult:
    document = undo.record_again(entry, endpoint)
    undoing = Write("undo", entry.endpoint, entry.key, "POST", json_text.render(document), entry.number)
    async with committer.exchange.followed(undoing) as write:
        await committer.exchange.enter(write)
        made = await committer.post(write, endpoint, entry.key, document)
    now = await committer.read_again(endpoint, made.key)
    return await _mended(committer, entry, endpoint, made, now, entry.before or {}, {})


async def _mended(
    committer: Committer,
    entry: Entry,
    endpoint: Endpoint,
    result: SaveResult,
    now: dict[str, Any],
    wanted: Mapping[str, Any],
    kept: Mapping[str, str],
) -> SaveResult:
    """Send once more what the server moved because something else was sent, and say what is still not as before.

    ``wanted`` are the fields as they are to be; of ``kept`` it is known that they cannot, or for whose sake.
    """
    failed = ""
    mend = undo.to_mend({name: value for name, value in wanted.items() if name not in kept}, now, endpoint)
    if mend and "PATCH" in endpoint.detail_methods and endpoint.name not in quirks.UNCHANGEABLE:
        undoing = Write("undo", endpoint.name, result.key, "PATCH", json_text.render(mend), entry.number)
        try:
            async with committer.exchange.followed(undoing) as write:
                await committer.exchange.enter(write)
                base = {name: now.get(name) for name in mend}
                mended = await committer.patch(write, endpoint, result.key, base, mend)
            now = mended.document or now
            result = replace(mended, touched=(*result.touched, *mended.touched))
        except errors.AlyxfsError as error:
            failed = f" {error}"
            now = await committer.read_again(endpoint, result.key)
    sentence = undo.sentence(entry, endpoint, result.key, wanted, now, kept) + failed
    return await _said(committer, replace(result, document=now), sentence)


async def _said(committer: Committer, result: SaveResult, sentence: str) -> SaveResult:
    """The log says of the undo what its user is told."""
    if result.number is not None:
        record = partial(committer.exchange.journal.record, result.number, State.DONE, remark=sentence)
        await in_thread(record)
    return replace(result, sentence=sentence)
