"""Extended attributes: what a node says of itself, and what went wrong with it."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from alyxfs.visible_text import escaped

if TYPE_CHECKING:
    from alyxfs.tree import Node

PREFIX = "user.alyx."
ERROR = f"{PREFIX}error"
"""Tells of what the owner did, and at times of a draft: nobody else reads it."""
NOT_THERE = errno.ENODATA
"""What Linux answers for an extended attribute that is not there."""


async def values_of(node: Node, last_error: str | None) -> dict[str, str]:
    """All of a node by their names; ``last_error``: the sentence of what went wrong with it last, if anything did."""
    values = {PREFIX + name: escaped(value) for name, value in (await node.extended_attributes()).items()}
    if last_error:
        values[ERROR] = last_error
    return values
