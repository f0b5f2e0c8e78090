"""The sessions whose files really exist, and the datasets that are not what they claim to be."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alyxfs.demo.data.models import Dataset
from alyxfs.demo.subjects.models import Subject

from . import files, spikeglx
from .datasets import Home, RealFile, Shelf, place_on_server
from .sessions import SessionMaker
from .tables import Row, identity
from .video import video
from .vocabulary import Words

MB = 2**20
SIZES = {"kb1": 2**10, "kb64": 2**16, "mb1": MB, "mb8": 8 * MB, "mb32": 32 * MB, "mb64": 64 * MB}
SIZES |= {"mb100": 100 * MB, "mb200": 200 * MB}
TILES = 200
CROWD = 1000


@dataclass
class RealFiles:
    """Writes files for datasets as they are added."""

    shelf: Shelf
    words: Words
    root: Path
    largest: int

    def add(
        self,
        home: Home,
        kind: str,
        collection: str,
        name: str,
        writer: files.Writer,
        revision: str = "",
        **values: Any,
    ) -> Row:
        """Add a dataset with a file; `values` may lie about it."""
        places = {f"flatiron_{home.lab}": True, f"aws_{home.lab}": True, f"{home.lab}_SR": False}
        places = values.pop("places", places)
        dataset = self.shelf.add(home, kind, collection, name, revision=revision, places=places)
        path = place_on_server(self.root, home, dataset, revision)
        writer(path, self.largest)
        real = RealFile(path, path.stat().st_size, files.md5_of(path))
        dataset.update(file_size=real.size, hash=real.hash)
        dataset.update(values)
        return dataset


def home_of(maker: SessionMaker, nickname: str, day: dt.date, probes: int = 0) -> Home:
    """Add a session of a subject of the first lab."""
    subject = next(row for row in maker.tables.rows[Subject] if row["nickname"] == nickname)
    start = dt.datetime.combine(day, dt.time(15, 59, 10, 876838))
    return maker.add(subject, "cortexlab", start, probes=probes)


def add_real_sessions(maker: SessionMaker, real: RealFiles) -> None:
    """Add all of them."""
    add_ephys(maker, real)
    add_training(home_of(maker, "KS001", dt.date(2023, 1, 3)), real)
    add_odd_datasets(home_of(maker, "KS002", dt.date(2023, 2, 3)), real)
    add_sizes(home_of(maker, "KS003", dt.date(2023, 3, 4)), real)
    add_crowd(home_of(maker, "KS004", dt.date(2023, 4, 5)), real)
    add_aggregates(maker, real)


def add_ephys(maker: SessionMaker, real: RealFiles) -> None:
    """KS001/2023-01-02/001: a recording with one probe, in two revisions."""
    home = home_of(maker, "KS001", dt.date(2023, 1, 2), probes=1)
    datasets = add_training(home, real)
    new = "2024-05-06"
    sorting = "alf/probe00/pykilosort"
    raw = "raw_ephys_data/probe00"
    bin_name = spikeglx.NAME
    datasets += [
        real.add(home, "ephysData.raw.ap", raw, f"{bin_name}.cbin", files.compressed),
        real.add(home, "ephysData.raw.ch", raw, f"{bin_name}.ch", files.index_of_compressed),
        real.add(home, "ephysData.raw.meta", raw, f"{bin_name}.meta", spikeglx.meta),
        real.add(home, "spikes.times", sorting, "spikes.times.npy", files.numbers(4 * MB), default_dataset=False),
        real.add(home, "spikes.times", sorting, "spikes.times.npy", files.spikes("times"), new),
        real.add(home, "spikes.clusters", sorting, "spikes.clusters.npy", files.spikes("clusters"), new),
        real.add(home, "spikes.amps", sorting, "spikes.amps.npy", files.spikes("amps"), new),
        real.add(home, "spikes.depths", sorting, "spikes.depths.npy", files.spikes("depths"), new),
        real.add(home, "clusters.channels", sorting, "clusters.channels.npy", files.clusters("channels")),
        real.add(home, "clusters.depths", sorting, "clusters.depths.npy", files.clusters("depths")),
        real.add(home, "clusters.metrics", sorting, "clusters.metrics.pqt", files.table(300)),
        real.add(home, "spikes.times", "alf", "spikes.times.npy", files.numbers(MB), new),
        real.add(home, "_iblrig_Camera.raw", "raw_video_data", "_iblrig_leftCamera.raw.mp4", video),
    ]
    maker.add_insertion(home, 0, datasets, channels=True)


def add_training(home: Home, real: RealFiles) -> list[Row]:
    """Add what every session has; the first table of trials is protected and was replaced later."""
    behavior = "raw_behavior_data"
    table = "_ibl_trials.table.pqt"
    first = real.add(home, "trials.table", "alf", table, files.table(400), default_dataset=False)
    real.shelf.tables.link(Dataset, "tags", first, real.words.tags["2021_Q1_behaviour"])
    return [
        first,
        real.add(home, "trials.table", "alf", table, files.table(500), "2024-05-06"),
        real.add(home, "wheel.position", "alf", "_ibl_wheel.position.npy", files.wheel("position")),
        real.add(home, "wheel.timestamps", "alf", "_ibl_wheel.timestamps.npy", files.wheel("timestamps")),
        real.add(home, "_iblrig_taskData.raw", behavior, "_iblrig_taskData.raw.jsonable", files.trials),
        real.add(home, "_iblrig_taskSettings.raw", behavior, "_iblrig_taskSettings.raw.json", files.settings),
        real.add(home, "_iblrig_ambientSensorData.raw", behavior, "_iblrig_ambientSensorData.raw.csv", files.table(50)),
        real.add(home, "_iblrig_encoderEvents.raw", behavior, "_iblrig_encoderEvents.raw.ssv", files.table(80)),
    ]


def add_sizes(home: Home, real: RealFiles) -> None:
    """KS003/2023-03-04/001: files from 1 KB to the largest, to measure with."""
    for name, size in SIZES.items():
        real.add(home, "signal", "raw_ephys_data", f"signal.{name}.npy", files.numbers(size))


def add_crowd(home: Home, real: RealFiles) -> None:
    """KS004/2023-04-05/001: very many datasets, of which the first have files of 1 KB."""
    for number in range(TILES):
        real.add(home, "tile", "alf/tiles", f"tile.n{number:04}.npy", files.numbers(1024))
    for number in range(TILES, CROWD):
        real.shelf.add(home, "tile", "alf/tiles", f"tile.n{number:04}.npy")


def add_odd_datasets(home: Home, real: RealFiles) -> None:
    """KS002/2023-02-03/001: datasets that are not what they claim to be; their names tell why."""
    small = files.numbers(64 * 1024)

    def with_file(name: str, writer: files.Writer = small, **values: Any) -> Row:
        return real.add(home, "odd", "alf", name, writer, **values)

    def without_file(name: str, **values: Any) -> Row:
        return real.shelf.add(home, "odd", "alf", name, **values)

    lab = home.lab
    with_file("odd.sizeNull.npy", file_size=None)
    with_file("odd.sizeTooSmall.npy", file_size=1000)
    with_file("odd.sizeTooLarge.npy", file_size=10**6)
    with_file("odd.hashWrong.npy", hash="0" * 32)
    with_file("odd.hashEmpty.npy", hash="")
    with_file("odd.hashSha1.npy", hash="1234567890abcdef1234567890abcdef12345678")
    with_file("odd.nothingKnown.npy", file_size=None, hash="")
    with_file("odd.empty.npy", files.empty)
    with_file("odd.oneByte.npy", files.one_byte)
    with_file("odd name with spaces.npy")
    with_file("odd.percent%20sign.npy")
    with_file("odd.hash#sign.npy")
    with_file("odd.ünïcode.npy")
    with_file("odd_without_extension")
    with_file("odd.severalPlaces.npy")
    with_file("odd.onlyOnAws.npy", places={f"aws_{lab}": True})
    without_file("odd.notFound.npy", places={f"flatiron_{lab}": True, f"{lab}_SR": True})
    without_file("odd.noAddress.npy", places={f"{lab}_SR": True})
    without_file("odd.doesNotExist.npy", places={f"flatiron_{lab}": False, f"{lab}_SR": False})
    without_file("odd.noRecords.npy", places={})
    # Three revisions, none of them the default one.
    for revision in ("", "2022-10-31", "2023-04-20"):
        real.add(home, "odd", "alf", "odd.noDefault.npy", small, revision, default_dataset=False)
    # And two that both say that they are.
    for revision in ("", "2023-04-20"):
        real.add(home, "odd", "alf", "odd.twoDefaults.npy", small, revision)


def add_aggregates(maker: SessionMaker, real: RealFiles) -> None:
    """Add datasets that belong to a subject instead of a session; that of KS001 has a file."""
    tables, words = maker.tables, maker.words
    for nickname in ("KS001", "KS002", "KS003"):
        collection = f"Subjects/cortexlab/{nickname}"
        name = "_ibl_subjectTrials.table.pqt"
        dataset = tables.add(
            Dataset,
            "aggregate",
            nickname,
            name=name,
            collection=collection,
            created_by_id=words.users["root"].id,
            dataset_type_id=words.types["subjectTrials.table"].id,
            data_format_id=words.formats["parquet"].id,
            revision_id=words.revisions["2022-10-31"].id,
            file_size=123456,
            hash=identity("hash", nickname).hex,
            created_datetime=dt.datetime(2023, 5, 5, 5, 5, 5),  # noqa: DTZ001
        )
        folder = f"{collection}/#2022-10-31#"
        real.shelf.add_records(dataset, f"{folder}/{name}", {"flatiron_aggregates": True})
        if nickname == "KS001":
            path = real.root / "aggregates" / folder / f"_ibl_subjectTrials.table.{dataset.id}.pqt"
            path.parent.mkdir(parents=True)
            files.table(2000)(path, real.largest)
            dataset.update(file_size=path.stat().st_size, hash=files.md5_of(path))
