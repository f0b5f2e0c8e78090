"""Parts of a schema's document as they should be, empty where they are not: a server may say anything."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LONGEST_DESCRIPTION = 20_000
"""Characters; the longest of Alyx 3.6.1 has 3,000."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


def mapping(value: Any) -> Mapping[str, Any]:
    """An object."""
    return value if isinstance(value, dict) else {}


def mappings(value: Any) -> Sequence[Mapping[str, Any]]:
    """The objects in a list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def texts(value: Any) -> Sequence[str]:
    """The texts in a list."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def choices(value: Any) -> tuple[object, ...]:
    """The plain values in a list."""
    plain = (str, int, float, bool, type(None))
    return tuple(item for item in value if isinstance(item, plain)) if isinstance(value, list) else ()


def text(value: Any) -> str:
    """A text."""
    return value[:LONGEST_DESCRIPTION] if isinstance(value, str) else ""


def is_name(value: str) -> bool:
    """Whether an endpoint can be called so: it is a directory of the drive, and stands in addresses."""
    return _NAME.fullmatch(value) is not None
