"""A table of changes: which columns it may have, and which value a cell is. Pure functions.

A cell is written as ``.rows.csv`` writes it: text as it is, lists and objects as JSON. An empty cell changes nothing;
``null`` empties a field.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alyxfs import errors, json_text
from alyxfs.alyx.identities import id_at_the_end
from alyxfs.edits import validate
from alyxfs.edits.commit import refuse_unchangeable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from alyxfs.alyx.schema.read import Endpoint, Field

EMPTYING = "null"
"""What a cell holds whose field is to be empty."""

_TEXT = frozenset({"string", "uuid", "uri", "email", "date", "date-time"})
_NUMBERS = frozenset({"number", "double", "float", "integer", "int32", "int64"})
_TRUTHS = {"true": True, "false": False, "1": True, "0": False}


def key_column(endpoint: Endpoint, columns: Sequence[str]) -> str:
    """The column that names the record of each row.

    Raises Invalid, with all that is wrong, for columns that cannot be, and NotAllowed where no record can be changed.
    """
    refuse_unchangeable(endpoint)
    keys = [endpoint.lookup or "id"] if endpoint.lookup not in {None, "id"} else ["id", "url"]
    key = next((name for name in keys if name in columns), None)
    wrong = [f"the column {name!r} stands there twice" for name in dict.fromkeys(columns) if columns.count(name) > 1]
    if key is None:
        wrong.append(f"there is no column {' or '.join(map(repr, keys))}, which tells the record of each row")
    for name in dict.fromkeys(columns):
        if name == key:
            continue
        try:
            validate.refuse_fixed_field(endpoint, name)
        except errors.Invalid as error:
            wrong.append(str(error).rstrip("."))
    if wrong:
        raise errors.Invalid(f"Nothing was sent, because of the first line of the table: {'; '.join(wrong)}.")
    if len(columns) == 1:
        raise errors.Invalid(f"Nothing was sent: the table has no column besides {key!r}.")
    assert key is not None
    return key


def key_in(cell: str) -> str:
    """The look-up that a cell of the key column holds; an address has the id at its end."""
    return id_at_the_end(cell)


def changes_in(endpoint: Endpoint, cells: Mapping[str, str]) -> dict[str, Any]:
    """The values of the cells by their columns, without those that change nothing. Raises Invalid."""
    return {name: _value(endpoint.fields.get(name), name, cell) for name, cell in cells.items() if cell}


def _value(field: Field | None, name: str, cell: str) -> Any:
    kind = "any" if field is None else field.kind
    if cell == EMPTYING:
        return "" if field is not None and kind in _TEXT and not field.nullable else None
    if kind in _TEXT:
        return cell
    if kind == "boolean":
        if (truth := _TRUTHS.get(cell.strip().lower())) is None:
            raise errors.Invalid(f"{name} must be true or false, not {validate.quoted(cell)}.")
        return truth
    try:
        return json_text.decode(cell.encode())
    except ValueError as error:
        if kind in _NUMBERS:
            raise errors.Invalid(f"{name} must be a number, not {validate.quoted(cell)}.") from error
        if field is None:
            return cell
        raise errors.Invalid(
            f'{name} must be JSON, as ["a", "b"] or {{"a": 1}} or "text", not {validate.quoted(cell)}.'
        ) from error
