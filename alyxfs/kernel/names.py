"""Names as the kernel gives them."""

from __future__ import annotations

from alyxfs import errors


def decoded(name: bytes) -> str:
    """The text of a name; raises NotFound for what is none."""
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise errors.NotFound(f"{name!r} is not UTF-8; no name of the drive is.") from error
