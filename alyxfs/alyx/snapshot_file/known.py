"""What goes into a snapshot, taken from a running drive: what is known of the server, and nothing of the user."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING, Any

import trio

from alyxfs import errors, json_text
from alyxfs.alyx.datasets.aggregates import Aggregates
from alyxfs.alyx.datasets.s3 import without_keys
from alyxfs.alyx.datasets.table_form import INFO, TABLES
from alyxfs.alyx.snapshot_file.form import KNOWN, SIZES

if TYPE_CHECKING:
    from pathlib import Path

    from alyxfs.alyx.datasets.catalogue import Catalogue
    from alyxfs.alyx.metadata.cache import MetadataCache
    from alyxfs.store import Store

DOCUMENTS = ("schema", "changes since the cache tables")
"""Of the store; the others are about the user."""
REPOSITORIES = "data-repository"
"""The endpoint whose records may hold keys of private buckets."""


async def copy_known(
    metadata: MetadataCache, catalogue: Catalogue, store: Store, sizes: Path, folder: Path
) -> dict[str, int]:
    """Put what a drive knows into an empty folder; returns how many records and listings that are.

    First what data files cannot be found without is asked for, where it is not known. Raises ConfigurationError.
    """
    for learn in (catalogue.learn_addresses, Aggregates(catalogue).folders):
        with contextlib.suppress(errors.AlyxfsError):
            await learn()
    tables = await catalogue.index.table_folder()
    await metadata.flush()
    try:
        return await trio.to_thread.run_sync(_copy, store, tables, sizes, folder)
    except OSError as error:
        raise errors.of_machine(error) from error


def _copy(store: Store, tables: Path | None, sizes: Path, folder: Path) -> dict[str, int]:
    copied = store.copy_to(folder / KNOWN, DOCUMENTS, _public)
    for name in (*TABLES, INFO) if tables is not None else ():
        assert tables is not None
        with contextlib.suppress(FileNotFoundError):
            _link(tables / name, folder / name)
    if sizes.exists():
        shutil.copyfile(sizes, folder / SIZES)
    return copied


def _link(source: Path, target: Path) -> None:
    """Newer tables may come, and these go, while they are packed."""
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target)


def _public(endpoint: str, body: bytes) -> bytes | None:
    """A record without the keys in it; None where it cannot be read."""
    if endpoint != REPOSITORIES:
        return body
    try:
        document: Any = json_text.decode(body)
    except ValueError:
        return None
    return json_text.compact(without_keys(document))
