"""What a program has read, in words that last, and whether the server still has the same."""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING, Any

import trio

from alyxfs import errors, file_names, json_text
from alyxfs.alyx.datasets import fields
from alyxfs.alyx.datasets.layout import file_of_dataset
from alyxfs.alyx.identities import UUID
from alyxfs.alyx.metadata.listing import whole
from alyxfs.drive_paths import DATA
from alyxfs.tasks import for_each
from alyxfs.tree.datafile import DataFileNode
from alyxfs.tree.inflated import InflatedNode
from alyxfs.tree.node import BytesReader, Node, Reader
from alyxfs.tree.record import SUFFIX, RecordFile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alyxfs.alyx.metadata.cache import MetadataCache

ASKED_AT_ONCE = 4
"""Records: more requests at a time gain nothing, as Alyx serves few at once."""
FILE, RECORD, OTHER = "file", "record", "other"
"""Kinds of what is read."""


def read_of(node: Node, reader: Reader) -> list[dict[str, object]]:
    """What a program reads that has opened a node: a recording that is inflated is read from two files.

    Each with ``kind``, ``path`` in the drive and ``size`` (bytes); a file with ``dataset`` and ``session`` (UUIDs; the
    latter None for an aggregate), ``hash`` and ``revision`` as the database has them, a record with ``endpoint``,
    ``key``, ``id`` and ``hash`` (:func:`digest`).
    """
    if isinstance(node, DataFileNode | InflatedNode):
        return [_of_file(each) for each in node.made_of]
    if isinstance(node, RecordFile):
        path = f"{node.endpoint_name}/{file_names.encode(node.key, SUFFIX)}"
        content = reader.content if isinstance(reader, BytesReader) else b"null"
        return [
            {
                "kind": RECORD,
                "path": path,
                "size": reader.size,
                "endpoint": node.endpoint_name,
                "key": node.key,
                "id": node.record_identity,
                "hash": digest(json_text.decode(content)),
            }
        ]
    if node.attributes().private:  # what the drive says of itself
        return []
    return [{"kind": OTHER, "path": node.identity, "size": reader.size}]


def _of_file(node: DataFileNode) -> dict[str, object]:
    file = node.file
    return {
        "kind": FILE,
        "path": node.identity,
        "size": file.size,
        "dataset": file.identity,
        "session": node.session,
        "hash": file.digest,
        "revision": file.revision,
        "qc": file.qc,
        "default": file.is_default,
    }


def digest(document: Any) -> str:
    """SHA-256 of a record; the order of keys and of lists, which the server does not keep, is no part of it."""
    return hashlib.sha256(json_text.compact(_ordered(document))).hexdigest()


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _ordered(value[name]) for name in sorted(value)}
    return sorted(map(_ordered, value), key=json_text.compact) if isinstance(value, list) else value


async def changes(metadata: MetadataCache, read: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """Those of these files and records, as :func:`read_of` told them, that the server has otherwise now.

    Each with ``path`` and ``change``, a few words. Costs a request each. Raises what the requests raise.
    """
    found: dict[str, str] = {}
    failures: list[errors.AlyxfsError] = []

    async def compare(one: dict[str, Any]) -> None:
        change = await (_change_of_file(metadata, one) if one["kind"] == FILE else _change_of_record(metadata, one))
        if change:
            found[one["path"]] = change

    def failed(one: dict[str, Any], error: errors.AlyxfsError) -> None:
        if isinstance(error, errors.NotFound):
            found[one["path"]] = "it is gone"
        else:
            failures.append(error)

    await for_each(read, compare, at_once=ASKED_AT_ONCE, failed=failed)
    if failures:
        raise failures[0]
    return [{"path": one["path"], "change": found[one["path"]]} for one in read if one["path"] in found]


async def facts(metadata: MetadataCache, read: Sequence[dict[str, Any]]) -> list[dict[str, object]]:
    """What the server says besides of the data files among these: ``dataset``, its ``type`` and ``tags``.

    Costs a request a session, and one for each dataset that its list lacks; what is known is not asked again. What the
    server does not know, or not by this id, is left out. Raises what the requests raise otherwise.
    """
    files = [one for one in read if one["kind"] == FILE]
    for session in dict.fromkeys(one.get("session") for one in files):
        if isinstance(session, str) and UUID.fullmatch(session):
            with contextlib.suppress(errors.NotFound):  # this server does not select by session
                await whole(metadata.listing("datasets", (("session", session),)))
    found: list[dict[str, object]] = []
    for dataset in dict.fromkeys(str(one.get("dataset")) for one in files):
        if not UUID.fullmatch(dataset):
            continue
        try:
            document = (await metadata.record("datasets", dataset)).document
        except errors.NotFound:
            continue
        told = document.get("tags")
        tags = [tag for tag in told if isinstance(tag, str)] if isinstance(told, list) else []
        found.append({"dataset": dataset, "type": fields.plain(document.get("dataset_type")), "tags": tags})
    return found


async def _change_of_file(metadata: MetadataCache, one: dict[str, Any]) -> str:
    record = await metadata.record("datasets", str(one["dataset"]), fresh=True)
    file = file_of_dataset({**record.document, "id": record.identity})
    now = {"hash": file.digest, "size": file.size, "revision": file.revision}
    told = [f"its {name} was {one.get(name)}, and is {value}" for name, value in now.items() if one.get(name) != value]
    path = "/".join([*map(file_names.encode, file.folders), file_names.encode(file.name)])
    is_elsewhere = one["path"].startswith(f"{DATA}/") and not one["path"].endswith(f"/{path}")
    return "; ".join([*told, *(["it is elsewhere in its session"] if is_elsewhere and not told else [])])


async def _change_of_record(metadata: MetadataCache, one: dict[str, Any]) -> str:
    record = await metadata.record(str(one["endpoint"]), str(one["key"]), identity=str(one["id"]), fresh=True)
    now = await trio.to_thread.run_sync(digest, record.document)
    return "" if now == one["hash"] else "it has other values"
