#!/usr/bin/env python3
"""Measures the drive. Each benchmark prints a table and says which bar it is held against.

scripts/bench.py list            # 60,000 datasets: requests, seconds, memory of the daemon
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
import time
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from mounted import mounted

from alyxfs.demo.server import default_directory, running_demo

MIB = 1024 * 1024


@click.group()
def benchmarks() -> None:
    """Measure the drive against the bars it is held to."""


@benchmarks.command("list")
@click.option("--scale", default=20, help="Size of the demo; 20 has 60,000 datasets.")
def list_datasets(scale: int) -> None:
    """List all datasets: first names, whole listing, again from memory."""
    rows: list[tuple[str, str, str, bool]] = []
    with tempfile.TemporaryDirectory() as home, running_demo(default_directory(), scale=scale) as demo:
        options = ("--requests-per-minute", "6000")
        with mounted(demo.url, Path(home), *options) as drive:
            demo.clear_requests()
            started = time.monotonic()
            with os.scandir(drive / "datasets") as entries:
                first = [entry.name for entry in itertools.islice(entries, 20)]
                seconds = time.monotonic() - started
                asked = len(demo.requests())
            rows.append(("first 20 names", f"{asked} requests, {seconds:.2f} s", "<= 3 requests", asked <= 3))
            started = time.monotonic()
            names = os.listdir(drive / "datasets")
            seconds = time.monotonic() - started
            asked = len(demo.requests())
            bar = len(names) // 1000 + 3
            rows.append(
                (
                    f"whole listing, {len(names)} names",
                    f"{asked} requests, {seconds:.1f} s",
                    f"<= {bar} requests",
                    asked <= bar and set(first) <= set(names),
                )
            )
            demo.clear_requests()
            started = time.monotonic()
            again = os.listdir(drive / "datasets")
            seconds = time.monotonic() - started
            asked = len(demo.requests())
            rows.append(
                (
                    "again, from memory",
                    f"{asked} requests, {seconds:.2f} s",
                    "0 requests, <= 1.5 s",
                    asked == 0 and seconds <= 1.5 and again == names,
                )
            )
            memory = drive.memory() / MIB
            rows.append(("the daemon's memory", f"{memory:.0f} MiB", "<= 300 MiB", memory <= 300))
    finish("Listing", rows)


def finish(title: str, rows: list[tuple[str, str, str, bool]]) -> None:
    """Print the figures beside their bars; exit with 1 if any bar is missed."""
    table = Table("what", "measured", "bar", "met", title=title)
    for what, measured, bar, met in rows:
        table.add_row(what, measured, bar, "yes" if met else "NO")
    Console().print(table)
    sys.exit(0 if all(met for *_, met in rows) else 1)


if __name__ == "__main__":
    benchmarks()
