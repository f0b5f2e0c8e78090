"""Small real files for the usual sessions: a few of each kind, which many sessions have under names of their own."""

import functools
import os
import re
import shutil
from pathlib import Path, PurePosixPath

from . import files
from .datasets import Home, place_on_server
from .spikeglx import meta
from .tables import Row, chance
from .video import video

VARIANTS = 6
"""Recordings that differ: the files of one probe, or of one session, are all of the same."""
SPIKES = 20_000
PLAIN = re.compile(r"[\w-]+")
"""Subjects whose names can be folders of the file server."""


class Library:
    """Files by dataset name and variant, written when they are wanted first."""

    def __init__(self, folder: Path, server: Path, largest: int) -> None:
        self.folder = folder
        self.server = server
        self.largest = largest
        self.known: dict[Path, tuple[int, str]] = {}

    def place(self, home: Home, dataset: Row, revision: str) -> None:
        """Put the file of a dataset on the file server, where there is one of its name; the dataset then says so."""
        place = PurePosixPath(dataset["collection"])
        probe = place.name if "pykilosort" not in place.parts else place.parent.name
        variant = chance("variant", home.session.id, probe if probe.startswith("probe") else "").randrange(VARIANTS)
        writer = writers(variant).get(dataset["name"])
        if writer is None or not PLAIN.fullmatch(home.subject):
            return
        original = self.folder / str(variant) / dataset["name"]
        if original not in self.known:
            original.parent.mkdir(parents=True, exist_ok=True)
            writer(original, self.largest)
            self.known[original] = original.stat().st_size, files.md5_of(original)
        path = place_on_server(self.server, home, dataset, revision)
        try:
            os.link(original, path)
        except OSError:  # a disk without links
            shutil.copyfile(original, path)
        dataset["file_size"], dataset["hash"] = self.known[original]

    def close(self) -> None:
        """Leave the files to the sessions."""
        shutil.rmtree(self.folder, ignore_errors=True)


@functools.lru_cache(maxsize=VARIANTS)
def writers(variant: int) -> dict[str, files.Writer]:
    """What writes the datasets of a recording, by their names."""
    seed = 1000 + variant
    parts = ("times", "clusters", "amps", "depths", "templates")
    spikes = {f"spikes.{part}.npy": files.spikes(part, SPIKES, seed) for part in parts}
    clusters = {f"clusters.{part}.npy": files.clusters(part, SPIKES, seed) for part in ("channels", "depths")}
    return {
        **spikes,
        **clusters,
        "clusters.metrics.pqt": files.table(files.CLUSTERS),
        "clusters.uuids.csv": files.uuids(seed),
        "clusters.waveforms.npy": files.waveforms(seed),
        "channels.localCoordinates.npy": files.contacts("localCoordinates"),
        "channels.rawInd.npy": files.contacts("rawInd"),
        "_spikeglx_ephysData_g0_t0.imec.ap.meta": meta,
        "_spikeglx_ephysData_g0_t0.imec.sync.npy": files.numbers(4096, "int64"),
        "_ibl_trials.table.pqt": files.table(400 + 20 * variant),
        "_ibl_trials.stimOnTrigger_times.npy": files.even_times(400 + 20 * variant, 3600),
        "_ibl_wheel.position.npy": files.wheel("position", 2**16),
        "_ibl_wheel.timestamps.npy": files.wheel("timestamps", 2**16),
        "_ibl_leftCamera.times.npy": files.even_times(60, 2),
        "_ibl_rightCamera.times.npy": files.even_times(60, 2),
        "_iblrig_leftCamera.raw.mp4": video,
        "_iblrig_rightCamera.raw.mp4": video,
        "_iblrig_leftCamera.timestamps.ssv": files.table(60),
        "_iblrig_taskData.raw.jsonable": files.trials,
        "_iblrig_taskSettings.raw.json": files.settings,
        "_iblrig_encoderPositions.raw.ssv": files.table(120 + variant),
        "_iblrig_encoderEvents.raw.ssv": files.table(80 + variant),
        "_iblrig_ambientSensorData.raw.csv": files.table(50 + variant),
    }
