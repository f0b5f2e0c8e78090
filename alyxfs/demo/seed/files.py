"""Writes real data files. Each writer takes the path and the largest size allowed."""

import contextlib
import functools
import hashlib
import importlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Writer = Callable[[Path, int], None]
SAMPLE_RATE = 30_000


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


@functools.lru_cache(maxsize=1)
def spikes_of_recording(count: int) -> dict[str, np.ndarray]:
    """Ten minutes of so many spikes of 300 clusters, each at its depth (µm) and with its amplitudes (V)."""
    luck = np.random.default_rng(300)
    rates = luck.exponential(size=300)
    clusters = luck.choice(300, count, p=rates / rates.sum()).astype(np.int32)
    times = np.sort(luck.random(count, np.float32).astype(float)) * 600  # seconds
    depths = np.sort(luck.uniform(20, 3840, 300))[clusters] + luck.normal(0, 5, count)
    amps = luck.uniform(50e-6, 300e-6, 300)[clusters] * luck.normal(1, 0.1, count)
    return {"times": times, "clusters": clusters, "depths": depths, "amps": amps}


def spikes(part: str) -> Writer:
    """Write one part of a sorted recording; all parts have the same length: a million, or what the largest takes."""

    def write(path: Path, largest: int) -> None:
        count = (min(8 * 2**20, largest) - 128) // 8
        with path.open("wb") as file:
            np.save(file, spikes_of_recording(count)[part])

    return write


def wheel(part: str) -> Writer:
    """Write the positions (rad) of a wheel that is turned to and fro for ten minutes, or their times (s)."""

    def write(path: Path, largest: int) -> None:
        times = np.linspace(0, 600, (min(2**20, largest) - 128) // 8)
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


def notes(path: Path, _largest: int) -> None:
    """Write what a recording program notes about itself."""
    path.write_text("imSampRate=30000\nnSavedChans=32\n", encoding="utf-8")


def compressed(path: Path, largest: int) -> None:
    """Write a recording of 32 channels compressed by mtscomp, and its index beside it under a plain name."""
    import mtscomp  # noqa: PLC0415 - only needed to build

    channels = 32
    seconds = 4 if largest > 10 * 2**20 else 1
    count = SAMPLE_RATE * seconds
    luck = np.random.default_rng(32)
    wave = np.sin(np.arange(count)[:, None] / (20 + np.arange(channels)))
    raw = (wave * 500 + luck.normal(0, 20, (count, channels))).astype(np.int16)
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


def can_write_videos() -> bool:
    """Tell whether there is a package that writes videos."""
    try:
        importlib.import_module("av")
    except ImportError:
        return False
    return True


def video(path: Path, _largest: int) -> None:
    """Write two seconds of a moving square."""
    av: Any = importlib.import_module("av")
    output = av.open(str(path), "w")
    stream = output.add_stream("mpeg4", rate=30)
    stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
    for number in range(60):
        picture = np.zeros((120, 160, 3), dtype=np.uint8)
        picture[20:60, number : number + 40] = 255
        for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
            output.mux(packet)
    for packet in stream.encode():
        output.mux(packet)
    output.close()


def md5_of(path: Path) -> str:
    """Return the MD5 of a file, which is what Alyx calls its hash."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
