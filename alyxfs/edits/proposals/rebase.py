"""What a proposal was made on, once an earlier one of its record is sent. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alyxfs.edits.merge import same

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Applied:
    """What was staged of a record and is sent: what the drive took the server's answer to be, and what it was."""

    expected: Mapping[str, Any]
    real: Mapping[str, Any]


def based_on(before: Any, applied: Sequence[Applied]) -> Any:
    """The record that a proposal was made on, with the server's own values where others were expected of it."""
    if not isinstance(before, dict):
        return before
    for each in applied:
        before = {
            name: each.real[name] if name in each.real and same(value, each.expected.get(name)) else value
            for name, value in before.items()
        }
    return before
