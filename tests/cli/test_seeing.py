"""What a drive tells of itself: status, metrics, log and errors.log, over the life of one drive and its next mount."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from alyxfs.demo.server import running_demo
from asking import Asking
from mounted import run_alyxfs, until
from processes import children
from terminal import on_terminal

pytestmark = pytest.mark.timeout(240)  # the life of a drive, some fifteen commands long, is the first test's

FILE_PASSWORD = "a-very-secret-word"
DATA_FILE = "data/cortexlab/Subjects/KS001/2023-01-02/001/alf/_ibl_wheel.position.npy"


@dataclass
class Life:
    """What was seen of a drive."""

    url: str
    home: Path
    token: str
    size: int = 0
    said: str = ""
    status: dict = field(default_factory=dict)
    described: str = ""
    metrics: str = ""
    log: str = ""
    errors: str = ""
    errors_of_next_mount: str = ""
    status_of_next_mount: dict = field(default_factory=dict)
    arguments: list = field(default_factory=list)
    limits: list = field(default_factory=list)
    watched: str = ""
    code_of_watch: int | None = None
    wrapped: str = ""
    plain: str = ""


@pytest.fixture(scope="module")
def life(demo_directory, tmp_path_factory):
    home = tmp_path_factory.mktemp("seeing") / "home"
    home.mkdir()
    place = home / "drive"
    with running_demo(demo_directory, largest_file_mb=2) as demo:
        life = Life(demo.url, home, Asking(demo.url).token)

        def run(*arguments, **extra):
            done = run_alyxfs(home, *arguments, **extra)
            assert done.returncode == 0, done.stderr
            return done.stdout

        server = ("--file-server", demo.url, "--file-user", "files", "--token", life.token)
        try:
            life.said = run(
                "mount", "--rw", "--debug", *server, demo.url, str(place), ALYXFS_FILE_PASSWORD=FILE_PASSWORD
            )
            see(life, place, run)
            run("umount", str(place))
            run("mount", "--rw", "--token", life.token, demo.url, str(place))
            life.errors_of_next_mount = (place / ".alyxfs/errors.log").read_text()
            life.status_of_next_mount = json.loads(run("status", "--json", str(place)))
            run("umount", str(place))
        finally:
            subprocess.run(["umount", "-l", str(place)], capture_output=True, check=False)
        yield life


def see(life, place, run):
    content = (place / DATA_FILE).read_bytes()
    life.size = len(content)
    descriptor = os.open(place / DATA_FILE, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)  # the kernel would give it by itself
    while os.read(descriptor, 1 << 20):
        pass
    with pytest.raises(OSError, match="Input/output"):
        (place / "labs/cortexlab.json").write_text('{"colour": "red"}')
    for _ in range(3):
        with pytest.raises(OSError, match="Input/output"):
            (place / "labs/cortexlab.json").write_text('{"name": 7, "colour": "green"}')
    (place / "labs/cortexlab.json").write_text('{"json": {"seen": true}}')
    life.described = run("status", str(place))
    life.status = json.loads((place / ".alyxfs/status.json").read_bytes())
    life.metrics = (place / ".alyxfs/metrics").read_text()
    life.errors = (place / ".alyxfs/errors.log").read_text()
    life.plain = run("log", str(place))
    with on_terminal(life.home, "log", str(place)) as terminal:
        until(lambda: terminal.process.poll() is not None, "the end of the log")
    life.wrapped = re.sub(r"\x1b\[[\d;]*m", "", terminal.text)
    with on_terminal(life.home, "status", "--watch", str(place), columns=200) as terminal:
        terminal.wait_for("a second")
        os.kill(terminal.process.pid, signal.SIGINT)
        life.code_of_watch = terminal.process.wait(20)
    life.watched = terminal.text
    drive = life.status["process"]
    for process in [drive, *children(drive)]:  # its guardian
        life.arguments.append(Path(f"/proc/{process}/cmdline").read_bytes().decode())
        life.limits.append(Path(f"/proc/{process}/limits").read_text())
    os.close(descriptor)
    life.log = Path(life.status["log"]).read_text()


def test_status_counts_what_was_fetched_and_what_was_here_already(life):
    status = life.status
    assert status["file_bytes"] == life.size
    assert status["served_bytes"] == 2 * life.size
    assert status["cache_hit_share"] == 0.5
    assert (status["open_files"], status["transfers"]) == (1, 0)
    assert status["file_requests"] >= 1
    assert status["file_requests_last_minute"] <= status["file_requests"]
    assert status["kernel_requests"]["open"] >= 5


def test_status_tells_of_writes_and_errors_and_where_things_are(life):
    status, state = life.status, life.home / ".local/state/alyxfs"
    assert status["writes_pending"] == 0
    assert status["writes_rejected"] == len(list(Path(status["rejected"]).glob("*.reason.txt"))) == 4
    assert Path(status["journal"]).is_file()
    for place in ("log", "journal", "rejected"):
        assert Path(status[place]).is_relative_to(state)
    assert status["errors"] >= 4
    assert "colour" in status["last_errors"][-1]
    assert status["cache_directory"] == str(life.home / ".cache/alyxfs")


def test_status_says_all_of_it_in_sentences(life):
    words = {line[:12].strip(): line[14:] for line in life.described.splitlines()}
    assert words["user"] == "of a token, whose user is not known, from the command line"
    assert re.fullmatch(rf"{life.url}, \d+ requests? \(\d+ in the last minute\)", words["server"])
    assert "50% of which were here" in life.described
    assert words["cache"].endswith(f"of at most 50.0 GiB, in {life.home}/.cache/alyxfs")
    assert words["writes"].startswith("0 changes not on the server yet, 4 drafts refused and kept in ")
    assert (words["log"], words["journal"]) == (life.status["log"], life.status["journal"])
    assert re.search(r"^errors +\d+ errors, see .*/errors\.log\n +\d{4}-.*colour", life.described, re.MULTILINE)


def test_mount_says_where_it_logs(life):
    assert f"It logs to {life.status['log']}." in life.said


def test_metrics_are_in_the_text_format_of_prometheus(life):
    types, samples = {}, {}
    for line in life.metrics.splitlines():
        if declared := re.fullmatch(r"# TYPE (alyxfs_[a-z_]+) (counter|gauge)", line):
            types[declared[1]] = declared[2]
        elif not re.fullmatch(r"# HELP alyxfs_[a-z_]+ [A-Z].*", line):
            sample = re.fullmatch(r'(alyxfs_[a-z_]+)\{(?:[a-z]+="[^"\\\n]*",?)+\} (\d+(?:\.\d+)?)', line)
            assert sample, line
            samples.setdefault(sample[1], []).append(float(sample[2]))
    assert set(samples) == set(types)
    assert all(name.endswith("_total") for name, kind in types.items() if kind == "counter")
    assert samples["alyxfs_file_received_bytes_total"] == [life.size]
    assert samples["alyxfs_up"] == [1]
    assert len(samples["alyxfs_kernel_requests_total"]) > 5


def test_refusals_are_there_after_the_next_mount(life):
    drafts = set(re.findall(r"kept as (\S+\.json)", life.errors))
    assert len(drafts) == 4
    assert set(re.findall(r"kept as (\S+\.json)", life.errors_of_next_mount)) == drafts
    assert life.status_of_next_mount["errors"] == 0


def test_the_log_has_a_line_for_each_request(life):
    fetched = re.findall(r"GET \S+_ibl_wheel\.position\.\S+: 20[06], (\d+) bytes in [\d.]+ ms", life.log)
    assert sum(map(int, fetched)) == life.size
    assert re.search(r"PATCH \S+/labs/cortexlab: 200, \d+ bytes in [\d.]+ ms", life.log)
    read = re.findall(rf"read {re.escape(DATA_FILE)}: (\d+) bytes in [\d.]+ ms", life.log)
    assert sum(map(int, read)) == 2 * life.size
    assert re.search(r"flush record/labs/\S+: \w+ in [\d.]+ ms", life.log)


def test_no_secret_is_in_anything_that_is_kept_or_shown(life):
    shown = [life.said, life.described, life.metrics, life.errors, life.watched, *life.arguments]
    kept = [path for path in life.home.rglob("*") if path.is_file() and not path.is_symlink()]
    assert {"known.sqlite", "journal.sqlite", Path(life.status["log"]).name} <= {path.name for path in kept}
    for secret in (life.token, FILE_PASSWORD):
        assert not [text for text in shown if secret in text]
        assert not [path for path in kept if secret.encode() in path.read_bytes()]
    assert any("--token *" in text for text in life.arguments), life.arguments
    for limits in life.limits:
        assert re.search(r"^Max core file size +[01] ", limits, re.MULTILINE), limits


def test_status_is_watched_on_a_terminal(life):
    assert life.code_of_watch == 0, life.watched
    assert re.search(r"fetched, .* read and \d+ requests? a second", life.watched)
    done = run_alyxfs(life.home, "status", "--watch")
    assert (done.returncode, "for a terminal" in done.stderr) == (2, True)


def test_the_log_of_writes_fits_on_a_narrow_terminal(life):
    assert "labs/cortexlab" in life.wrapped
    assert max(map(len, life.plain.splitlines())) > 80, "else this shows nothing"
    assert max(map(len, life.wrapped.splitlines())) <= 80
    assert life.wrapped.split() == life.plain.split()


def test_what_is_refused_is_shown_on_the_desktop(changing, home, tmp_path):
    programs, place = tmp_path / "bin", home / "drive"
    programs.mkdir()
    notifier = programs / "notify-send"
    notifier.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/shown\n')
    notifier.chmod(0o755)
    account = {"ALYXFS_USER": "demo", "ALYXFS_PASSWORD": "demo"}
    try:
        assert run_alyxfs(home, "mount", "--rw", changing.url, str(place), **account).returncode == 0
        path = f"{programs}:{os.environ['PATH']}"
        with on_terminal(home, "log", "--follow", "--notify", str(place), PATH=path) as terminal:
            until(lambda: write_refused(place) and (tmp_path / "shown").exists(), "the notification")
            terminal.wait_for("colour")
        assert "labs/cortexlab: save refused" in (tmp_path / "shown").read_text()
    finally:
        subprocess.run(["umount", "-l", str(place)], capture_output=True, check=False)
    assert run_alyxfs(home, "log", "--notify", str(home)).returncode == 2


def write_refused(place):
    """Each time another one: what had been entered before the log was followed is not news."""
    with pytest.raises(OSError, match="Input/output"):
        (place / "labs/cortexlab.json").write_text(json.dumps({"colour": time.time()}))
    return True
