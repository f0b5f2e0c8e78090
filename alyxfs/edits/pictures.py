"""Pictures of notes: which of them the server keeps as they are, and the one that a new note names.

Alyx 3.6.1 keeps the bytes of a picture only in a POST with ``width=orig``. At each later save of the note it stores the
picture anew, at most 800 pixels wide, and JPEG with quality 70 (``Note.save`` in misc/models), whatever width a PATCH
gives (misc/serializers).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from alyxfs import errors
from alyxfs.alyx.quirks.writing import NOTES

if TYPE_CHECKING:
    from collections.abc import Callable

WIDEST = 800
"""Pixels: UPLOADED_IMAGE_WIDTH of Alyx's settings, unless a laboratory has changed it."""
AS_WRITTEN = "orig"
"""The width that a POST gives to have the picture kept as it is (misc/views)."""

_PNG, _BMP = b"\x89PNG\r\n\x1a\n", b"BM"
_LOSSY = {b"\xff\xd8\xff": "JPEG", b"GIF8": "GIF", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"RIFF": "WebP"}
"""Formats that lose something when they are stored anew, quality or further images, by their first bytes."""


def refuse_altered(key: str, name: str, content: bytes) -> None:
    """Raise NotAllowed where a note that is there would show something else than this picture; others lose no pixel."""
    reason = _altered(content)
    if reason is not None:
        raise errors.NotAllowed(
            f"{name} was not sent, because the server would not keep it as it is: {reason}. Only a new note keeps its "
            f"picture: copy it to a name in notes/ that is no note's, as notes/figure.png, and make a note whose "
            f'"image" is that name; notes/{key} stays as it is. Or make it a PNG of at most {WIDEST} pixels in width.'
        )


def _altered(content: bytes) -> str | None:
    for signature, kind in _LOSSY.items():
        if content.startswith(signature):
            return f"it stores a {kind} that is given to an old note anew, with less in it"
    width = _width(content)
    if width is not None and width > WIDEST:
        return f"it is {width} pixels wide, and would be made {WIDEST}"
    if content.startswith(_PNG) and b"acTL" in content[: content.find(b"IDAT")]:
        return "only the first image of an animation would stay"
    return None


def _width(content: bytes) -> int | None:
    """In pixels, where the format says it at a fixed place (PNG specification 11.2.2; BITMAPINFOHEADER)."""
    if content.startswith(_PNG) and len(content) > 20:  # noqa: PLR2004
        return int(struct.unpack_from(">I", content, 16)[0])
    if content.startswith(_BMP) and len(content) > 22:  # noqa: PLR2004
        return int(abs(struct.unpack_from("<i", content, 18)[0]))
    return None


def taken_from(
    endpoint: str, document: dict[str, Any], beside: Callable[[str], bytes | None] | None
) -> tuple[dict[str, Any], tuple[str, bytes] | None]:
    """What to send of a new record, and the name and content of the picture that it names, if it is a note.

    ``beside`` gives the content of a local file in the note's directory. Raises Invalid where there is none.
    """
    name = document.get("image")
    if endpoint != NOTES or not isinstance(name, str) or not name:
        return document, None
    content = None if beside is None else beside(name)
    if content is None:
        raise errors.Invalid(
            f"There is no file {name} in notes/ for the picture of this note: copy it there first, under a name that "
            "is no note's. The address of a picture on the server cannot be given."
        )
    return {"width": AS_WRITTEN, **{field: value for field, value in document.items() if field != "image"}}, (
        name,
        content,
    )
