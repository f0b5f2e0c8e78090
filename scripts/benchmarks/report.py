"""The results as a table, as JSON and as a plot."""

from __future__ import annotations

import importlib
import importlib.util
import json
import statistics
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.bars import MEASURES, Verdict, bars
from benchmarks.datafiles import GIB, KIB, MIB
from benchmarks.peers import PEERS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from benchmarks.workloads import Sample

WIDTH = 160
"""Characters of a line of the tables."""
_COLOURS = (
    "#1b6ca8",
    "#7fb3d5",
    "#b0413e",
    "#e0a096",
    "#c88a1d",
    "#7a8b3c",
    "#555555",
    "#bbbbbb",
    "#d9d0c0",
    "#8fa89b",
    "#8e6bb0",
)


class Results:
    """All samples of a run of the benchmark."""

    def __init__(self, about: dict[str, Any]) -> None:
        self.about = about
        """Machine, versions, date, options and the round trip (seconds)."""
        self.samples: dict[str, dict[str, dict[int, Sample]]] = {}
        """By measure, peer and number of the run."""
        self.failures: list[dict[str, Any]] = []

    def add(self, run: int, sample: Sample) -> None:
        """Take a sample."""
        self.samples.setdefault(sample.measure, {}).setdefault(sample.peer, {})[run] = sample

    def failed(self, run: int, measures: tuple[str, ...], peer: str, why: str) -> None:
        """Take note of a sample that came to nothing."""
        self.failures.append({"run": run, "measures": list(measures), "peer": peer, "why": why})

    def verdicts(self) -> dict[str, list[Verdict]]:
        """The verdicts on all bars that could be judged, by measure."""
        held = bars(self.about["sizes"]["random_reads"])
        round_trip = self.about["round_trip"]
        return {
            measure: [verdict for bar in held[measure] if (verdict := bar.judge(runs, round_trip)) is not None]
            for measure, runs in self.samples.items()
        }

    def median(self, measure: str, peer: str) -> float | None:
        """The median of a peer's values."""
        runs = self.samples.get(measure, {}).get(peer)
        return statistics.median(sample.value for sample in runs.values()) if runs else None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        measures = {}
        for measure, runs in self.samples.items():
            measures[measure] = {
                "title": MEASURES[measure].title,
                "unit": MEASURES[measure].unit,
                "medians": {peer: self.median(measure, peer) for peer in runs},
                "bars": [vars(verdict) for verdict in self.verdicts()[measure]],
                "samples": [{"run": run} | sample.as_dict() for peer in runs.values() for run, sample in peer.items()],
            }
        return {"about": self.about, "measures": measures, "failures": self.failures}


def line(sample: Sample) -> str:
    """A sample in a line."""
    return (
        f"{sample.peer:26} {sample.measure:18} {sample.value:8.4g} {MEASURES[sample.measure].unit:5} "
        f"{sample.fetched / MIB:9.2f} MiB in {sample.requests:4} requests ({sample.waits} waits), "
        f"CPU {sample.cpu:.2f} s, memory {sample.memory / MIB:.0f} MiB"
    )


def print_tables(results: Results, console: Console) -> None:
    """Medians of all peers, then the bars."""
    console.print(_table_of_values(results), _table_of_bars(results), _about(results.about), sep="\n", highlight=False)
    for failure in results.failures:
        console.print(f"failed: {failure['peer']}, {' '.join(failure['measures'])}: {failure['why']}", markup=False)


def _table_of_values(results: Results) -> Table:
    peers = [peer for peer in PEERS if any(peer in runs for runs in results.samples.values())]
    table = Table(title="Reading data files", box=box.SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("what", min_width=26)
    for peer in peers:
        table.add_column(peer.replace(", ", ",\n"), justify="right")
    for measure, runs in results.samples.items():
        unit = MEASURES[measure].unit
        cells = [_cell(runs[peer], unit) if peer in runs else "" for peer in peers]
        table.add_row(f"{MEASURES[measure].title}, {unit}\n[dim]{measure}[/dim]", *cells)
    return table


def _table_of_bars(results: Results) -> Table:
    table = Table("what", "bar", "found", "met", title="Bars", box=box.SIMPLE, padding=(0, 1, 0, 0))
    for measure, verdicts in results.verdicts().items():
        for verdict in verdicts:
            table.add_row(measure, verdict.bar, verdict.found, "yes" if verdict.met else "NO")
    return table


def _cell(runs: Mapping[int, Sample], unit: str) -> str:
    """The value, and what it cost: CPU seconds a GiB and ranges a file, or bytes fetched and requests."""
    samples = list(runs.values())
    value = statistics.median(sample.value for sample in samples)
    lines = [_number(value)]
    fetched = statistics.median(sample.fetched for sample in samples)
    requests = statistics.median(sample.requests for sample in samples)
    if unit == "MB/s":
        lines.append(f"[dim]{statistics.median(one.cpu / one.size for one in samples) * GIB:.2f} s/GiB[/dim]")
        if samples[0].files:
            lines.append(f"[dim]{requests / samples[0].files:.1f} ranges[/dim]")
    else:
        lines.append(f"[dim]{_bytes(fetched)}\nin {requests:g}[/dim]")
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _bytes(count: float) -> str:
    if count >= MIB:
        return f"{count / MIB:,.1f} MiB"
    return f"{count / KIB:,.0f} KiB"


def _about(about: Mapping[str, Any]) -> str:
    return (
        f"{about['date']}, {about['cores']} cores of {about['processor']}, {about['memory_gib']} GiB, "
        f"Linux {about['kernel']}, Python {about['python']}, alyxfs {about['alyxfs']}; medians of {about['runs']}; "
        f"{about['form']} form; far: {about['round_trip'] * 1e3:.1f} ms a round trip, measured; "
        f"load before: {about['load_before']:.1f}. Below the speeds: CPU seconds a GiB of the peer's process; "
        "below the times: bytes fetched in how many requests."
    )


def write(results: Results, directory: Path, *, plot: bool = True) -> list[Path]:
    """Write JSON, table and, where matplotlib is installed, plot; return the paths.

    A run of some measures or peers alone has names of its own, so that it does not replace a whole one.
    """
    directory.mkdir(parents=True, exist_ok=True)
    name = f"read-{results.about['form']}{'-part' if results.about['part'] else ''}"
    written = [directory / f"{name}.json", directory / f"{name}.txt"]
    written[0].write_text(json.dumps(results.as_dict(), indent=1) + "\n", encoding="utf-8")
    with written[1].open("w", encoding="utf-8") as file:
        print_tables(results, Console(file=file, width=WIDTH))
    if plot and importlib.util.find_spec("matplotlib"):
        written.append(directory / f"{name}.png")
        _plot(results, written[2])
    return written


def markdown(found: Mapping[str, Any]) -> str:
    """A table of the medians, of what :func:`write` put into JSON, for the README."""
    measures = found["measures"].values()
    peers = [peer for peer in PEERS if any(peer in measure["medians"] for measure in measures)]
    lines = [f"| | {' | '.join(peers)} |", "|---|" + "---:|" * len(peers)]
    for measure in measures:
        medians = measure["medians"]
        cells = [_number(medians[peer]) if peer in medians else "" for peer in peers]
        lines.append(f"| {measure['title']}, {measure['unit']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _plot(results: Results, path: Path) -> None:
    """One panel a measure, one bar a peer."""
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    figures = importlib.import_module("matplotlib.figure")
    measures = list(results.samples)
    columns = min(3, len(measures))
    lines = -(-len(measures) // columns)
    figure = figures.Figure(figsize=(4.6 * columns, 2.1 * lines + 0.4), layout="constrained")
    for number, measure in enumerate(measures):
        axes = figure.add_subplot(lines, columns, number + 1)
        peers = [peer for peer in PEERS if peer in results.samples[measure]]
        values = [results.median(measure, peer) for peer in peers]
        drawn = axes.barh(peers, values, color=[_COLOURS[PEERS.index(peer)] for peer in peers])
        axes.bar_label(drawn, fmt=_number, padding=2, fontsize=8)
        axes.invert_yaxis()
        axes.margins(x=0.18)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        better = "more" if MEASURES[measure].more_is_better else "less"
        axes.set_title(f"{MEASURES[measure].title}\n({MEASURES[measure].unit}, {better} is better)", fontsize=9)
    figure.suptitle(f"alyxfs beside its peers, {results.about['date']}, {results.about['cores']} cores", fontsize=11)
    figure.savefig(path, dpi=110)
