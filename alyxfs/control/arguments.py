"""What a command to a drive says, and what it is told of the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from alyxfs import errors

if TYPE_CHECKING:
    from alyxfs.edits import Editor, Entry

LARGEST_NUMBER = 2**63
"""SQLite knows no larger ones."""


def number_in(command: dict[str, Any]) -> int:
    """Of a write in the journal, as the command names it."""
    return cast("int", given(command, "number", int))


def numbers_in(command: dict[str, Any]) -> list[int]:
    """Of several writes; raises Invalid."""
    numbers = given(command, "numbers", list, [])
    if not all(type(number) is int and abs(number) < LARGEST_NUMBER for number in numbers):
        raise errors.Invalid("What the drive takes as numbers are whole ones.")
    return cast("list[int]", numbers)


def paths_in(command: dict[str, Any]) -> list[str]:
    """Places on the drive."""
    return [str(path) for path in given(command, "paths", list)]


def given(command: dict[str, Any], name: str, kind: type, *otherwise: Any) -> Any:
    """What a command says under this name, or else that; raises Invalid where it says nothing that is of the kind."""
    value: Any = command.get(name)
    if value is None and otherwise:
        return otherwise[0]
    is_whole = kind is float and type(value) is int and abs(value) < LARGEST_NUMBER
    if value is None or (type(value) is not kind and not is_whole):
        raise errors.Invalid(f"{str(value)[:80]!r} is not what the drive takes as {name}.")
    if kind is int and not abs(value) < LARGEST_NUMBER:
        raise errors.Invalid(f"{str(value)[:80]} is too large a {name}.")
    return value


def writing(editor: Editor | None) -> Editor:
    """The editor of a drive; raises ReadOnly where it has none."""
    if editor is None:
        raise errors.ReadOnly("This drive is read-only: mount it with --rw.")
    return editor


def shown(entry: Entry) -> dict[str, Any]:
    """An entry of the journal without its documents."""
    return {
        "number": entry.number,
        "time": entry.time,
        "operation": entry.operation,
        "record": f"{entry.endpoint}/{entry.key}",
        "method": entry.method,
        "state": entry.state.value,
        "status": entry.status,
        "fields": entry.fields,
        "remark": entry.remark,
        "undo_of": entry.undo_of,
        "set": entry.in_set,
        "applies": entry.applies,
    }
