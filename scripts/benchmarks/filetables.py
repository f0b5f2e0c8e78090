"""Made-up cache tables of any size, and the table of all their files written from them."""

from __future__ import annotations

import hashlib
import random
import time
import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import trio

from alyxfs.alyx.datasets.cache_tables import INFO, read_tables
from alyxfs.alyx.datasets.delta import Delta
from alyxfs.alyx.datasets.snapshot import Snapshot
from alyxfs.tree.tables.files import FilesBelow, file_rows
from alyxfs.tree.tables.spool import Spool

FILES_OF_SESSION = 24
PROBES = ("alf", "alf/probe00", "alf/probe00/pykilosort", "alf/probe01/pykilosort", "raw_video_data")
NAMES = ("spikes.times", "spikes.clusters", "clusters.metrics", "channels.localCoordinates", "_ibl_trials.table")
BATCH = 100_000


def make_tables(folder: Path, datasets: int) -> None:
    """The server's Parquet files with so many datasets."""
    rng = random.Random(5)
    paths = [f"{probe}/{name}.{part}.npy" for probe in PROBES for name in NAMES for part in range(4)]
    paths += [f"{probe}/#2024-05-06#/{name}.npy" for probe in PROBES for name in NAMES]
    sessions = [str(uuid.UUID(int=rng.getrandbits(128))) for _ in range(datasets // FILES_OF_SESSION)]
    places = {
        "id": sessions,
        "lab": [f"lab{number % 12:02d}" for number in range(len(sessions))],
        "subject": [f"S{number % 1200:04d}" for number in range(len(sessions))],
        "date": [f"{2018 + number // 1200 % 7}-0{1 + number % 9}-1{number % 10}" for number in range(len(sessions))],
        "number": [1 + number // 8400 for number in range(len(sessions))],
    }
    pq.write_table(pa.table(places), folder / "sessions.pqt")
    kinds = [(name, pa.string()) for name in ("eid", "id", "rel_path")]
    kinds += [("file_size", pa.float64()), ("hash", pa.string()), ("default_revision", pa.bool_()), ("qc", pa.string())]
    schema = pa.schema(kinds)
    with pq.ParquetWriter(folder / "datasets.pqt", schema) as writer:
        for begin in range(0, datasets, BATCH):
            numbers = range(begin, min(begin + BATCH, datasets))
            writer.write_batch(
                pa.record_batch(
                    [
                        [sessions[number // FILES_OF_SESSION % len(sessions)] for number in numbers],
                        [str(uuid.UUID(int=rng.getrandbits(128))) for _ in numbers],
                        [paths[number * 7 % len(paths)] for number in numbers],
                        [float(rng.randrange(1 << 30)) for _ in numbers],
                        [hashlib.md5(b"%d" % number, usedforsecurity=False).hexdigest() for number in numbers],
                        [number % 5 > 0 for number in numbers],
                        ["NOT_SET" if number % 3 else "PASS" for number in numbers],
                    ],
                    schema=schema,
                )
            )
    (folder / INFO).write_text('{"date_created": "2024-06-01 12:00"}')


class KnownFiles:
    """Of a catalogue what the table of files takes."""

    def __init__(self, folder: Path, changes: Delta | None = None) -> None:
        self.contents = Snapshot(read_tables(folder), changes or Delta())

    async def labs(self) -> list[str]:
        """See Catalogue."""
        return self.contents.labs

    async def sessions_of_lab(self, lab: str) -> dict:
        """See Catalogue."""
        return {subject: self.contents.sessions(lab, subject) for subject in self.contents.subjects(lab)}

    async def copied_tables(self) -> tuple:
        """See Catalogue."""
        return self.contents.copied()


class NoAggregates:
    """A server without datasets that belong to no session."""

    async def folders(self) -> dict:
        """See Aggregates."""
        return {}


class NoTags:
    """A drive on which no release was entered."""

    async def tags_of(self, session: str) -> dict[str, str]:  # noqa: ARG002 - see Tagged
        """See Tagged."""
        return {}

    def known_tags(self, session: str) -> dict[str, str]:  # noqa: ARG002 - see Tagged
        """See Tagged."""
        return {}


def resident() -> int:
    """Bytes of this process's memory, without files that are mapped into it."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


def write(files: KnownFiles, name: str, directory: Path) -> tuple[float, int, int, bytes]:
    """Seconds, bytes and most anonymous memory beyond that at the start, and the beginning of the table."""

    async def run() -> tuple[float, int, int, bytes]:
        source = FilesBelow(files, NoAggregates(), [], file_rows(name), NoTags())
        spool = Spool(directory, source, lambda _descriptor: None)
        before, most, began = resident(), 0, time.monotonic()
        while not spool.is_whole:
            with spool.in_use():
                await spool.grow()
            most = max(most, resident())
        return time.monotonic() - began, spool.size, most - before, await spool.read(0, 1 << 20)

    return trio.run(run)
