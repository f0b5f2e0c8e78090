"""The one facade through which the drive changes the database.

Order of every write: journal (on the disk), the request entered there, record read again and merged, exactly one
request, answer compared with what was sent, journal, caches. Two writes of one record never overlap. Whatever ends a
write before it is saved is entered, too, and its draft kept: from its first step on, what was written is in one of
these places.
"""

from __future__ import annotations

import functools
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import trio

from alyxfs import errors
from alyxfs.alyx.quirks import writing as quirks
from alyxfs.edits import applying, entry_diff, new_records, outcome, pictures, undoing, validate, write_sets
from alyxfs.edits.commit import Committer, refuse_unchangeable
from alyxfs.edits.delete_limit import DeleteGuard
from alyxfs.edits.entry import State
from alyxfs.edits.merge import edited_fields
from alyxfs.edits.merge_bases import Bases
from alyxfs.edits.proposals import kept
from alyxfs.edits.proposals.journal import ProposalJournal
from alyxfs.edits.request import Request, SaveResult, Write
from alyxfs.edits.second_look import SecondLooks
from alyxfs.edits.write import Exchange, in_thread

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Mapping

    from alyxfs.alyx.metadata.cache import MetadataCache
    from alyxfs.alyx.rest import Api
    from alyxfs.alyx.schema.read import Endpoint
    from alyxfs.edits.entry import Entry, WriteSet
    from alyxfs.edits.journal import Journal
    from alyxfs.edits.new_records import NewRecord
    from alyxfs.edits.proposals import ProposedApi
    from alyxfs.edits.proposals.proposal import Proposal
    from alyxfs.tasks import Tasks

log = logging.getLogger(__name__)


class Editor:
    """Writes to one Alyx; a refused draft is kept in the rejected directory, and the error says under which name.

    ``proposals`` takes the writes of a drive that sends none; it is the ``api``, too. ``user`` is who is logged in,
    where that is known. ``bases`` is where the tree says what it serves to whom.
    ``guard`` stands before deletes. ``checkpoint(name)`` is called at each step of a write.
    """

    def __init__(
        self,
        api: Api,
        metadata: MetadataCache,
        journal: Journal,
        rejected_directory: pathlib.Path,
        *,
        proposals: ProposedApi | None = None,
        allow_deletes: bool = True,
        deletes_per_minute: int = 20,
        user: str | None = None,
        checkpoint: Callable[[str], None] = lambda _name: None,
    ) -> None:
        self.guard = DeleteGuard(
            deletes_per_minute=None if proposals else deletes_per_minute, allow_deletes=allow_deletes, user=user
        )
        self.bases = Bases()
        self._api = api
        self._metadata = metadata
        self._proposals = proposals
        self._exchange = Exchange(
            api, metadata, journal, rejected_directory, proposals=proposals, checkpoint=checkpoint
        )
        self._committer = Committer(api, metadata, self._exchange, self.guard)
        if proposals is not None:
            proposals.tell_conflict = self._note_conflict

    async def save(
        self,
        endpoint: str,
        key: str,
        base: Mapping[str, Any] | None,
        draft: bytes,
        *,
        writer: int | None = None,
        identity: str | None = None,
        another: NewRecord | None = None,
    ) -> SaveResult:
        """PATCH what ``draft`` changes of ``base``, the record as its writer last saw it (``bases.base_of``).

        Where ``base`` is None, nobody here has read the record, and it is compared as it is known now (``identity``
        tells records of one name apart). ``writer`` is the writing program's process id: its next save is compared
        with this one. ``another``: the draft was written to a name under which the record was made, and makes a new
        one if it has what that needs, and no id. Where nothing changed, nothing is sent and nothing is entered in the
        journal. Raises Invalid, Conflict, NotAllowed, what the server answers, and NotKept: after any other error the
        draft is in the rejected directory.
        """
        async with self._exchange.followed(Write("save", endpoint, key, "PATCH", draft)) as write:
            described = await self._committer.described(endpoint)
            mine = await in_thread(validate.parse, draft, f"{endpoint}/{key}.json")
            if another is not None and new_records.makes_another(described, key, mine, another):
                write.operation, write.key, write.method = "create", another.name, "POST"
                return await self._create(write, described, mine, another.defaults, writer, another.beside)
            if base is None:
                base = (await self._metadata.record(endpoint, key, identity=identity)).document
            async with self._committer.alone(endpoint, key):
                if self._is_unchanged(described, key, base, mine):
                    sentence = f"{endpoint}/{key} is unchanged."
                    return SaveResult(None, endpoint, key, None, {}, sentence, base={**base, **mine})
                await self._exchange.enter(write, base)
                validate.check_changes(described, base, mine, functools.partial(self.bases.was_shown, endpoint, key))
                result = await self._committer.patch(write, described, key, base, mine)
        return self._served(result, base, mine, writer)

    async def create(
        self,
        endpoint: str,
        name: str,
        draft: bytes,
        defaults: Mapping[str, Any] | None = None,
        *,
        writer: int | None = None,
        beside: Callable[[str], bytes | None] | None = None,
    ) -> SaveResult:
        """POST a new record; ``name`` is that of its file without ``.json``, and its look-up where it gives none.

        ``defaults`` are values for fields that the draft leaves out (those of a query directory). ``beside`` gives the
        content of a local file by its name: a note may name its picture. Raises as :meth:`save`, CopyOfRecord, and
        NameTaken where the server refuses what has the name of a record that is there.
        """
        async with self._exchange.followed(Write("create", endpoint, name, "POST", draft)) as write:
            described = await self._committer.described(endpoint)
            try:
                document = await in_thread(validate.parse, draft, f"{endpoint}/{name}.json")
                await new_records.refuse_copy(self._metadata, described, name, document)
                return await self._create(write, described, document, defaults or {}, writer, beside)
            except errors.Invalid as refusal:
                await new_records.refuse_taken(self._metadata, described, name, refusal)
                raise

    async def _create(
        self,
        write: Write,
        endpoint: Endpoint,
        mine: Mapping[str, Any],
        defaults: Mapping[str, Any],
        writer: int | None,
        beside: Callable[[str], bytes | None] | None = None,
    ) -> SaveResult:
        document, image = pictures.taken_from(endpoint.name, {**defaults, **mine}, beside)
        if endpoint.lookup not in {None, "id"} and document.get(endpoint.lookup or "") in (None, "", "-"):
            document[endpoint.lookup or ""] = write.key
        await self._exchange.enter(write)
        async with self._committer.alone(endpoint.name, write.key):
            result = await self._committer.post(write, endpoint, write.key, document, image)
        return replace(self._served(result, {}, mine, writer), is_new=True)

    def _served(
        self, result: SaveResult, base: Mapping[str, Any], mine: Mapping[str, Any], writer: int | None
    ) -> SaveResult:
        """Remember what the writer believes the record to be: its own fields, and of the others what was answered."""
        believed = {**(result.document or base), **mine}
        if writer is not None:
            self.bases.served(writer, result.endpoint, result.key, believed)
        return replace(result, base=believed)

    async def delete(self, endpoint: str, key: str, *, checked: bool = False, promise: int | None = None) -> SaveResult:
        """DELETE a record that no others hang from; raises HasDependents, or NotAllowed after too many deletes.

        ``checked``: :meth:`check_delete` has counted this one. ``promise`` is its number in the journal
        if it was promised.
        """
        described = await self._committer.described(endpoint)
        if not checked and promise is None:
            self.guard.take(described, key)
        async with (
            self._exchange.followed(Write("delete", endpoint, key, "DELETE", number=promise)) as write,
            self._committer.alone(endpoint, key),
        ):
            await self._exchange.enter(write)
            if not checked and promise is not None:  # its program was told that it is done, so the journal tells
                self.guard.take(described, key)
            return await self._committer.delete(write, described, key)

    def look_again(self, tasks: Tasks, note_error: Callable[[str, str, str], None]) -> SecondLooks:
        """From now on look at each save again a moment later, and tell ``note_error`` where it does not stand there."""

        async def read(endpoint: str, key: str) -> dict[str, Any]:
            document: dict[str, Any] = (await self._metadata.record(endpoint, key, fresh=True)).document
            return document

        self._exchange.second_looks = SecondLooks(tasks, read, note_error)
        return self._exchange.second_looks

    async def look_once_more(self) -> None:
        """At the unmount: tell of saves that do not stand there any more."""

        async def read(endpoint: str, key: str) -> dict[str, Any]:
            return await self._committer.read_again(await self._committer.described(endpoint), key)

        if self._exchange.second_looks is not None:
            await self._exchange.second_looks.finish(read)

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
        described = await self._committer.described(endpoint)
        self.guard.take(described, key)
        await self._committer.deletable(described, key)

    async def consent_to_delete(self, endpoint: str, key: str) -> str:
        """Let this record be deleted, with all that is lost with it now; returns a sentence on what that is."""
        described = await self._committer.described(endpoint)
        _, lost = await self._committer.lost_with(described, key)
        return self.guard.consent(endpoint, key, lost)

    async def rename(self, endpoint: str, key: str, new_key: str) -> SaveResult:
        """PATCH of the look-up, where it is a field: ``mv A.json B.json``."""
        described = await self._committer.described(endpoint)
        lookup = described.lookup
        if lookup is None or lookup == "id":
            raise errors.NotAllowed(f"{endpoint} are named by their id, which cannot be changed.")
        async with (
            self._exchange.followed(Write("rename", endpoint, key, "PATCH")) as write,
            self._committer.alone(endpoint, key),
        ):
            await self._exchange.enter(write)
            validate.check_changes(described, {lookup: key}, {lookup: new_key})
            return await self._committer.patch(write, described, key, {lookup: key}, {lookup: new_key})

    async def attach_image(self, key: str, content: bytes, filename: str) -> SaveResult:
        """Give a note its picture: a multipart PATCH (``cp figure.png notes/<id>.png``)."""
        async with (
            self._exchange.followed(Write("attach", "notes", key, "PATCH", content)) as write,
            self._committer.alone("notes", key),
        ):
            await self._exchange.enter(write)
            described = await self._committer.described("notes")
            refuse_unchangeable(described)
            pictures.refuse_altered(key, filename, content)
            note = await self._committer.read_again(described, key)
            resent = {field: note.get(field) for field in quirks.RESENT_ON_PATCH["notes"]}
            request = Request("PATCH", described, key, resent, note, (quirks.short_picture_name(filename), content))
            return await self._exchange.send(write, request)

    async def act(self, endpoint: str, draft: bytes) -> Any:
        """POST to an address that holds no records, as register-file; returns the answer, None where none was sent."""
        async with self._exchange.followed(Write("act", endpoint, "new", "POST", draft)) as write:
            described = await self._committer.described(endpoint)
            if not described.action:
                raise errors.NotAllowed(f"{endpoint} holds records: write one of its files instead.")
            document = await in_thread(validate.parse, draft, f"{endpoint}/new.json")
            await self._exchange.enter(write)
            return await self._exchange.act(write, endpoint, document)

    async def undo(self, number: int) -> SaveResult:
        """Take back a write: PATCH back what it changed, POST again what it deleted, DELETE what it made.

        Raises Conflict where somebody changed the same since, NotAllowed where it cannot be taken back.
        """
        entry = await self.entry(number)
        if self._proposals is not None and self._proposals.overlay.record_of(number) is not None:
            return await self._withdraw(self._proposals, entry)
        return await undoing.take_back(self._committer, self.guard, entry)

    async def apply(self, number: int) -> SaveResult:
        """Send a write that is staged; raises as any write does, Conflict where somebody changed the same since."""
        exchange = self._exchange
        ids = await in_thread(kept.given_ids, exchange.journal, exchange.server)
        entry = await in_thread(
            kept.as_of_today, exchange.journal, await self.entry(number), ids, await self._metadata.schema()
        )
        return await applying.apply(self._committer, self.guard, entry)

    async def _withdraw(self, proposals: ProposedApi, entry: Entry) -> SaveResult:
        """A proposal is undone by forgetting it; raises Conflict where later ones build on it."""
        proposal = await proposals.withdraw(entry.number)
        sentence = f"The {entry.operation} of {entry.endpoint}/{entry.key} is {proposals.word.lower()} no longer."
        return await self.note_withdrawn(entry, proposal, sentence)

    async def note_withdrawn(self, entry: Entry, proposal: Proposal, sentence: str) -> SaveResult:
        """Enter that a proposal is forgotten, and drop what was read with it."""
        await in_thread(
            functools.partial(self._exchange.journal.record, entry.number, State.WITHDRAWN, remark=sentence)
        )
        after = {**proposal.before, **proposal.document}
        new_key = outcome.key_of(proposal.endpoint, after) or proposal.key
        touched = self._exchange.forget(entry.endpoint, proposal.key, proposal.before, new_key, after)
        return SaveResult(entry.number, entry.endpoint, proposal.key, None, {}, sentence, touched)

    async def _note_conflict(self, number: int, conflict: str | None) -> None:
        assert isinstance(self._exchange.journal, ProposalJournal)
        try:
            await in_thread(self._exchange.journal.note_conflict, number, conflict)
        except errors.ConfigurationError as unusable:  # a reader has found it out, who can do nothing about it
            log.warning("%s", unusable)

    @property
    def sends_nothing(self) -> bool:
        """Whether what programs save reaches the server not by itself."""
        return self._proposals is not None

    def proposed(self) -> dict[str, object]:
        """For ``.alyxfs/status.json``: whether writes are only proposed, how many are, and how many conflict."""
        is_staging = self._proposals is not None and self._proposals.is_staging
        kind = {"dry_run": self.sends_nothing and not is_staging, "staging": is_staging}
        return {**kind, **(self._proposals.status() if self._proposals else {})}

    def proposals_of(self, endpoint: str, key: str) -> list[int]:
        """The numbers in the journal of what is proposed of a record."""
        record = self._proposals.overlay.live(endpoint, key) if self._proposals else None
        return [] if record is None else [each.number for each in record.proposals]

    def proposed_picture(self, note: str) -> bytes | None:
        """The picture that a note is to have, where that is only proposed."""
        record = self._proposals.overlay.live("notes", note) if self._proposals else None
        return record.picture if record is not None else None

    async def recover(self) -> list[str]:
        """Settle the writes that a killed process left behind, by reading the server; one sentence for each."""
        sentences = []
        for entry in await in_thread(self._exchange.journal.interrupted, self._api.base_url):
            try:
                described = await self._committer.described(entry.endpoint)
            except errors.NotFound:
                described = None
            sentences.append(await self._exchange.settle_interrupted(entry, described))
        return [sentence for sentence in sentences if sentence]

    async def preview(self, endpoint: str, key: str, changes: Mapping[str, Any]) -> str:
        """What saving these fields would change of a record as it is known now, as a unified diff; nothing is sent.

        Raises what would refuse it before anything is sent.
        """
        described = await self._committer.described(endpoint)
        refuse_unchangeable(described)
        record = (await self._metadata.record(endpoint, key)).document
        validate.check_changes(described, record, changes)
        unordered = validate.unordered_fields(described)
        return entry_diff.of_changes(endpoint, key, record, edited_fields(record, dict(changes), unordered=unordered))

    async def diff(self, number: int) -> str:
        """What a write changed, or would have changed, as a unified diff."""
        return entry_diff.diff(await self.entry(number))

    async def entries(self, **selection: Any) -> list[Entry]:
        """What :meth:`Journal.entries` selects, oldest first, without the records themselves."""
        return await in_thread(functools.partial(self._exchange.journal.entries, **selection))

    async def begin_set(self, made_by: str) -> int:
        """A number for writes that are made together, by this command (see ``sets``)."""
        return await in_thread(self._exchange.journal.begin_set, self._exchange.server, made_by)

    async def write_set(self, number: int) -> tuple[WriteSet, list[list[int]]]:
        """One set, and its writes that can be taken back, as ``write_sets.to_undo`` has them; raises NotFound."""
        found = await in_thread(self._exchange.journal.write_set, number)
        undone = await in_thread(self._exchange.journal.undone_in, number)
        return found, write_sets.to_undo(await self.entries(in_set=number), undone)

    async def described(self, endpoint: str) -> Endpoint:
        """What the schema says of an endpoint; raises NotFound."""
        return await self._committer.described(endpoint)

    async def entry(self, number: int) -> Entry:
        """One write with all that is known of it; raises NotFound."""
        return await in_thread(self._exchange.journal.entry, number)

    async def keep_draft(self, endpoint: str, name: str, draft: bytes, reason: str) -> pathlib.Path:
        """Put a draft that nobody will complete into the rejected directory."""
        return await self._exchange.keep(endpoint, name, {".json": draft}, reason)

    def _is_unchanged(self, endpoint: Endpoint, key: str, base: Mapping[str, Any], mine: Mapping[str, Any]) -> bool:
        """Whether ``mine`` says nothing new: read-only fields may hold what they held when the file was read."""
        edited = edited_fields(dict(base), dict(mine), unordered=validate.unordered_fields(endpoint))
        return all(
            validate.is_read_only(endpoint, field) and self.bases.was_shown(endpoint.name, key, field, value)
            for field, value in edited.items()
        )
