"""One write's way through journal, server and caches: sent exactly once, followed to its end, never repeated.

Everything between the journal's "sent" and its entry of the answer is shielded from cancellation: a request that left
is followed to its end, which takes at most the network's deadline and that of reading the record again.
"""

from __future__ import annotations

import functools
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from alyxfs import documents, errors
from alyxfs.edits import outcome, quirks, rejected, validate
from alyxfs.edits.journal import State
from alyxfs.edits.merge import differences_after_saving
from alyxfs.edits.outcome import Outcome

if TYPE_CHECKING:
    import pathlib
    from collections.abc import AsyncGenerator, Callable, Mapping

    from alyxfs.alyx.api import Api
    from alyxfs.alyx.library import Library
    from alyxfs.alyx.schema import Endpoint
    from alyxfs.edits.journal import Entry, Journal

Result = TypeVar("Result")

ANSWERED_UNCLEARLY = (errors.ServerFault, errors.Unreachable, errors.DeadlineExceeded)
"""After these a write may or may not have happened."""


EVERY_RECORD = ""


@dataclass(frozen=True)
class SaveResult:
    """What came of a write that was not refused."""

    number: int | None
    """In the journal; None where there was nothing to save."""
    endpoint: str
    key: str
    """The record's look-up now; of a new record that a dry run did not send, the name it was given."""
    document: dict[str, Any] | None
    """The record as the server answered it (of some endpoints in the shape of a list row); None after a delete."""
    sent: dict[str, Any]
    """The fields that went to the server; empty where nothing was sent."""
    sentence: str
    """What happened, for the log."""
    touched: tuple[tuple[str, str | None], ...] = ()
    """Records (endpoint, key) and listings (key None) whose copies, the kernel's too, are no longer right.

    The key ``EVERY_RECORD`` is the beginning of all of the endpoint.
    """
    dry_run: bool = False


@dataclass
class Write:
    """A row of the journal that is being filled in."""

    number: int
    operation: str
    endpoint: str
    key: str
    """As in the journal."""
    draft: bytes | None
    settled: bool = False
    """The journal knows what came of it."""


@dataclass(frozen=True)
class Request:
    """The one request of a write."""

    method: str
    endpoint: Endpoint
    key: str
    """The record's look-up; of a POST, the name of its file."""
    document: dict[str, Any] | None
    before: dict[str, Any] | None
    """The record as it was just before."""
    image: tuple[str, bytes] | None = None
    """File name and content of a note's picture, which make the request multipart."""

    @property
    def journalled(self) -> dict[str, Any] | None:
        """What the journal holds of it: of a picture its name, the content is the draft."""
        return {**(self.document or {}), "image": self.image[0]} if self.image else self.document


class Exchange:
    """Carries writes out. ``checkpoint(name)`` is called at each step, for tests that stop a write there."""

    def __init__(
        self,
        api: Api,
        library: Library,
        journal: Journal,
        rejected_directory: pathlib.Path,
        *,
        dry_run: bool,
        checkpoint: Callable[[str], None],
    ) -> None:
        self.dry_run = dry_run
        self.checkpoint = checkpoint
        self.journal = journal
        self._api = api
        self._library = library
        self._rejected_directory = rejected_directory

    @asynccontextmanager
    async def journalled(
        self,
        operation: str,
        endpoint: str,
        key: str,
        method: str,
        draft: bytes | None,
        *,
        base: Mapping[str, Any] | None = None,
        undo_of: int | None = None,
        promise: int | None = None,
    ) -> AsyncGenerator[Write, None]:
        """Enter a write before anything else happens; what refuses it is entered too, and its draft kept.

        ``promise`` is the number of the entry that :meth:`promise` has made.
        """
        self.checkpoint("begun")
        number = promise
        if number is None:
            prepare = functools.partial(self.journal.prepare, draft=draft, before=base and dict(base), undo_of=undo_of)
            number = await in_thread(prepare, self._api.base_url, operation, endpoint, key, method)
        write = Write(number, operation, endpoint, key, draft)
        self.checkpoint("prepared")
        try:
            yield write
        except errors.AlyxfsError as error:
            if write.settled:
                raise
            state = State.CONFLICT if isinstance(error, errors.Conflict) else State.REFUSED
            sentence = await self._with_kept_draft(write, str(error))
            await self.settle(write, state, status=error.status, remark=sentence)
            raise type(error)(sentence, status=error.status, url=error.url) from error
        except trio.Cancelled:
            if not write.settled:  # what was sent is followed to its end, so that this was not
                with trio.CancelScope(shield=True):
                    sentence = await self._with_kept_draft(write, "It was given up before anything was sent.")
                    await self.settle(write, State.REFUSED, remark=sentence)
            raise

    async def promise(self, operation: str, endpoint: str, key: str, method: str) -> int:
        """Enter a write that a program was told is done, and that waits; the next mount tells if it never began."""
        number = await in_thread(self.journal.prepare, self._api.base_url, operation, endpoint, key, method)
        self.checkpoint("promised")
        return number

    async def send(self, write: Write, request: Request) -> SaveResult:
        """Send the request of a write and follow it to the end; a dry run only enters it."""
        if self.dry_run:
            return await self._not_sent(write, request)
        endpoint = request.endpoint.name
        await in_thread(self.journal.mark_sent, write.number, request.journalled, request.before)
        self.checkpoint("marked sent")
        with trio.CancelScope(shield=True):
            try:
                status, after, remark = await self._ask(write, request)
            except errors.AlyxfsError:
                self.forget(endpoint, request.key, request.before)
                raise
            key = (outcome.key_of(request.endpoint, after) if after else None) or request.key
            missed = differences_after_saving(_comparable(request), after) if after else []
            if missed:
                remark = _silent_no_op(request, key, after or {}, missed)
            await self.settle(write, State.DONE, key=key, status=status, after=after, remark=remark)
            self.checkpoint("recorded")
            touched = self.forget(endpoint, request.key, request.before, key, after)
        self.checkpoint("forgotten")
        if missed:
            raise errors.Invalid(remark or "", status=status)
        sent = request.journalled or {}
        sentence = remark or f"{request.method} {endpoint}/{key}" + (f": {', '.join(sent)}." if sent else ".")
        return SaveResult(write.number, endpoint, key, after, sent, sentence, touched)

    async def act(self, write: Write, endpoint: str, document: dict[str, Any]) -> Any:
        """POST to an address that holds no records; returns its answer, None in a dry run."""
        if self.dry_run:
            await self.settle(write, State.DRY_RUN, request=document)
            return None
        await in_thread(self.journal.mark_sent, write.number, document, None)
        self.checkpoint("marked sent")
        with trio.CancelScope(shield=True):
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
                self._library.forget(other)
        return reply.document

    async def settle(self, write: Write, state: State, **values: Any) -> None:
        """Enter what came of a write."""
        write.settled = True
        await in_thread(functools.partial(self.journal.record, write.number, state, **values))

    async def settle_interrupted(self, entry: Entry, endpoint: Endpoint | None) -> str | None:
        """Find out what came of a write that a killed process left behind, and enter it; a sentence about it.

        None where an earlier recovery has said all there is to say. ``endpoint`` is None where the server lacks it now.
        """
        what = f"Write {entry.number} ({entry.operation} of {entry.endpoint}/{entry.key})"
        write = Write(entry.number, entry.operation, entry.endpoint, entry.key, entry.draft)
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
            sentence = await self._with_kept_draft(write, sentence)
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
        for entry in await in_thread(self.journal.interrupted, self._api.base_url):
            is_same = (entry.method, entry.endpoint, entry.request) == ("POST", endpoint, request.journalled)
            if entry.state is not State.UNKNOWN or not is_same:
                continue
            earlier = Write(entry.number, entry.operation, endpoint, entry.key, entry.draft)
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
            self._library.forget(name, record)
        for other in holders:
            self._library.forget_details(other)
            touched[other, EVERY_RECORD] = None
        return tuple(touched)

    async def _ask(self, write: Write, request: Request) -> tuple[int | None, dict[str, Any] | None, str | None]:
        """Status, record after, and a remark; raises where the write did not happen or where nobody can tell."""
        key = None if request.method == "POST" else request.key
        files = {"image": request.image} if request.image else None
        body = _as_form(request.document or {}) if request.image else request.document
        try:
            reply = await self._api.send(request.method, request.endpoint.name, key, body, files=files)
        except ANSWERED_UNCLEARLY as error:
            found = await self._look(write, request, error)
            self.checkpoint("looked")
            if found.state is State.DONE:
                return error.status, found.after, f"{error} It was saved nevertheless: {found.remark}."
            certain = "It was not saved" if found.state is State.REFUSED else "It is not known whether it was saved"
            sentence = await self._with_kept_draft(write, f"{error} {certain}: {found.remark}.")
            await self.settle(write, found.state, status=error.status, after=found.after, remark=sentence)
            raise type(error)(sentence, status=error.status, url=error.url) from error
        self.checkpoint("answered")
        return reply.status, reply.document if isinstance(reply.document, dict) else None, None

    async def _look(self, write: Write, request: Request, error: errors.AlyxfsError) -> Outcome:
        """What came of a request without a clear answer. A late request may still save, so only a 500 is final."""
        if isinstance(error, errors.NotConnected):
            return Outcome(State.REFUSED, "the server was not reached, nothing was sent")
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
        entries = await in_thread(self.journal.entries)
        time = next(entry.time for entry in entries if entry.number == write.number)
        keys = {entry.key for entry in entries if entry.number != write.number}
        listing = self._library.known_listing(endpoint)
        if listing is not None and listing.fetched_at < time:
            keys |= {row.key for row in listing.rows}
        return keys

    async def _not_sent(self, write: Write, request: Request) -> SaveResult:
        sent = request.journalled or {}
        after = None if request.method == "DELETE" else {**(request.before or {}), **sent}
        await self.settle(write, State.DRY_RUN, before=request.before, request=request.journalled)
        name = f"{request.endpoint.name}/{request.key}"
        sentence = f"Dry run: {request.method} {name} was not sent; `alyxfs diff {write.number}` shows it."
        return SaveResult(write.number, request.endpoint.name, request.key, after, sent, sentence, dry_run=True)

    async def _with_kept_draft(self, write: Write, sentence: str) -> str:
        if write.draft is None:
            return sentence
        suffix = ".png" if write.operation == "attach" else ".json"
        kept = await self.keep(write.endpoint, write.key, {suffix: write.draft}, sentence)
        stop = "" if sentence.endswith((".", "!", "?")) else "."
        return f"{sentence}{stop} The draft is kept as {kept.name}."


async def in_thread(function: Callable[..., Result], *arguments: Any) -> Result:
    """Disk work outside the loop; it is never abandoned half-way by a cancellation."""
    return await trio.to_thread.run_sync(function, *arguments)


def _comparable(request: Request) -> dict[str, Any]:
    """What was sent and must be found in the answer: not what only a POST takes, nor what was merely sent again."""
    hidden = quirks.CREATE_ONLY.get(request.endpoint.name, frozenset())
    fields = {field: value for field, value in (request.document or {}).items() if field not in hidden}
    if request.method != "PATCH":
        replaced = quirks.FILLED_IN_BY_SERVER.get(request.endpoint.name, {})
        return {field: value for field, value in fields.items() if field not in replaced or value != replaced[field]}
    resent = quirks.RESENT_ON_PATCH.get(request.endpoint.name, ())
    before = request.before or {}
    return {field: value for field, value in fields.items() if field not in resent or value != before.get(field)}


def _silent_no_op(request: Request, key: str, after: Mapping[str, Any], missed: list[str]) -> str:
    sent = request.document or {}
    values = "; ".join(
        f"{field} was sent as {validate.quoted(sent[field])} and is {validate.quoted(after.get(field))}"
        for field in missed
    )
    return f"The server accepted the change of {request.endpoint.name}/{key} but did not do all of it: {values}."


def _as_form(document: Mapping[str, Any]) -> dict[str, str]:
    """Values as form fields, which are all text: JSON for what is not, and nothing for null."""
    return {
        field: value if isinstance(value, str) else documents.compact(value).decode()
        for field, value in document.items()
        if value is not None
    }
