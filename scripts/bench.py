#!/usr/bin/env python3
"""Measures the drive. Each benchmark prints a table and says which bar it is held against.

scripts/bench.py list            # 60,000 datasets: requests, seconds, memory of the daemon
scripts/bench.py read            # data files, beside rclone, httpdirfs, fsspec and curl; see scripts/benchmarks/
scripts/bench.py table X.json    # results of read as a table in Markdown
scripts/bench.py requests        # requests of everyday tasks, cold and again, beside ONE's own client
scripts/bench.py fetch           # copies of 200 files, interrupted and continued, beside aria2c
scripts/bench.py files           # all files of 2.4 million datasets as one table: seconds and memory
scripts/bench.py find            # all their files in data/, cold and warm, from the server's cache tables
scripts/bench.py memory          # of a drive after walks and reads, and when it is idle again: eight minutes
scripts/bench.py cluster         # eight drives behind one caching proxy, beside eight curls
scripts/bench.py rows            # a listing of two million records, with a kill in the middle: time, memory, requests
scripts/bench.py scale           # 60 thousand and 2.4 million datasets side by side: time, speed and memory
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

from alyxfs.demo.server import default_directory, running_demo
from benchmarks import cluster, fetching, filetables, longlisting, machine, memory, peers, report, requests, walks
from benchmarks.datafiles import FORMS, GIB, make_files
from benchmarks.library import running_library
from benchmarks.medium import MEDIUM_WORKLOADS
from benchmarks.server import running_server
from benchmarks.workloads import WORKLOADS as OTHER_WORKLOADS
from benchmarks.workloads import Bench, Workload
from mounted import mounted

if TYPE_CHECKING:
    from collections.abc import Iterable

MIB = 1024 * 1024
WORKLOADS = (*OTHER_WORKLOADS, *MEDIUM_WORKLOADS)
MEDIUM = "medium-files"
MEASURES = {measure: (measure,) for workload in WORKLOADS for measure in workload.measures} | {
    MEDIUM: tuple(measure for workload in MEDIUM_WORKLOADS for measure in workload.measures)
}
"""By what ``--only`` calls them."""


@click.group()
def benchmarks() -> None:
    """Measure the drive against the bars it is held to."""


@benchmarks.command("files")
@click.option("--datasets", default=2_400_000, help="How many.")
def file_tables(datasets: int) -> None:
    """Write `.files.tsv` and `.files.parquet` from made-up cache tables."""
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        filetables.make_tables(folder, datasets)
        subprocess.run([sys.executable, "-m", "alyxfs.alyx.datasets.table_reader", folder], check=True)
        files = filetables.KnownFiles(folder)
        rows = []
        for name in (".files.tsv", ".files.parquet"):
            processor = time.process_time()
            seconds, size, more, _ = filetables.write(files, name, folder)
            processor = time.process_time() - processor
            measured = f"{seconds:.2f} s ({processor:.2f} s of processor)"
            bar = 1.0 if datasets <= 63_000 else 15.0
            rows.append((f"{name}, {size / MIB:.0f} MiB", measured, f"at most {bar:g} s", seconds <= bar))
            rows.append(("  memory besides", f"{more / MIB:.0f} MiB", "at most 300 MiB", more <= 300 * MIB))
        finish(f"{datasets} datasets as one table", rows)


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
@click.option("--only", multiple=True, type=click.Choice(list(MEASURES)), help="A measure to take; all, unless given.")
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
        measures = {measure for name in only or MEASURES for measure in MEASURES[name]}
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
                wanted = frozenset(workload.measures) & measures
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
    """Find all data files of all labs: cold, warm, from a second mount, and on a drive that only answers."""
    with running_demo(default_directory(), scale=scale) as demo:
        finish("Finding data files", list(walks.figures(demo)))


@benchmarks.command("fetch")
@click.option("--runs", default=3, show_default=True, help="Pairs; the median of their ratios counts.")
@click.option("--files", default=default_directory().parent / "benchmark", type=click.Path(path_type=Path))
def fetch_files(runs: int, files: Path) -> None:
    """Fetch 200 files of 64 KiB to 100 MB, interrupted in the middle and continued; needs nginx and aria2c."""
    with tempfile.TemporaryDirectory(prefix="alyxfs-bench-") as scratch:
        measured = fetching.pairs(fetching.make_files(files), Path(scratch), runs)
    ratio = statistics.median(pair.ratio for pair in measured)
    sent = max(pair.sent for pair in measured)
    rows = [
        ("speed, by aria2c -x4 -j4", f"{ratio:.2f}", f">= {fetching.BAR}", ratio >= fetching.BAR),
        ("bytes sent, by those of the files", f"{sent:.4f}", "<= 1.001", sent <= 1.001),
    ]
    finish(f"Fetching {fetching.COUNT} files, {runs} pairs", rows)


@benchmarks.command("requests")
def count_requests() -> None:
    """Count the requests of everyday tasks, beside ONE's: exits with 1 when one takes more than it is held to."""
    rows: list[tuple[str, str, str, bool]] = []
    with running_demo(default_directory(), largest_file_mb=requests.LARGE_MIB) as demo:
        for count in requests.count_all(demo):
            task = count.task
            again = f", again {count.again}" if task.is_repeated else ""
            beside = "" if count.one is None else f"; ONE {count.one}"
            allowed = "any" if task.ranges is None else str(task.ranges)
            bar = f"<= {task.asked} + {allowed}" + (", again 0" if task.is_repeated else "")
            rows.append((task.name, f"{count.asked} + {count.ranges}{again}{beside}", bar, count.met))
            print(*rows[-1][:3], sep=" | ", flush=True)
    finish("Requests of the API + ranges of files", rows)


@benchmarks.command("cluster")
@click.option("--drives", default=8, show_default=True, help="How many nodes there are.")
@click.option("--mib", default=32, show_default=True, help="Size of each of the 20 files.")
@click.option(
    "--runs", default=3, show_default=True, help="Pairs of drives and curls; the median of their ratios counts."
)
@click.option("--files", default=default_directory().parent / "benchmark", type=click.Path(path_type=Path))
def share_a_proxy(drives: int, mib: int, runs: int, files: Path) -> None:
    """Read 20 files with drives that share nginx as a caching proxy; needs nginx with its slice module, and curl."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    with tempfile.TemporaryDirectory(prefix="alyxfs-bench-") as scratch:
        measured = shown(cluster.figures(files, Path(scratch), drives=drives, mib=mib, runs=runs))
    finish(f"{drives} drives behind one proxy", measured)


@benchmarks.command("memory")
@click.option("--scale", default=20, help="Size of the demo; 20 has 60,000 datasets in 3,000 sessions.")
def measure_memory(scale: int) -> None:
    """See what a drive gives back of the memory that walks and reads take, minute after minute."""
    with running_demo(default_directory(), scale=scale) as demo:
        finish("Memory", shown(memory.rounds(demo)))


@benchmarks.command("scale")
@click.option("--sessions", "sizes", multiple=True, default=(3_003, 120_120), help="Sizes; 20 datasets a session.")
def compare_sizes(sizes: tuple[int, ...]) -> None:
    """Measure a small and a large server side by side; their tables are made up."""
    finish("Scale", shown(memory.scale(sizes)))


@benchmarks.command("rows")
@click.option("--rows", default=2_000_000, help="How many the list of datasets has: 1000 a request.")
def list_rows(rows: int) -> None:
    """List millions of records, with a kill in the middle, from a server that makes them up."""
    finish(f"A listing of {rows} rows", shown(longlisting.figures(rows)))


def shown(figures: Iterable[memory.Figure | cluster.Figure]) -> list[tuple[str, str, str, bool]]:
    """The figures, each printed when it is there: these take minutes."""
    rows: list[tuple[str, str, str, bool]] = []
    for figure in figures:
        print(f"{figure.what}: {figure.measured}", flush=True)
        rows.append(figure)
    return rows


def finish(title: str, rows: list[tuple[str, str, str, bool]]) -> None:
    """Print the figures beside their bars; exit with 1 if any bar is missed."""
    table = Table("what", "measured", "bar", "met", title=title)
    for what, measured, bar, met in rows:
        table.add_row(what, measured, bar, "yes" if met else "NO")
    Console().print(table)
    sys.exit(0 if all(met for *_, met in rows) else 1)


if __name__ == "__main__":
    benchmarks()
