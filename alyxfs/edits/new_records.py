"""New records by name: whether a draft makes one at all, or is the copy of one that is there, or has its name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alyxfs import errors
from alyxfs.alyx.metadata.rows import ID
from alyxfs.alyx.quirks import writing as quirks
from alyxfs.edits import validate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from alyxfs.alyx.metadata.cache import MetadataCache
    from alyxfs.alyx.schema.model import Endpoint

_HOW_TO_COPY = (
    f"Rename the file over the record to save it there, or take {' and '.join(quirks.SERVER_GIVEN)} out of it and give "
    "it a name of its own for a new record."
)


@dataclass(frozen=True)
class NewRecord:
    """What another record would be made from, at a name that leads to one that was made there before."""

    name: str
    """The file's, without ``.json``."""
    defaults: Mapping[str, Any]
    is_ambiguous: bool
    """Whether the program that made the first one may mean to correct that one."""
    beside: Callable[[str], bytes | None] | None = None
    """The content of a local file in its directory: a note may name its picture."""


def makes_another(endpoint: Endpoint, key: str, mine: Mapping[str, Any], another: NewRecord) -> bool:
    """Whether a document is a new record and no change of the one at ``key``; raises Invalid where nobody can tell."""
    if "POST" not in endpoint.list_methods or any(mine.get(field) for field in quirks.SERVER_GIVEN):
        return False
    lookup = endpoint.lookup or "id"
    if lookup != "id" and mine.get(lookup) in {None, key}:
        return False
    required = validate.required_fields(endpoint)
    is_whole = all(field in mine or field in another.defaults for field in required)
    if not is_whole or (required and not any(field in mine for field in required)):
        return False
    if required and not another.is_ambiguous:
        return True
    raise errors.Invalid(
        f"{endpoint.name}/{another.name}.json leads to {key}, which was made there, and the file has no id: it cannot "
        f"be told whether it changes that record or is another one. To change it, read the file again, which has its "
        "id now, and save that. For another one, write to another name."
    )


async def refuse_copy(metadata: MetadataCache, endpoint: Endpoint, name: str, document: Mapping[str, Any]) -> None:
    """Raise CopyOfRecord where a new file is the copy of a record that is there."""
    for field in quirks.SERVER_GIVEN:
        if document.get(field):
            raise errors.CopyOfRecord(f"The file holds the {field} of a record. {_HOW_TO_COPY}")
    named = document.get(endpoint.lookup) if endpoint.lookup else None
    if not isinstance(named, str) or not named or named == name or not endpoint.detailed:
        return
    try:
        await metadata.record(endpoint.name, named)
    except errors.NotFound:
        return
    raise errors.CopyOfRecord(
        f"The file holds the {endpoint.lookup} of {endpoint.name}/{named}, which is there already. {_HOW_TO_COPY}"
    )


async def refuse_taken(metadata: MetadataCache, endpoint: Endpoint, name: str, refusal: errors.Invalid) -> None:
    """Raise NameTaken where what was refused has the name of a record that is there."""
    if not endpoint.detailed or (endpoint.lookup == "id" and not ID.fullmatch(name)):
        return
    try:
        await metadata.record(endpoint.name, name, fresh=True)
    except errors.AlyxfsError:
        return
    raise errors.NameTaken(
        f"{endpoint.name}/{name} is there already, though the server had no record of this name when the file was "
        f"made. Read it, and make the change there. {refusal}",
        status=refusal.status,
    ) from refusal
