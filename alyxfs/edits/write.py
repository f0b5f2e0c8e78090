"""One write's way through journal, server and caches: sent exactly once, followed to its end, never repeated.

Everything between the journal's "sent" and its entry of the answer is shielded from cancellation: a request that left
is followed to its end, which takes at most the network's deadline and that of reading the record again.
"""

from __future__ import annotations

import functools
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from alyxfs import errors
from alyxfs.alyx.quirks import writing as quirks
from alyxfs.edits import answer, outcome, rejected, sets
from alyxfs.edits.entry import State
from alyxfs.edits.outcome import Outcome
from alyxfs.edits.request import EVERY_RECORD, LOST, TAKEN_WITH, Request, SaveResult, Write, as_form, write_of

if TYPE_CHECKING:
    import pathlib
    from collections.abc import AsyncGenerator, Callable, Mapping

    from alyxfs.alyx.metadata.cache import MetadataCache
    from alyxfs.alyx.rest import Api, Reply
    from alyxfs.alyx.schema.read import Endpoint
    from alyxfs.edits.entry import Entry
    from alyxfs.edits.journal import Journal
    from alyxfs.edits.proposals import ProposedApi
    from alyxfs.edits.second_look import SecondLooks

log = logging.getLogger(__name__)

Result = TypeVar("Result")

ANSWERED_UNCLEARLY = (errors.ServerFault, errors.Unreachable, errors.DeadlineExceeded)
"""After these a write may or may not have happened."""


class Exchange:
    """Carries writes out. ``checkpoint(name)`` is called at each step, for tests that stop a write there."""

    def __init__(
        self,
        api: Api,
        metadata: MetadataCache,
        journal: Journal,
        rejected_directory: pathlib.Path,
        *,
        proposals: ProposedApi | None,
        checkpoint: Callable[[str], None],
    ) -> None:
        self.checkpoint = checkpoint
        self.journal = journal
        self.second_looks: SecondLooks | None = None
        """Told of every save, where somebody looks whether it lasts."""
        self.server = api.base_url
        self._api = api
        self._proposals = proposals
        self._metadata = metadata
        self._rejected_directory = rejected_directory

    @asynccontextmanager
    async def followed(self, write: Write) -> AsyncGenerator[Write, None]:
        """Whatever ends the write in this block is entered in the journal, and its draft kept where it was not saved.

        Raises NotKept where the disk does not take the draft: its bytes are the caller's again. So is the copy of a
        record under a new name (CopyOfRecord), which was not meant to be sent.
        """
        self.checkpoint("begun")
        try:
            yield write
        except errors.AlyxfsError as error:
            if write.settled or isinstance(error, errors.CopyOfRecord):
                raise
            state: State | None = State.CONFLICT if isinstance(error, errors.Conflict) else State.REFUSED
            sentence = await self._refused(write, str(error), state, error.status)
            raise error.again(sentence) from error
        except trio.Cancelled:  # what was sent is followed to its end, so that this was not
            if not write.settled:
                await self._refused(write, "It was given up before anything was sent.", State.REFUSED)
            raise
        except Exception as error:
            if not write.settled:  # where it may have been sent, the next mount finds out what came of it
                state = None if write.is_sent else State.REFUSED
                await self._refused(write, f"A defect of alyxfs: {type(error).__name__}: {error}", state)
            raise

    async def _refused(self, write: Write, sentence: str, state: State | None, status: int | None = None) -> str:
        """Keep the draft, first of all, and enter why it was not saved; returns the sentence for people."""
        with trio.CancelScope(shield=True):
            not_kept = None
            try:
                sentence = await self.with_kept_draft(write, sentence)
            except errors.NotKept as error:
                not_kept, sentence = error, str(error)
            try:
                await self.enter(write)
                if state is not None:
                    await self.settle(write, state, status=status, remark=sentence)
            except errors.ConfigurationError as unusable:
                log.warning("%s", unusable)
                sentence = sentence if str(unusable) in sentence else f"{sentence} {unusable}"
            if not_kept is not None:
                raise not_kept
        return sentence

    async def enter(self, write: Write, base: Mapping[str, Any] | None = None) -> int:
        """Enter a write in the journal unless it is there already; returns its number."""
        if write.number is None:
            prepare = functools.partial(
                self.journal.prepare,
                draft=write.draft,
                before=base and dict(base),
                undo_of=write.undo_of,
                in_set=sets.current(),
                applies=write.applies,
            )
            write.number = await in_thread(
                prepare, self.server, write.operation, write.endpoint, write.key, write.method
            )
            self.checkpoint("prepared")
        return write.number

    async def promise(self, operation: str, endpoint: str, key: str, method: str) -> int:
        """Enter a write that a program was told is done, and that waits; the next mount tells if it never began."""
        number = await in_thread(self.journal.prepare, self.server, operation, endpoint, key, method)
        self.checkpoint("promised")
        return number

    async def send(self, write: Write, request: Request) -> SaveResult:
        """Send the request of a write and follow it to the end."""
        await self.mark_sent(write, request)
        return await self.exchange(write, request)

    async def mark_sent(self, write: Write, request: Request) -> None:
        """Enter what is about to be sent, and what the record was before it; on the disk when this returns."""
        number = await self.enter(write)
        picture = request.image[1] if request.image else None
        await in_thread(self.journal.mark_sent, number, request.journalled, request.before, picture)
        self.checkpoint("marked sent")

    async def exchange(self, write: Write, request: Request) -> SaveResult:
        """The one request, after :meth:`mark_sent`, with nothing awaited before it; followed to its end."""
        endpoint, began = request.endpoint.name, trio.current_time()
        with trio.CancelScope(shield=True):
            write.is_sent = True
            try:
                status, after, remark = await self._ask(write, request)
            except errors.AlyxfsError:
                self.forget(endpoint, request.key, request.before)
                raise
            key = (outcome.key_of(request.endpoint, after) if after else None) or request.key
            missed = answer.not_done(request, key, after) if after else None
            besides = answer.done_besides(request, after) if after else request.told
            remark = " ".join(filter(None, (missed or remark, besides))) or None
            await self.settle(
                write,
                State.DONE,
                key=key,
                status=status,
                request=request.journalled,
                before=request.before,
                answer=self._answer(write, request),
                after=after,
                remark=remark,
            )
            self.checkpoint("recorded")
            touched = self.forget(endpoint, request.key, request.before, key, after)
            self._look_again(write, request, key, after, trio.current_time() - began)
        self.checkpoint("forgotten")
        if missed is not None and write.undo_of is None:  # an undo does what can be done, and says what cannot
            raise errors.Invalid(missed, status=status)
        sent = request.journalled or {}
        proposed = "" if self._proposals is None else f"{self._proposals.word}, not sent: "
        sentence = f"{proposed}{request.method} {endpoint}/{key}{': ' if sent else ''}{', '.join(sent)}."
        sentence = f"{sentence} {remark}" if remark else sentence
        return SaveResult(write.number, endpoint, key, after, sent, sentence, touched)

    def _answer(self, write: Write, request: Request) -> dict[str, Any] | None:
        """What the journal is to know of a DELETE besides."""
        if request.method != "DELETE":
            return None
        others = self._proposals.taken_with(write.number) if self._proposals else []
        return {LOST: list(request.lost), **({TAKEN_WITH: others} if others else {})}

    def _look_again(
        self, write: Write, request: Request, key: str, after: Mapping[str, Any] | None, seconds: float
    ) -> None:
        if self.second_looks is None or self._proposals is not None:
            return
        if request.method == "PATCH" and key == request.key and after and not request.image:
            record = (request.endpoint.name, key)
            self.second_looks.saved(write.number, record, request.document or {}, request.before or {}, after, seconds)
        else:
            self.second_looks.forget((request.endpoint.name, request.key))

    async def act(self, write: Write, endpoint: str, document: dict[str, Any]) -> Any:
        """POST to an address that holds no records; returns its answer, None where it is only proposed."""
        if self._proposals is not None:
            await self.settle(write, State.PROPOSED, request=document)
            self._proposals.besides.add(await self.enter(write))
            return None
        await in_thread(self.journal.mark_sent, await self.enter(write), document, None)
        self.checkpoint("marked sent")
        with trio.CancelScope(shield=True):
            write.is_sent = True
            try:
                reply = await self._api.send("POST", endpoint, None, document)
            except ANSWERED_UNCLEARLY as error:
                state = State.REFUSED if isinstance(error, errors.NotConnected) else State.UNKNOWN
                remark = f"{error} Whether it was done cannot be read from the server: look for its results."
                await self.settle(write, state, status=error.status, remark=remark)
                raise
            self.checkpoint("answered")
            await self.settle(write, State.DONE, status=reply.status, answer=reply.document)
            self.checkpoint("recorded")
            for other in quirks.CHANGED_BY_ACTION.get(endpoint, ()):
                self._metadata.outdate(other)
        return reply.document

    async def settle(self, write: Write, state: State, **values: Any) -> None:
        """Enter what came of a write."""
        number = await self.enter(write)
        await in_thread(functools.partial(self.journal.record, number, state, **values))
        write.settled = True

    async def settle_interrupted(self, entry: Entry, endpoint: Endpoint | None) -> str | None:
        """Find out what came of a write that a killed process left behind, and enter it; a sentence about it.

        None where an earlier recovery has said all there is to say. ``endpoint`` is None where the server lacks it now.
        """
        what = f"Write {entry.number} ({entry.operation} of {entry.endpoint}/{entry.key})"
        write = write_of(entry)
        if entry.state is State.PREPARED:
            found = Outcome(State.REFUSED, "nothing had been sent")
        elif entry.operation == "act" or endpoint is None:
            if entry.state is State.UNKNOWN:
                return None
            found = Outcome(State.UNKNOWN, "whether it was done cannot be read from the server")
        else:
            image = ("", b"") if entry.operation == "attach" else None
            request = Request(entry.method, endpoint, entry.key, entry.request, entry.before, image)
            try:
                found = await self._outcome(write, request)
            except errors.AlyxfsError as error:
                return f"{what} was interrupted, and what came of it is not known yet: {error}"
        sentence = f"{what} was interrupted: {found.remark}."
        if found.state is State.REFUSED:
            sentence = await self.with_kept_draft(write, sentence)
        await self.settle(write, found.state, key=found.key or entry.key, after=found.after, remark=sentence)
        if found.state is State.DONE:
            self.forget(entry.endpoint, entry.key, entry.before, found.key, found.after)
        return sentence

    async def made_before(self, request: Request) -> SaveResult | None:
        """The record that an earlier POST of the same document made, though it got no clear answer.

        To send the document once more would make a second one. Raises Exists where several records could be it, and
        what the server answers where it cannot be read now.
        """
        endpoint = request.endpoint.name
        for entry in await in_thread(self.journal.interrupted, self.server):
            is_same = (entry.method, entry.endpoint, entry.request) == ("POST", endpoint, request.journalled)
            if entry.state is not State.UNKNOWN or not is_same:
                continue
            earlier = write_of(entry)
            found = await self._outcome(earlier, request)
            if found.state is State.UNKNOWN:
                raise errors.Exists(
                    f"Write {entry.number} of the same got no clear answer, and {found.remark}. Nothing was sent: look "
                    "whether it is there, and give a record that is another one something that tells it apart."
                )
            key = found.key or entry.key
            await self.settle(earlier, found.state, key=key, after=found.after, remark=f"Later: {found.remark}.")
            if found.state is State.DONE:
                touched = self.forget(endpoint, entry.key, None, key, found.after)
                sentence = f"Write {entry.number} had made {endpoint}/{key} after all, so nothing was sent again."
                return SaveResult(entry.number, endpoint, key, found.after, {}, sentence, touched)
        return None

    async def keep(self, endpoint: str, name: str, contents: dict[str, bytes], reason: str) -> pathlib.Path:
        """Put files into the rejected directory; returns the first."""
        return await in_thread(rejected.keep, self._rejected_directory, endpoint, name, contents, reason)

    def forget(
        self,
        endpoint: str,
        key: str,
        before: Mapping[str, Any] | None,
        new_key: str | None = None,
        after: Mapping[str, Any] | None = None,
    ) -> tuple[tuple[str, str | None], ...]:
        """Drop every copy that this write made wrong. A new name stands in the records of other endpoints too."""
        touched: dict[tuple[str, str | None], None] = {(endpoint, key): None, (endpoint, new_key or key): None}
        for document in (before, after):
            touched.update(dict.fromkeys(quirks.linked_records(endpoint, document or {})))
        touched[endpoint, None] = None
        is_renamed = before is not None and new_key not in {None, key}
        holders = quirks.HOLD_NAMES_OF.get(endpoint, ()) if is_renamed else ()
        touched.update(dict.fromkeys((other, None) for other in holders))
        for name, record in touched:
            self._metadata.outdate(name, record)
        for other in holders:
            self._metadata.outdate_details(other)
            touched[other, EVERY_RECORD] = None
        return tuple(touched)

    async def _ask(self, write: Write, request: Request) -> tuple[int | None, dict[str, Any] | None, str | None]:
        """Status, record after, and a remark; raises where the write did not happen or where nobody can tell."""
        try:
            reply = await self._send(write, request)
            outcome.refuse_unusable(
                request.endpoint, request.method, request.key, request.document or {}, reply.document
            )
        except ANSWERED_UNCLEARLY as error:
            found = await self._look(write, request, error)
            self.checkpoint("looked")
            if found.state is State.DONE:
                return error.status, found.after, f"{error} It was saved nevertheless: {found.remark}."
            certain = "It was not saved" if found.state is State.REFUSED else "It is not known whether it was saved"
            sentence = await self.with_kept_draft(write, f"{error} {certain}: {found.remark}.")
            await self.settle(write, found.state, status=error.status, after=found.after, remark=sentence)
            raise error.again(sentence) from error
        self.checkpoint("answered")
        return reply.status, reply.document if isinstance(reply.document, dict) else None, None

    async def _send(self, write: Write, request: Request) -> Reply:
        """To the server, or to what is proposed."""
        if self._proposals is not None:
            assert write.number is not None
            picture = request.image[1] if request.image else None
            return await self._proposals.take(
                write.number,
                request.method,
                request.endpoint,
                request.key,
                request.journalled,
                request.before,
                picture,
            )
        key = None if request.method == "POST" else request.key
        files = {"image": request.image} if request.image else None
        body = as_form(request.document or {}) if request.image else request.document
        return await self._api.send(request.method, request.endpoint.name, key, body, files=files)

    async def _look(self, write: Write, request: Request, error: errors.AlyxfsError) -> Outcome:
        """What came of a request without a clear answer. A late request may still save, so only a 500 is final."""
        if isinstance(error, errors.NotConnected):
            return Outcome(State.REFUSED, "the server was not reached, nothing was sent")
        if outcome.is_duplicate(error):
            return Outcome(State.REFUSED, "another record has what must be unique")
        try:
            found = await self._outcome(write, request)
        except errors.AlyxfsError as second:
            return Outcome(State.UNKNOWN, f"reading it again failed too ({second}); the next mount looks once more")
        if found.state is State.REFUSED and error.status != 500:  # noqa: PLR2004
            return Outcome(State.UNKNOWN, f"{found.remark}, but the request may still arrive", found.key, found.after)
        return found

    async def _outcome(self, write: Write, request: Request) -> Outcome:
        api, endpoint, document = self._api, request.endpoint, request.document or {}
        if request.method == "DELETE":
            return await outcome.of_delete(api, endpoint, request.key)
        if request.method == "POST":
            return await outcome.of_post(api, endpoint, document, await self._keys_before(write, endpoint.name))
        if request.image:
            return await outcome.of_image(api, request.key, request.before)
        return await outcome.of_patch(api, endpoint, request.key, document, request.before)

    async def _keys_before(self, write: Write, endpoint: str) -> set[str]:
        """Keys of records that were there before this write: those listed earlier, and those of other writes."""
        entry = await in_thread(self.journal.entry, write.number)
        keys = await in_thread(self.journal.keys, endpoint, write.number)
        listing = await self._metadata.known_listing(endpoint)
        if listing is not None and listing.fetched_at < entry.time:
            keys |= {row.key for row in listing.rows}
        return keys

    async def with_kept_draft(self, write: Write, sentence: str) -> str:
        """The sentence, and where the draft of the write is kept from now on; raises NotKept."""
        if write.draft is None:
            return sentence
        suffix = ".png" if write.operation == "attach" else ".json"
        stop = "" if sentence.endswith((".", "!", "?")) else "."
        try:
            kept = await self.keep(write.endpoint, write.key, {suffix: write.draft}, sentence)
        except OSError as error:
            raise errors.NotKept(
                f"{sentence}{stop} The draft could not be kept either ({error}): make room on the disk and save again."
            ) from error
        return f"{sentence}{stop} The draft is kept as {kept.name}."


async def in_thread(function: Callable[..., Result], *arguments: Any) -> Result:
    """Disk work outside the loop; it is never abandoned half-way by a cancellation."""
    return await trio.to_thread.run_sync(function, *arguments)
