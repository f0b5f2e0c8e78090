"""Checks of a draft before anything is sent.

The server ignores unknown and read-only fields in silence, so those are refused here. Types are refused only where no
server could take them: the schema of Alyx 3.6.1 is wrong in places.
"""

from __future__ import annotations

import codecs
import difflib
import json
import re
from typing import TYPE_CHECKING, Any

from alyxfs import errors, json_text
from alyxfs.alyx.quirks import writing as quirks
from alyxfs.edits.merge import MISSING, same

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from alyxfs.alyx.schema.read import Endpoint, Field

_SHOWN_CHARACTERS = 60
"""How much of a value a sentence quotes."""


def parse(content: bytes, name: str) -> dict[str, Any]:
    """The JSON object in a record file called ``name``; raises Invalid with line and column where it is none."""
    try:
        content = content.removeprefix(codecs.BOM_UTF8)  # what editors of Windows begin a file with
        content.decode()  # the parser would take UTF-16 too
        document = json_text.decode(content)
    except UnicodeDecodeError as error:
        raise errors.Invalid(f"{name} is not UTF-8 text: byte {error.start} cannot be read.") from error
    except json.JSONDecodeError as error:
        raise errors.Invalid(
            f"{name} is not JSON: {error.msg} in line {error.lineno}, column {error.colno}."
        ) from error
    except ValueError as error:
        raise errors.Invalid(f"{name} is no record: {error}.") from error
    if not isinstance(document, dict):
        raise errors.Invalid(f"{name} must hold a JSON object ({{...}}), not {_kind_of(document)}.")
    return document


def fits(pattern: str, value: str) -> bool:
    """Whether a text fits the pattern of its field in the schema, as far as it can be read here."""
    try:
        return re.search(pattern, value) is not None
    except re.error:  # of another dialect
        return True


def check_changes(
    endpoint: Endpoint,
    base: Mapping[str, Any],
    mine: Mapping[str, Any],
    was_shown: Callable[[str, Any], bool] = lambda _field, _value: False,
) -> None:
    """Raise Invalid where ``mine`` cannot be an edit of ``base``.

    A read-only field may differ from ``base`` only by a value that was shown earlier (``was_shown(field, value)``): an
    editor that holds a file open writes back what it once read.
    """
    for name, value in mine.items():
        if name in base and same(base[name], value):
            continue
        field = _known_field(endpoint, base, name)
        _refuse_create_only(endpoint, name)
        if name in (instead := quirks.NOT_IN_PATCH.get(endpoint.name, {})):
            raise errors.Invalid(f"{name} cannot be changed to {quoted(value)}. {instead[name]}")
        if name == endpoint.lookup and value in (None, ""):
            raise errors.Invalid(f"{name} cannot be empty: the server has no address for a record without it.")
        if is_read_only(endpoint, name):
            if not was_shown(name, value):
                raise errors.Invalid(_read_only_sentence(endpoint, name, value))
            continue
        if field is not None:
            _check_value(field, value, base.get(name, MISSING))


def refuse_fixed_field(endpoint: Endpoint, name: str) -> None:
    """Raise Invalid for a field that records of this endpoint lack, or that nobody can change."""
    _known_field(endpoint, {}, name)
    _refuse_create_only(endpoint, name)
    if is_read_only(endpoint, name):
        raise errors.Invalid(f"{name} of {endpoint.name} is set by the server and cannot be changed.")
    if instead := quirks.NOT_IN_PATCH.get(endpoint.name, {}).get(name):
        raise errors.Invalid(f"{name} cannot be changed so. {instead}")


def _refuse_create_only(endpoint: Endpoint, name: str) -> None:
    if name in quirks.CREATE_ONLY.get(endpoint.name, ()):
        raise errors.Invalid(f"{name} can be given only for a new record of {endpoint.name}, not changed.")


def check_new(endpoint: Endpoint, document: Mapping[str, Any]) -> None:
    """Raise Invalid where ``document`` cannot be a new record: all that is wrong in one sentence each."""
    for name, value in document.items():
        field = _known_field(endpoint, {}, name)
        if is_read_only(endpoint, name):
            raise errors.Invalid(_read_only_sentence(endpoint, name, value) + " Leave it out of a new record.")
        if field is not None:
            _check_value(field, value, MISSING)
    missing = [name for name in required_fields(endpoint) if name not in document]
    if missing:
        raise errors.Invalid(
            f"A new record of {endpoint.name} needs {_listed(missing)}; "
            f"given: {_listed(sorted(document)) if document else 'nothing'}."
        )


def required_fields(endpoint: Endpoint) -> list[str]:
    """What a new record must have."""
    required = [field.name for field in endpoint.fields.values() if field.required and not field.read_only]
    required += [name for name in quirks.REQUIRED_ON_CREATE.get(endpoint.name, ()) if name not in required]
    computed = quirks.COMPUTED.get(endpoint.name, frozenset())
    return [name for name in required if name not in computed]


def is_read_only(endpoint: Endpoint, name: str) -> bool:
    """Whether the server computes or fixes this field."""
    field = endpoint.fields.get(name)
    return name in quirks.COMPUTED.get(endpoint.name, ()) or (field is not None and field.read_only)


def computed_fields(endpoint: Endpoint) -> frozenset[str]:
    """The fields that never count as edits."""
    return quirks.COMPUTED.get(endpoint.name, frozenset()) | {
        field.name for field in endpoint.fields.values() if field.read_only
    }


def unordered_fields(endpoint: Endpoint) -> frozenset[str]:
    """Many-to-many relations: the schema's arrays. A JSON field has no type there, so a list in it keeps its order."""
    return frozenset(field.name for field in endpoint.fields.values() if field.kind == "array")


def quoted(value: Any) -> str:
    """A value as a sentence shows it, cut where it is long."""
    text = json_text.compact(value).decode("utf-8", "replace")
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"


def _known_field(endpoint: Endpoint, base: Mapping[str, Any], name: str) -> Field | None:
    """The schema's field, or None where only the record or the table of quirks knows it; raises Invalid otherwise."""
    if name in endpoint.fields:
        return endpoint.fields[name]
    known = {*endpoint.fields, *base, *quirks.CREATE_ONLY.get(endpoint.name, ())}
    if name in known or not endpoint.fields:
        return None
    similar = difflib.get_close_matches(name, known, 1)
    hint = f"Did you mean {similar[0]!r}?" if similar else f"Its fields are {_listed(sorted(known))}."
    raise errors.Invalid(f"{endpoint.name} has no field {name!r}. {hint}")


def _read_only_sentence(endpoint: Endpoint, name: str, value: Any) -> str:
    return f"{name} of {endpoint.name} is set by the server and cannot be {quoted(value)}."


def _check_value(field: Field, value: Any, before: Any) -> None:
    if field.choices and value not in (None, "", *field.choices) and str(value) not in map(str, field.choices):
        raise errors.Invalid(f"{field.name} cannot be {quoted(value)}; allowed: {_listed(map(str, field.choices))}.")
    if value is None or (before is not MISSING and type(before) is type(value)):
        return
    if not _may_be(field.kind, value):
        raise errors.Invalid(f"{field.name} must be {_KINDS[field.kind]}, not {_kind_of(value)}: {quoted(value)}.")


_KINDS = {
    **dict.fromkeys(("string", "uuid", "uri", "email", "date", "date-time"), "text"),
    **dict.fromkeys(("number", "double", "float"), "a number"),
    **dict.fromkeys(("integer", "int32", "int64"), "a whole number"),
    "boolean": "true or false",
    "array": "a list",
}
"""The schema's kinds in plain words; a field of any other kind may hold everything (a JSON field has none)."""


def _may_be(kind: str, value: Any) -> bool:
    """False only for what no server takes: Django REST framework reads numbers from text and text from numbers."""
    wanted = _KINDS.get(kind)
    if wanted is None:
        return True
    if wanted == "a list":
        return isinstance(value, list)
    if isinstance(value, dict | list):
        return False
    if wanted not in {"a number", "a whole number"}:
        return True
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return False
    return not isinstance(value, bool) and (wanted == "a number" or number.is_integer())


def _kind_of(value: Any) -> str:
    kinds: list[tuple[type, str]] = [
        (bool, "true or false"),
        (dict, "an object"),
        (list, "a list"),
        (str, "text"),
        (int, "a number"),
        (float, "a number"),
    ]
    return next((word for kind, word in kinds if isinstance(value, kind)), "null")


def _listed(names: Any) -> str:
    return ", ".join(names)
