"""What a drive tells of itself in figures: how busy it is, what that has cost, and where its things are."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alyxfs.counters import counted
from alyxfs.edits import reasons_in

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from alyxfs.alyx.credentials import Account
    from alyxfs.files.cache import FileCache
    from alyxfs.kernel import Kernel


@dataclass(frozen=True)
class PlacesToTell:
    """Where things of a drive are, as people find them."""

    mount_point: Path
    cache: Path
    log: Path | None
    """None: it goes to the terminal."""
    journal: Path
    rejected: Path


def figures(operations: Kernel, files: FileCache, account: Account, places: PlacesToTell) -> dict[str, object]:
    """For ``.alyxfs/status.json``: sizes in bytes; counts are those of this mount."""
    fetched, served = counted.files.received, counted.served
    rejected: list[Path] = []
    with contextlib.suppress(OSError):
        rejected = reasons_in(places.rejected)
    return {
        "user": account.user,
        "user_from": account.source,
        "kernel_requests": dict(counted.kernel),
        "api_requests": counted.api.requests,
        "api_requests_last_minute": counted.api.last_minute(),
        "api_bytes": counted.api.received,
        "file_requests": counted.files.requests,
        "file_requests_last_minute": counted.files.last_minute(),
        "file_bytes": fetched,
        "served_bytes": served,
        "cache_hit_share": round(max(0.0, 1 - fetched / served), 4) if served else None,
        "cache_bytes": files.disk.occupied,
        "cache_limit": files.disk.limit_bytes,
        "crawlers_refused": dict(operations.crawlers.refused),
        "open_files": operations.open_files,
        "transfers": files.memory.transfers,
        "writes_rejected": len(rejected),
        "mount_point": str(places.mount_point),
        "cache_directory": str(places.cache),
        "log": None if places.log is None else str(places.log),
        "journal": str(places.journal),
        "rejected": str(places.rejected),
    }


def in_short(status: Mapping[str, Any]) -> str:
    """The state of a drive in one line."""
    kind = "Writable" if status["writable"] else "Read-only"
    server = "the server answers" if status["stale_since"] is None else f"the server is away: {status['last_error']}"
    if snapshot := status["snapshot"]:
        server = f"a snapshot of {snapshot['made']}"
    requests = status["api_requests_last_minute"] + status["file_requests_last_minute"]
    return f"{kind}, {server}, {requests:,} requests in the last minute, {status['errors']:,} errors."
