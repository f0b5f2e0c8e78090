"""Whether a query would select a record as it is proposed: judged here, where the server does not know the record.

What cannot be judged is left to the server's answer, which is about the record as it was. Pure functions.
"""

from __future__ import annotations

import ast
import enum
import operator
import re
from typing import TYPE_CHECKING, Any

from alyxfs.alyx.identities import id_at_the_end
from alyxfs.alyx.quirks.writing import FIELD_OF_FILTER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from alyxfs.alyx.rest import Filters

_PART_OF_TEXT = frozenset({"project", "projects", "task_protocol", "location", "procedures"})
"""Filters of sessions that match part of the text (BEHAVIOUR of Alyx 3.6.1, "Filters")."""
_SINGULAR = {"project": "projects"}
"""Filters that are called otherwise than the field that they look at."""

_RELATION = re.compile(r"(\w+?)__(?:name|nickname|username|id|pk)(__\w+|)")
_CONDITION = re.compile(r"(?P<not>~?)(?P<field>\w+?)(?:__(?P<how>[a-z]+))?")

_NAMING = re.compile(r"id|pk|\w+__in")
"""Conditions by which one record is asked for."""
_NEWER = frozenset({"auto_datetime__gt", "auto_datetime__gte"})
"""By which what changed is asked for."""

Judgement = bool | None
"""None where it cannot be told here."""


class Standing(enum.Enum):
    """What a record is to the server."""

    AS_IT_IS = "as it is"
    CHANGED = "changed"
    """Proposed to be changed: later than all that the server has."""
    NEW = "new"
    """Proposed to be made: columns that the API does not show are empty."""


def selects(
    endpoint: str, filters: Filters, record: Mapping[str, Any], standing: Standing = Standing.AS_IT_IS
) -> Judgement:
    """Whether all filters select the record."""
    return _all(_selects(endpoint, name, value, record, standing) for name, value in filters)


def _all(judgements: Iterable[Judgement]) -> Judgement:
    known = list(judgements)
    if False in known:
        return False
    return None if None in known else True


def _selects(endpoint: str, name: str, value: str, record: Mapping[str, Any], standing: Standing) -> Judgement:
    if name == "django":
        return _selects_freely(value, record, standing)
    field = FIELD_OF_FILTER.get(endpoint, {}).get(name, name)
    if endpoint == "sessions":
        field = _SINGULAR.get(field, field)
    if name == "date_range":
        return _is_between(record.get("start_time"), *value.split(",")[:2])
    if field not in record or isinstance(record[field], dict):
        return False if field == "id" else None
    if field == "users":
        return all(user in record["users"] for user in value.split(","))
    wanted, is_part = value.lower(), endpoint == "sessions" and name in _PART_OF_TEXT
    return _any_of(record[field], lambda text: wanted in text.lower() if is_part else text.lower() == wanted)


def _is_between(moment: Any, first: str = "", last: str = "") -> Judgement:
    if not first or not last:
        return None
    return isinstance(moment, str) and first <= moment[:10] <= last[:10]


def _any_of(found: Any, fits: Callable[[str], bool]) -> bool:
    values = found if isinstance(found, list) else [found]
    return any(fits(each) for value in values for each in _spellings(value))


def _spellings(value: Any) -> set[str]:
    """A value as addresses may write it."""
    if value is None:
        return {"null", ""}
    if isinstance(value, bool):
        return {str(value)}
    if isinstance(value, float) and value.is_integer():
        return {str(value), str(int(value))}
    return {str(value), id_at_the_end(str(value))}


# The free filter


def _selects_freely(text: str, record: Mapping[str, Any], standing: Standing) -> Judgement:
    parts = _split(text)
    if len(parts) % 2:
        return None
    judged = [_fulfils(*pair, record, standing) for pair in zip(parts[::2], parts[1::2], strict=True)]
    if standing is Standing.NEW and judged[0] and _NAMING.fullmatch(parts[0]):
        # A new record that is asked for by its name: columns that the API does not show hold what all new ones have.
        return False not in judged
    return _all(judged)


def _split(text: str) -> list[str]:
    """At commas, but not at those in brackets."""
    parts, closing = [""], ""
    for character in text:
        if character == "," and not closing:
            parts.append("")
            continue
        closing = {"[": "]", "(": ")"}.get(character, closing) if not closing else closing * (character != closing)
        parts[-1] += character
    return parts


def _fulfils(condition: str, value: str, record: Mapping[str, Any], standing: Standing) -> Judgement:
    if condition in _NEWER and standing is not Standing.AS_IT_IS:
        return True
    related = _RELATION.fullmatch(condition.lstrip("~"))
    if related:
        condition = ("~" if condition.startswith("~") else "") + related[1] + related[2]
    parsed = _CONDITION.fullmatch(condition)
    if parsed is None:
        return None
    field = {"pk": "id"}.get(parsed["field"], parsed["field"])
    found = record.get(field)
    if field == "id" and found is None and isinstance(record.get("url"), str):
        found = id_at_the_end(record["url"])
    elif field not in record:
        return None
    judged = _compares(parsed["how"] or "exact", found, value)
    return judged if judged is None or not parsed["not"] else not judged


def _compares(how: str, found: Any, value: str) -> Judgement:
    if isinstance(found, dict):
        return None
    if how == "isnull":
        return (found is None or found == []) == (value == "True")
    if how in _ORDERS:
        return _orders(how, found, value)
    fits = _fitting(how, value)
    return None if fits is None else _any_of(found, fits)


def _fitting(how: str, value: str) -> Callable[[str], bool] | None:
    """Whether a text is what is asked for; None where that is not known here."""
    folded = value.lower()
    exact = {value, *_number_spellings(value)}
    listed = _listed(value) if how == "in" else None
    fitting: dict[str, Callable[[str], bool]] = {
        "exact": lambda text: text in exact,
        "iexact": lambda text: text.lower() == folded,
        "contains": lambda text: value in text,
        "icontains": lambda text: folded in text.lower(),
        "startswith": lambda text: text.startswith(value),
        "istartswith": lambda text: text.lower().startswith(folded),
    }
    return fitting.get(how) if listed is None else listed.__contains__


def _listed(value: str) -> set[str] | None:
    try:
        return {str(each) for each in ast.literal_eval(value)}
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):  # no list, or one nested without end
        return None


_ORDERS: Mapping[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


def _orders(how: str, found: Any, value: str) -> Judgement:
    """Numbers by their size, times and ids by their text."""
    if found is None:
        return False
    try:
        wanted = float(value) if isinstance(found, int | float) else value
    except ValueError:
        return None
    return _ORDERS[how](found, wanted) if isinstance(found, int | float | str) else None


def _number_spellings(value: str) -> set[str]:
    try:
        return _spellings(float(value))
    except ValueError:
        return set()
