"""An Alyx as it would be if all that is proposed had been sent: reads go to the server, writes go nowhere.

Everything above, from the tree to the merge, is the same as on a drive that sends its writes: it asks this instead of
the server, and so every listing, query, count and check is of one state.
"""

from __future__ import annotations

import functools
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from alyxfs import clock, errors
from alyxfs.alyx.datasets.reconcile import IDS_A_REQUEST
from alyxfs.alyx.identities import UUID, named_by
from alyxfs.alyx.metadata import rows
from alyxfs.alyx.quirks import new_records as quirks
from alyxfs.alyx.quirks.writing import FIELD_OF_FILTER
from alyxfs.alyx.rest import Api, Page, Reply, combined
from alyxfs.edits.proposals import answers, checks
from alyxfs.edits.proposals.hanging import hanging_from
from alyxfs.edits.proposals.kept import picture_address
from alyxfs.edits.proposals.overlay import Overlay
from alyxfs.edits.proposals.proposal import Proposal
from alyxfs.edits.proposals.selection import Standing, selects
from alyxfs.edits.proposals.walk import ProposedWalk

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from alyxfs.alyx.auth import Account, Login
    from alyxfs.alyx.rest import Fetch, Filters
    from alyxfs.alyx.schema.read import Endpoint, Schema
    from alyxfs.alyx.walk import Walk
    from alyxfs.edits.proposals.proposal import ProposedRecord
    from alyxfs.net import Network

_NOTHING = Page(0, [], 0)


async def _tell_nobody(_number: int, _conflict: str | None) -> None:
    pass


def _forget_nothing(_endpoint: str, _key: str | None) -> None:
    pass


class _Server(Api):
    """With the log-in of another one."""

    def __init__(self, network: Network, base_url: str, account: Account, login: Login) -> None:
        super().__init__(network, base_url, account)
        self._login = login


class ProposedApi(Api):
    """See the module. ``overlay`` is what is proposed; it changes in :meth:`take` and :meth:`withdraw`."""

    def __init__(self, network: Network, base_url: str, account: Account, *, keeps_token: bool = False) -> None:
        super().__init__(network, base_url, account, keeps_token=keeps_token)
        self.overlay = Overlay()
        self.schema: Schema | None = None
        """Set once it is known, and before anything is proposed."""
        self.tell_conflict: Callable[[int, str | None], Awaitable[None]] = _tell_nobody
        """Called when a proposal (its number in the journal) turns out to conflict, or no longer to."""
        self.forget: Callable[[str, str | None], None] = _forget_nothing
        """Called with the endpoint and look-up of records that come or go with another one, and with their lists."""
        self.besides: set[int] = set()
        """Proposals that no record shows: what is asked of addresses that hold none."""
        self.is_staging = False
        """Whether proposals outlive the drive."""
        self.server: Api = _Server(network, base_url, account, self._login)
        """The server as it is, to which writes can be sent."""
        self._user = account.user

    # Reads

    async def detail(self, endpoint: str, key: str, lookup: str | None = None) -> dict[str, Any]:
        """See Api."""
        record = self.overlay.live(endpoint, key)
        if record is None and self.overlay.is_gone(endpoint, key):
            url = self.address(endpoint, key)
            raise errors.NotFound(f"{url} would not exist any more: see `alyxfs log`.", status=404, url=url)
        theirs = None
        if record is None or record.origin is not None:
            try:
                theirs = await super().detail(endpoint, key if record is None else str(record.origin), lookup)
            except errors.NotFound:
                if record is not None:
                    await self._note(
                        record, dict.fromkeys(_numbers(record), f"{endpoint}/{key} is not there any more.")
                    )
                raise
            theirs = self.overlay.with_new_names(endpoint, theirs)
        shown = theirs or {}
        if record is not None:
            shown = self._with_own_address(record, record.shown(theirs))
            await self._note(record, record.conflicts(theirs))
        return self.overlay.with_others_inside(endpoint, key, shown)

    def _with_own_address(self, record: ProposedRecord, shown: dict[str, Any]) -> dict[str, Any]:
        has_moved = record.key != record.origin and "url" in shown
        return {**shown, "url": self.address(record.endpoint.name, record.key)} if has_moved else shown

    async def _note(self, record: ProposedRecord, conflicts: Mapping[int, str]) -> None:
        """Let people know of conflicts that came, or went."""
        changed = [each for each in record.proposals if each.conflict != conflicts.get(each.number)]
        for proposal in changed:
            proposal.conflict = conflicts.get(proposal.number)
        for proposal in changed:
            await self.tell_conflict(proposal.number, proposal.conflict)

    def walk(self, endpoint: str, filters: Filters, begin: Callable[[Fetch], Walk]) -> Walk:
        """See Api."""
        fetch = functools.partial(self._server_page, endpoint)
        return ProposedWalk(
            begin(fetch),
            functools.partial(self._shown_row, endpoint, filters),
            functools.partial(self._besides, endpoint, filters),
        )

    async def page(self, endpoint: str, filters: Filters, limit: int, offset: int) -> Page:
        """See Api. The rows that are proposed come after those of the server."""
        page = await self._server_page(endpoint, filters, limit, offset)
        selected = await self._selected(endpoint, filters, page, is_whole=offset == 0 and _has_all(page))
        if 0 < len(page.rows) <= len(selected) and offset == 0:  # enough that one is left, if there is one
            page = await self._server_page(endpoint, filters, limit + len(selected), 0)
        shown = [each for row in page.rows if (each := self._shown_row(endpoint, filters, row)[0]) is not None]
        gone = sum(1 for each in selected if self._judged(endpoint, filters, each, each.first_before) is False)
        seen = {each.identity for each in selected}
        # Who asks page by page for what is newer wants to know what others have changed.
        besides = [] if "auto_datetime__gt" in str(dict(filters)) else self._besides(endpoint, filters, seen)
        if page.count is None or offset + len(page.rows) >= page.count:
            shown += besides
        count = None if page.count is None else page.count - gone + len(besides)
        return Page(count, shown[:limit], page.size)

    async def _server_page(self, endpoint: str, filters: Filters, limit: int, offset: int) -> Page:
        """A page of what the server has, asked for with the names that are known there."""
        asked = self._asked(endpoint, filters)
        return _NOTHING if asked is None else await super().page(endpoint, asked, limit, offset)

    def _asked(self, endpoint: str, filters: Filters) -> Filters | None:
        """The filters as the server understands them; None where they name what it does not have."""
        asked = []
        for name, value in filters:
            field = FIELD_OF_FILTER.get(endpoint, {}).get(name, name)
            other = quirks.REFERENCES.get(endpoint, {}).get(field) or quirks.NAMES.get(field)
            own = self.schema.endpoints.get(endpoint) if self.schema else None
            if own is not None and field == own.lookup:
                other = endpoint
            origin = self.overlay.origin_of(other, value) if other else value
            if origin is None:
                return None
            asked.append((name, origin))
        return tuple(asked)

    async def _selected(self, endpoint: str, filters: Filters, page: Page, *, is_whole: bool) -> list[ProposedRecord]:
        """Which of the records of the server of which anything is proposed it selects now, by its own judgement."""
        touched = [each for each in self.overlay.of(endpoint) if not each.is_new]
        asked = self._asked(endpoint, filters)
        if not touched or not filters or asked is None:
            return [] if asked is None else touched
        described = touched[0].endpoint
        found = {rows.identity_of(described, row) for row in page.rows}
        if not is_whole:
            if "django" not in described.filters or not all(UUID.fullmatch(each.identity) for each in touched):
                return [each for each in touched if selects(endpoint, filters, each.first_before)]
            name = "pk" if "id__in" in str(dict(asked).get("django")) else "id"  # none may stand twice
            for start in range(0, len(touched), IDS_A_REQUEST):
                listed = ",".join(f"'{each.identity}'" for each in touched[start : start + IDS_A_REQUEST])
                some = await super().page(endpoint, combined(asked, [f"{name}__in,[{listed}]"]), IDS_A_REQUEST, 0)
                found.update(rows.identity_of(described, row) for row in some.rows)
        return [each for each in touched if each.identity in found]

    def _shown_row(
        self, endpoint: str, filters: Filters, row: dict[str, Any]
    ) -> tuple[dict[str, Any] | None, str | None]:
        """A row of the server as it is to be shown, None where it is not; and which of the touched records it is."""
        row = self.overlay.with_new_names(endpoint, row)
        touched = self.overlay.of(endpoint)
        record = touched and self.overlay.of_identity(endpoint, rows.identity_of(touched[0].endpoint, row))
        if not record:
            return row, None
        is_shown = self._judged(endpoint, filters, record, row) is not False
        return (self._with_own_address(record, record.shown(row)) if is_shown else None), record.identity

    def _judged(self, endpoint: str, filters: Filters, record: ProposedRecord, theirs: dict[str, Any]) -> bool | None:
        """Whether a record that the server selects is still to be shown; None leaves it to the server."""
        if record.is_deleted:
            return False
        return selects(endpoint, filters, {**record.first_before, **record.shown(theirs)}, Standing.CHANGED)

    def _besides(self, endpoint: str, filters: Filters, seen: set[str]) -> list[dict[str, Any]]:
        """The records that are shown and that the server does not select, as they are, by this query."""
        found = []
        for record in self.overlay.of(endpoint):
            if record.is_deleted or record.identity in seen:
                continue
            if record.is_new:
                shown = record.shown(None)
                if selects(endpoint, filters, shown, Standing.NEW):
                    found.append(shown)
            elif filters and selects(endpoint, filters, record.first_before) is not True:
                shown = record.shown(record.first_before)
                if selects(endpoint, filters, shown, Standing.CHANGED):
                    found.append(self._with_own_address(record, shown))
        return found

    # Writes

    async def take(
        self,
        number: int,
        method: str,
        endpoint: Endpoint,
        key: str,
        document: Mapping[str, Any] | None,
        before: Mapping[str, Any] | None,
        picture: bytes | None = None,
    ) -> Reply:
        """Take a write as a proposal, instead of :meth:`send`; raises as that does where it can be known here.

        ``number`` is the journal's, ``before`` the record as it is now, ``picture`` that of a note. Raises NotConnected
        where the server cannot be asked for what is needed to tell.
        """
        try:
            return await self._take(number, method, endpoint, key, document or {}, dict(before or {}), picture)
        except (errors.ServerFault, errors.Unreachable, errors.DeadlineExceeded) as error:
            raise errors.NotConnected(str(error), status=error.status, url=error.url) from error

    async def _take(
        self,
        number: int,
        method: str,
        endpoint: Endpoint,
        key: str,
        document: Mapping[str, Any],
        before: dict[str, Any],
        picture: bytes | None,
    ) -> Reply:
        """All that may fail comes before the proposal is added."""
        if picture is not None:
            checks.refuse_no_picture(key, picture)
            document = {**document, "image": picture_address(number, str(document.get("image")), self.address)}
        values = answers.stored(endpoint, document, self.address)
        if method == "DELETE":
            others = await hanging_from(self, self.schema, endpoint, key, before) if self.schema else []
            record = self.overlay.add(Proposal(number, method, endpoint, key, {}, before))
            self.overlay.take_along(record, ((each.endpoint, each.key, each.identity) for each in others))
            self.forget_all(record.takes_with_it)
            return Reply(204, None)
        checks.refuse_unfitting(endpoint, values, before)
        assert self.schema is not None, "it is known before anything is proposed"
        await checks.refuse_unknown_names(self, self.schema, endpoint, values, before)
        if method == "POST":
            made = answers.new_record(endpoint, document, self.address, self._user, _now())
            new_key = named_by(made, endpoint.lookup or "id") or rows.identity_of(endpoint, made)
            await checks.refuse_taken_name(self, endpoint, new_key)
            made.update(await checks.from_others(self, endpoint, made))
            checks.refuse_proposed_name(endpoint, is_taken=self.overlay.live(endpoint.name, new_key) is not None)
            self.overlay.add(Proposal(number, method, endpoint, new_key, made, {}, picture))
            return Reply(201, made)
        record = self.overlay.add(Proposal(number, method, endpoint, key, values, before, picture))
        return Reply(200, self._with_own_address(record, {**before, **values}))

    async def withdraw(self, number: int) -> Proposal:
        """Forget a proposal. Raises NotAllowed where there is none, Conflict where later ones build on it."""
        record, proposal = self._proposed(number)
        theirs = None
        if not record.is_new and proposal is not record.proposals[-1]:  # else nothing can build on it but by a name
            try:
                theirs = await super().detail(record.endpoint.name, str(record.origin))
            except errors.NotFound:  # gone meanwhile: nothing of it is shown
                theirs = {}
            theirs = self.overlay.with_new_names(record.endpoint.name, theirs)
        record, proposal = self._proposed(number)  # it may have been withdrawn meanwhile
        in_the_way = self.overlay.in_the_way(record, proposal, theirs)
        if in_the_way:
            writes = ", ".join(f"write {each}" for each in sorted(in_the_way))
            raise errors.Conflict(f"Later proposals build on that of {proposal.name} ({writes}): undo those first.")
        others = list(record.takes_with_it) if proposal.method == "DELETE" else []
        self.overlay.withdraw(record, proposal)
        self.forget_all(others)
        return proposal

    def taken_with(self, number: int | None) -> list[tuple[str, str, str]]:
        """The records that go with one whose delete this is: endpoint, look-up and identity of each."""
        found = self.overlay.record_of(number) if number is not None else None
        others = found[0].takes_with_it if found else []
        return [(each.endpoint.name, each.key, each.identity) for each in others]

    def _proposed(self, number: int) -> tuple[ProposedRecord, Proposal]:
        found = self.overlay.record_of(number)
        if found is None:
            raise errors.NotAllowed(f"Write {number} is no proposal that this drive shows: there is nothing to undo.")
        return found

    def forget_all(self, others: list[ProposedRecord]) -> None:
        """Drop what is known of records that came or went with another one."""
        for other in others:
            self.forget(other.endpoint.name, other.key)
        for endpoint in {other.endpoint.name for other in others}:
            self.forget(endpoint, None)

    @property
    def word(self) -> str:
        """What is said of a write that is taken."""
        return "Staged" if self.is_staging else "Proposed"

    def status(self) -> dict[str, int]:
        """How much is proposed, and how many proposals conflict with what the server has now."""
        proposals = list(self.overlay)
        return {
            "proposals": len(proposals),
            "proposals_in_conflict": sum(1 for each in proposals if each.conflict is not None),
        }


def _has_all(page: Page) -> bool:
    return page.count is not None and len(page.rows) >= page.count


def _numbers(record: ProposedRecord) -> list[int]:
    return [each.number for each in record.proposals]


def _now() -> str:
    moment = datetime.fromtimestamp(clock.now(), timezone.utc).replace(tzinfo=None)
    return moment.isoformat()
