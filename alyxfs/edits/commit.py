"""The one facade through which the drive changes the database.

Order of every write: journal (on the disk), record read again and merged, journal "sent" (on the disk), exactly one
request, answer compared with what was sent, journal, caches. Two writes of one record never overlap.
"""

from __future__ import annotations

import functools
import weakref
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import trio

from alyxfs import documents, errors
from alyxfs.edits import dependents, outcome, quirks, reports, undo, validate
from alyxfs.edits.bases import Bases
from alyxfs.edits.brake import DeleteBrake
from alyxfs.edits.exchange import Exchange, Request, SaveResult, in_thread
from alyxfs.edits.journal import State
from alyxfs.edits.merge import MISSING, edited_fields, three_way

if TYPE_CHECKING:
    import pathlib
    from collections.abc import AsyncGenerator, Callable, Mapping

    from alyxfs.alyx.api import Api
    from alyxfs.alyx.library import Library
    from alyxfs.alyx.schema import Endpoint
    from alyxfs.edits.exchange import Write
    from alyxfs.edits.journal import Entry, Journal
    from alyxfs.edits.merge import Disagreement


class Editor:
    """Writes to one Alyx; a refused draft is kept in the rejected directory, and the error says under which name.

    ``user`` is who is logged in, where that is known. ``bases`` is where the tree says what it serves to whom.
    ``brake`` can be lifted. ``checkpoint(name)`` is called at each step of a write.
    """

    def __init__(
        self,
        api: Api,
        library: Library,
        journal: Journal,
        rejected_directory: pathlib.Path,
        *,
        dry_run: bool = False,
        allow_deletes: bool = True,
        deletes_per_minute: int = 20,
        user: str | None = None,
        checkpoint: Callable[[str], None] = lambda _name: None,
    ) -> None:
        self.allow_deletes = allow_deletes
        self.brake = DeleteBrake(deletes_per_minute)
        self.bases = Bases()
        self._api = api
        self._user = user
        self._library = library
        self._exchange = Exchange(api, library, journal, rejected_directory, dry_run=dry_run, checkpoint=checkpoint)
        # An entry vanishes with the last task that holds or awaits its lock.
        self._locks: weakref.WeakValueDictionary[tuple[str, str], trio.Lock] = weakref.WeakValueDictionary()

    async def save(
        self, endpoint: str, key: str, base: Mapping[str, Any], draft: bytes, *, writer: int | None = None
    ) -> SaveResult:
        """PATCH what ``draft`` changes of ``base``, the record as its writer last saw it (``bases.base_of``).

        ``writer`` is the writing program's process id: its next save is compared with this one. Where nothing changed,
        nothing is sent and nothing is entered in the journal. Raises Invalid, Conflict, NotAllowed, and what the
        server answers.
        """
        described = await self._described(endpoint)
        mine = await self._parsed(endpoint, key, draft)
        async with self._alone(endpoint, key):
            if self._is_unchanged(described, key, base, mine):
                return SaveResult(None, endpoint, key, None, {}, f"{endpoint}/{key} is unchanged.")
            async with self._exchange.journalled("save", endpoint, key, "PATCH", draft, base=base) as write:
                validate.check_changes(described, base, mine, functools.partial(self.bases.was_shown, endpoint, key))
                result = await self._patch(write, described, key, base, mine)
        if writer is not None and not result.dry_run:
            self.bases.served(writer, endpoint, result.key, {**(result.document or base), **mine})
        return result

    async def create(
        self,
        endpoint: str,
        name: str,
        draft: bytes,
        image: tuple[str, bytes] | None = None,
        defaults: Mapping[str, Any] | None = None,
    ) -> SaveResult:
        """POST a new record; ``name`` is that of its file without ``.json``, and its look-up where it gives none.

        ``image`` is file name and content of a note's picture. ``defaults`` are values for fields that the draft
        leaves out (those of a query directory).
        """
        described = await self._described(endpoint)
        document = {**(defaults or {}), **await self._parsed(endpoint, name, draft)}
        if described.lookup not in {None, "id"} and document.get(described.lookup or "") in (None, "", "-"):
            document[described.lookup or ""] = name
        async with (
            self._alone(endpoint, name),
            self._exchange.journalled("create", endpoint, name, "POST", draft) as write,
        ):
            return await self._post(write, described, name, document, image)

    async def delete(self, endpoint: str, key: str, *, checked: bool = False, promise: int | None = None) -> SaveResult:
        """DELETE a record that no others hang from; raises HasDependents, or NotAllowed where the brake is pulled.

        ``checked``: :meth:`check_delete` has counted this one for the brake. ``promise`` is its number in the journal
        if it was promised.
        """
        described = await self._described(endpoint)
        if not checked and promise is None:
            self._refuse_delete(described, key)
        async with (
            self._alone(endpoint, key),
            self._exchange.journalled("delete", endpoint, key, "DELETE", None, promise=promise) as write,
        ):
            if not checked and promise is not None:  # its program was told that it is done, so the journal tells
                self._refuse_delete(described, key)
            return await self._delete(write, described, key)

    async def promise_delete(self, endpoint: str, key: str) -> int:
        """Enter a delete that is answered now and sent later, or withdrawn; returns its number in the journal."""
        return await self._exchange.promise("delete", endpoint, key, "DELETE")

    async def withdraw(self, promise: int) -> None:
        """A promised delete was called off: the journal need not tell of it."""
        with trio.CancelScope(shield=True):
            await in_thread(self._exchange.journal.withdraw, promise)

    async def check_delete(self, endpoint: str, key: str) -> None:
        """Raise what would refuse the delete now, and send nothing.

        Tools that save by unlink and create are told from ``rm`` only by what comes next, so the tree may answer an
        unlink after this check, wait a moment for the new file, and only then delete.
        """
        described = await self._described(endpoint)
        self._refuse_delete(described, key)
        await self._deletable(described, key)

    async def rename(self, endpoint: str, key: str, new_key: str) -> SaveResult:
        """PATCH of the look-up, where it is a field: ``mv A.json B.json``."""
        described = await self._described(endpoint)
        lookup = described.lookup
        if lookup is None or lookup == "id":
            raise errors.NotAllowed(f"{endpoint} are named by their id, which cannot be changed.")
        async with (
            self._alone(endpoint, key),
            self._exchange.journalled("rename", endpoint, key, "PATCH", None) as write,
        ):
            validate.check_changes(described, {lookup: key}, {lookup: new_key})
            return await self._patch(write, described, key, {lookup: key}, {lookup: new_key})

    async def attach_image(self, key: str, content: bytes, filename: str) -> SaveResult:
        """Give a note its picture: a multipart PATCH (``cp figure.png notes/<id>.png``)."""
        described = await self._described("notes")
        async with (
            self._alone("notes", key),
            self._exchange.journalled("attach", "notes", key, "PATCH", content) as write,
        ):
            _refuse_unchangeable(described)
            note = await self._read_again(described, key)
            resent = {field: note.get(field) for field in quirks.RESENT_ON_PATCH["notes"]}
            request = Request("PATCH", described, key, resent, note, (quirks.short_picture_name(filename), content))
            return await self._exchange.send(write, request)

    async def act(self, endpoint: str, draft: bytes) -> Any:
        """POST to an address that holds no records, as register-file; returns the answer, None in a dry run."""
        described = await self._described(endpoint)
        if not described.action:
            raise errors.NotAllowed(f"{endpoint} holds records: write one of its files instead.")
        document = await self._parsed(endpoint, "new", draft)
        async with self._exchange.journalled("act", endpoint, "new", "POST", draft) as write:
            return await self._exchange.act(write, endpoint, document)

    async def undo(self, number: int) -> SaveResult:
        """Take back a write: PATCH back what it changed, POST again what it deleted, DELETE what it made.

        Raises Conflict where somebody changed the same since, NotAllowed where it cannot be taken back.
        """
        entry = await self.entry(number)
        undone_by = await in_thread(self._exchange.journal.undone_by, number)
        undo.refuse_impossible(entry, self._api.base_url, undone_by)
        described = await self._described(entry.endpoint)
        key = (outcome.key_of(described, entry.after) if entry.after else None) or entry.key
        async with self._alone(entry.endpoint, key):
            if entry.method == "DELETE":
                return await self._undo_delete(entry, described)
            if entry.method == "POST":
                return await self._undo_create(entry, described, key)
            return await self._undo_patch(entry, described, key)

    async def recover(self) -> list[str]:
        """Settle the writes that a killed process left behind, by reading the server; one sentence for each."""
        sentences = []
        for entry in await in_thread(self._exchange.journal.interrupted, self._api.base_url):
            try:
                described = await self._described(entry.endpoint)
            except errors.NotFound:
                described = None
            sentences.append(await self._exchange.settle_interrupted(entry, described))
        return [sentence for sentence in sentences if sentence]

    async def diff(self, number: int) -> str:
        """What a write changed, or would have changed, as a unified diff."""
        return reports.diff(await self.entry(number))

    async def entries(self) -> list[Entry]:
        """The whole journal, oldest first, without the records themselves."""
        return await in_thread(self._exchange.journal.entries)

    async def entry(self, number: int) -> Entry:
        """One write with all that is known of it; raises NotFound."""
        return await in_thread(self._exchange.journal.entry, number)

    async def keep_draft(self, endpoint: str, name: str, draft: bytes, reason: str) -> pathlib.Path:
        """Put a draft that nobody will complete into the rejected directory."""
        return await self._exchange.keep(endpoint, name, {".json": draft}, reason)

    async def _patch(
        self, write: Write, endpoint: Endpoint, key: str, base: Mapping[str, Any], mine: Mapping[str, Any]
    ) -> SaveResult:
        """Merge the edit from ``base`` to ``mine`` into the record as it is now, and send what is left of it."""
        _refuse_unchangeable(endpoint)
        theirs = await self._read_again(endpoint, key)
        self._exchange.checkpoint("read again")
        computed, unordered = validate.computed_fields(endpoint), validate.unordered_fields(endpoint)
        merged = three_way(dict(base), dict(mine), theirs, computed=computed, unordered=unordered)
        if merged.disagreements:
            raise await self._conflict(write, key, base, mine, theirs, merged.disagreements)
        if not merged.patch:
            sentence = f"{endpoint.name}/{key} holds these values already."
            await self._exchange.settle(write, State.DONE, before=theirs, request={}, after=theirs, remark=sentence)
            touched = self._exchange.forget(endpoint.name, key, theirs)  # somebody else wrote the same
            return SaveResult(write.number, endpoint.name, key, theirs, {}, sentence, touched)
        if endpoint.lookup in merged.patch:
            await self._refuse_existing(endpoint, str(merged.patch[endpoint.lookup or ""]))
        if endpoint.name == "notes" and quirks.picture_hinders(theirs):
            raise errors.NotAllowed(
                f"notes/{key} cannot be changed, because the server fails to store its picture under a longer name. "
                f"Write the picture anew (copy notes/{key}.png away and back), which makes its name short again."
            )
        resent = {field: theirs.get(field) for field in quirks.RESENT_ON_PATCH.get(endpoint.name, ())}
        return await self._exchange.send(write, Request("PATCH", endpoint, key, {**resent, **merged.patch}, theirs))

    async def _post(
        self,
        write: Write,
        endpoint: Endpoint,
        name: str,
        document: dict[str, Any],
        image: tuple[str, bytes] | None = None,
    ) -> SaveResult:
        if "POST" not in endpoint.list_methods:
            raise errors.NotAllowed(f"The server does not let new {endpoint.name} be made.")
        document = quirks.without_refused_empties(endpoint.name, document)
        document = {**quirks.FILLED_IN_ON_CREATE.get(endpoint.name, {}), **document}
        validate.check_new(endpoint, document)
        if endpoint.name in quirks.NAMES_CAN_REPEAT:
            await self._refuse_existing(endpoint, str(document[endpoint.lookup or ""]))
        picture = (quirks.short_picture_name(image[0]), image[1]) if image else None
        request = Request("POST", endpoint, name, document, None, picture)
        if (made := await self._exchange.made_before(request)) is not None:
            await self._exchange.settle(write, State.REFUSED, remark=made.sentence)
            return made
        return await self._exchange.send(write, request)

    async def _delete(
        self, write: Write, endpoint: Endpoint, key: str, made: Mapping[str, Any] | None = None
    ) -> SaveResult:
        """Delete a record; one that was ``made`` by a write to be undone only if it is still as it was made."""
        record = await self._deletable(endpoint, key)
        self._exchange.checkpoint("read again")
        if made is not None:
            undo.refuse_changed(endpoint, key, made, record)
        return await self._exchange.send(write, Request("DELETE", endpoint, key, None, record))

    async def _deletable(self, endpoint: Endpoint, key: str) -> dict[str, Any]:
        """The record as it is now, if it may be deleted."""
        record = await self._read_again(endpoint, key)
        await dependents.refuse_if_any(self._api, await self._library.schema(), endpoint.name, key, record)
        return record

    async def _undo_patch(self, entry: Entry, endpoint: Endpoint, key: str) -> SaveResult:
        base, mine = undo.reverse_edit(entry)
        async with self._exchange.journalled(
            "undo", entry.endpoint, key, "PATCH", documents.render(mine), undo_of=entry.number
        ) as write:
            return await self._patch(write, endpoint, key, base, mine)

    async def _undo_create(self, entry: Entry, endpoint: Endpoint, key: str) -> SaveResult:
        self._refuse_delete(endpoint, key)
        async with self._exchange.journalled(
            "undo", entry.endpoint, key, "DELETE", None, undo_of=entry.number
        ) as write:
            return await self._delete(write, endpoint, key, entry.after or {})

    async def _undo_delete(self, entry: Entry, endpoint: Endpoint) -> SaveResult:
        document = undo.record_again(entry, endpoint)
        async with self._exchange.journalled(
            "undo", entry.endpoint, entry.key, "POST", documents.render(document), undo_of=entry.number
        ) as write:
            made = await self._post(write, endpoint, entry.key, document)
        if made.dry_run:
            return made
        now = await self._read_again(endpoint, made.key)
        return replace(made, sentence=undo.sentence_of_new_record(entry, made.key, now, endpoint))

    async def _described(self, endpoint: str) -> Endpoint:
        schema = await self._library.schema()
        if endpoint not in schema.endpoints:
            raise errors.NotFound(f"The server has no endpoint {endpoint}.")
        return schema.endpoints[endpoint]

    async def _parsed(self, endpoint: str, name: str, draft: bytes) -> dict[str, Any]:
        try:
            return await in_thread(validate.parse, draft, f"{endpoint}/{name}.json")
        except errors.Invalid as error:
            kept = await self.keep_draft(endpoint, name, draft, str(error))
            raise errors.Invalid(f"{error} The draft is kept as {kept.name}.") from error

    def _is_unchanged(self, endpoint: Endpoint, key: str, base: Mapping[str, Any], mine: Mapping[str, Any]) -> bool:
        """Whether ``mine`` says nothing new: read-only fields may hold what they held when the file was read."""
        edited = edited_fields(dict(base), dict(mine), unordered=validate.unordered_fields(endpoint))
        return all(
            validate.is_read_only(endpoint, field) and self.bases.was_shown(endpoint.name, key, field, value)
            for field, value in edited.items()
        )

    async def _read_again(self, endpoint: Endpoint, key: str) -> dict[str, Any]:
        """The record as it is on the server now; raises NotAllowed where its name is not its own alone."""
        try:
            return await self._api.detail(endpoint.name, key)
        except errors.NotFound as error:
            if "/" in key:
                raise errors.NotAllowed(
                    f"The server has no address for {key!r}, because of the '/' in it: such {endpoint.name} are made, "
                    "changed and deleted on Alyx's own pages."
                ) from error
            raise
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
            await self._read_again(endpoint, key)
        except errors.NotFound:
            return
        raise errors.Invalid(f"{endpoint.name}/{key} exists already: choose another {endpoint.lookup}.")

    def _refuse_delete(self, endpoint: Endpoint, key: str) -> None:
        """What no request is needed for; the brake counts only what could cost the server something."""
        self._refuse_any_delete(f"{endpoint.name}/{key}")
        if "DELETE" not in endpoint.detail_methods:
            raise errors.NotAllowed(f"The server does not let {endpoint.name} be deleted.")
        if endpoint.name == "users" and key == self._user:
            raise errors.NotAllowed(
                f"users/{key} is not deleted: this drive is logged in as {key}, and nothing could be undone afterwards."
            )
        if not self._exchange.dry_run:
            self.brake.take()

    def refuse_stopped(self, path: str) -> None:
        """Raise NotAllowed where no delete at all would pass now; asks nothing and counts nothing."""
        self._refuse_any_delete(path)
        self.brake.refuse_pulled()

    def _refuse_any_delete(self, path: str) -> None:
        if not self.allow_deletes:
            raise errors.NotAllowed(f"{path} is not deleted: this drive is mounted with --no-delete.")

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
        versions = {
            ".json": documents.render(dict(mine)) if write.draft is None else write.draft,
            ".base.json": documents.render(dict(base)),
            ".theirs.json": documents.render(theirs),
        }
        kept = await self._exchange.keep(write.endpoint, key, versions, sentence)
        sentence += f" Both versions are kept as {kept.name} and beside it: read the record and repeat your edit."
        await self._exchange.settle(write, State.CONFLICT, before=theirs, remark=sentence)
        self._exchange.forget(write.endpoint, key, theirs)
        return errors.Conflict(sentence)

    @asynccontextmanager
    async def _alone(self, endpoint: str, key: str) -> AsyncGenerator[None, None]:
        """Hold the record against other writes of this drive; the lock is found or made without awaiting."""
        lock = self._locks.setdefault((endpoint, key), trio.Lock())
        async with lock:
            yield


def _refuse_unchangeable(endpoint: Endpoint) -> None:
    if endpoint.name in quirks.UNCHANGEABLE:
        raise errors.NotAllowed(quirks.UNCHANGEABLE[endpoint.name])
    if "PATCH" not in endpoint.detail_methods:
        raise errors.NotAllowed(f"The server does not let {endpoint.name} be changed.")


def _words(value: Any) -> str:
    return "not there" if value is MISSING else validate.quoted(value)
