"""``scripts/cluster/dask_example.py`` on a cluster of this machine, with and without the caching proxy."""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from caching_proxy import caching_proxy, needs_nginx
from mounted import environment, mounted, run_alyxfs

EXAMPLE = Path(__file__).resolve().parents[2] / "scripts" / "cluster" / "dask_example.py"
FOLDER = "cortexlab/Subjects/KS001/2023-01-02/001/alf/probe00/pykilosort/#2024-05-06#"

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(300),
    needs_nginx,
    pytest.mark.skipif(
        importlib.util.find_spec("distributed") is None,
        reason='dask.distributed is not here: pip install "alyxfs[cluster]"',
    ),
]


def test_workers_compute_through_drives_of_their_own(demo, home, tmp_path):
    with mounted(demo.url, home) as drive:
        times = np.load(drive / "data" / FOLDER / "spikes.times.npy")
        units = np.load(drive / "data" / FOLDER / "spikes.clusters.npy")
        assert run_alyxfs(home, "snapshot", str(drive.path), str(home / "snapshot")).returncode == 0
    expected = {unit: count / (times[-1] - times[0]) for unit, count in enumerate(np.bincount(units.ravel())) if count}
    tables, sent = [], []
    with caching_proxy(tmp_path / "proxy", demo.url) as proxy:
        for number, options in enumerate([(), ("--file-proxy", proxy.url), ("--file-proxy", proxy.url)]):
            demo.clear_requests()
            result = tmp_path / f"{number}.csv"
            command = [sys.executable, EXAMPLE, "--snapshot", home / "snapshot", "--server", demo.url, "--workers", "2"]
            done = subprocess.run(
                [*command, *options, result],
                env=environment(tmp_path / f"home{number}", TMPDIR=str(tmp_path)),
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=100,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            tables.append(result.read_text())
            sent.append(sum(entry["bytes"] for entry in demo.requests()))
            assert all(entry["path"].startswith("/data_files") for entry in demo.requests())
    rows = list(csv.reader(tables[0].splitlines()))[1:]
    found = {int(unit): float(rate) for folder, unit, rate in rows if folder == FOLDER}
    assert found.keys() == expected.keys()
    assert all(np.isclose(found[unit], rate) for unit, rate in expected.items())
    assert tables[0] == tables[1] == tables[2]
    assert sent[2] == 0, "the proxy has it"
    with contextlib.suppress(FileNotFoundError):
        assert str(tmp_path) not in Path("/proc/self/mounts").read_text(), os.listdir(tmp_path)
