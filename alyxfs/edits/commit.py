"""One write of one record, against the record as it is on the server now: what is sent, or why nothing is.

Two writes of one record never overlap.
"""

from __future__ import annotations

import functools
import weakref
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from alyxfs import errors, json_text
from alyxfs.alyx.quirks import writing as quirks
from alyxfs.edits import losses, undo, validate
from alyxfs.edits.entry import State
from alyxfs.edits.merge import MISSING, same, three_way
from alyxfs.edits.request import Request, SaveResult, stays_staged

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from alyxfs.alyx.metadata.cache import MetadataCache
    from alyxfs.alyx.rest import Api
    from alyxfs.alyx.schema.read import Endpoint
    from alyxfs.edits.delete_limit import DeleteGuard
    from alyxfs.edits.losses import Losses
    from alyxfs.edits.merge import Disagreement, Merged
    from alyxfs.edits.request import Write
    from alyxfs.edits.write import Exchange

LOOKS = 3
"""Looks at a record that changes while it is being saved, before it is sent with the journal's entry in between."""


class Committer:
    """Brings writes to the server; ``exchange`` enters, sends and follows them."""

    def __init__(self, api: Api, metadata: MetadataCache, exchange: Exchange, guard: DeleteGuard) -> None:
        self.exchange = exchange
        self._guard = guard
        self._api = api
        self._metadata = metadata
        # An entry vanishes with the last task that holds or awaits its lock.
        self._locks: weakref.WeakValueDictionary[tuple[str, str], trio.Lock] = weakref.WeakValueDictionary()

    async def patch(
        self, write: Write, endpoint: Endpoint, key: str, base: Mapping[str, Any], mine: Mapping[str, Any]
    ) -> SaveResult:
        """Merge the edit from ``base`` to ``mine`` into the record as it is now, and send what is left of it.

        The journal has the request on the disk before the last look at the record, so that nothing but the merge
        stands between that look and the request: what another saves in this moment would be overwritten. Where the
        look shows that the journal's request is not the right one, it is entered anew and the record looked at again.
        """
        refuse_unchangeable(endpoint)
        computed, unordered = validate.computed_fields(endpoint), validate.unordered_fields(endpoint)
        merge = functools.partial(three_way, dict(base), dict(mine), computed=computed, unordered=unordered)
        if endpoint.lookup in (edit := merge(dict(base)).patch):
            await self._refuse_existing(endpoint, str(edit[endpoint.lookup or ""]))
        known = self._metadata.known_record(endpoint.name, key)
        expected = dict(base) if known is None else known.document
        request = _patch_request(endpoint, key, merge(expected), expected)
        for attempt in range(LOOKS):
            if request is not None:
                await self.exchange.mark_sent(write, request)
            async with self._api.in_a_row():
                theirs = await self.read_again(endpoint, key)
                self.exchange.checkpoint("read again")
                merged = merge(theirs)
                if merged.disagreements:
                    raise await self._conflict(write, key, base, mine, theirs, merged.disagreements)
                entered, request = request, _patch_request(endpoint, key, merged, theirs)
                if request is None:
                    return await self._nothing_to_send(write, key, theirs)
                if entered is not None and _is_as_entered(entered, request):
                    return await self.exchange.exchange(write, request)
                if attempt == LOOKS - 1:  # somebody changes the same fields all the time
                    await self.exchange.mark_sent(write, request)
                    return await self.exchange.exchange(write, request)
        raise AssertionError("the last look is followed by the request")

    async def _nothing_to_send(self, write: Write, key: str, theirs: dict[str, Any]) -> SaveResult:
        """Somebody else wrote the same."""
        sentence = f"{write.endpoint}/{key} holds these values already."
        await self.exchange.settle(write, State.DONE, before=theirs, request={}, after=theirs, remark=sentence)
        touched = self.exchange.forget(write.endpoint, key, theirs)
        return SaveResult(write.number, write.endpoint, key, theirs, {}, sentence, touched)

    async def post(
        self,
        write: Write,
        endpoint: Endpoint,
        name: str,
        document: dict[str, Any],
        image: tuple[str, bytes] | None = None,
    ) -> SaveResult:
        """Make a new record, unless an earlier POST of the same has made it; a note with its ``image``."""
        if "POST" not in endpoint.list_methods:
            raise errors.NotAllowed(f"The server does not let new {endpoint.name} be made.")
        document = quirks.without_refused_empties(endpoint.name, document)
        document = {**quirks.FILLED_IN_ON_CREATE.get(endpoint.name, {}), **document}
        validate.check_new(endpoint, document)
        if endpoint.name in quirks.NAMES_CAN_REPEAT:
            await self._refuse_existing(endpoint, str(document[endpoint.lookup or ""]))
        picture = image and (quirks.short_picture_name(image[0]), image[1])
        request = Request("POST", endpoint, name, document, None, picture)
        if (made := await self.exchange.made_before(request)) is not None:
            await self.exchange.settle(write, State.REFUSED, remark=made.sentence)
            return made
        return await self.exchange.send(write, request)

    async def delete(
        self, write: Write, endpoint: Endpoint, key: str, made: Mapping[str, Any] | None = None
    ) -> SaveResult:
        """Delete a record; one that was ``made`` by a write to be undone only if it is still as it was made."""
        record, lost = await self.deletable(endpoint, key, is_undo=made is not None)
        self.exchange.checkpoint("read again")
        if made is not None:
            undo.refuse_changed(endpoint, key, made, record)
        told = None if made is not None else losses.told(endpoint, record, lost)
        return await self.exchange.send(
            write, Request("DELETE", endpoint, key, None, record, lost=tuple(sorted(lost.all)), told=told)
        )

    async def deletable(self, endpoint: Endpoint, key: str, *, is_undo: bool = False) -> tuple[dict[str, Any], Losses]:
        """The record as it is now, and what is lost with it, if it may be deleted; raises as DeleteGuard."""
        record, lost = await self.lost_with(endpoint, key, is_undo=is_undo)
        self._guard.refuse_losses(endpoint.name, key, lost)
        return record, lost

    async def lost_with(self, endpoint: Endpoint, key: str, *, is_undo: bool = False) -> tuple[dict[str, Any], Losses]:
        """The record as it is now, and what would be lost with it."""
        record = await self.read_again(endpoint, key)
        schema = await self._metadata.schema()
        return record, await losses.of_delete(self._api, schema, endpoint, key, record, is_undo=is_undo)

    async def described(self, endpoint: str) -> Endpoint:
        """What the schema says of an endpoint; raises NotFound."""
        schema = await self._metadata.schema()
        if endpoint not in schema.endpoints:
            raise errors.NotFound(f"The server has no endpoint {endpoint}.")
        return schema.endpoints[endpoint]

    async def read_again(self, endpoint: Endpoint, key: str) -> dict[str, Any]:
        """The record as it is on the server now; raises NotAllowed where its name is not its own alone."""
        try:
            return await self._api.detail(endpoint.name, key, endpoint.lookup)
        except errors.NotFound as error:
            if "/" in key:
                raise errors.NotAllowed(
                    f"The server has no address for {key!r}, because of the '/' in it: such {endpoint.name} are made, "
                    "changed and deleted on Alyx's own pages."
                ) from error
            raise
        except errors.Misdirected as error:
            raise errors.NotAllowed(f"{error} It can be changed on Alyx's own pages.") from error
        except errors.ServerFault as error:
            if endpoint.name in quirks.NAMES_CAN_REPEAT and endpoint.lookup:
                page = await self._api.page(endpoint.name, ((endpoint.lookup, key),), 10, 0)
                doubled = [row for row in page.rows if row.get(endpoint.lookup) == key]
                if len(doubled) > 1:
                    raise errors.NotAllowed(
                        f"{len(doubled)} {endpoint.name} are called {key!r}, and the server changes and deletes them "
                        "by their name alone: rename one of them on Alyx's own pages first."
                    ) from error
            raise

    async def _refuse_existing(self, endpoint: Endpoint, key: str) -> None:
        try:
            await self.read_again(endpoint, key)
        except errors.NotFound:
            return
        raise errors.Invalid(f"{endpoint.name}/{key} exists already: choose another {endpoint.lookup}.")

    async def _conflict(
        self,
        write: Write,
        key: str,
        base: Mapping[str, Any],
        mine: Mapping[str, Any],
        theirs: dict[str, Any],
        disagreements: tuple[Disagreement, ...],
    ) -> errors.Conflict:
        """Keep both versions; returns what to raise."""
        fields = "; ".join(
            f"{one.name} was {_words(one.base)}, you wrote {_words(one.mine)}, the server has {_words(one.theirs)}"
            for one in disagreements
        )
        sentence = f"{write.endpoint}/{key} was changed on both sides: {fields}."
        if write.applies is not None:
            sentence = f"{sentence} {stays_staged(write.applies)}"
            return await self._note_conflict(write, key, theirs, sentence)
        versions = {
            ".json": json_text.render(dict(mine)) if write.draft is None else write.draft,
            ".base.json": json_text.render(dict(base)),
            ".theirs.json": json_text.render(theirs),
        }
        kept = await self.exchange.keep(write.endpoint, key, versions, sentence)
        sentence += f" Both versions are kept as {kept.name} and beside it: read the record and repeat your edit."
        return await self._note_conflict(write, key, theirs, sentence)

    async def _note_conflict(self, write: Write, key: str, theirs: dict[str, Any], sentence: str) -> errors.Conflict:
        await self.exchange.settle(write, State.CONFLICT, before=theirs, remark=sentence)
        self.exchange.forget(write.endpoint, key, theirs)
        return errors.Conflict(sentence)

    @asynccontextmanager
    async def alone(self, endpoint: str, key: str) -> AsyncGenerator[None, None]:
        """Hold the record against other writes of this drive; the lock is found or made without awaiting."""
        lock = self._locks.setdefault((endpoint, key), trio.Lock())
        async with lock:
            yield


def refuse_unchangeable(endpoint: Endpoint) -> None:
    """Raise NotAllowed for an endpoint whose records are never changed."""
    if endpoint.name in quirks.UNCHANGEABLE:
        raise errors.NotAllowed(quirks.UNCHANGEABLE[endpoint.name])
    if "PATCH" not in endpoint.detail_methods:
        raise errors.NotAllowed(f"The server does not let {endpoint.name} be changed.")


def _patch_request(endpoint: Endpoint, key: str, merged: Merged, theirs: dict[str, Any]) -> Request | None:
    """What is to be sent, with what the server needs beside it; None where there is nothing to send, or a conflict."""
    if merged.disagreements or not merged.patch:
        return None
    if endpoint.name == quirks.NOTES and quirks.picture_hinders(theirs):
        raise errors.NotAllowed(
            f"notes/{key} cannot be changed, because the server fails to store its picture under a longer name. "
            f"Write the picture anew (copy notes/{key}.png away and back), which makes its name short again."
        )
    resent = {field: theirs.get(field) for field in quirks.RESENT_ON_PATCH.get(endpoint.name, ())}
    return Request("PATCH", endpoint, key, {**resent, **merged.patch}, theirs)


def _is_as_entered(entered: Request, request: Request) -> bool:
    """Whether the journal has this very request, and the values that it replaces."""
    fields = request.document or {}
    before, now = entered.before or {}, request.before or {}
    return same(entered.document, fields) and all(
        same(before.get(field, MISSING), now.get(field, MISSING)) for field in fields
    )


def _words(value: Any) -> str:
    return "not there" if value is MISSING else validate.quoted(value)
