"""What an analysis has read: told of a running process and of a whole mount, shown by a drive of its own, reported."""

from __future__ import annotations

import errno
import html.parser
import json
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

import stranger
from alyxfs import crate, errors
from alyxfs.cli.listed_files import read_manifest
from alyxfs.cli.report_page import Report, page
from alyxfs.cli.shown_files import shown_files
from alyxfs.kernel import Trace, TraceFile
from alyxfs.private_files import write_whole
from mounted import environment, in_front, mounted, run_alyxfs, until
from one_client import needs_one

SESSION = "data/cortexlab/Subjects/KS001/2023-01-02/001"
PROBE = f"{SESSION}/alf/probe00/pykilosort"


def entities(path):
    found = json.loads(path.read_bytes())["@graph"]
    return {entity["alyxfs:path"]: entity for entity in found if "alyxfs:path" in entity}


def action(path):
    return next(entity for entity in json.loads(path.read_bytes())["@graph"] if entity["@id"] == "#run")


def shown(drive):
    """All files of a drive."""
    return {
        os.path.relpath(os.path.join(folder, name), drive.path)
        for folder, _, names in os.walk(drive.path)
        for name in names
    }


@pytest.fixture(scope="module")
def traced(demo, tmp_path_factory):
    """A home, the manifest of a drive that was mounted with --trace, and the bytes of what was read from it."""
    home = tmp_path_factory.mktemp("reproducing") / "home"
    manifest = home / "all.json"
    home.mkdir()
    with mounted(demo.url, home, "--trace", str(manifest)) as drive:
        assert entities(manifest) == {}
        [recording] = (drive / SESSION).rglob("*.bin")
        [first, *_] = sorted(os.listdir(drive / "sessions/lab=cortexlab"))
        paths = [
            f"{PROBE}/clusters.metrics.pqt",
            f"{PROBE}/spikes.times.npy",
            f"sessions/{first}",
            "labs/cortexlab.json",
        ]
        read = {path: (drive / path).read_bytes() for path in paths}
        with open(recording, "rb") as file:
            read[os.path.relpath(recording, drive.path)] = file.read(1000)
        (drive / "data/sessions.pqt").read_bytes()
        (drive / "labs/.rows.csv").read_bytes()
        (drive / ".alyxfs/status.json").read_bytes()
        done = run_alyxfs(home, "trace", "--drive", str(drive.path), "--so-far", "--output", str(home / "so-far.json"))
        assert done.returncode == 0, done.stderr
    return home, manifest, read


def expected(read):
    """The paths of a manifest: a recording that shows inflated is the two files that it is made of."""
    [recording] = [path for path in read if path.endswith(".bin")]
    stem = recording.removesuffix(".bin")
    return read.keys() - {recording} | {f"{stem}.cbin", f"{stem}.ch"}


TABLE = {"data/sessions.pqt"}
"""Was read, too: of the drive itself what is in ``data/`` is shown."""


def test_a_drive_mounted_with_trace_writes_the_manifest_of_all_that_it_serves(demo, traced):
    home, manifest, read = traced
    found = entities(manifest)
    others = {path for path, entity in found.items() if entity["alyxfs:kind"] == "other"}
    assert found.keys() - others == expected(read)
    assert others > TABLE
    assert len(others) == 2
    assert manifest.stat().st_mode & 0o777 == 0o600
    assert action(manifest)["actionStatus"] == {"@id": "http://schema.org/CompletedActionStatus"}
    assert found["labs/cortexlab.json"]["alyxfs:bytes"] == len(read["labs/cortexlab.json"])
    so_far = entities(home / "so-far.json")
    assert so_far.keys() == found.keys()
    assert action(home / "so-far.json")["actionStatus"] == {"@id": "http://schema.org/ActiveActionStatus"}
    metrics = so_far[f"{PROBE}/clusters.metrics.pqt"]
    assert metrics["alyxfs:type"] == "clusters.metrics"
    assert isinstance(metrics["alyxfs:tags"], list)
    assert found[f"{PROBE}/clusters.metrics.pqt"]["alyxfs:tags"] is None, "nobody was asked"


def test_a_manifest_is_whole_as_ro_crate_wants_it(traced):
    home, *_ = traced
    document = json.loads((home / "so-far.json").read_bytes())
    graph = document["@graph"]
    names = [entity["@id"] for entity in graph]
    assert len(names) == len(set(names))
    root = next(entity for entity in graph if entity["@id"] == "./")
    assert {"@type", "name", "description", "datePublished", "license", "hasPart"} <= root.keys()
    assert document["@context"][0] == "https://w3id.org/ro/crate/1.1/context"
    for entity in graph:
        for value in entity.values():
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, dict) and not one["@id"].startswith(("http://schema.org/", crate.PROFILE)):
                    assert one["@id"] in names
        for word in entity:
            assert ":" not in word or word.startswith(("alyxfs:", "prov:"))


def test_a_drive_of_a_manifest_shows_exactly_what_it_names(demo, traced):
    home, manifest, read = traced
    with mounted(demo.url, home, "--only", str(manifest)) as drive:
        assert shown(drive) == expected(read) | read.keys() | TABLE
        for path, content in read.items():
            with open(drive / path, "rb") as file:
                assert file.read(len(content)) == content, path
        for path in (
            f"{PROBE}/spikes.amps.npy",
            "data/datasets.pqt",
            "users",
            "labs/mainenlab.json",
            f"{SESSION}/.files.tsv",
        ):
            with pytest.raises(OSError, match="No such file") as refused:
                os.stat(drive / path)
            assert refused.value.errno == errno.ENOENT
        status = json.loads((drive / ".alyxfs/status.json").read_text())
        assert status["only"]["manifest"] == str(manifest)
        assert status["differences"] == []
        told = run_alyxfs(home, "explain", str(drive / PROBE)).stdout
        assert f"the files of the session {entities(manifest)[f'{PROBE}/spikes.times.npy']['alyxfs:session']}" in told
        told = run_alyxfs(home, "explain", str(drive / PROBE / "spikes.amps.npy")).stdout
        assert f"is not in {manifest}, and this drive shows nothing else." in told
        assert f"only what {manifest} names" in run_alyxfs(home, "status", str(drive.path)).stdout
        assert run_alyxfs(home, "refresh", str(drive / PROBE)).returncode == 0
        assert run_alyxfs(home, "verify", str(manifest)).returncode == 0


def test_a_drive_of_a_manifest_tells_what_is_not_as_it_was_read(demo, traced):
    home, manifest, read = traced
    document = json.loads(manifest.read_bytes())
    found = {entity["alyxfs:path"]: entity for entity in document["@graph"] if "alyxfs:path" in entity}
    changed, gone = f"{PROBE}/spikes.times.npy", f"{PROBE}/nothing.npy"
    is_now = found[changed]["alyxfs:hash"]
    found[changed]["alyxfs:hash"] = "1" * 32
    found[f"{PROBE}/clusters.metrics.pqt"]["alyxfs:path"] = gone
    other = home / "other.json"
    other.write_text(json.dumps(document))
    with mounted(demo.url, home, "--only", str(other)) as drive:
        told = json.loads((drive / ".alyxfs/status.json").read_text())["differences"]
        assert told == [
            f"{gone} is gone.",
            f"{changed} is not what was read: its hash was {'1' * 32}, and is {is_now}.",
        ]
        for sentence in told:
            drive.wait_for_log(sentence)
        everything = expected(read) | read.keys() | TABLE
        assert shown(drive) == everything - {f"{PROBE}/clusters.metrics.pqt"}


def test_a_drive_of_a_list_shows_what_is_at_and_below_its_paths(demo, traced):
    home, *_ = traced
    listed = home / "list"
    listed.write_text(f"{home}/drive/labs/cortexlab.json\n\n{PROBE}/\n{SESSION}/alf/no such file\n")
    with mounted(demo.url, home, "--only", str(listed)) as drive:
        found = shown(drive)
        assert "labs/cortexlab.json" in found
        assert {path for path in found if path.startswith(f"{PROBE}/")} == found - {"labs/cortexlab.json"}
        assert len(found) > 5
        assert json.loads((drive / ".alyxfs/status.json").read_text())["differences"] == [
            f"{SESSION}/alf/no such file is gone."
        ]


def test_mount_says_what_it_cannot_show_or_trace(demo, traced, tmp_path):
    home, manifest, _ = traced
    listed, place = tmp_path / "list", tmp_path / "drive"
    for text, sentence in {
        "": "names nothing of",
        "/etc/passwd\n": "which is in no drive of",
        "data/../../x\n": "which can be no path of a drive",
        "data/x\0y\n": "which can be no path of a drive",
        '{"a": 1}': "is no manifest of",
    }.items():
        listed.write_text(text)
        with pytest.raises(errors.ConfigurationError, match=sentence):
            shown_files(listed, demo.url, place)
    with pytest.raises(errors.ConfigurationError, match=r"names nothing of https://alyx\.example\.org"):
        shown_files(manifest, "https://alyx.example.org", place)
    for path, sentence in {place / "x": "would be in the drive itself", home / "no" / "x": "cannot be written"}.items():
        with pytest.raises(errors.ConfigurationError, match=sentence):
            TraceFile(path, Trace(), demo.url, place, print)
    refused = run_alyxfs(home, "mount", "--only", str(manifest), str(place))
    assert (refused.returncode, f"is of {demo.url}: name that server" in refused.stderr) == (2, True), refused.stderr
    refused = run_alyxfs(home, "mount", "--rw", "--only", str(manifest), demo.url, str(place))
    assert (refused.returncode, "it cannot be together with --rw" in refused.stderr) == (2, True), refused.stderr


def test_a_drive_that_is_killed_leaves_the_manifest_of_what_was_read_also_after_a_failure_of_the_disk(demo, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    manifest = home / "all.json"
    user = {"ALYXFS_USER": "demo", "ALYXFS_PASSWORD": "demo"}
    with in_front(demo.url, home, options=("--trace", str(manifest)), **user) as (process, place):
        manifest.unlink()
        manifest.mkdir()
        (place / "labs/cortexlab.json").read_bytes()
        told = "The manifest of what is read cannot be written (--trace): Is a directory."
        until(lambda: told in (place / ".alyxfs/errors.log").read_text(), "the failure")
        manifest.rmdir()
        assert f"what programs read is written to {manifest}" in run_alyxfs(home, "status", str(place)).stdout
        until(lambda: manifest.exists() and "labs/cortexlab.json" in entities(manifest), "what was read")
        process.kill()
        process.wait(10)
    assert entities(manifest).keys() == {"labs/cortexlab.json"}
    assert action(manifest)["actionStatus"] == {"@id": "http://schema.org/ActiveActionStatus"}


READS = """
import subprocess, sys
before, mapped, child = sys.argv[1:]
file = open(before, "rb")
file.read(10)
print("begun", flush=True)
sys.stdin.readline()
file.seek(1 << 19)
file.read()
import mmap
with open(mapped, "rb") as other:
    assert mmap.mmap(other.fileno(), 0, access=mmap.ACCESS_READ)[0]
subprocess.run(["md5sum", child], check=True, stdout=subprocess.DEVNULL)
print("done", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("ends_by", ["the process", "Ctrl-C", "SIGTERM"])
def test_a_running_process_and_its_children_are_traced_until_it_ends(shared_drive, tmp_path, ends_by):
    paths = [
        f"{PROBE}/{name}" for name in ("spikes.times.npy", "#2024-05-06#/spikes.depths.npy", "clusters.metrics.pqt")
    ]
    program = [sys.executable, "-c", READS, *(str(shared_drive / path) for path in paths)]
    home, output = tmp_path / "home", tmp_path / "trace.json"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(program, **pipes) as reader:
        assert reader.stdout.readline() == "begun\n"
        trace = ["trace", "--drive", str(shared_drive.path), "--output", str(output), "--pid", str(reader.pid)]
        words = [sys.executable, "-m", "alyxfs", *trace]
        with subprocess.Popen(words, env=environment(home), stderr=subprocess.PIPE, text=True) as watching:
            assert "is watched until it ends" in watching.stderr.readline()
            reader.stdin.write("\n")
            reader.stdin.flush()
            assert reader.stdout.readline() == "done\n"
            if ends_by == "the process":
                reader.stdin.close()
            else:
                watching.send_signal(signal.SIGINT if ends_by == "Ctrl-C" else signal.SIGTERM)
            assert watching.wait(30) == 0, watching.stderr.read()
            watching.stderr.read()
        if ends_by != "the process":
            reader.stdin.close()
    found = entities(output)
    assert set(found) == set(paths), "the one that was open before is named, too"
    assert found[paths[2]]["alyxfs:bytes"] == (shared_drive / paths[2]).stat().st_size
    assert action(output)["name"].startswith(sys.executable)
    assert action(output)["alyxfs:exitCode"] is None


def test_trace_says_what_it_cannot_watch(shared_drive, tmp_path):
    home = tmp_path / "home"
    drive = ["--drive", str(shared_drive.path), "--output", str(tmp_path / "trace.json")]
    for arguments in ([], ["--pid", "1", "--so-far"], ["--so-far", "ls"]):
        refused = run_alyxfs(home, "trace", *drive, *arguments)
        assert (refused.returncode, "trace takes one of these" in refused.stderr) == (2, True), refused.stderr
    gone = subprocess.Popen(["true"])
    gone.wait()
    refused = run_alyxfs(home, "trace", *drive, "--pid", str(gone.pid))
    assert (refused.returncode, refused.stderr) == (3, f"alyxfs: There is no process {gone.pid}.\n")
    refused = run_alyxfs(home, "trace", *drive, "--so-far")
    assert (refused.returncode, refused.stderr) == (1, "alyxfs: This drive was not mounted with --trace.\n")


@stranger.needs_root
def test_trace_without_a_drive_runs_nothing(tmp_path):
    """In a mount namespace: other tests have drives mounted."""
    script = 'umount --all --lazy --types fuse.alyxfs; exec "$@"'
    command = [sys.executable, "-m", "alyxfs", "trace", "touch", "has-run"]
    refused = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", *command],
        env=environment(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    told = "alyxfs: No drive of yours is mounted here that could be watched.\n"
    assert (refused.returncode, refused.stderr) == (3, told)
    assert not (tmp_path / "has-run").exists()


ANALYSIS = """
import sys
from one.api import ONE
one = ONE(cache_dir=sys.argv[1], mode="local")
[session] = one.search(lab="cortexlab", subject="KS001", date="2023-01-02")
wheel = one.load_object(session, "wheel", collection="alf")
print(wheel["position"].sum(), one.load_dataset(session, "spikes.times.npy", collection="alf/probe00/pykilosort").sum())
"""


@needs_one
def test_an_analysis_with_one_is_reproduced_on_a_drive_of_what_it_has_read(demo, shared_drive, tmp_path):
    home, manifest = tmp_path / "home", tmp_path / "one.json"
    home.mkdir()
    analysis = [sys.executable, "-W", "ignore", "-c", ANALYSIS]
    options = ["--drive", str(shared_drive.path), "--output", str(manifest)]
    first = run_alyxfs(home, "trace", *options, *analysis, str(shared_drive / "data"))
    assert (first.returncode, len(first.stdout.split())) == (0, 2), first.stderr
    with mounted(demo.url, home, "--only", str(manifest)) as drive:
        again = [*analysis, str(drive / "data")]
        second = subprocess.run(again, env=environment(home), capture_output=True, text=True, timeout=60, check=False)
        assert second.stdout == first.stdout, second.stderr
        assert shown(drive) == entities(manifest).keys()


class Page(html.parser.HTMLParser):
    """What a browser would make of a page: its elements, their attributes, and its text."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text = [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


LOADS = {"script", "link", "img", "iframe", "object", "embed", "base", "form", "a", "image", "use", "foreignobject"}
"""Elements by which a page could load or run anything, or lead anywhere."""


def page_of(path):
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert path.stat().st_mode & 0o777 == 0o600
    assert {tag for tag, _ in page.elements}.isdisjoint(LOADS)
    for _, attributes in page.elements:
        assert not [
            name for name in attributes if name.startswith("on") or name in {"href", "src", "xlink:href", "style"}
        ]
    assert "url(" not in text
    assert "@import" not in text
    [drawing] = [part.split("</svg>")[0] for part in text.split("<svg")[1:]] or [" />"]
    if "</" in drawing:
        ET.fromstring(f"<svg{drawing}</svg>")
    return page


def test_a_report_shows_what_was_read_from_whom_and_how_much(demo, traced, shared_drive):
    home, manifest, _ = traced
    done = run_alyxfs(home, "report", str(manifest), "--html", str(home / "all.html"), "--tsv", str(home / "all.tsv"))
    assert (done.returncode, done.stderr) == (0, "")
    report = page_of(home / "all.html")
    for text in ("cortexlab", "KS001 (1)", "spikes.times", "clusters.metrics", demo.url, "ephysData.raw", "all.json"):
        assert text in report.text, text
    assert "the server holds no licence" in report.text
    assert {tag for tag, _ in report.elements} >= {"svg", "rect", "table"}
    rows = [line.split("\t") for line in (home / "all.tsv").read_text().splitlines()]
    assert rows[0] == list(crate.COLUMNS)
    assert {row[1] for row in rows[1:]} == entities(manifest).keys()
    assert {len(row) for row in rows} == {len(crate.COLUMNS)}


def test_a_report_shows_the_licence_that_a_tag_has_and_says_where_there_is_none(tmp_path):
    server = "https://alyx.example.org"
    tagged = {"kind": "file", "size": 9, "bytes": 5, "tags": ["paper", "other"]}
    read = [(server, {**tagged, "path": f"data/lab/Subjects/s/2020-01-01/001/a{n}.b.npy"}) for n in range(30)]
    records = {"paper": {"json": {"License": "CC-BY 4.0 <b>", "doi": "10.1/x", "x": "y"}}, "other": {"json": [1]}}
    path = tmp_path / "page.html"
    write_whole(path, page(Report("m", {"leftOut": 3}, read, {server: records})).encode())
    text = page_of(path).text
    assert "License: CC-BY 4.0 <b>" in text
    assert "doi: 10.1/x" in text
    assert "the server holds no licence and no citation" in text
    assert "x: y" not in text
    assert "6 other types" in text
    assert "3 times a file was opened for which the manifest had no room" in text


def test_what_changed_while_it_was_read_stands_in_a_manifest_twice():
    one = {"kind": "record", "path": "labs/x.json", "size": 3, "endpoint": "labs", "id": "x", "first": 1.0, "last": 2.0}
    run = crate.Run("command", 0.0, 3.0, 0)
    document = crate.manifest(run, [("https://a", {**one, "hash": name}) for name in ("before", "after")])
    names = [entity["@id"] for entity in document["@graph"] if "alyxfs:path" in entity]
    assert names == ["https://a/labs/x", "https://a/labs/x#after"]
    assert [one["hash"] for _, one in read_manifest(json.dumps(document), "manifest")] == ["before", "after"]


EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&lt;\t\n\u202e\x1b[31m"


def test_a_report_of_a_hostile_manifest_is_a_page_of_texts(tmp_path):
    file = {f"alyxfs:{name}": EVIL for name in ("hash", "revision", "type", "dataset", "firstRead", "session")}
    graph = [
        {"@id": "#run", "name": EVIL, "startTime": EVIL, "endTime": [EVIL], "alyxfs:exitCode": EVIL},
        {"@id": "#alyxfs", "softwareVersion": {EVIL: EVIL}, "runtimePlatform": EVIL},
        {**file, "alyxfs:kind": "file", "alyxfs:path": f"data/{EVIL}/Subjects/{EVIL}/x", "alyxfs:server": EVIL},
        {"alyxfs:kind": "file", "alyxfs:path": "data", "alyxfs:server": EVIL, "alyxfs:bytes": EVIL, "alyxfs:size": -3},
        {**file, "alyxfs:kind": "file", "alyxfs:path": EVIL, "alyxfs:server": EVIL, "alyxfs:tags": [EVIL, 3]},
        {"alyxfs:kind": "file", "alyxfs:path": "\ud800", "alyxfs:server": EVIL, "alyxfs:bytes": 10**30},
    ]
    manifest = tmp_path / "evil.json"
    manifest.write_text(json.dumps({"@graph": graph}))
    done = run_alyxfs(
        tmp_path, "report", str(manifest), "--html", str(tmp_path / "x.html"), "--tsv", str(tmp_path / "x.tsv")
    )
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    page = page_of(tmp_path / "x.html")
    assert "<script>alert(1)</script>" in page.text, "as it is, as a text"
    assert "\\u202e" in page.text
    assert "no drive of yours is mounted here" in page.text
    assert {line.count("\t") for line in (tmp_path / "x.tsv").read_text().splitlines()} == {len(crate.COLUMNS) - 1}
    for text in ("[]", "[" * 100_000, '{"@graph": [{"alyxfs:kind": []}]}', '{"@graph": [3]}'):
        manifest.write_text(text)
        refused = run_alyxfs(tmp_path, "report", str(manifest), "--html", str(tmp_path / "y.html"))
        assert (refused.returncode, "is no manifest of `alyxfs trace`" in refused.stderr) == (3, True), refused.stderr
    assert run_alyxfs(tmp_path, "report", str(manifest)).returncode == 2
