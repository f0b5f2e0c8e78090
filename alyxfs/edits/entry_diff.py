"""What the log and ``alyxfs diff`` show of a journal entry."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from alyxfs import json_text
from alyxfs.edits.entry import State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alyxfs.edits.entry import Entry


def diff(entry: Entry) -> str:
    """A unified diff of the record before and after; of what would have been, where nothing was changed.

    Empty where before and after are equal.
    """
    before, after = entry.before, entry.after
    label = "after"
    if entry.state is not State.DONE:
        label = f"as it would be ({entry.state.value})"
        after = _expected(entry)
    return _unified(f"{entry.endpoint}/{entry.key}.json", before, after, label)


def of_changes(endpoint: str, key: str, record: Any, changes: Mapping[str, Any]) -> str:
    """The same of changes that nobody has sent."""
    return _unified(f"{endpoint}/{key}.json", record, {**record, **changes}, "as it would be")


def _unified(path: str, before: Any, after: Any, label: str) -> str:
    lines = difflib.unified_diff(_lines(before), _lines(after), f"{path} (before)", f"{path} ({label})", lineterm="")
    return "".join(f"{line}\n" for line in lines)


def _expected(entry: Entry) -> Any:
    if entry.method == "DELETE":
        return None
    if isinstance(entry.request, dict):
        return {**(entry.before or {}), **entry.request}
    if entry.draft is None:
        return entry.before
    try:
        draft = json_text.decode(entry.draft)
    except ValueError:
        return entry.before
    return {**(entry.before or {}), **draft} if isinstance(draft, dict) else entry.before


def _lines(document: Any) -> list[str]:
    return [] if document is None else json_text.render(document).decode("utf-8", "replace").splitlines()
