"""Where in the cache directory a drive keeps what: together with others, or alone where the disk has no locks."""

from __future__ import annotations

import hashlib
import logging
import shutil
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from alyxfs import claims, errors
from alyxfs.free_space import DISK_REFUSES
from alyxfs.private_files import claim_folder, trusted_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

log = logging.getLogger(__name__)

MOST_ALONE = 100
"""Drives of one server that keep something each for themselves."""


@dataclass(frozen=True)
class CachePlace:
    """The folders of one drive."""

    server: Path
    """For what is known of its server."""
    files: Path
    """For data files."""
    remark: str = ""
    """What people should know of these, as a sentence."""


def folder_name(server: str) -> str:
    """A folder for what is known of a server: readable, and different for different addresses."""
    host = (urlsplit(server).hostname or "")[:100]
    return f"{host}-{hashlib.blake2b(server.encode('utf-8', 'surrogateescape'), digest_size=4).hexdigest()}"


@contextmanager
def cache_place(
    directory: Path, server: str, ready: Callable[[], object]
) -> Iterator[tuple[CachePlace, Callable[[], object]]]:
    """The place of a drive of this server in the cache ``directory``, and what is to be called instead of ``ready``.

    What is known of a server that was never mounted goes again where ``ready`` is not called: most are mistyped. A disk
    that takes nothing costs the caching. Raises ConfigurationError.
    """
    folder = directory / "servers" / folder_name(server)
    with ExitStack() as stack:
        try:
            trusted_folder(directory)
            claim_folder(folder.parent)
            why = claims.why_unshared(folder.parent)
            if why is None:
                place = CachePlace(folder, directory / "files")
                noting_ready = stack.enter_context(_kept_if_mounted(folder, ready))
            else:
                place, noting_ready = _place_alone(folder, why, stack), ready
            for each in (place.server, place.files):
                claim_folder(each)
        except OSError as error:
            if error.errno not in DISK_REFUSES:
                raise errors.ConfigurationError(
                    f"The cache directory {directory} cannot be used: {error.strerror or error}."
                ) from error
            log.info("nothing is kept in %s: %s", directory, error)
            place, noting_ready = CachePlace(folder, directory / "files"), ready
        if place.remark:
            log.info("%s", place.remark)
        yield place, noting_ready


def _place_alone(folder: Path, why: str, stack: ExitStack) -> CachePlace:
    """A place that no other drive has: the first one is that of the server, if another drive has it there are more."""
    for number in range(1, MOST_ALONE + 1):
        mine = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        claim_folder(mine)
        try:
            stack.enter_context(claims.claimed(mine))
        except claims.Claimed as taken:
            log.info("%s", taken)
            continue
        remark = (
            f"The disk of the cache has no locks ({why}): this drive shares nothing with others, and keeps its data "
            f"files in {mine}, each drive up to the cache's limit."
        )
        return CachePlace(mine, mine / "files", remark)
    raise errors.ConfigurationError(f"{folder} and {MOST_ALONE - 1} more like it are in use: unmount some drives.")


@contextmanager
def _kept_if_mounted(folder: Path, ready: Callable[[], object]) -> Iterator[Callable[[], object]]:
    is_kept = folder.exists()

    def noting_ready() -> None:
        nonlocal is_kept
        is_kept = True
        ready()

    try:
        yield noting_ready
    finally:
        if not is_kept:
            shutil.rmtree(folder, ignore_errors=True)
