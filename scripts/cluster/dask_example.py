"""Firing rates of all units of many sessions, by dask.distributed: each worker reads through a drive of its own.

    python dask_example.py --snapshot /shared/lab.snapshot --file-proxy http://cache:8080 --sessions 50 rates.csv

Without --scheduler it makes a cluster of this machine. Workers mount when they start and unmount when they end, below
their own folder; the snapshot is the same for all of them, so that no order of events changes what they see.
Needs: pip install "alyxfs[cluster]", and FUSE on the nodes.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
from distributed import Client, LocalCluster, Worker, WorkerPlugin, as_completed, get_worker

ALYXFS = [sys.executable, "-m", "alyxfs"]


class Drive(WorkerPlugin):
    """Mounts a drive for a worker, with a cache of its own."""

    name = "drive"

    def __init__(self, options: list[str], server: str | None) -> None:
        self.options = options
        self.server = [server] if server else []

    def setup(self, worker: Worker) -> None:
        """Before the worker takes its first task."""
        self.place = Path(worker.local_directory) / "alyx"
        cache = ["--cache-directory", str(Path(worker.local_directory) / "cache"), "--cache-limit", "5"]
        command = [*ALYXFS, "mount", *cache, *self.options, *self.server, str(self.place)]
        subprocess.run(command, check=True, capture_output=True, text=True)

    def teardown(self, worker: Worker) -> None:  # noqa: ARG002 - dask gives it
        """When the worker ends, or the computation does."""
        subprocess.run([*ALYXFS, "umount", "--lazy", str(self.place)], check=False, capture_output=True)


def data() -> Path:
    """data/ of the drive of the worker that asks."""
    return get_worker().plugins[Drive.name].place / "data"


def sorted_probes(most: int) -> list[str]:
    """The folders in data/ with the spikes of a probe, of so many sessions at most."""
    with (data() / ".files.tsv").open(newline="") as file:
        paths = {row["path"] for row in csv.DictReader(file, delimiter="\t")}
    folders = sorted(path.rpartition("/")[0] for path in paths if path.endswith("/spikes.times.npy"))
    found = [folder for folder in folders if f"{folder}/spikes.clusters.npy" in paths]
    sessions = sorted({folder.partition("/alf/")[0] for folder in found})[:most]
    return [folder for folder in found if folder.partition("/alf/")[0] in sessions]


def firing_rates(folder: str) -> list[tuple[str, int, float]]:
    """Of each unit of a probe: the folder, the unit, and its spikes a second. Raises OSError where a file lacks."""
    times = np.load(data() / folder / "spikes.times.npy", mmap_mode="r")
    units = np.load(data() / folder / "spikes.clusters.npy").ravel()
    seconds = max(float(times[-1]) - float(times[0]), 1e-9)
    return [(folder, int(unit), float(count) / seconds) for unit, count in enumerate(np.bincount(units)) if count]


def main() -> None:
    """Compute them, and write them as a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("result", type=Path)
    parser.add_argument("--snapshot", required=True, help="a file of `alyxfs snapshot` that all nodes can read")
    parser.add_argument("--server", help="the Alyx, where its file servers are in your own network")
    parser.add_argument("--file-proxy", help="see nginx.conf")
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--scheduler", help="of a cluster that there is; else one is made here")
    parser.add_argument("--workers", type=int, default=4)
    chosen = parser.parse_args()
    options = ["--snapshot", chosen.snapshot]
    if chosen.file_proxy:
        options += ["--file-proxy", chosen.file_proxy]
    cluster = chosen.scheduler or LocalCluster(n_workers=chosen.workers, threads_per_worker=1, dashboard_address=None)
    with Client(cluster) as client:
        client.register_plugin(Drive(options, chosen.server))
        folders = client.submit(sorted_probes, chosen.sessions).result()
        rates, failed = [], 0
        for future in as_completed(client.map(firing_rates, folders)):
            if isinstance(error := future.exception(), OSError):
                failed += 1
                print(f"left out: {error}", file=sys.stderr)
            else:
                rates += future.result()
        client.unregister_worker_plugin(Drive.name)
    with chosen.result.open("w", newline="") as file:
        csv.writer(file).writerows([("probe", "unit", "spikes a second"), *sorted(rates)])
    print(f"{len(rates)} units of {len(folders) - failed} probes; {failed} probes could not be read.")
    if not chosen.scheduler:
        cluster.close()


if __name__ == "__main__":
    main()
