"""What is lost with a record that is deleted: what hangs from it, what names it, and what no new record gets again.

It is found out before the delete, so that the user can be asked. Of a record that holds nothing of the kind the free
filter of its list tells so with one request; columns that the API does not show can be asked for in no other way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from alyxfs import errors
from alyxfs.alyx.quirks import losses as quirks
from alyxfs.alyx.quirks import side_effects, writing
from alyxfs.alyx.rest import MAXIMUM_PAGE
from alyxfs.edits import validate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alyxfs.alyx.rest import Api
    from alyxfs.alyx.schema.read import Endpoint, Field, Schema

MAXIMUM_PAGES = 5
"""Pages of an unfiltered list that are read for a count: these lists have tens or hundreds of rows."""

_UNKNOWN_COLUMN = "Cannot resolve keyword"
"""Django's words for a column that this server's Alyx does not have."""

_MISLEADING = re.compile("[&=+%#;]")
"""What separates parts of a query. Alyx itself takes no new nickname with any of them."""

_MAILBOX = re.compile(r"[!-?A-~]+@")
"""What Django takes for the beginning of an e-mail address has no other characters (EmailValidator)."""

_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Losses:
    """What a delete would take, in words."""

    deleted: tuple[str, ...] = ()
    """Other records that the server would delete with it: ``12 sessions``."""
    unlinked: tuple[str, ...] = ()
    """Other records that would lose their link to it."""
    forgotten: tuple[str, ...] = ()
    """What it holds itself and a new record in its place would not."""

    @property
    def all(self) -> frozenset[str]:
        """Each in words."""
        return frozenset((*self.deleted, *self.unlinked, *self.forgotten))

    def __str__(self) -> str:
        effects = [f"delete {', '.join(self.deleted)} with it"] if self.deleted else []
        effects += [f"take it out of {', '.join(self.unlinked)}, which no undo brings back"] if self.unlinked else []
        if self.forgotten:
            effects.append(f"forget what no undo brings back: {', '.join(self.forgotten)}")
        return " and ".join(effects)


async def of_delete(
    api: Api, schema: Schema, endpoint: Endpoint, key: str, record: Mapping[str, Any], *, is_undo: bool = False
) -> Losses:
    """Ask the server what would be lost with a record.

    ``is_undo``: it was made by a write that is taken back, so that what cannot be asked for was not put there by it.
    """
    deleted: list[str] = []
    unlinked: list[str] = []
    for dependent in quirks.DEPENDENTS.get(endpoint.name, ()):
        if dependent.by_id and record.get("id"):
            dependent = replace(dependent, filter=f"django:{dependent.by_id}", value="id")  # noqa: PLW2901 - the same, exact
        value = key if dependent.value == "key" else str(record.get(dependent.value) or "")
        if dependent.endpoint in schema.endpoints and value:
            count = await _count(api, dependent, value)
            if count:
                (deleted if dependent.is_deleted else unlinked).append(f"{count} {dependent.endpoint}")
    if any(words.rpartition(" ")[2] in quirks.DEPENDENTS for words in deleted):
        deleted.append(quirks.ALL_BELOW)
    unlinked += await _links(api, schema, endpoint.name, key, record)
    forgotten = await _held(api, endpoint, key, record, is_undo=is_undo)
    if not is_undo:
        forgotten += [*not_taken(endpoint, record), *await _not_taken_together(api, endpoint, record)]
    return Losses(tuple(deleted), tuple(unlinked), tuple(forgotten))


def not_taken(endpoint: Endpoint, record: Mapping[str, Any]) -> list[str]:
    """Values that the server shows and takes from nobody, in words."""
    found = []
    if endpoint.name == writing.NOTES and record.get("image"):
        found.append("its picture")
    for field in endpoint.fields.values():
        value = record.get(field.name)
        if not field.read_only and isinstance(value, str) and _refused_text(field, value):
            what = f"{field.name} {validate.quoted(value)}" if value else f"an empty {field.name}"
            found.append(f"{what}, with which the server makes no new record")
    return found


def _refused_text(field: Field, value: str) -> str | None:
    """Why the server does not take this text, where its schema says so."""
    if field.required and not value:
        return "the server does not take it empty"
    if value and field.pattern and not validate.fits(field.pattern, value):
        return f"the server does not take {validate.quoted(value)}"
    if value and field.kind == "email" and not _MAILBOX.match(value):
        return "the server takes it for no e-mail address"
    return None


async def _not_taken_together(api: Api, endpoint: Endpoint, record: Mapping[str, Any]) -> list[str]:
    """Values that other records keep the server from taking: names of two, and serials of chronic insertions.

    The latter is checked by experiments.ProbeInsertionListSerializer.
    """
    subject = record.get("subject")
    if isinstance(subject, str) and not validate.is_read_only(endpoint, "subject"):
        page = await api.page("subjects", (("nickname", subject),), 10, 0)
        if sum(row.get("nickname") == subject for row in page.rows) > 1:
            return ["a subject whose nickname another has, with which the server makes no new record"]
    if endpoint.name != "insertions" or not record.get("chronic_insertion"):
        return []
    chronic = await api.detail("chronic-insertions", str(record["chronic_insertion"]))
    if chronic.get("serial") == record.get("serial"):
        return []
    return ["a serial that is not its chronic insertion's, with which the server makes no new record"]


def told(endpoint: Endpoint, record: Mapping[str, Any], lost: Losses) -> str:
    """What the log says of a delete: what went with it for good, and what an undo would change."""
    changed = ["the server gives a new id"] if endpoint.lookup == "id" or record.get("id") else []
    changed += slight(endpoint, record)
    words = [f"For good: the server was to {lost}."] if lost.all else []
    words += [f"After an undo: {'; '.join(changed)}."] if changed else []
    words += side_effects.side_effects(endpoint.name, "POST", frozenset(record), (record,))  # an undo makes it again
    return " ".join(words)


def slight(endpoint: Endpoint, record: Mapping[str, Any]) -> list[str]:
    """What an undo of the delete would change that needs no consent, in words."""
    stamps = (*side_effects.STAMPS.get(endpoint.name, ()), *side_effects.STAMPS_OF_NEW.get(endpoint.name, ()))
    found = [f"{stamp} is set anew" for stamp in stamps if stamp in record]
    for table in (side_effects.FILLED_IN_WHEN_SAVED, side_effects.FILLED_IN_WHEN_MADE):
        found += filled(table.get(endpoint.name, {}), record)
    found += [f"{name} becomes lower case" for name in lowered_fields(endpoint, record)]
    return found + [f"{name} loses the blanks at its ends" for name in trimmed_fields(endpoint, record)]


def filled(instead: Mapping[str, str], record: Mapping[str, Any]) -> list[str]:
    """Which empty fields of a record would not be empty again, in words; ``instead`` is what the server puts there."""
    return [
        f"{name}, which is empty, becomes {value}"
        for name, value in instead.items()
        if name in record and record[name] in (None, [])
    ]


def refusal(endpoint: Endpoint, name: str, value: Any) -> str | None:
    """Why the server does not take this value of a field, where that is known."""
    if validate.is_read_only(endpoint, name):
        return "the server alone sets it"
    if instead := writing.NOT_IN_PATCH.get(endpoint.name, {}).get(name):
        return instead.rstrip(".")
    empties = writing.EMPTY_MEANS_ABSENT.get(endpoint.name, {})
    if name in empties and value == empties[name] and type(value) is type(empties[name]):
        return "the server does not take it empty"
    if name in lowered_fields(endpoint, {name: value}):
        return "the server makes it lower case"
    field = endpoint.fields.get(name)
    return None if field is None or not isinstance(value, str) else _refused_text(field, value)


def told_of_change(endpoint: Endpoint, before: Mapping[str, Any], sent: Mapping[str, Any]) -> list[str]:
    """What the log says of a change that an undo would not take back whole: sentences."""
    former = {name: before[name] for name in (*sent, *lowered_fields(endpoint, before)) if name in before}
    found = [f"{name} stays ({why})" for name, value in former.items() if (why := refusal(endpoint, name, value))]
    found += filled(side_effects.FILLED_IN_WHEN_SAVED.get(endpoint.name, {}), former)
    found += [f"{name} loses the blanks that it had at its ends" for name in trimmed_fields(endpoint, former)]
    return [f"After an undo: {'; '.join(found)}."] if found else []


def lowered_fields(endpoint: Endpoint, document: Mapping[str, Any]) -> list[str]:
    """The fields whose text would not be stored as it is, because the server makes it lower case."""
    names = side_effects.LOWERED.get(endpoint.name, ())
    return [
        name for name in names if name in document and str(document[name] or "") != str(document[name] or "").lower()
    ]


def trimmed_fields(endpoint: Endpoint, document: Mapping[str, Any]) -> list[str]:
    """The fields whose text would not be stored as it is, because the server trims it."""
    kinds = {field.name: field.kind for field in endpoint.fields.values() if not field.read_only}
    return [
        name
        for name, value in document.items()
        if isinstance(value, str) and value != value.strip() and kinds.get(name) in side_effects.TEXT_KINDS
    ]


async def _held(api: Api, endpoint: Endpoint, key: str, record: Mapping[str, Any], *, is_undo: bool) -> list[str]:
    """What the record holds in columns that the API does not show."""
    held = quirks.HELD.get(endpoint.name, ())
    asked = [each for each in held if each.empty is not None]
    found = [] if is_undo else [each.name for each in held if each.empty is None]
    who = _condition_of(endpoint, key, record)
    if not asked:
        return found
    if who is None or "django" not in endpoint.filters:  # nobody can tell which of them it holds
        return found if is_undo else [*found, *(f"{each.name} {quirks.IF_ANY}" for each in asked)]
    if await _is_there(api, endpoint.name, [who, *(str(each.empty) for each in asked)]):
        return found
    for each in asked:
        is_empty = await _is_there(api, endpoint.name, [who, str(each.empty)])
        if is_empty is False:
            found.append(each.name)
    return found


async def _is_there(api: Api, endpoint: str, conditions: list[str]) -> bool | None:
    """Whether a record fulfils all these; None where this server's Alyx lacks one of the columns."""
    try:
        page = await api.page(endpoint, (("django", ",".join(conditions)),), 1, 0)
    except errors.ServerFault as error:
        if _UNKNOWN_COLUMN in str(error):
            return None
        raise
    return bool(page.rows)


def _condition_of(endpoint: Endpoint, key: str, record: Mapping[str, Any]) -> str | None:
    """The condition that only this record fulfils; None where its name cannot stand in the free filter."""
    if endpoint.lookup == "id" or record.get("id"):
        return f"id,{key if endpoint.lookup == 'id' else record['id']}"
    if _WORD.fullmatch(key):
        return f"{endpoint.lookup}__in,['{key}']"
    return None


async def _links(api: Api, schema: Schema, endpoint: str, key: str, record: Mapping[str, Any]) -> list[str]:
    """Links that no new record gets: of notes about it, and those that no collection makes the server make again."""
    found = []
    identifier = key if schema.endpoints[endpoint].lookup == "id" else record.get("id")
    if identifier is not None and endpoint not in quirks.WITHOUT_NOTES and writing.NOTES in schema.endpoints:
        found.append((writing.NOTES, f"object_id,{identifier}"))
    if endpoint == "datasets":
        folder = [*str(record.get("collection") or "").split("/"), ""][1]
        but = f",~name,{folder}" if quirks.is_safe_in_filter(folder) else ""
        found += [(other, f"datasets,{key}{but}") for other in ("insertions", "fields-of-view")]
    if endpoint == "insertions":
        name = str(record.get("name"))
        but = f",~collection__icontains,{name}" if quirks.is_safe_in_filter(name) else ""
        found.append(("datasets", f"probe_insertion,{key}{but}"))
    counted = []
    for other, condition in found:
        if other in schema.endpoints:
            page = await api.page(other, (("django", condition),), 1, 0)
            count = len(page.rows) if page.count is None else page.count
            if count:
                counted.append(f"{count} {other}")
    return counted


async def _count(api: Api, dependent: quirks.Dependent, value: str) -> int:
    filters = quirks.dependent_filters(dependent, value)
    if filters is not None and _MISLEADING.search(value):
        raise errors.NotAllowed(
            f"What hangs from {value!r} cannot be counted for certain, as a server on the way may read such a name "
            "as part of a query; it can be deleted on Alyx's own pages."
        )
    if filters is not None and (dependent.field is None or "django" in filters):  # the free filter is exact
        page = await api.page(dependent.endpoint, tuple(filters.items()), 1, 0)
        return len(page.rows) if page.count is None else page.count
    return await _count_rows(api, dependent, tuple((filters or {}).items()), value)


def _names(field: Any, value: str) -> bool:
    return value in field if isinstance(field, list) else bool(field == value)


async def _count_rows(api: Api, dependent: quirks.Dependent, filters: tuple[tuple[str, str], ...], value: str) -> int:
    """Count rows by their own field, where the list's filter ignores case or does not exist."""
    counted = offset = 0
    for _ in range(MAXIMUM_PAGES):
        page = await api.page(dependent.endpoint, filters, MAXIMUM_PAGE, offset)
        counted += sum(1 for row in page.rows if _names(row.get(dependent.field or ""), value))
        offset += len(page.rows)
        if len(page.rows) < MAXIMUM_PAGE:
            return counted
    # More rows than it is worth reading. With a filter they are nearly all the record's own; without, nobody knows.
    return counted if filters and counted else max(counted, 1)
