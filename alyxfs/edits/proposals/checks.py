"""What the server would refuse, as far as it can be known by reading from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alyxfs import errors
from alyxfs.alyx.identities import id_at_the_end
from alyxfs.alyx.quirks import new_records as quirks
from alyxfs.alyx.quirks.writing import NOTES, PICTURE_SIGNATURES
from alyxfs.alyx.rest import MAXIMUM_PAGE
from alyxfs.edits.validate import fits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alyxfs.alyx.rest import Api
    from alyxfs.alyx.schema.model import Endpoint
    from alyxfs.alyx.schema.read import Schema


async def refuse_unknown_names(
    api: Api, schema: Schema, endpoint: Endpoint, values: Mapping[str, Any], before: Mapping[str, Any]
) -> None:
    """Raise Invalid where a field names a record that is not there."""
    for field, other in _references(endpoint, values):
        value = values.get(field)
        if value == before.get(field):
            continue
        for name in value if isinstance(value, list) else [value]:
            if isinstance(name, str) and name and not await _is_there(api, schema, other, id_at_the_end(name)):
                raise _refusal(endpoint.name, f"{field}: {other} has no record {name!r}")


def _references(endpoint: Endpoint, values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Fields, and the endpoint that each names a record of."""
    named = [*quirks.REFERENCES.get(endpoint.name, {}).items()]
    model = str(values.get("content_type", "")).rpartition(".")[2]
    if endpoint.name == NOTES and model in quirks.CONTENT_TYPES:
        named.append(("object_id", quirks.CONTENT_TYPES[model][1]))
    return named


async def _is_there(api: Api, schema: Schema, endpoint: str, key: str) -> bool:
    """True also where nobody can tell."""
    described = schema.endpoints.get(endpoint)
    if described is None or "/" in key:
        return True
    if described.detailed:
        try:
            await api.detail(endpoint, key, described.lookup)
        except errors.NotFound:
            return False
        except (errors.ServerFault, errors.Misdirected):
            return True
        return True
    page = await api.page(endpoint, (), MAXIMUM_PAGE, 0)
    return any(key in {row.get("name"), row.get("id")} for row in page.rows) or len(page.rows) < (page.count or 0)


async def refuse_taken_name(api: Api, endpoint: Endpoint, key: str) -> None:
    """Raise Invalid where a new record would have the look-up of another one."""
    if endpoint.lookup in {None, "id"}:
        return
    try:
        await api.detail(endpoint.name, key, endpoint.lookup)
    except errors.NotFound:
        return
    raise _refusal(endpoint.name, f"a record with this {endpoint.lookup} exists already")


def refuse_proposed_name(endpoint: Endpoint, *, is_taken: bool) -> None:
    """The same of a name that another proposal has taken while the server was asked."""
    if is_taken:
        raise _refusal(endpoint.name, f"a record with this {endpoint.lookup} exists already")


async def from_others(api: Api, endpoint: Endpoint, made: Mapping[str, Any]) -> dict[str, Any]:
    """What a new record gets from those that it names."""
    found: dict[str, Any] = {}
    for field, (reference, what) in quirks.FROM_OTHERS.get(endpoint.name, {}).items():
        if made.get(reference) and not made.get(field):
            other = quirks.REFERENCES[endpoint.name][reference]
            theirs = await api.detail(other, id_at_the_end(str(made[reference])))
            found[field] = theirs.get(what) if isinstance(what, str) else {name: theirs.get(name) for name in what}
    return found


def refuse_unfitting(endpoint: Endpoint, values: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    """Raise Invalid for a text that does not fit the pattern that the schema tells."""
    for name, value in values.items():
        field = endpoint.fields.get(name)
        pattern = field.pattern if field is not None else None
        if not (pattern and isinstance(value, str) and value) or value == before.get(name):
            continue
        if not fits(pattern, value):
            raise _refusal(endpoint.name, f"{name}: {value!r} does not fit {pattern}")


def refuse_no_picture(note: str, content: bytes) -> None:
    """Raise Invalid where a note is given something else."""
    if not content.startswith(PICTURE_SIGNATURES):
        raise _refusal(f"notes/{note}", "it is no picture")


def _refusal(what: str, reason: str) -> errors.Invalid:
    return errors.Invalid(f"{what}: the server would refuse this: {reason}.", status=400)
