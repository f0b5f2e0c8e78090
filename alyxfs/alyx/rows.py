"""From what the server sends to what is kept: identities, names, times and sizes. Pure functions, fit for threads."""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from alyxfs import documents
from alyxfs.alyx.listing import Row
from alyxfs.alyx.quirks import quirk_of
from alyxfs.alyx.walk import identity_in_url
from alyxfs.store import StoredRecord

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from alyxfs.alyx.endpoints import Endpoint
    from alyxfs.store import Store


def identity_of(endpoint: Endpoint, document: Mapping[str, Any], key: str | None = None) -> str:
    """What tells this record from all others of its endpoint: its id, its address, its look-up, or its content.

    ``key`` is the look-up it was fetched by, if it was: not every detail holds it.
    """
    identity = document.get("id")
    if identity is None and endpoint.detailed:
        identity = identity_in_url(document) or document.get(endpoint.lookup or "") or key
    if identity is None:
        return hashlib.blake2b(documents.compact(document), digest_size=16).hexdigest()
    return str(identity)


def key_of(endpoint: Endpoint, document: Mapping[str, Any], identity: str) -> str:
    """The value of the look-up; for endpoints without one a name from the fields that say most."""
    if endpoint.lookup is not None:
        value = document.get(endpoint.lookup)
        return identity if value is None else str(value)
    parts = [str(value) for name in quirk_of(endpoint.name).named_by if (value := document.get(name)) is not None]
    return "_".join(parts) or identity


def modified_of(endpoint: str, document: Mapping[str, Any]) -> float | None:
    """Unix seconds of the field that serves as modification time; Alyx's dates are naive and mean UTC."""
    field = quirk_of(endpoint).modified
    value = document.get(field) if field else None
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()


def row_is_record(endpoint: Endpoint) -> bool:
    """Whether a row gives the content of the record file, so that no request is needed for it."""
    return not endpoint.detailed or quirk_of(endpoint.name).row_is_record


def record_in_row(endpoint: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """The detail that a row holds."""
    row_only = quirk_of(endpoint).row_only
    return {name: value for name, value in row.items() if name not in row_only}


def keep_page(
    store: Store, endpoint: Endpoint, page: list[dict[str, Any]], now: float, known: Sequence[Row] = ()
) -> list[Row]:
    """Put the rows of a page into the store and return what a listing remembers of them. Blocks: call in a thread.

    Names made from fields can meet: one that a row of ``known`` has already gets the start of its identity behind it.
    """
    taken = set() if endpoint.detailed else {row.key for row in known}
    quirk = quirk_of(endpoint.name)
    whole = row_is_record(endpoint)
    rows, records = [], []
    for document in page:
        identity = identity_of(endpoint, document)
        key = key_of(endpoint, document, identity)
        if not endpoint.detailed:
            key = f"{key}~{identity[:8]}" if key in taken else key
            taken.add(key)
        content = record_in_row(endpoint.name, document) if whole else document
        size = len(documents.render(content)) if whole else None
        kept = tuple(document.get(name) for name in quirk.kept)
        if key == identity:
            key = identity  # one string, not two: listings are long
        rows.append(Row(key, identity, modified_of(endpoint.name, document), size, kept))
        records.append(StoredRecord(identity, key, whole, documents.compact(content), now, now))
    store.put_records(endpoint.name, records)
    if not whole or quirk.modified is None:
        times = store.times(endpoint.name, [row.identity for row in rows])
        for row in rows:
            if row.modified is None:
                row.modified = times.get(row.identity)
    return rows


def pack_rows(rows: list[Row]) -> bytes:
    """Rows as the store keeps them. Blocks: call in a thread."""
    return documents.compact([[row.key, row.identity, row.modified, row.size, row.kept] for row in rows])


def unpack_rows(body: bytes) -> list[Row]:
    """Rows that :func:`pack_rows` packed. Blocks: call in a thread."""
    return [
        Row(identity if key == identity else key, identity, modified, size, tuple(kept))
        for key, identity, modified, size, kept in documents.decode(body)
    ]
