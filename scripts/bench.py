#!/usr/bin/env python3
"""Measures the drive. Each benchmark prints a table and says which bar it is held against.

scripts/bench.py list            # 60,000 datasets: requests, seconds, memory of the daemon
scripts/bench.py read            # data files, beside rclone, httpdirfs, fsspec and curl; see scripts/benchmarks/
scripts/bench.py table X.json    # results of read as a table in Markdown
scripts/bench.py find            # all their files in data/, cold and warm, from the server's cache tables
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from alyxfs.demo.server import default_directory, running_demo
from benchmarks import machine, peers, report
from benchmarks.datafiles import FORMS, GIB, make_files
from benchmarks.library import running_library
from benchmarks.server import running_server
from benchmarks.workloads import MEASURES, WORKLOADS, Bench, Workload
from mounted import mounted

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


@benchmarks.command("read")
@click.option("--only", multiple=True, type=click.Choice(MEASURES), help="A measure to take; all, unless given.")
@click.option("--peers", "chosen", multiple=True, help="A peer to measure beside the drive; all that are installed.")
@click.option("--runs", default=5, show_default=True, help="Samples of each peer; their median counts.")
@click.option("--size", "form", default="full", show_default=True, type=click.Choice(list(FORMS)))
@click.option(
    "--files",
    default=default_directory().parent / "benchmark",
    type=click.Path(path_type=Path),
    help="Where the files that are read are made and kept; the full form takes 4.5 GB.",
)
@click.option(
    "--results",
    default=Path(__file__).resolve().parent / "bench-results",
    type=click.Path(path_type=Path),
    help="Where table, JSON and plot go.",
)
def read_files(
    only: tuple[str, ...], chosen: tuple[str, ...], runs: int, form: str, files: Path, results: Path
) -> None:
    """Read data files as programs do, beside other ways to read files of a web server.

    Needs nginx; measures rclone, httpdirfs and curl where they are (apt-get install nginx-light rclone httpdirfs
    curl) and fsspec's FUSE (pip install "alyxfs[bench]", with libfuse2). As root it also drops the page cache and
    raises the kernel's read-ahead. Exits with 1 if a bar is missed.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    there = [peer for peer in peers.installed() if not chosen or peer in (*chosen, peers.DRIVE)]
    for sentence in missing(there, chosen):
        print(sentence)
    about = machine.description()
    with machine.control_filesystem(), tempfile.TemporaryDirectory(prefix="alyxfs-bench-") as scratch:
        root = make_files(files, FORMS[form])
        with running_server(root, Path(scratch)) as server, running_library(server) as library:
            about |= {
                "form": form,
                "runs": runs,
                "part": bool(only or chosen),
                "sizes": dataclasses.asdict(FORMS[form]),
                "round_trip": server.round_trip,
            }
            found = report.Results(about)
            service = peers.Service(server, library, Path(scratch))
            for workload in WORKLOADS:
                wanted = frozenset(workload.measures) & frozenset(only or MEASURES)
                for run in range(runs if wanted else 0):
                    measure(found, workload, run, Bench(service, FORMS[form], wanted, random.Random(run)), there)
                report.write(found, results, plot=False)  # what was measured is kept whatever happens next
    report.print_tables(found, Console(width=report.WIDTH))
    for path in report.write(found, results):
        print(f"written: {path}")
    verdicts = [verdict for each in found.verdicts().values() for verdict in each]
    sys.exit(0 if all(verdict.met for verdict in verdicts) and not found.failures else 1)


@benchmarks.command("table")
@click.argument("results", type=click.Path(path_type=Path, exists=True))
def readme_table(results: Path) -> None:
    """Print the medians of a JSON of results as a table in Markdown, as the README has it."""
    print(report.markdown(json.loads(results.read_text(encoding="utf-8"))))


def missing(there: list[str], chosen: tuple[str, ...]) -> list[str]:
    """Sentences about what will not be measured, and what to do about it."""
    sentences = [
        f"{peer} is not measured: {peers.HOW_TO_GET[peer]}"
        for peer in peers.HOW_TO_GET
        if peer not in there and (not chosen or peer in chosen)
    ]
    if not machine.can_drop_page_cache():
        sentences.append("sequential-disk is not measured: dropping the page cache takes root.")
    return sentences


def measure(found: report.Results, workload: Workload, run: int, bench: Bench, there: list[str]) -> None:
    """Take a sample of each peer; another one begins each time, so that none is always the one after another."""
    taking_part = [peer for peer in workload.peers if peer in there]
    turn = run % len(taking_part)
    for peer in taking_part[turn:] + taking_part[:turn]:
        if bench.sizes.large >= GIB:
            os.sync()  # what the one before wrote is not to be written during this one
        own = dataclasses.replace(bench, luck=random.Random(run))
        try:
            for sample in workload.run(own, peer):
                if sample.measure in bench.wanted:
                    found.add(run, sample)
                    print(f"run {run + 1}  {report.line(sample)}", flush=True)
        except peers.SampleError as error:
            found.failed(run, tuple(sorted(bench.wanted)), peer, str(error))
            print(f"run {run + 1}  {peer}, {' '.join(sorted(bench.wanted))}: {error}", flush=True)


@benchmarks.command("find")
@click.option("--scale", default=20, help="Size of the demo; 20 has 60,000 datasets in 3,000 sessions.")
def find_files(scale: int) -> None:
    """Find all data files of all labs: cold, warm, and from a second mount."""
    rows: list[tuple[str, str, str, bool]] = []
    with tempfile.TemporaryDirectory() as home, running_demo(default_directory(), scale=scale) as demo:
        with mounted(demo.url, Path(home)) as drive:
            demo.clear_requests()
            files, seconds = found(drive / "data")
            asked = len(demo.requests())
            met = asked <= 10 and seconds <= 15
            rows.append((f"cold, {files} files", f"{asked} requests, {seconds:.1f} s", "<= 10 requests, <= 15 s", met))
            demo.clear_requests()
            again, seconds = found(drive / "data")
            asked = len(demo.requests())
            met = asked == 0 and seconds <= 5 and again == files
            rows.append(("warm", f"{asked} requests, {seconds:.1f} s", "0 requests, <= 5 s", met))
            memory = drive.memory() / MIB
            rows.append(("the daemon's memory", f"{memory:.0f} MiB", "<= 400 MiB", memory <= 400))
        with mounted(demo.url, Path(home)) as drive:
            demo.clear_requests()
            again, seconds = found(drive / "data")
            asked = len(demo.requests())
            met = asked == 0 and seconds <= 15 and again == files
            rows.append(("mounted again", f"{asked} requests, {seconds:.1f} s", "0 requests, <= 15 s", met))
    finish("Finding data files", rows)


def found(directory: Path) -> tuple[int, float]:
    """How many files ``find`` counts, and how many seconds it takes."""
    started = time.monotonic()
    listed = subprocess.run(["find", directory, "-type", "f"], stdout=subprocess.PIPE, check=True)
    return listed.stdout.count(b"\n"), time.monotonic() - started


def finish(title: str, rows: list[tuple[str, str, str, bool]]) -> None:
    """Print the figures beside their bars; exit with 1 if any bar is missed."""
    table = Table("what", "measured", "bar", "met", title=title)
    for what, measured, bar, met in rows:
        table.add_row(what, measured, bar, "yes" if met else "NO")
    Console().print(table)
    sys.exit(0 if all(met for *_, met in rows) else 1)


if __name__ == "__main__":
    benchmarks()
