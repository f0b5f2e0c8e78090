"""The records of a drive: in memory, else in the store, else by one request that all who ask share."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import trio
from cachetools import LRUCache, TTLCache

from alyxfs import clock, errors, json_text
from alyxfs.alyx.lookups import FOLDED
from alyxfs.alyx.metadata import rows
from alyxfs.alyx.metadata.freshness import DOWN
from alyxfs.alyx.metadata.measures import Measure, Measures
from alyxfs.single_flight import SingleFlight
from alyxfs.store import StoredRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from alyxfs.alyx.metadata.listing import Listing
    from alyxfs.alyx.metadata.shared import Shared
    from alyxfs.alyx.schema.model import Endpoint

NEGATIVE_TIME_TO_LIVE = 10.0
"""Seconds for which "there is no such record" is believed."""

MISSING_LIMIT = 10_000
"""Names of missing records remembered at a time."""

MEMORY_LIMIT = 32 * 1024**2
"""Bytes of records kept in memory, as estimated by :func:`_weight`."""

REMEMBERED_SECONDS = 30.0
"""How long a record is in memory that nobody asks for, or twice as long: the store gives it in a millisecond."""

LARGEST_IN_MEMORY = MEMORY_LIMIT // 4
"""A record heavier than this would push all others out: the store has it."""

_DOUBLED = "returned more than one"
"""The server's words where a look-up leads to several records (recorded on Alyx 3.6.1)."""
_ABSENT = "matching query does not exist"
"""The server's words, with a 500, for the water requirement of an unknown subject (from its source)."""


@dataclass(frozen=True)
class Record:
    """A record and the content of its file."""

    identity: str
    document: Any
    content: bytes
    fetched_at: float
    """Unix seconds at which it was asked for."""
    modified: float
    """Unix seconds: the server's field, else the first sight of this content."""
    stale: bool = False
    """Older than the time to live, and the server could not be asked."""
    partial: bool = False
    """A row of the list where the detail cannot be had (a doubled look-up): it holds fewer fields."""


_Name = tuple[str, str, str | None]
"""Endpoint, look-up, and identity where the look-up alone does not tell."""


class _Memory(LRUCache[_Name, Record]):
    """Records, of which the measures stay when they go for want of room, or of readers."""

    def __init__(self) -> None:
        super().__init__(MEMORY_LIMIT, _weight)
        self.measures = Measures()

    def popitem(self) -> tuple[_Name, Record]:
        """Called where there is no room."""
        name, record = super().popitem()
        self._keep_measure(name, record)
        return name, record

    def let_go(self, name: _Name) -> None:
        """Drop a record that is still as it is known."""
        self._keep_measure(name, self.pop(name))

    def _keep_measure(self, name: _Name, record: Record) -> None:
        self.measures.put(*name[:2], record.identity, _measure(record))


class Records:
    """State: ``_memory``, ``_asked_for`` and ``_missing`` change only between awaits."""

    def __init__(self, shared: Shared, listing: Callable[[str], Listing]) -> None:
        self._shared = shared
        self._listing = listing
        self._memory = _Memory()
        self._asked_for: set[_Name] = set()
        """Those in memory that were asked for since the last look for what is idle."""
        self._looked_at = time.monotonic()
        self._missing: TTLCache[_Name, errors.NotFound] = TTLCache(MISSING_LIMIT, NEGATIVE_TIME_TO_LIVE)
        self._flights: SingleFlight[_Name, Record] = SingleFlight(shared.tasks)

    def __len__(self) -> int:
        return len(self._memory)

    async def get(self, endpoint: str, key: str, identity: str | None, *, fresh: bool) -> Record:
        """See :meth:`alyxfs.alyx.metadata.cache.MetadataCache.record`."""
        name = (endpoint, key, identity)
        if fresh:
            return await self._flights.result(name, partial(self._asked, name, None, is_new=True), joins=False)
        known = self.known(endpoint, key, identity)
        if known is None or not self._is_fresh(name, known.fetched_at):
            known = await self._stored(name) or known
        if known is not None and (self._is_fresh(name, known.fetched_at) or self._shared.freshness.is_down):
            return self._served(name, known)
        if (missing := self._missing.get(name)) is not None:
            raise missing.again()
        try:
            return await self._flights.result(name, partial(self._asked, name, known, waits=known is None))
        except DOWN as error:
            self._shared.freshness.note_failure(error)
            if known is None:
                raise
            return self._served(name, known)

    async def has(self, endpoint: str, key: str) -> bool:
        """Whether a fresh one is in memory or in the store."""
        name = (endpoint, key, None)
        record = self.known(*name) or await self._stored(name)
        return record is not None and self._is_fresh(name, record.fetched_at)

    def known(self, endpoint: str, key: str, identity: str | None) -> Record | None:
        """The record in memory, however old."""
        for name in ((endpoint, key, identity), (endpoint, key, None)):
            if (record := self._memory.get(name)) is not None:
                self._asked_for.add(name)
                return record if _is_it(record, key, identity) else None
        return None

    def measure(self, endpoint: str, key: str, identity: str | None) -> Measure | None:
        """Of the record as it was known last, if it was."""
        record = self.known(endpoint, key, identity)
        if record is not None:
            return _measure(record)
        return self._memory.measures.get(endpoint, key, identity)

    def forget_idle(self) -> bool:
        """Drop the records that nobody asks for, which the store has; whether there were some."""
        if time.monotonic() - self._looked_at < REMEMBERED_SECONDS:
            return False
        self._looked_at = time.monotonic()
        self._missing.expire()
        idle = [name for name in self._memory if name not in self._asked_for and self._may_go(name)]
        self._asked_for.clear()
        for name in idle:
            self._memory.let_go(name)
        return bool(idle)

    def _may_go(self, name: _Name) -> bool:
        """Whether that costs no request: a row in place of a record is nowhere else."""
        record = self._memory[name]
        return not (self._shared.store.trouble or (record.partial and self._is_fresh(name, record.fetched_at)))

    def evict(self, endpoint: str, key: str | None) -> None:
        """Drop the record, or (no key) all of the endpoint, and requests under way that may have read it before."""

        def is_meant(name: _Name) -> bool:
            return name[0] == endpoint and key in {None, name[1]}

        for cache in (self._memory, self._missing):
            for name in filter(is_meant, list(cache)):
                cache.pop(name, None)
        self._memory.measures.forget(endpoint, key)
        self._flights.forget(is_meant)

    async def _stored(self, name: _Name) -> Record | None:
        endpoint, key, identity = name
        wanted = None if identity == key else identity
        record = await trio.to_thread.run_sync(self._load, endpoint, key, wanted)
        if record is None or not _is_it(record, key, identity):
            return None
        return self._remember(endpoint, key, record)

    def _load(self, endpoint: str, key: str, identity: str | None, *, whole: bool = True) -> Record | None:
        """A record out of the store. Blocks: call in a thread."""
        stored = self._shared.store.record(endpoint, key, identity, whole=whole)
        if stored is None:
            return None
        try:
            document = json_text.decode(stored.body)
        except ValueError:
            return None
        if not isinstance(document, dict):
            return None
        modified = rows.modified_of(endpoint, document)
        modified = stored.changed_at if modified is None else modified
        return Record(stored.identity, document, json_text.render(document), stored.fetched_at, modified)

    async def _asked(self, name: _Name, known: Record | None, *, waits: bool = False, is_new: bool = False) -> Record:
        """``waits``: for a server that is away, as long as the deadline; ``is_new``: no proxy may have kept it."""
        asked_at, began = clock.now(), trio.current_time()
        try:
            try:
                record = await self._request(name, known, is_new=is_new)
            except DOWN as error:
                if not waits:
                    raise
                self._shared.freshness.note_failure(error)
                record = await self._shared.api.once_it_is_back(partial(self._request, name, known), error, began)
        except errors.NotFound as error:
            if not self._shared.freshness.is_outdated(name[0], name[1], asked_at):
                self._missing[name] = error.again()
            self._shared.freshness.note_answer()
            raise
        except DOWN:
            raise
        except errors.AlyxfsError:  # a refusal is an answer, too
            self._shared.freshness.note_answer()
            raise
        self._missing.pop(name, None)
        self._shared.freshness.note_answer()
        return record

    async def _request(self, name: _Name, known: Record | None, *, is_new: bool = False) -> Record:
        endpoint, key = await self._shared.endpoint(name[0]), name[1]
        if not endpoint.detailed:
            return await self._row(endpoint, key, name[2])

        def may_be_from(moment: float) -> bool:
            return not is_new and self._is_fresh(name, moment)

        try:
            document, asked_at = await self._shared.api.recent_detail(endpoint.name, key, endpoint.lookup, may_be_from)
        except (errors.NotFound, errors.ServerFault) as error:
            if endpoint.listed and _has_no_address(key, error):
                return await self._row(endpoint, key, name[2])
            if endpoint.listed and (_DOUBLED in str(error) or isinstance(error, errors.Misdirected)):
                return await self._row_of_doubled(endpoint, key, name[2])
            if _ABSENT in str(error):
                raise errors.NotFound(f"{endpoint.name} has no record {key!r}.", status=404) from error
            raise
        return await self._keep(endpoint, key, document, known, asked_at)

    async def _keep(
        self, endpoint: Endpoint, key: str, document: dict[str, Any], known: Record | None, asked_at: float
    ) -> Record:
        identity = rows.identity_of(endpoint, document, key)
        body, content = await trio.to_thread.run_sync(_texts, document)
        modified = rows.modified_of(endpoint.name, document)
        if modified is None:
            modified = known.modified if known is not None and known.content == content else asked_at
        stored = StoredRecord(identity, key, whole=True, body=body, fetched_at=asked_at, changed_at=modified)
        record = Record(identity, document, content, asked_at, modified)
        if self._shared.freshness.is_outdated(endpoint.name, key, asked_at):
            return record  # changed since it was asked for: fit for who asked then, and for nobody later
        self._remember(endpoint.name, key, record)
        self._shared.saver.add(lambda: self._shared.store.put_records(endpoint.name, [stored]))
        if _weight(record) > LARGEST_IN_MEMORY:
            await self._shared.saver.flush()  # the next reader finds it in the store or nowhere
        return record

    async def _row_of_doubled(self, endpoint: Endpoint, key: str, identity: str | None) -> Record:
        """The row behind a look-up that leads to several records: the list filtered by the look-up has them all."""
        lookup = endpoint.lookup or ""
        if lookup not in endpoint.filters:
            return await self._row(endpoint, key, identity)
        asked_at = clock.now()
        page = await self._shared.api.page(endpoint.name, ((lookup, key),), 1000, 0)
        for document in page.rows:
            found = rows.identity_of(endpoint, document)
            if document.get(lookup) == key and identity in {None, key, found}:
                modified = rows.modified_of(endpoint.name, document) or asked_at
                content = json_text.render(document)
                is_partial = not rows.row_is_record(endpoint)
                record = Record(found, document, content, asked_at, modified, partial=is_partial)
                return self._put(endpoint.name, key, found, record)
        raise errors.NotFound(f"{endpoint.name} has no record {key!r}.", status=404)

    async def _row(self, endpoint: Endpoint, key: str, identity: str | None) -> Record:
        """A record without an address of its own: its row, found by walking the list."""
        listing = self._listing(endpoint.name)
        whole = rows.row_is_record(endpoint)
        index = 0
        while await listing.has(index):
            row = listing.rows[index]
            if row.key == key and identity in {None, key, row.identity}:
                load = partial(self._load, endpoint.name, key, row.identity, whole=whole)
                if (record := await trio.to_thread.run_sync(load)) is not None:
                    return self._remember(endpoint.name, key, replace(record, partial=not whole))
            index += 1
        raise errors.NotFound(f"{endpoint.name} has no record {key!r}.", status=404)

    def _remember(self, endpoint: str, key: str, record: Record) -> Record:
        if _weight(record) <= LARGEST_IN_MEMORY:
            self._put(endpoint, key, None, record)
        return record

    def _put(self, endpoint: str, key: str, identity: str | None, record: Record) -> Record:
        self._memory[endpoint, key, identity] = record
        self._asked_for.add((endpoint, key, identity))
        return record

    def _is_fresh(self, name: _Name, asked_at: float) -> bool:
        return self._shared.freshness.is_fresh(name[0], name[1], asked_at)

    def _served(self, name: _Name, record: Record) -> Record:
        return record if self._is_fresh(name, record.fetched_at) else replace(record, stale=True)


def _is_it(record: Record, key: str, identity: str | None) -> bool:
    """Whether this is the record meant; callers that know no identity but the look-up give that, or none."""
    return identity in {None, key, record.identity}


def _has_no_address(key: str, error: errors.AlyxfsError) -> bool:
    """Names with ``/`` have no detail address (BEHAVIOUR of Alyx 3.6.1), those of dots may be folded on the way."""
    return ("/" in key and isinstance(error, errors.NotFound)) or key in FOLDED


def _texts(document: Any) -> tuple[bytes, bytes]:
    return json_text.compact(document), json_text.render(document)


def _measure(record: Record) -> Measure:
    return Measure(len(record.content), record.modified)


def _weight(record: Record) -> int:
    """Bytes of memory: parsed JSON takes some six times its text (measured on session details)."""
    return 7 * len(record.content) + 1000
