"""`alyxfs trace` names what a command and its children have read, `alyxfs verify` what of it has changed since."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from alyxfs.demo.server import running_demo
from asking import Asking
from mounted import environment, mounted, run_alyxfs, until

SESSION = "data/cortexlab/Subjects/KS001/2023-01-02/001"
ODD_NAME = "data/cortexlab/Subjects/KS002/2023-02-03/001/alf/odd name with spaces.npy"

READS = """
import json, os, subprocess, sys
import numpy
arrays, tables, others, records = json.loads(sys.argv[1])
for path in arrays:
    numpy.load(path, mmap_mode="r").sum()
subprocess.run([sys.executable, "-c", "import sys, pandas; [pandas.read_parquet(p) for p in sys.argv[1:]]", *tables])
orphan = "(cat " + " ".join(f"'{path}'" for path in others) + " > /dev/null; echo > done) &"
subprocess.run(["sh", "-c", orphan])
for path in records:
    json.load(open(path))
while not os.path.exists("done"):
    pass
print("figure")
sys.exit(3)
"""


def kinds_of_files(drive):
    """Arrays, tables and others, of those that can be read: 22 in all."""
    found = {".npy": [], ".pqt": [], "": []}
    for folder, _, names in sorted(os.walk(drive / SESSION)):
        for name in sorted(names):
            path = os.path.join(folder, name)
            ending = os.path.splitext(name)[1]
            try:
                with open(path, "rb") as file:
                    beginning = file.read(6)
            except OSError:
                continue
            kind = {b"\x93NUMPY": ".npy", b"PAR1": ".pqt"}.get(beginning if ending == ".npy" else beginning[:4], "")
            found[kind].append(path)
    return found[".npy"], found[".pqt"], [*found[""], str(drive / ODD_NAME)]


@pytest.fixture(scope="module")
def changing(demo_directory):
    """One of our own: what is compared with the server must be as it was."""
    with running_demo(demo_directory, largest_file_mb=2, control=True) as running:
        yield running


@pytest.fixture(scope="module")
def place(changing, tmp_path_factory):
    """A home with a drive, and a directory to work in."""
    home = tmp_path_factory.mktemp("trace") / "home"
    with mounted(changing.url, home, "--hide-inflated") as drive:
        work = home / "work"
        work.mkdir()
        yield drive, home, work


def entities(manifest):
    found = json.loads(manifest.read_bytes())["@graph"]
    return {entity["alyxfs:path"]: entity for entity in found if "alyxfs:path" in entity}


def run(place, command, *arguments):
    """Run an alyxfs command that is told this drive alone: others may be mounted by other tests."""
    drive, home, work = place
    of_drive = ["--drive", drive.path] if command == "trace" else []
    words = [sys.executable, "-m", "alyxfs", command, *map(str, [*of_drive, *arguments])]
    return subprocess.run(
        words, env=environment(home), cwd=work, capture_output=True, text=True, timeout=100, check=False
    )


def test_the_manifest_names_exactly_what_was_read_and_verify_exactly_what_changed(changing, place):
    drive, _, work = place
    arrays, tables, others = kinds_of_files(drive)
    asking = Asking(changing.url)
    sessions = [row["id"] for row in asking.rows("/sessions?lab=cortexlab")][:2]
    records = [str(drive / "sessions" / f"{session}.json") for session in sessions]
    script = json.dumps([arrays, tables, others, records])
    done = run(place, "trace", "--output", "figure.json", sys.executable, "-c", READS, script)
    assert (done.returncode, done.stdout) == (3, "figure\n"), done.stderr
    read = entities(work / "figure.json")
    files = {os.path.relpath(path, drive.path) for path in [*arrays, *tables, *others]}
    assert len(files) == 22
    assert {".npy", ".pqt", ".csv", ".json", ".cbin"} <= {os.path.splitext(path)[1] for path in files}
    expected = files | {os.path.relpath(path, drive.path) for path in records}
    assert set(read) == expected
    assert f"{len(expected)} files and records were read: figure.json" in done.stderr
    for path, entity in read.items():
        assert entity["alyxfs:bytes"] > 0, f"also what the kernel had in its pages: {path}"
        if path.startswith("data/"):
            own = drive / path
            assert entity["alyxfs:dataset"] == os.getxattr(own, "user.alyx.dataset").decode()
            assert entity["@id"] == f"{changing.url}/datasets/{entity['alyxfs:dataset']}"
            assert entity["alyxfs:bytes"] >= own.stat().st_size or path.endswith((".npy", ".pqt"))
            record = asking.get(f"/datasets/{entity['alyxfs:dataset']}")
            assert entity["alyxfs:hash"] == (record["hash"] or "")
            assert entity["alyxfs:revision"] == (record["revision"] or "")
            assert (entity["alyxfs:type"], entity["alyxfs:tags"]) == (record["dataset_type"], record["tags"])
            assert (entity["alyxfs:size"], entity["alyxfs:server"]) == (record["file_size"], changing.url)
    same = run(place, "verify", "figure.json")
    assert (same.returncode, same.stdout) == (0, ""), same.stderr

    fetched = run(place, "fetch", "--from", "figure.json", "--to", "copies")
    assert fetched.returncode == 0, fetched.stderr
    copies = [path for path in (work / "copies").rglob("*") if path.is_file() and path.parent != work / "copies"]
    assert {f"data/{path.relative_to(work / 'copies')}" for path in copies} == files

    changed = os.path.relpath(arrays[3], drive.path)
    before = read[changed]
    earlier = (work / "figure.json").read_text().replace(before["alyxfs:hash"], "1" * 32)
    (work / "earlier.json").write_text(earlier)
    other = run(place, "fetch", "--to", "copies", "--from", "earlier.json")
    assert other.returncode == 1, other.stderr
    told = f"{changed} is not what was read: its hash was {'1' * 32}, and is {before['alyxfs:hash']}."
    assert [line for line in other.stderr.splitlines() if "is not what was read" in line] == [told], other.stderr
    asking.send("PATCH", f"/datasets/{before['alyxfs:dataset']}", {"hash": "0" * 32})
    try:
        after = run(place, "verify", "figure.json")
    finally:
        asking.send("PATCH", f"/datasets/{before['alyxfs:dataset']}", {"hash": before["alyxfs:hash"] or None})
    assert after.returncode == 1
    assert after.stdout == f"{changed}: its hash was {before['alyxfs:hash']}, and is {'0' * 32}\n"
    assert f"1 of {len(expected)} files and records" in after.stderr


def test_what_is_mapped_is_seen_also_where_another_program_has_it_open(place):
    drive, _, work = place
    arrays, *_ = kinds_of_files(drive)
    program = "import numpy, sys; numpy.load(sys.argv[1], mmap_mode='r').sum()"
    with open(arrays[0], "rb") as other:
        assert other.read()
        done = run(place, "trace", "--output", "mapped.json", sys.executable, "-c", program, arrays[0])
    assert done.returncode == 0, done.stderr
    assert set(entities(work / "mapped.json")) == {os.path.relpath(arrays[0], drive.path)}


def test_what_a_manifest_names_is_pinned(place):
    drive, *_ = place
    arrays, *_ = kinds_of_files(drive)
    assert run(place, "trace", "--output", "pins.json", "md5sum", *arrays).returncode == 0
    pinned = run(place, "pin", "--json", "--from", "pins.json")
    assert pinned.returncode == 0, pinned.stderr
    assert {file["path"] for file in json.loads(pinned.stdout)} == {
        os.path.relpath(path, drive.path) for path in arrays
    }


def test_a_record_that_others_changed_or_deleted_is_named(changing, place):
    drive, _, work = place
    asking = Asking(changing.url)
    made = [asking.send("POST", "/projects", {"name": f"traced {number}", "users": []})["name"] for number in range(3)]
    paths = [f"projects/{name}.json" for name in made]
    run(place, "trace", "cat", *(drive / path for path in paths))
    assert set(entities(work / "trace.json")) == set(paths)
    asking.send("PATCH", f"/projects/{made[1].replace(' ', '%20')}", {"users": ["demo"]})
    delete = f"{changing.url}/projects/{made[2].replace(' ', '%20')}"
    subprocess.run(["curl", "-sf", "-X", "DELETE", "-H", f"Authorization: Token {asking.token}", delete], check=True)
    after = run(place, "verify", "trace.json")
    assert after.stdout.splitlines() == [f"{paths[1]}: it has other values", f"{paths[2]}: it is gone"]


def test_what_others_read_is_not_in_the_manifest(place):
    drive, _, work = place
    waiting = "echo > begun; while ! test -e end; do :; done"
    words = [sys.executable, "-m", "alyxfs", "trace", "--drive", drive.path, "sh", "-c", waiting]
    with subprocess.Popen(words, env=environment(place[1]), cwd=work, stderr=subprocess.DEVNULL) as watched:
        until((work / "begun").exists, "the command that is watched")
        (drive / "labs/cortexlab.json").read_bytes()
        (work / "end").touch()
    assert watched.returncode == 0
    assert entities(work / "trace.json") == {}


def test_trace_and_verify_say_what_they_cannot_do(place, tmp_path):
    _, home, _ = place
    assert run(place, "trace", "no-such-program").returncode == 127
    empty = tmp_path / "empty.json"
    empty.write_text('{"labs": 1}')
    refused = run_alyxfs(home, "verify", str(empty))
    assert refused.returncode == 3
    assert "is no manifest of `alyxfs trace`" in refused.stderr
    for command in (["fetch", "--to", str(tmp_path / "copies")], ["pin"]):
        refused = run_alyxfs(home, *command, "--from", str(empty))
        assert refused.returncode == 3
        assert "is no manifest of `alyxfs trace`" in refused.stderr
        refused = run_alyxfs(home, *command, "--from", "-", typed="\n")
        assert (refused.returncode, refused.stderr) == (3, "alyxfs: <stdin> names no data file.\n")
    elsewhere = {"alyxfs:kind": "file", "alyxfs:path": "data/x", "alyxfs:server": "https://alyx.example.org"}
    empty.write_text(json.dumps({"@graph": [elsewhere]}))
    refused = run_alyxfs(home, "verify", str(empty))
    assert refused.returncode == 3
    assert "https://alyx.example.org" in refused.stderr
