"""Writes real data files. Each writer takes the path and the largest size allowed."""

import contextlib
import functools
import hashlib
import io
import json
import random
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .spikeglx import CHANNELS, SAMPLE_RATE, seconds

Writer = Callable[[Path, int], None]


def numbers(size: int, kind: str = "float64") -> Writer:
    """Write an array whose file has this size: sorted times, or counts."""

    def write(path: Path, largest: int) -> None:
        dtype = np.dtype(kind)
        count = max(0, (min(size, largest) - 128) // dtype.itemsize)
        luck = np.random.default_rng(int.from_bytes(hashlib.sha256(path.name.encode()).digest()[:4], "big"))
        if dtype.kind == "f":
            # One block of noise, again and again with another height, is much cheaper than noise throughout.
            block = luck.random(min(count, 2**20)).astype(dtype)
            array = np.resize(block, count) + np.arange(count, dtype=dtype)
        else:
            array = np.resize(luck.integers(0, 1000, min(count, 2**20)).astype(dtype), count)
        with path.open("wb") as file:  # given a path, numpy would add an extension
            np.save(file, array)

    return write


CLUSTERS = 300


@functools.lru_cache(maxsize=1)
def sorted_recording(count: int, seed: int = 300) -> dict[str, np.ndarray]:
    """Ten minutes of so many spikes of 300 clusters, each at its depth (µm) and with its amplitudes (V)."""
    luck = np.random.default_rng(seed)
    rates = luck.exponential(size=CLUSTERS)
    clusters = luck.choice(CLUSTERS, count, p=rates / rates.sum()).astype(np.int32)
    times = np.sort(luck.random(count, np.float32).astype(float)) * 600  # seconds
    places = np.sort(luck.uniform(20, 3840, CLUSTERS))
    return {
        "spikes.times": times,
        "spikes.clusters": clusters,
        "spikes.templates": clusters,
        "spikes.depths": places[clusters] + luck.normal(0, 5, count),
        "spikes.amps": luck.uniform(50e-6, 300e-6, CLUSTERS)[clusters] * luck.normal(1, 0.1, count),
        "clusters.depths": places,
        "clusters.channels": (places // 10).astype(np.int64),  # two contacts every 20 µm
    }


def array(content: np.ndarray) -> Writer:
    """Write this array."""

    def write(path: Path, _largest: int) -> None:
        with path.open("wb") as file:  # given a path, numpy would add an extension
            np.save(file, content)

    return write


def spikes(part: str, count: int | None = None, seed: int = 300) -> Writer:
    """Write one part of a sorted recording; all parts have the same length: a million, or what the largest takes."""

    def write(path: Path, largest: int) -> None:
        most = (min(8 * 2**20, largest) - 128) // 8
        array(sorted_recording(count or most, seed)[f"spikes.{part}"])(path, largest)

    return write


def clusters(part: str, count: int | None = None, seed: int = 300) -> Writer:
    """Write what a cluster of these spikes is, a row each."""

    def write(path: Path, largest: int) -> None:
        most = (min(8 * 2**20, largest) - 128) // 8
        array(sorted_recording(count or most, seed)[f"clusters.{part}"])(path, largest)

    return write


def uuids(seed: int) -> Writer:
    """Write a name for each cluster."""

    def write(path: Path, _largest: int) -> None:
        luck = random.Random(seed)
        names = (str(uuid.UUID(int=luck.getrandbits(128), version=4)) for _ in range(CLUSTERS))
        path.write_text("\n".join(["uuids", *names]) + "\n", encoding="utf-8")

    return write


def waveforms(seed: int) -> Writer:
    """Write the mean spike of each cluster (V) on four contacts."""
    luck = np.random.default_rng(seed)
    shape = -np.exp(-(((np.arange(82) - 40) / 6) ** 2))[:, None] * np.array([0.3, 1, 0.6, 0.2])
    return array((luck.uniform(50e-6, 300e-6, CLUSTERS)[:, None, None] * shape).astype(np.float32))


def contacts(part: str) -> Writer:
    """Write where the contacts of a probe are (µm), or their channels."""
    number = np.arange(384)
    places = np.stack([np.resize([43, 11, 59, 27], 384), 20 * (1 + number // 2)], axis=1)
    return array(number if part == "rawInd" else places.astype(float))


def even_times(count: int, until: float) -> Writer:
    """Write so many times (s), evenly spaced."""
    return array(np.linspace(0, until, count))


def wheel(part: str, size: int = 2**20) -> Writer:
    """Write the positions (rad) of a wheel that is turned to and fro for ten minutes, or their times (s)."""

    def write(path: Path, largest: int) -> None:
        times = np.linspace(0, 600, (min(size, largest) - 128) // 8)
        with path.open("wb") as file:
            np.save(file, times if part == "timestamps" else np.sin(times / 3) + np.sin(times * 2) / 4)

    return write


def empty(path: Path, _largest: int) -> None:
    """Write no byte at all."""
    path.write_bytes(b"")


def one_byte(path: Path, _largest: int) -> None:
    """Write a single byte."""
    path.write_bytes(b"x")


def table(rows: int) -> Writer:
    """Write a table of trials, as Parquet or as text by the file's extension."""

    def write(path: Path, _largest: int) -> None:
        import pandas as pd  # noqa: PLC0415 - slow to import, and only needed to build

        luck = np.random.default_rng(rows)
        frame = pd.DataFrame(
            {
                "intervals_0": np.sort(luck.random(rows) * 3600),
                "choice": luck.integers(-1, 2, rows),
                "feedbackType": luck.choice([-1, 1], rows),
                "contrastLeft": luck.choice([np.nan, 0.125, 0.25, 1.0], rows),
            }
        )
        if path.suffix == ".pqt":
            frame.to_parquet(path)
        else:
            frame.to_csv(path, index=False, sep=" " if path.suffix == ".ssv" else ",")

    return write


def settings(path: Path, _largest: int) -> None:
    """Write the settings of a task."""
    content = {"PYBPOD_CREATOR": ["alice"], "SESSION_NUMBER": "001", "REWARD_AMOUNT": 3.0, "NOTE": "Zoë"}
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")


def trials(path: Path, _largest: int) -> None:
    """Write one object a line."""
    lines = (json.dumps({"trial_num": number, "correct": number % 3 > 0}) for number in range(300))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def compressed(path: Path, largest: int) -> None:
    """Write a recording of 32 channels compressed by mtscomp, and its index beside it under a plain name."""
    import mtscomp  # noqa: PLC0415 - only needed to build

    channels = CHANNELS
    count = SAMPLE_RATE * seconds(largest)
    luck = np.random.default_rng(32)
    wave = np.sin(np.arange(count)[:, None] / (20 + np.arange(channels)))
    raw = (wave * 500 + luck.normal(0, 20, (count, channels))).astype(np.int16)
    raw[:, -1] = 64 * (np.arange(count) % SAMPLE_RATE < SAMPLE_RATE // 2)  # a pulse each second, for synchronisation
    plain = path.with_suffix(".raw")
    plain.write_bytes(raw.tobytes())
    index = path.with_suffix(".index")
    with contextlib.redirect_stderr(io.StringIO()):  # it shows a progress bar
        mtscomp.compress(
            plain,
            path,
            index,
            sample_rate=SAMPLE_RATE,
            n_channels=channels,
            dtype=np.int16,
            check_after_compress=False,
            n_threads=1,
        )
    plain.unlink()


def index_of_compressed(path: Path, _largest: int) -> None:
    """Move the index of the recording to its own place."""
    indices = list(path.parent.glob("*.index"))
    indices[0].rename(path)


def md5_of(path: Path) -> str:
    """Return the MD5 of a file, which is what Alyx calls its hash."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
