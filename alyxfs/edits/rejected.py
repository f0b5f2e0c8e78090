"""Drafts that did not reach the server, kept as files where a person finds them."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from alyxfs import file_names
from alyxfs.private_files import claim_folder, open_file
from alyxfs.visible_text import escaped

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Mapping

_REASON = ".reason.txt"
LONGEST_NAME = 150
"""Bytes of a record's name that stand in a file name here: time, endpoint and suffix need the rest of the 255."""


def keep(directory: pathlib.Path, endpoint: str, name: str, contents: Mapping[str, bytes], reason: str) -> pathlib.Path:
    """Write ``<time>-<endpoint>-<name><suffix>`` for each suffix of ``contents``, and ``….reason.txt`` beside them.

    Suffixes are as ``.json`` or ``.theirs.json``. Files are the user's alone (0600 in 0700) and on the disk when this
    returns; nothing is ever overwritten. Returns the first file. Blocks: call it from a worker thread.
    """
    claim_folder(directory)
    moment = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    shortened = file_names.encode(name).encode()[:LONGEST_NAME].decode("utf-8", "ignore")
    stem = f"{moment}-{endpoint}-{shortened}"
    attempt = 0
    while True:
        unique = stem if not attempt else f"{stem}-{attempt + 1}"
        try:
            _write(directory / f"{unique}{_REASON}", escaped(reason).encode() + b"\n")
        except FileExistsError:
            attempt += 1
            continue
        break
    paths = [directory / f"{unique}{suffix}" for suffix in contents]
    for path, content in zip(paths, contents.values(), strict=True):
        _write(path, content)
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return paths[0]


def reasons_in(directory: pathlib.Path) -> list[pathlib.Path]:
    """The sentences that stand beside the drafts in this directory, one for each. Raises OSError."""
    return [path for path in directory.iterdir() if path.name.endswith(_REASON)]


def _write(path: pathlib.Path, content: bytes) -> None:
    descriptor = open_file(path, os.O_WRONLY | os.O_EXCL)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
