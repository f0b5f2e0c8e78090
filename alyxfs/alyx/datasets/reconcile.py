"""What went or moved without a trace: the server tells what changed, but no deletion and no subject's new name.

So what should be there is compared with what the server lists, for one subject, one lab or all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import trio

from alyxfs import errors
from alyxfs.alyx.datasets import fields
from alyxfs.alyx.datasets.layout import session_place
from alyxfs.alyx.identities import UUID, identity_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping

    from alyxfs.alyx.datasets.delta import Delta
    from alyxfs.alyx.datasets.snapshot import Snapshot
    from alyxfs.alyx.rest import Filters

IDS_A_REQUEST = 100
"""Of a query by ids: an address may have 8 kB (BEHAVIOUR of Alyx 3.6.1, "Filters"), and an id takes 45 bytes of it."""


Rows: TypeAlias = "list[dict[str, Any]]"
WalkList: TypeAlias = "Callable[[str, Filters, Callable[[Rows], None]], Awaitable[None]]"
"""Walks a list of an endpoint with filters and gives its rows, page by page."""


class Search:
    """One search; what it finds goes into ``changes``. ``personal`` names the repositories that are no servers."""

    def __init__(self, walk: WalkList, contents: Snapshot, changes: Delta, personal: frozenset[str]) -> None:
        self._walk = walk
        self._contents = contents
        self._changes = changes
        self._personal = personal
        self.compared: dict[str, int] = {}
        """Records that the server has listed so far, by endpoint."""

    async def among_sessions(self, lab: str | None = None, subject: str | None = None) -> None:
        """Sessions of a subject, a lab, or all."""
        seen: set[str] = set()

        def take(rows: Rows) -> None:
            seen.update(known_ids("sessions", rows))
            self.compared["sessions"] = len(seen)
            self._changes.add_sessions(row for row in rows if self._has_moved(row))

        await self._walk("sessions", _scope(lab, subject), take)
        known = (place.identity for place in self._contents.places(lab, subject))
        await self.sessions([session for session in known if session not in seen])

    async def among_datasets(self, lab: str | None = None, subject: str | None = None) -> None:
        """Datasets of a subject, a lab, or all."""
        seen: set[str] = set()

        def take(rows: Rows) -> None:
            seen.update(known_ids("datasets", rows))
            self.compared["datasets"] = len(seen)
            self._changes.add_datasets((row for row in rows if self._is_news(row)), self._personal)

        await self._walk("datasets", _scope(lab, subject), take)
        unseen = []
        for place in list(self._contents.places(lab, subject)):
            unseen += [file.identity for file in self._contents.files(place.identity) if file.identity not in seen]
            await trio.lowlevel.checkpoint()  # others get their turn: there may be thousands of sessions
        await self.datasets(unseen)

    async def sessions(self, identities: Iterable[str]) -> None:
        """These sessions alone."""
        gone = await self._missing("sessions", identities, self._changes.add_sessions)
        self._changes.places.update(dict.fromkeys(gone))

    async def datasets(self, identities: Iterable[str]) -> None:
        """These datasets alone."""
        gone = await self._missing(
            "datasets", identities, lambda rows: self._changes.add_datasets(rows, self._personal)
        )
        for dataset in gone:
            self._changes.put(dataset, "", None)

    async def doubtful(self, keys: Mapping[str, Collection[str]], told: Collection[str]) -> bool:
        """Records, by endpoint, that were changed or are to be asked for, but for those that the server has ``told``.

        A renamed subject or lab shows as a name that was not there, which its sessions have now. False where there was
        nothing to ask.
        """
        sessions = [key for key in keys.get("sessions", ()) if key not in told]
        datasets = [key for key in keys.get("datasets", ()) if key not in told]
        await self.sessions(sessions)
        await self.datasets(datasets)
        subjects = [key for key in keys.get("subjects", ()) if not self._contents.labs_of(key)]
        labs = [key for key in keys.get("labs", ()) if not self._contents.subjects(key)]
        for name, values in (("subject", subjects), ("lab", labs)):
            for value in values:
                await self._walk("sessions", ((name, value),), self._changes.add_sessions)
        return bool(sessions or datasets or subjects or labs)

    async def _missing(self, endpoint: str, identities: Iterable[str], take: Callable[[Rows], None]) -> list[str]:
        """Those that the server does not have; the rows of the others go to ``take``."""
        asked = [identity for identity in identities if UUID.fullmatch(identity)]
        seen: set[str] = set()

        def note(rows: Rows) -> None:
            seen.update(known_ids(endpoint, rows))
            take(rows)

        for start in range(0, len(asked), IDS_A_REQUEST):
            listed = ",".join(f"'{identity}'" for identity in asked[start : start + IDS_A_REQUEST])
            await self._walk(endpoint, (("django", f"id__in,[{listed}]"),), note)
        return [identity for identity in asked if identity not in seen]

    def _has_moved(self, row: Mapping[str, Any]) -> bool:
        identity = identity_of(row)
        values = (row.get(name) for name in ("lab", "subject", "start_time", "number"))
        return identity is not None and self._contents.place(identity) != session_place(identity, *values)

    def _is_news(self, row: Mapping[str, Any]) -> bool:
        """Whether no server offers a dataset, or it was told anew since the tables were made, rightly or wrongly."""
        return not fields.is_offered(row, self._personal) or self._contents.is_told_anew(identity_of(row) or "")


def known_ids(endpoint: str, rows: Rows) -> set[str]:
    """The ids of these rows.

    Raises ServerFault where one has none: what was not seen could be that one, and not gone.
    """
    found = set(map(identity_of, rows))
    if None in found:
        raise errors.ServerFault(f"The list of {endpoint} holds rows without an id: what is gone cannot be told by it.")
    return {identity for identity in found if identity is not None}


def _scope(lab: str | None, subject: str | None) -> Filters:
    given = (("lab", lab), ("subject", subject))
    return tuple((name, value) for name, value in given if value is not None)
