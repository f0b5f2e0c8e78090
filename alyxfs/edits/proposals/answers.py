"""What the server would answer to a write: the record as it would store it. Pure functions."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Any

from alyxfs.alyx.identities import id_at_the_end
from alyxfs.alyx.quirks import new_records as quirks
from alyxfs.alyx.quirks.reading import quirk_of
from alyxfs.alyx.quirks.writing import CREATE_ONLY
from alyxfs.moments import naive_utc

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from alyxfs.alyx.schema.model import Endpoint, Field

_WHOLE_NUMBERS = frozenset({"integer", "int32", "int64"})
_NUMBERS = frozenset({"number", "double", "float"})
_DAY = re.compile(r"\d{4}-\d\d-\d\d")


def new_record(
    endpoint: Endpoint,
    document: Mapping[str, Any],
    address: Callable[[str, str | None], str],
    maker: str | None,
    server_now: str,
) -> dict[str, Any]:
    """The record that a POST of ``document`` makes, under an id that is made here.

    ``address`` gives that of an endpoint and key, ``maker`` is the user's name, ``server_now`` a naive time in UTC.
    """
    given = stored(endpoint, document, address)
    identity = str(uuid.uuid4())
    passing = {quirks.NOW: server_now, quirks.MAKER: maker}
    hidden = {*CREATE_ONLY.get(endpoint.name, ()), *quirk_of(endpoint.name).row_only}
    record: dict[str, Any] = {}
    for name, field in endpoint.fields.items():
        if name in hidden:
            continue
        value = given.get(name)
        if name not in given or (name == "users" and not value):
            value = _filled_in(endpoint.name, field, passing)
        record[name] = value
    if "id" in record:
        record["id"] = identity
    key = identity if endpoint.lookup in {None, "id"} else str(record.get(endpoint.lookup or ""))
    if "url" in record:
        record["url"] = address(endpoint.name, key)
    return record


def stored(
    endpoint: Endpoint, document: Mapping[str, Any], address: Callable[[str, str | None], str]
) -> dict[str, Any]:
    """The values of a document as the server stores and shows them."""
    return {
        name: _content_type(value)
        if (endpoint.name, name) == ("notes", "content_type")
        else _stored(endpoint.name, endpoint.fields.get(name), value, address)
        for name, value in document.items()
    }


def _stored(endpoint: str, field: Field | None, value: Any, address: Callable[[str, str | None], str]) -> Any:
    if field is None or value is None or isinstance(value, dict | list | bool):
        return value
    other = quirks.REFERENCES.get(endpoint, {}).get(field.name)
    if other is not None and isinstance(value, str) and value:
        key = id_at_the_end(value)
        return address(other, key) if field.kind == "uri" else key
    if field.kind in _WHOLE_NUMBERS | _NUMBERS:
        return _number(value, is_whole=field.kind in _WHOLE_NUMBERS)
    if field.kind == "date-time" and isinstance(value, str):
        return _moment(value)
    if field.kind == "string":
        return value.strip() if isinstance(value, str) else str(value)
    return value


def _number(value: Any, *, is_whole: bool) -> Any:
    try:
        number = float(value)
        return int(number) if is_whole else number
    except (ValueError, OverflowError):  # a check let it pass that the server would not
        return value


def _moment(text: str) -> str:
    """A time as Alyx stores it: naive UTC (measured on 3.6.1)."""
    moment = naive_utc(text.strip())
    return text if moment is None else moment.isoformat()


def _content_type(value: Any) -> Any:
    model = str(value).rpartition(".")[2]
    return quirks.CONTENT_TYPES.get(model, (value, ""))[0]


def _filled_in(endpoint: str, field: Field, passing: Mapping[object, str | None]) -> Any:
    """What a field holds that nothing was given for."""
    defaults = quirks.DEFAULTS.get(endpoint, {})
    if field.name in defaults:
        value = defaults[field.name]
        if isinstance(value, list):
            return [passing.get(item, item) for item in value if passing.get(item, item) is not None]
        return passing[value] if value in {quirks.NOW, quirks.MAKER} else value
    if field.kind == "array" or (field.kind in {"object", "any"} and field.read_only):
        return []
    if field.nullable or field.read_only or field.name in quirks.REFERENCES.get(endpoint, {}):
        return None
    return {"boolean": False, "string": "", "email": ""}.get(field.kind)
