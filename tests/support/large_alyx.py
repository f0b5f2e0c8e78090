"""A server of any size: cache tables that are made up, and an API that has nothing to add to them."""

from __future__ import annotations

import contextlib
import io
import json
import random
import uuid
import zipfile
from typing import TYPE_CHECKING

from small_alyx import SCHEMA, resource, small_alyx

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from small_alyx import SmallAlyx

DATASETS_A_SESSION = 20
SESSIONS_A_SUBJECT = 20
SUBJECTS_A_LAB = 300
MADE = "2024-06-01 12:00"

PATHS = [
    *(
        f"alf/_ibl_trials.{part}.npy"
        for part in ("intervals", "choice", "contrastLeft", "contrastRight", "goCue_times")
    ),
    *(f"alf/_ibl_wheel.{part}.npy" for part in ("position", "timestamps")),
    *(f"alf/probe00/pykilosort/#2024-05-06#/spikes.{part}.npy" for part in ("times", "clusters", "amps", "depths")),
    *(f"alf/probe01/pykilosort/#2024-05-06#/clusters.{part}.npy" for part in ("channels", "depths", "peakToTrough")),
    *(f"raw_video_data/_iblrig_{side}Camera.raw.mp4" for side in ("left", "right", "body")),
    *(
        f"raw_behavior_data/_iblrig_{part}"
        for part in ("taskData.raw.jsonable", "taskSettings.raw.json", "ambient.ssv")
    ),
]
"""Of one session; a real one has some fifty, of some ten kinds."""
assert len(PATHS) == DATASETS_A_SESSION


@contextlib.contextmanager
def large_alyx(sessions: int, folder: Path) -> Iterator[SmallAlyx]:
    """A server of so many sessions; its tables, which are made first, are kept in ``folder``. Needs pyarrow."""
    archive = folder / f"{sessions}.zip"
    if not archive.exists():
        archive.write_bytes(_archive(sessions))
    labs = sorted({f"lab{number:02d}" for number in range(_labs(sessions))})
    with small_alyx() as alyx:
        alyx.lookups |= {"labs": "name", "data-repository": "name"}
        filters = ("django", "subject", "lab")
        alyx.schema = {
            **SCHEMA,
            "paths": {
                **SCHEMA["paths"],
                **resource("labs", "name"),
                **resource("data-repository", "name"),
                **resource("revisions", "name"),
                **resource("sessions", "id", *filters),
                **resource("datasets", "id", *filters),
            },
        }
        alyx.put("labs", [{"name": lab, "repositories": []} for lab in labs])
        counts = {"sessions": sessions, "datasets": sessions * DATASETS_A_SESSION}
        alyx.instead = {
            "/cache/info": (200, {"date_created": MADE}),
            "/cache.zip": (200, archive.read_bytes()),
            **{f"/{name}?limit=1&": (200, {"count": count, "next": None, "previous": None, "results": []})
               for name, count in counts.items()},
        }  # fmt: skip
        yield alyx


def _labs(sessions: int) -> int:
    return -(-sessions // (SESSIONS_A_SUBJECT * SUBJECTS_A_LAB))


def _archive(sessions: int) -> bytes:
    import pyarrow as pa

    luck = random.Random(sessions)

    def identities(count: int) -> list[str]:
        return [str(uuid.UUID(int=luck.getrandbits(128))) for _ in range(count)]

    eids, count = identities(sessions), sessions * DATASETS_A_SESSION
    subjects = [number // SESSIONS_A_SUBJECT for number in range(sessions)]
    tables = {
        "sessions.pqt": {
            "id": eids,
            "lab": [f"lab{subject // SUBJECTS_A_LAB:02d}" for subject in subjects],
            "subject": [f"mouse{subject:05d}" for subject in subjects],
            "date": pa.array([18000 + number % SESSIONS_A_SUBJECT for number in range(sessions)], pa.date32()),
            "number": pa.array([1] * sessions, pa.uint16()),
        },
        "datasets.pqt": {
            "eid": [eid for eid in eids for _ in PATHS],
            "id": identities(count),
            "rel_path": PATHS * sessions,
            "file_size": pa.array([luck.randrange(10**9) for _ in range(count)], pa.uint64()),
            "hash": [f"{luck.getrandbits(128):032x}" for _ in range(count)],
            "default_revision": [True] * count,
            "qc": pa.array(["NOT_SET"] * count).dictionary_encode(),
        },
    }
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, columns in tables.items():
            archive.writestr(name, _parquet(pa.table(columns)))
        archive.writestr("cache_info.json", json.dumps({"date_created": MADE}))
    return target.getvalue()


def _parquet(table: object) -> bytes:
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()
