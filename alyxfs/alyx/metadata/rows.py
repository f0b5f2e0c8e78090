"""From what the server sends to what is kept: identities, names, times and sizes. Pure functions, fit for threads."""

from __future__ import annotations

import hashlib
import re
from datetime import timezone
from typing import TYPE_CHECKING, Any

from alyxfs import errors, json_text
from alyxfs.alyx.identities import UUID, identity_in_url, name_of, named_by
from alyxfs.alyx.metadata.row_list import Row
from alyxfs.alyx.quirks.reading import quirk_of
from alyxfs.moments import moment_of
from alyxfs.store import StoredRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from alyxfs.alyx.schema.model import Endpoint
    from alyxfs.store import Store

ID = re.compile(UUID.pattern + "|-?(0|[1-9][0-9]{0,17})")
"""UUIDs in the server's form, and the integers of brain-regions (left hemisphere: negative)."""


def identity_of(endpoint: Endpoint, document: Mapping[str, Any], key: str | None = None) -> str:
    """What tells this record from all others of its endpoint: its id, its address, its look-up, or its content.

    ``key`` is the look-up it was fetched by, if it was: not every detail holds it.
    """
    identity = name_of(document.get("id"))
    if identity is None and endpoint.detailed:
        identity = identity_in_url(document) or name_of(document.get(endpoint.lookup or "")) or key
    if identity is None:
        return hashlib.blake2b(json_text.compact(document), digest_size=16).hexdigest()
    return identity


def key_of(endpoint: Endpoint, document: Mapping[str, Any], identity: str) -> str | None:
    """The value of the look-up; for endpoints without one a name from the fields that say most.

    None where no record can have this look-up: it is missing, of another type, or no id.
    """
    if endpoint.lookup is not None:
        key = named_by(document, endpoint.lookup)
        return None if endpoint.lookup == "id" and not ID.fullmatch(key or "") else key
    parts = [name for field in quirk_of(endpoint.name).named_by if (name := name_of(document.get(field))) is not None]
    return "_".join(parts) or identity


def modified_of(endpoint: str, document: Mapping[str, Any]) -> float | None:
    """Unix seconds of the field that serves as modification time; Alyx's dates are naive and mean UTC."""
    field = quirk_of(endpoint).modified
    value = document.get(field) if field else None
    if not isinstance(value, str):
        return None
    if (moment := moment_of(value)) is None:
        return None
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
    except OverflowError:  # the year 1 in a zone east of Greenwich lies before all years
        return None


def row_is_record(endpoint: Endpoint) -> bool:
    """Whether a row gives the content of the record file, so that no request is needed for it."""
    return not endpoint.detailed or quirk_of(endpoint.name).row_is_record


def record_in_row(endpoint: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """The detail that a row holds."""
    row_only = quirk_of(endpoint).row_only
    return {name: value for name, value in row.items() if name not in row_only}


def keep_page(
    store: Store, endpoint: Endpoint, page: list[dict[str, Any]], now: float, known: Sequence[Row] = ()
) -> tuple[list[Row], int]:
    """Put the rows of a page into the store and return what a listing remembers of them. Blocks: call in a thread.

    The second value is the number of rows that are none of a record, and are left out. Names made from fields can meet:
    one that a row of ``known`` has already gets the start of its identity behind it.
    """
    taken = set() if endpoint.detailed else {row.key for row in known}
    quirk = quirk_of(endpoint.name)
    whole = row_is_record(endpoint)
    rows, records, left_out = [], [], 0
    for document in page:
        identity = identity_of(endpoint, document)
        key = key_of(endpoint, document, identity)
        if key is None or (endpoint.lookup is None and "" in document):
            left_out += 1
            continue
        if not endpoint.detailed:
            key = f"{key}~{identity[:8]}" if key in taken else key
            taken.add(key)
        content = record_in_row(endpoint.name, document) if whole else document
        size = len(json_text.render(content)) if whole else None
        kept = tuple(document.get(name) for name in quirk.kept)
        if key == identity:
            key = identity  # one string, not two: listings are long
        rows.append(Row(key, identity, modified_of(endpoint.name, document), size, kept))
        records.append(StoredRecord(identity, key, whole, json_text.compact(content), now, now))
    store.put_records(endpoint.name, records)
    if not whole or quirk.modified is None:
        times = store.times(endpoint.name, [row.identity for row in rows])
        for row in rows:
            if row.modified is None:
                row.modified = times.get(row.identity)
    return rows, left_out


def texts(store: Store, endpoint: Endpoint, rows: Sequence[Row], *, as_records: bool) -> list[bytes]:
    """These rows as the list gave them, each as JSON on one line. Blocks: call in a thread.

    ``as_records``: without the fields that the records lack. Raises ServerFault where the store has lost one.
    """
    bodies = store.bodies(endpoint.name, [row.identity for row in rows], whole=row_is_record(endpoint))
    if lost := sum(row.identity not in bodies for row in rows):
        raise errors.ServerFault(
            f"{lost} rows of {endpoint.name} could not be kept on this machine, as `alyxfs status` says; "
            f"`alyxfs refresh` of {endpoint.name} asks for them again."
        )
    if as_records:
        return [bodies[row.identity] for row in rows]
    quirk = quirk_of(endpoint.name)
    return [_with(bodies[row.identity], dict(zip(quirk.kept, row.kept, strict=False)), quirk.row_only) for row in rows]


def _with(body: bytes, kept: Mapping[str, Any], row_only: Sequence[str]) -> bytes:
    """A record with the fields that its row has besides."""
    more = {name: kept[name] for name in row_only if kept.get(name) is not None}
    if not more:
        return body
    return body[:-1] + (b"," if len(body) > len(b"{}") else b"") + json_text.compact(more)[1:]


def pack_rows(rows: Iterable[Row]) -> bytes:
    """Rows as the store keeps them. Blocks: call in a thread."""
    return json_text.compact([[row.key, row.identity, row.modified, row.size, row.kept] for row in rows])


def unpack_rows(body: bytes) -> list[Row] | None:
    """Rows that :func:`pack_rows` packed; None where these are none. Blocks: call in a thread."""
    try:
        found = [
            Row(identity if key == identity else key, identity, modified, size, tuple(kept))
            for key, identity, modified, size, kept in json_text.decode(body)
        ]
    except (TypeError, ValueError):
        return None
    return found if all(map(_is_sound, found)) else None


def _is_sound(row: Row) -> bool:
    return (
        type(row.key) is str
        and type(row.identity) is str
        and (row.modified is None or type(row.modified) in {float, int})
        and (row.size is None or (type(row.size) is int and row.size >= 0))
    )
