"""Server-given names as file names, and back, exactly.

A file name cannot hold ``/`` or NUL, the kernel takes at most 255 bytes, and ``ls`` should show what is there. What
cannot stand, or would not be seen, is percent-encoded, ``%`` itself included, so that decoding gives the server's name
back; longer names are cut and marked with a hash. Accents stay as the server has them, composed or not.
"""

from __future__ import annotations

import hashlib
import re

from alyxfs.visible_text import HIDDEN

MAXIMUM_BYTES = 255
"""NAME_MAX of Linux, in bytes of UTF-8."""

_UNSAFE = re.compile(f"[/%{HIDDEN}]")
_ESCAPE = re.compile(r"((?:%[0-9A-F]{2})+)")
_RESERVED = frozenset(
    {".", "..", ".schema", ".help", ".alyxfs", ".rows.jsonl", ".rows.csv", ".rows.parquet", ".records.jsonl"}
    | {".files.tsv", ".files.parquet"}
)
"""What the drive itself calls so."""


def encode(name: str, suffix: str = "") -> str:
    """The file name of a server-given name, ``suffix`` (as ``.json``) at its end; never empty, ``.`` or ``..``."""
    encoded = _UNSAFE.sub(lambda match: _escape(match.group()), name)
    if name in _RESERVED:
        encoded = encoded.replace(".", "%2E")
    if not name:
        encoded = "%"  # no other name gives a lone percent sign
    if len((encoded + suffix).encode()) <= MAXIMUM_BYTES:
        return encoded + suffix
    mark = "~" + hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    room = MAXIMUM_BYTES - len((mark + suffix).encode())
    kept = encoded.encode()[:room].decode("utf-8", "ignore")
    return re.sub(r"%[0-9A-F]?$", "", kept) + mark + suffix


def decode(encoded: str) -> str | None:
    """The server's name behind a file name (without suffix), or None where no server name gives this file name.

    Names that :func:`encode` had to cut cannot be decoded; a listing knows them.
    """
    if encoded == "%":
        return ""
    try:
        name = _ESCAPE.sub(
            lambda match: bytes.fromhex(match.group().replace("%", "")).decode("utf-8", "surrogatepass"),
            encoded,
        )
    except UnicodeDecodeError:
        return None
    return name if encode(name) == encoded else None


def meanings(name: str) -> tuple[str, ...]:
    """The server's names that a program may mean by a file name: the one that is shown so, else the name as it is."""
    decoded = decode(name)
    shown = () if not decoded else (decoded,)
    return shown if encode(name) == name else (*shown, name)


def _escape(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))
