"""Three-way merge of a record by field, of JSON fields by key, and the comparison of an answer with what was sent.

Pure functions over parsed JSON. A record is a dictionary; a missing field means "unchanged", so that
``{"narrative": "ok"}`` is a whole edit. Inside a JSON field (any dictionary) a missing key is a key that was removed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from alyxfs.moments import naive_utc


class _Missing:
    def __repr__(self) -> str:
        return "nothing"


MISSING: Any = _Missing()
"""Stands for a field or key that a side does not have; JSON's null is None."""

HISTORY = "history"
"""The key that Alyx itself adds to the ``json`` of a renamed subject (recording subject_rename of Alyx 3.6.1)."""

_LARGEST_EXACT = 2**53
"""Whole numbers beyond it are not told apart as floats, or are none."""

_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d")
_UUID = re.compile(r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}")
_ADDRESS = re.compile(r"https?://[^/]+(/.*)")


@dataclass(frozen=True)
class Disagreement:
    """One field, or one key inside a JSON field, that both sides changed differently."""

    path: tuple[str, ...]
    """The field, then the keys inside it."""
    base: Any
    mine: Any
    theirs: Any

    @property
    def name(self) -> str:
        """The path as people write it: ``json.qc``."""
        return ".".join(self.path)


@dataclass(frozen=True)
class Merged:
    """What a save should send, unless the sides disagree."""

    patch: dict[str, Any]
    """Fields to send, JSON fields whole as merged; empty where the server already holds all of it."""
    disagreements: tuple[Disagreement, ...]


def edited_fields(
    base: dict[str, Any],
    mine: dict[str, Any],
    *,
    computed: frozenset[str] = frozenset(),
    unordered: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """The fields of ``mine`` that differ from ``base``; ``computed`` ones never count."""
    return {
        field: value
        for field, value in mine.items()
        if field not in computed and not same(base.get(field, MISSING), value, unordered=field in unordered)
    }


def three_way(
    base: dict[str, Any],
    mine: dict[str, Any],
    theirs: dict[str, Any],
    *,
    computed: frozenset[str] = frozenset(),
    unordered: frozenset[str] = frozenset(),
) -> Merged:
    """Merge the edit from ``base`` to ``mine`` into ``theirs``, the record as it is on the server now.

    ``computed`` fields never count as edits. ``unordered`` fields are many-to-many relations: two lists of names that
    differ in order alone are no edit there. A field that ``base`` does not show was never seen by the writer, so that
    its value on the server cannot be a change he missed.
    """
    patch: dict[str, Any] = {}
    disagreements: list[Disagreement] = []
    for field, value in edited_fields(base, mine, computed=computed, unordered=unordered).items():
        current = theirs.get(field, MISSING)
        known = base.get(field, current)
        is_unordered = field in unordered
        if same(current, value, unordered=is_unordered):
            continue
        if same(known, current, unordered=is_unordered):
            patch[field] = value
        elif isinstance(value, dict) and isinstance(current, dict):
            merged, inner = _merge_json(known, value, current, (field,))
            disagreements += inner
            if not inner and not same(merged, current):
                patch[field] = merged
        else:
            disagreements.append(Disagreement((field,), known, value, current))
    return Merged(patch, tuple(disagreements))


def _merge_json(
    base: Any, mine: dict[str, Any], theirs: dict[str, Any], path: tuple[str, ...]
) -> tuple[dict[str, Any], list[Disagreement]]:
    base = base if isinstance(base, dict) else {}
    merged: dict[str, Any] = {}
    disagreements: list[Disagreement] = []
    for key in [*theirs, *(key for key in mine if key not in theirs)]:
        before, own, other = (side.get(key, MISSING) for side in (base, mine, theirs))
        if same(own, before) or same(own, other):
            value = other
        elif same(other, before):
            value = own
        elif isinstance(own, dict) and isinstance(other, dict):
            value, inner = _merge_json(before, own, other, (*path, key))
            disagreements += inner
        else:
            disagreements.append(Disagreement((*path, key), before, own, other))
            value = other
        if value is not MISSING:
            merged[key] = value
    return merged, disagreements


def same(one: Any, other: Any, *, unordered: bool = False) -> bool:
    """Whether two JSON values are equal: 1 and 1.0 are, 1 and true are not, NaN equals itself.

    ``unordered``: lists of distinct strings are compared as sets.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        if unordered and _names(one) and _names(other):
            return set(one) == set(other)
        return len(one) == len(other) and all(same(*pair) for pair in zip(one, other, strict=True))
    if _is_number(one) and _is_number(other):
        return bool(one == other) or (one != one and other != other)  # noqa: PLR0124 - NaN alone differs from itself
    return type(one) is type(other) and bool(one == other)


def differences_after_saving(sent: dict[str, Any], answered: dict[str, Any]) -> list[str]:
    """The fields that the server did not take as they were sent: a silent no-op, or a value of its own.

    What Alyx does to a value on its way in is no difference: text trimmed, dates made naive UTC, names of many-to-many
    relations in another order, ``session`` spelled ``actions.session``, a number sent as text.
    """
    return [
        field
        for field, value in sent.items()
        if not same_after_saving(value, answered.get(field, MISSING), field=field)
    ]


def same_after_saving(sent: Any, answered: Any, *, field: str = "") -> bool:
    """Whether ``answered`` is what Alyx makes of ``sent``."""
    if same(sent, answered, unordered=True):
        return True
    if field == "json" and isinstance(answered, dict):
        answered = _without_history(sent, answered)
    if sent is None or (isinstance(sent, dict) and isinstance(answered, dict)):
        return same(sent, answered)
    if isinstance(sent, list) and isinstance(answered, list):
        if all(isinstance(value, str) for value in sent) and same(list(dict.fromkeys(sent)), answered, unordered=True):
            return True  # a relation named twice
        return len(sent) == len(answered) and all(same_after_saving(*pair) for pair in zip(sent, answered, strict=True))
    if isinstance(sent, dict | list) or isinstance(answered, dict | list) or answered is MISSING:
        return False
    return _canonical(sent) == _canonical(answered) or _is_longer_name_of(sent, answered, field)


def _without_history(sent: Any, answered: dict[str, Any]) -> dict[str, Any] | None:
    """The ``json`` of a record without what the server itself has noted in it; None where it holds nothing else."""
    if HISTORY not in answered or (isinstance(sent, dict) and HISTORY in sent):
        return answered
    own = {key: value for key, value in answered.items() if key != HISTORY}
    return own if own or sent is not None else None


def _is_longer_name_of(sent: Any, answered: Any, field: str) -> bool:
    """Whether a content type was sent without its application: the answer always has both."""
    return field == "content_type" and isinstance(answered, str) and answered.rpartition(".")[2] == sent


def _canonical(value: Any) -> Any:
    """A scalar as the server stores it, so that two spellings of one value are equal."""
    if isinstance(value, bool):
        return str(value).lower()
    if _is_number(value):
        return value if abs(value) > _LARGEST_EXACT else float(value)
    return _canonical_text(value.strip()) if isinstance(value, str) else value


def _canonical_text(text: str) -> Any:
    if _DATE_TIME.match(text):
        return naive_utc(text) or text
    if _UUID.fullmatch(text):
        return text.replace("-", "").lower()
    if address := _ADDRESS.fullmatch(text):
        return address[1]
    try:
        return float(text)
    except ValueError:
        return text.lower() if text.lower() in {"true", "false"} else text


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _names(values: list[Any]) -> bool:
    return all(isinstance(value, str) for value in values) and len(set(values)) == len(values)
