"""A list of any number of rows on a server that makes each row when it is asked for it."""

from __future__ import annotations

import contextlib
import sys
import uuid
from typing import TYPE_CHECKING, Any

from small_alyx import SCHEMA, resource, small_alyx

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from small_alyx import SmallAlyx

SPREAD = 0x9E3779B97F4A7C15F39CC0605CEDC835
"""An odd number by which counting up goes through all ids as if by chance."""
HASHES = 1 << 96


@contextlib.contextmanager
def long_list(rows: int) -> Iterator[SmallAlyx]:
    """A server whose list of datasets has so many rows, the newest first; its ids come in no order."""
    with small_alyx() as alyx:
        alyx.schema = {**SCHEMA, "paths": {**SCHEMA["paths"], **resource("datasets", "id", "django", "tag")}}
        alyx.length = rows
        otherwise = alyx.page

        def page(endpoint: str, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
            if endpoint != "datasets" or "django" in query:
                return otherwise(endpoint, query)
            limit, offset = min(1000, int(query["limit"])), int(query["offset"])
            found = [_row(alyx.length - 1 - place) for place in range(offset, min(offset + limit, alyx.length))]
            return 200, {"count": alyx.length, "next": None, "previous": None, "results": found}

        alyx.page = page
        yield alyx


def offsets(asked: Sequence[str]) -> list[int]:
    """From which row on each page was asked for; a page of one row is asked for its count."""
    pages = [path for path in asked if path.startswith("/datasets?") and "limit=1&" not in path]
    return [int(path.partition("offset=")[2].partition("&")[0]) for path in pages]


def _row(number: int) -> dict[str, Any]:
    """As Alyx 3.6.1 gives a dataset with two copies."""
    identity = str(uuid.UUID(int=number * SPREAD % (1 << 128)))
    day = f"2024-{number // 28 % 12 + 1:02d}-{number % 28 + 1:02d}"
    path = f"cortexlab/Subjects/mouse{number // 400:05d}/{day}/001/alf/spikes.times.{identity}.npy"
    return {
        "url": f"http://alyx.example/datasets/{identity}",
        "name": "spikes.times.npy",
        "created_by": "anna",
        "created_datetime": f"{day}T12:00:00.{number % 10**6:06d}",
        "dataset_type": "spikes.times",
        "data_format": "npy",
        "collection": "alf",
        "session": f"http://alyx.example/sessions/{uuid.UUID(int=number // 20 * SPREAD % (1 << 128))}",
        "file_size": number % 10**9,
        "hash": f"{number * SPREAD % HASHES:032x}",
        "auto_datetime": f"{day}T12:00:00.{number % 10**6:06d}",
        "revision": None,
        "default_dataset": True,
        "protected": False,
        "public": False,
        "tags": [],
        "qc": "NOT_SET",
        "file_records": [
            {
                "id": str(uuid.UUID(int=(2 * number + copy) * SPREAD % (1 << 128))),
                "data_repository": repository,
                "data_repository_path": "/public/",
                "relative_path": path,
                "data_url": f"https://files.example/public/{path}",
                "exists": True,
            }
            for copy, repository in enumerate(("flatiron_cortexlab", "aws_cortexlab"))
        ],
    }


if __name__ == "__main__":
    with long_list(int(sys.argv[1])) as running:
        print(running.url, flush=True)
        sys.stdin.read()
