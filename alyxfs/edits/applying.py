"""Sends what was staged: each as a write of its own, checked, merged and journalled as any other."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from alyxfs import errors, json_text
from alyxfs.alyx.quirks import writing as quirks
from alyxfs.edits import losses, pictures, validate
from alyxfs.edits.commit import refuse_unchangeable
from alyxfs.edits.entry import State
from alyxfs.edits.merge import edited_fields
from alyxfs.edits.request import LOST, Request, SaveResult, Write, stays_staged
from alyxfs.edits.write import in_thread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alyxfs.alyx.schema.read import Endpoint
    from alyxfs.edits.commit import Committer
    from alyxfs.edits.delete_limit import DeleteGuard
    from alyxfs.edits.entry import Entry


async def apply(committer: Committer, guard: DeleteGuard, entry: Entry) -> SaveResult:
    """Send a staged write, given in terms of the records that the server has now.

    Raises Conflict where somebody changed the same since, Exists where an earlier try may have done it, and what any
    write raises; it stays staged then.
    """
    earlier = await _found_done(committer, entry)
    if earlier is not None:
        return earlier
    write = Write(entry.operation, entry.endpoint, entry.key, entry.method, applies=entry.number)
    async with committer.exchange.followed(write):
        endpoint = await committer.described(entry.endpoint)
        if entry.operation == "act":
            await committer.exchange.act(write, entry.endpoint, entry.request or {})
            return SaveResult(write.number, entry.endpoint, entry.key, None, {}, f"{entry.endpoint}: done.")
        async with committer.alone(entry.endpoint, entry.key):
            if entry.method == "DELETE":
                return await _delete(committer, guard, write, endpoint, entry)
            if entry.method == "POST":
                return await _post(committer, write, endpoint, entry)
            if entry.operation == "attach":
                return await _attach(committer, write, endpoint, entry)
            return await _patch(committer, write, endpoint, entry)


async def _found_done(committer: Committer, entry: Entry) -> SaveResult | None:
    """What an earlier try did after all, where it got no clear answer; None where nothing was done."""
    exchange = committer.exchange
    for each in await in_thread(exchange.journal.applying, entry.number):
        if each.state not in {State.SENT, State.UNKNOWN}:
            continue
        described = await committer.described(entry.endpoint)
        await exchange.settle_interrupted(each, described)
        found = await in_thread(exchange.journal.entry, each.number)
        if found.state is State.DONE:
            touched = exchange.forget(entry.endpoint, entry.key, entry.before, found.key, found.after)
            sentence = f"Write {each.number} had done it after all, so nothing was sent again."
            return SaveResult(each.number, entry.endpoint, found.key, found.after, {}, sentence, touched)
        if found.state is not State.REFUSED and entry.method == "POST":
            raise errors.Exists(
                f"Write {each.number}, which was to make {entry.endpoint}/{entry.key}, got no clear answer, and it "
                "cannot be read from the server whether it was done. Nothing was sent: look whether the record is "
                f"there, and `alyxfs discard {entry.number}` if it is."
            )
    return None


async def _patch(committer: Committer, write: Write, endpoint: Endpoint, entry: Entry) -> SaveResult:
    before, mine = dict(entry.before or {}), dict(entry.request or {})
    write.draft = json_text.render(mine)
    await committer.exchange.enter(write, before)
    write.draft = None  # it stays staged, and needs no other place
    validate.check_changes(endpoint, before, mine)
    return await committer.patch(write, endpoint, entry.key, before, mine)


async def _post(committer: Committer, write: Write, endpoint: Endpoint, entry: Entry) -> SaveResult:
    document, picture = dict(entry.request or {}), None
    if entry.picture is not None:
        picture = str(document.pop("image")), entry.picture
    await committer.exchange.enter(write)
    return replace(await committer.post(write, endpoint, entry.key, document, picture), is_new=True)


async def _attach(committer: Committer, write: Write, endpoint: Endpoint, entry: Entry) -> SaveResult:
    await committer.exchange.enter(write)
    refuse_unchangeable(endpoint)
    name, content = str((entry.request or {}).get("image")), entry.draft or b""
    pictures.refuse_altered(entry.key, name, content)
    note = await committer.read_again(endpoint, entry.key)
    if note.get("image") != (entry.before or {}).get("image"):
        raise errors.Conflict(f"notes/{entry.key} has got another picture since. {stays_staged(entry.number)}")
    resent = {field: note.get(field) for field in quirks.RESENT_ON_PATCH["notes"]}
    request = Request("PATCH", endpoint, entry.key, resent, note, (quirks.short_picture_name(name), content))
    return await committer.exchange.send(write, request)


async def _delete(
    committer: Committer, guard: DeleteGuard, write: Write, endpoint: Endpoint, entry: Entry
) -> SaveResult:
    await committer.exchange.enter(write)
    guard.take(endpoint, entry.key)
    record, lost = await committer.lost_with(endpoint, entry.key)
    _refuse_changed(endpoint, entry, record)
    agreed = frozenset((entry.answer or {}).get(LOST, ()))
    if more := lost.all - agreed:
        raise errors.HasDependents(
            f"{entry.endpoint}/{entry.key} is not deleted: more would be lost with it than when that was staged "
            f"({', '.join(sorted(more))}). `alyxfs discard {entry.number}`, and delete it anew if that is still meant."
        )
    told = losses.told(endpoint, record, lost)
    request = Request("DELETE", endpoint, entry.key, None, record, lost=tuple(sorted(lost.all)), told=told)
    return await committer.exchange.send(write, request)


def _refuse_changed(endpoint: Endpoint, entry: Entry, now: Mapping[str, Any]) -> None:
    """Raise Conflict where somebody changed a record since its delete was staged."""
    before = dict(entry.before or {})
    shared = {name: value for name, value in now.items() if name in before}
    computed, unordered = validate.computed_fields(endpoint), validate.unordered_fields(endpoint)
    changed = edited_fields(before, shared, computed=computed, unordered=unordered)
    if changed:
        raise errors.Conflict(
            f"{entry.endpoint}/{entry.key} was changed since ({', '.join(changed)}), so it is not deleted. "
            f"{stays_staged(entry.number)}"
        )
