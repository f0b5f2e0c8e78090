#!/usr/bin/env python3
"""Draws a raster of the spikes in a folder of a mounted drive: python scripts/raster.py FOLDER PICTURE."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

SECONDS = 10.0


def main() -> None:
    """Only what is shown is read: with mmap, numpy touches the beginning of each file."""
    folder, picture = Path(sys.argv[1]), Path(sys.argv[2])
    times, depths = (np.load(folder / f"spikes.{part}.npy", mmap_mode="r") for part in ("times", "depths"))
    count = int(np.searchsorted(times, SECONDS))
    figure = Figure(figsize=(10, 5))
    axes = figure.subplots()
    axes.scatter(times[:count], depths[:count], s=1, color="black")
    axes.set(xlabel="time (s)", ylabel="depth (µm)", title=f"{count:,} spikes")
    figure.savefig(picture)
    print(f"The raster of the first {SECONDS:g} s, {count:,} spikes, is {picture.absolute()}.")


if __name__ == "__main__":
    main()
