"""The files that are read. Made once and kept, as the larger form takes a minute or two to make.

Bytes tell where they stand (64-bit words that count), so that every read can be checked without another file.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import mtscomp
import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

LARGE = "large/large.bin"
ARRAY = "array/rows.npy"
SMALL = "small"
OPENING = "other/opening.bin"
"""Read first where a connection is to be open already."""
RECORDING = "recording/probe.ap"
"""Without its extension: .cbin and .ch."""
DESCRIPTION = "files.json"
"""Written last: what lies beside it is whole."""
SMALL_SIZE = 64 * KIB
ROW = 16
"""Numbers of 4 bytes in a row of the array: 64 bytes, as waveforms' features have."""
SAMPLE_RATE = 30_000


@dataclass(frozen=True)
class Sizes:
    """How much there is to read."""

    large: int
    """Bytes."""
    rows: int
    """Rows of the array, 64 bytes each."""
    small_files: int
    channels: int
    seconds: int
    """Of the recording."""
    peers_small_files: int
    """How many of the small files peers read, as some take 0.2 s for each."""
    random_reads: int
    medium_mib: tuple[int, ...]
    """Sizes of the medium files, in MiB."""
    medium_files: int
    """How many there are of each size."""


FORMS = {
    "full": Sizes(2 * GIB, GIB // 64, 1000, 384, 60, 100, 200, (1, 4, 16, 64), 20),
    "shortest": Sizes(4 * MIB, 2 * MIB // 64, 20, 8, 2, 5, 10, (1,), 3),
    "small": Sizes(32 * MIB, 16 * MIB // 64, 100, 32, 4, 20, 20, (1, 4, 16, 64), 5),
}
"""``full`` is what the bars are for, ``shortest`` is for the tests. The recording is a minute, not an hour, as
compressing one would take hours; what a second of it costs to read does not depend on that, but for its index."""


def small_name(number: int) -> str:
    """The path of one of the small files."""
    return f"{SMALL}/{number:04}.bin"


def medium_name(mib: int, number: int) -> str:
    """The path of one of the files of so many MiB."""
    return f"medium-{mib}/{number:02}.bin"


def make_files(directory: Path, sizes: Sizes) -> Path:
    """Make the files in a directory below this one, unless they are there; return it."""
    numbers = (sizes.large // MIB, sizes.rows, sizes.small_files, sizes.channels, sizes.seconds)
    root = directory / "-".join(map(str, (*numbers, sizes.medium_files)))
    if (root / DESCRIPTION).exists():
        return root
    shutil.rmtree(root, ignore_errors=True)
    for path in (LARGE, ARRAY, OPENING, RECORDING, small_name(0)):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
    with (root / LARGE).open("wb") as file:
        for start in range(0, sizes.large, 16 * MIB):
            file.write(counted(start, min(16 * MIB, sizes.large - start)))
    with (root / ARRAY).open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (sizes.rows, ROW)}
        np.lib.format.write_array_header_1_0(file, header)
        for first in range(0, sizes.rows, 2**18):
            file.write(rows(first, min(2**18, sizes.rows - first)).tobytes())
    (root / OPENING).write_bytes(counted(0, SMALL_SIZE))
    for number in range(sizes.small_files):
        (root / small_name(number)).write_bytes(counted(number * SMALL_SIZE, SMALL_SIZE))
    for mib in sizes.medium_mib:
        (root / medium_name(mib, 0)).parent.mkdir()
        for number in range(sizes.medium_files):
            (root / medium_name(mib, number)).write_bytes(counted(number * mib * MIB, mib * MIB))
    make_recording(root, sizes)
    files = {path.relative_to(root).as_posix(): _md5(path) for path in sorted(root.rglob("*")) if path.is_file()}
    (root / DESCRIPTION).write_text(json.dumps({"sizes": asdict(sizes), "md5": files}, indent=1), encoding="utf-8")
    return root


def hashes(root: Path) -> dict[str, str]:
    """The MD5 of each file, by its path below the root."""
    found: dict[str, str] = json.loads((root / DESCRIPTION).read_text(encoding="utf-8"))["md5"]
    return found


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(MIB):
            digest.update(piece)
    return digest.hexdigest()


def counted(start: int, size: int) -> bytes:
    """The bytes of the large file from a place on; both numbers are multiples of 8."""
    return np.arange(start // 8, (start + size) // 8, dtype="<u8").tobytes()


def is_counted(start: int, found: memoryview | bytes) -> bool:
    """Whether these are the bytes of the large file at this place: the first and last 4 KiB of them are looked at."""
    ends = [(0, min(4096, len(found))), (max(0, len(found) - 4096), len(found))]
    return all(counted(start + first, last - first) == bytes(found[first:last]) for first, last in ends)


def rows(first: int, count: int) -> np.ndarray:
    """Rows of the array; its numbers count, as far as 24 bits do."""
    numbers = np.arange(first * ROW, (first + count) * ROW, dtype=np.int64) % 2**24
    return numbers.astype("<f4").reshape(count, ROW)


def make_recording(root: Path, sizes: Sizes) -> None:
    """Make it: noise over slow waves, which compresses to a half, in chunks of a second as on real recordings."""
    plain = root / f"{RECORDING}.raw"
    luck = np.random.default_rng(sizes.channels)
    with plain.open("wb") as file:
        for second in range(sizes.seconds):
            time = np.arange(second * SAMPLE_RATE, (second + 1) * SAMPLE_RATE)[:, None]
            wave = 500 * np.sin(time / (200 + np.arange(sizes.channels)))
            file.write((wave + luck.normal(0, 20, wave.shape)).astype("<i2").tobytes())
    with contextlib.redirect_stderr(io.StringIO()):  # it shows a progress bar
        mtscomp.compress(
            plain,
            root / f"{RECORDING}.cbin",
            root / f"{RECORDING}.ch",
            sample_rate=SAMPLE_RATE,
            n_channels=sizes.channels,
            dtype=np.int16,
            check_after_compress=False,
        )
    plain.unlink()
