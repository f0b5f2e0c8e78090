"""The benchmark of data files in its shortest form, and the parts of it that results rest on."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"
sys.path.insert(0, str(SCRIPTS))

from benchmarks import bars, cluster, relay, requests, server  # noqa: E402 - found by the line above
from benchmarks.workloads import Sample  # noqa: E402
from mounted import mounted  # noqa: E402

MIB = 1024 * 1024
needs_nginx = pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed (nginx-light)")


@pytest.fixture
def sender():
    """A server that echoes a byte, or sends as many bytes as a line says."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    while asked := connection.recv(64):
                        connection.sendall(bytes(int(asked)))

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def receive(port, size):
    """Seconds to connect and get the first byte, and from there to the last of so many."""
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"%d" % size)
        connection.recv(1)
        first = time.monotonic()
        left = size - 1
        while left:
            left -= len(connection.recv(MIB))
        return first - started, time.monotonic() - first


def test_the_relay_delays_by_a_round_trip_for_the_connection_and_one_for_each_question(sender):
    with relay.running_relay(sender, delay=0.02) as port:
        delays = [receive(port, 1)[0] for _ in range(5)]
        assert min(delays) >= 0.08
        assert min(delays) < 0.1
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            times = []
            for _ in range(6):
                started = time.monotonic()
                connection.sendall(b"1")
                assert len(connection.recv(1)) == 1
                times.append(time.monotonic() - started)
        assert 0.04 <= min(times[1:]) < 0.06


def test_the_relay_does_not_cap_throughput_unless_asked(sender):
    with relay.running_relay(sender) as port:
        assert max(64 / receive(port, 64 * MIB)[1] for _ in range(3)) > 150, "MiB/s"
    with relay.running_relay(sender, gbit=0.1) as port:
        megabytes = 2 * MIB / 1e6
        best = max(megabytes / receive(port, 2 * MIB)[1] for _ in range(2))
    assert 9 < best < 12.5 * 1.15, "MB/s on a link of 12.5; the first piece has arrived when the clock starts"


def test_round_trips_are_counted_along_the_longest_chain():
    def request(start, end):
        return server.Request(start, end, "GET", 206, 1, "/")

    assert server.round_trips([], 0.05) == 0
    assert server.round_trips([request(0, 0), request(0.01, 0.01), request(0.02, 0.06)], 0.05) == 1
    assert server.round_trips([request(0, 0), request(0.05, 0.06), request(0.08, 0.08), request(0.12, 0.12)], 0.05) == 3


def test_a_bar_is_judged_by_the_median_of_the_runs_ratios():
    bar = bars.bars(200)["sequential-tls"][0]  # at least 0.85 x curl
    speeds = {bars.DRIVE: (90, 10, 95), bars.CURL: (100, 100, 100)}
    runs = {
        peer: {run: Sample("sequential-tls", peer, value, 1.0) for run, value in enumerate(values)}
        for peer, values in speeds.items()
    }
    assert bar.judge(runs, 0.05) == bars.Verdict(">= 0.85 x curl", "0.90 x", met=True)
    runs[bars.DRIVE][0].value = 84
    assert not bar.judge(runs, 0.05).met
    assert bar.judge({bars.DRIVE: runs[bars.DRIVE]}, 0.05) is None


@needs_nginx
def test_the_shortest_form_measures_and_leaves_nothing_behind(tmp_path):
    measures = ["sequential-cold", "sequential-warm", "sequential-tls", "first-bytes", "listing"]
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = [sys.executable, SCRIPTS / "bench.py", "read", "--size", "shortest", "--runs", "1", "--peers", "curl"]
    command += [option for measure in measures for option in ("--only", measure)]
    command += ["--files", tmp_path / "files", "--results", tmp_path / "results"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(tmp_path), "TMPDIR": str(scratch)},
    )
    assert done.returncode in {0, 1}, done.stderr  # 1: a bar was missed, as speeds are on a busy machine
    assert list(scratch.iterdir()) == []
    assert str(scratch) not in Path("/proc/self/mounts").read_text()
    written = tmp_path / "results" / "read-shortest-part.json"
    assert written.exists(), done.stdout + done.stderr
    results = json.loads(written.read_text())
    assert results["failures"] == []
    assert set(results["measures"]) == set(measures)
    for measure in measures:
        found = results["measures"][measure]
        assert found["medians"]["alyxfs"] > 0, measure
        assert found["title"] in " ".join(done.stdout.split()) or measure in done.stdout
    (cold,) = [one for one in results["measures"]["sequential-cold"]["samples"] if one["peer"] == "alyxfs"]
    assert cold["fetched"] == cold["size"] == 4 * MIB
    assert results["measures"]["sequential-cold"]["medians"]["curl"] > 0
    (warm,) = results["measures"]["sequential-warm"]["samples"]
    assert warm["requests"] == 0
    counted = {bar["bar"]: bar["met"] for measure in results["measures"].values() for bar in measure["bars"]}
    assert counted["no request to the file server"]
    assert counted["<= 64 KiB fetched"]
    table = subprocess.run(
        [sys.executable, SCRIPTS / "bench.py", "table", tmp_path / "results" / "read-shortest-part.json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout.splitlines()
    assert len(table) == 2 + len(measures)
    assert {line.count("|") for line in table} == {table[0].count("|")}


@needs_nginx
def test_drives_behind_one_proxy_are_measured_and_leave_nothing_behind(tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    options = ["--drives", "2", "--mib", "2", "--runs", "1"]
    done = subprocess.run(
        [sys.executable, SCRIPTS / "bench.py", "cluster", *options, "--files", tmp_path / "files"],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(tmp_path), "TMPDIR": str(scratch)},
    )
    assert done.returncode in {0, 1}, done.stderr  # 1: a speed was missed, as they are on a busy machine
    found = dict(line.split(": ", 1) for line in done.stdout.splitlines() if re.match(r"[ \w].*: \S", line))
    assert found["requests of the API, of all drives"] == "0"
    assert found["all begin with a slice"] == "yes"
    assert float(found["file server's bytes, by those of different slices"].split()[0]) <= cluster.BYTES_BAR
    assert {name for name in found if name.startswith("speed of 2 drives")} == {
        f"speed of 2 drives, by curls, {where}" for where in ("on this machine alone", "over a link of 1 Gbit/s")
    }
    assert list(scratch.iterdir()) == []
    assert str(scratch) not in Path("/proc/self/mounts").read_text()


def test_counted_bytes_show_where_they_stand():
    from benchmarks.datafiles import counted, is_counted

    place = random.Random(1).randrange(2**30) * 8
    assert is_counted(place, counted(place, 9000))
    assert not is_counted(place + 8, counted(place, 9000))
    assert not is_counted(place, bytes(9000))


def test_everyday_tasks_need_no_more_requests_than_they_may(demo, tmp_path):
    """The counts of `bench.py requests` on one drive: what a task has learnt may only lower those that follow."""
    with mounted(demo.url, tmp_path / "elsewhere", *requests.OPTIONS) as drive:
        known = requests.look_up(drive)
    with mounted(demo.url, tmp_path / "home", *requests.OPTIONS) as drive:
        demo.clear_requests()
        os.listdir(drive / "data")
        assert len(demo.requests()) <= 3
        requests.look_around(drive.path)
        long = ("du of a lab", "grep in 50 sessions", "MiB")  # and the same as shorter ones, many times
        tasks = [
            task
            for task in requests.TASKS
            if not (task.is_first or task.is_mount or any(word in task.name for word in long))
        ]
        counts = [requests.count(demo, drive.path, task, known) for task in tasks]
    assert not [each for each in counts if each.asked > each.task.asked or each.again]
    assert len(counts) >= 8
