"""`alyxfs fetch`: a ONE directory of the user's own, each byte of it brought once."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import stat
import subprocess
import sys

import pytest
from click.testing import CliRunner

from alyxfs.cli import commands
from alyxfs.cli.fetching import PARTS
from alyxfs.cli.whole_copies import WholeCopies
from alyxfs.files.disk import block_file
from fault_server import FaultServer
from mounted import mounted, until
from one_client import needs_one, run_one

SESSION = "data/cortexlab/Subjects/KS001/2023-01-02/001"
ABSENT = "data/lakelab/Subjects/LK001/2020-11-03/001/raw_ephys_data"
"""With a recording that is listed and not there."""
PROBE = f"{SESSION}/alf/probe00"
BLOCK = 32768
MIB = 1024 * 1024


@pytest.fixture
def server():
    with FaultServer() as running:
        yield running


def fetch(*arguments):
    return CliRunner().invoke(commands, ["fetch", *map(str, arguments)])


def done(*arguments):
    result = fetch(*arguments)
    assert result.exception is None, (result.exception, result.output)
    return result.output


def files_in(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def from_server(demo):
    """The bytes of data files that the demo has sent, by the paths that were asked for."""
    sent = {}
    for entry in demo.requests():
        if entry["path"].startswith("/data_files"):
            sent[entry["path"]] = sent.get(entry["path"], 0) + entry["bytes"]
    return sent


def test_what_is_fetched_is_a_plain_copy_that_one_opens(shared_drive, demo, tmp_path):
    target = tmp_path / "one-directory"
    told = done(shared_drive / PROBE, "--to", target)
    count = sum(1 for path in (shared_drive / PROBE).rglob("*") if path.is_file())
    assert f"Fetched {count} files" in told
    tables = {name: (target / name).read_bytes() for name in ("sessions.pqt", "datasets.pqt")}
    original = {
        f"{PROBE.removeprefix('data/')}/{name}": content for name, content in files_in(shared_drive / PROBE).items()
    }
    assert files_in(target) == original | tables
    assert not (target / PARTS).exists()
    for path in target.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
    one = next(target.rglob("spikes.amps.npy"))
    one.write_bytes(b"changed by its owner")
    demo.clear_requests()
    assert f"Fetched {count} files" in (told := done(shared_drive / PROBE, "--to", target))
    assert f"of which {count - 1} were there before" in told
    assert files_in(target).keys() == original.keys() | tables.keys()
    assert one.read_bytes() == original[str(one.relative_to(target))]
    assert not from_server(demo), "the drive still had it"


@needs_one
def test_one_in_local_mode_finds_and_loads_what_was_fetched_and_nothing_else(shared_drive, demo, tmp_path):
    target = tmp_path / "one-directory"
    listed = f"{shared_drive / PROBE}\n\n{shared_drive / SESSION}/alf/_ibl_wheel.position.npy\n"
    told = CliRunner().invoke(commands, ["fetch", "--from", "-", "--to", str(target)], input=listed)
    assert told.exception is None, told.output
    script = """
from one.api import ONE
one = ONE(cache_dir=data, mode="local")
eid, = one.search()
answers["session"] = str(eid)
answers["found"] = sorted(one.list_datasets(eid))
answers["details"] = one.get_details(eid)["projects"], one.get_details(eid)["task_protocol"]
answers["search"] = len(one.search(datasets="spikes.times.npy")), len(one.search(datasets="_ibl_trials.table.pqt"))
spikes = one.load_object(eid, "spikes", collection="alf/probe00/pykilosort")
answers["lengths"] = [len(spikes[name]) for name in ("times", "amps", "depths", "clusters")]
answers["wheel"] = len(one.load_dataset(eid, "_ibl_wheel.position.npy"))
"""
    answers = run_one(demo, tmp_path, script, target)
    record = json.loads((shared_drive / "sessions" / f"{answers['session']}.json").read_bytes())
    session = target / SESSION.removeprefix("data/")
    assert answers["found"] == sorted(files_in(session))
    assert answers["details"] == [",".join(record["projects"]), record["task_protocol"]]
    assert answers["search"] == [1, 0]
    assert len(set(answers["lengths"])) == 1
    assert answers["wheel"] > 1000


def on_disk(home):
    """Bytes of data files that the cache has for sure."""
    found = 0
    for path in (home / ".cache" / "alyxfs" / "files" / "blocks-1").rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                header = block_file.read_header(file.fileno())
            if header is not None:
                found += round(block_file.look(path, header.version)[0] * header.fingerprint.size)
    return found


def test_an_interrupted_fetch_goes_on_and_no_block_travels_twice(served, server, own_demo, home, tmp_path):
    contents = [os.urandom(size) for size in (48 * MIB, 5 * MIB, MIB, 2 * BLOCK, BLOCK)]
    files = [served.add(f"spikes.part{number}.npy", content) for number, content in enumerate(contents)]
    total = sum(map(len, contents))
    target = tmp_path / "one-directory"
    with mounted(own_demo.url, home) as drive:
        folder = (drive / files[0].place).parent
        server.bytes_per_second = 1e7
        with subprocess.Popen(
            [sys.executable, "-m", "alyxfs", "fetch", str(folder), "--to", str(target)],
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            until(lambda: server.sent > 2 * MIB, "the first bytes")
            server.frozen.set()  # what is being sent comes, and nothing more
            until(lambda: on_disk(home) == server.sent, "all that was sent, on the disk")
            process.send_signal(signal.SIGINT)
            told = process.communicate(timeout=10)[1]
        assert process.returncode == 1
        assert f"of 5 files: what came is in {target}. Call it again to go on." in told
        assert "Traceback" not in told
        first = server.sent
        assert MIB < first < total
        assert (target / PARTS).is_dir()
        assert not (target / "datasets.pqt").exists()
    server.break_connections()  # the drive has gone, and what was not answered is answered to nobody
    server.bytes_per_second = None
    server.frozen.clear()
    with mounted(own_demo.url, home):
        assert "Fetched 5 files" in done(folder, "--to", target)
    assert server.sent == total
    assert not (target / PARTS).exists()
    for file, content in zip(files, contents, strict=True):
        assert (target / file.place.removeprefix("data/")).read_bytes() == content


def test_what_is_not_as_the_database_says_is_not_kept_and_told(served, server, own_demo, home, tmp_path):
    right = served.add("spikes.right.npy", b"right" * 1000)
    wrong = served.add("spikes.wrong.npy", b"wrong" * 1000, digest="0" * 32)
    served.add("spikes.unknown.npy", b"no hash" * 1000, digest=None)
    missing = served.add("spikes.missing.npy", b"missing" * 1000)
    del server.files[missing.key]
    target = tmp_path / "one-directory"
    with mounted(own_demo.url, home) as drive:
        result = fetch((drive / right.place).parent, "--to", target)
    assert str(result.exception) == (
        "2 of 4 files were not fetched. Call it again later: what is here is not fetched twice."
    )
    assert f"{drive / wrong.place} was not fetched: What came has 5,000 bytes and the MD5 " in result.output
    assert f"{drive / missing.place} was not fetched: " in result.output
    assert "Fetched 2 files (11.7 KiB)" in result.output
    assert "The database has no MD5 of 1 of them." in result.output
    fetched = {path.name for path in target.rglob("*") if path.is_file()}
    assert fetched >= {"spikes.right.npy", "spikes.unknown.npy"}
    assert not fetched & {"spikes.wrong.npy", "spikes.missing.npy"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["drive/labs"], "only data files can be fetched"),
        (["drive/data/sessions.pqt"], "no data file to fetch"),
        ([f"drive/{SESSION}/nothing"], "No such file"),
        (["home"], "not in a drive"),
        ([f"drive/{PROBE}", "--to", "drive/data"], "Read-only file system"),
        ([f"drive/{PROBE}", "--to", "drive.file"], "Not a directory"),
    ],
)
def test_what_cannot_be_fetched_is_told_and_leaves_nothing(shared_drive, tmp_path, arguments, words):
    home = shared_drive.path.parent
    (home / "drive.file").touch()
    (home / "home").mkdir(exist_ok=True)
    places = [argument if argument == "--to" else home / argument for argument in arguments]
    if "--to" not in arguments:
        places += ["--to", tmp_path / "new" / "one-directory"]
    result = fetch(*places)
    assert words in str(result.exception)
    assert not list(tmp_path.iterdir())


def cached_verdicts(home):
    found = []
    for path in (home / ".cache" / "alyxfs" / "files" / "blocks-1").rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                found.append(block_file.read_header(file.fileno()).verdict)
    return found


def test_what_was_hashed_on_its_way_is_not_hashed_again_and_a_read_beside_it_is_right(
    served, server, own_demo, home, tmp_path
):
    content = os.urandom(9 * MIB + 5)
    file = served.add("spikes.part0.npy", content)
    with mounted(own_demo.url, home) as drive:
        assert (drive / file.place).read_bytes()[MIB : 2 * MIB] == content[MIB : 2 * MIB]
        done(drive / file.place, "--to", tmp_path / "first")
        until(lambda: cached_verdicts(home) == [block_file.Verdict.VERIFIED], "what fetch has found")
        done(drive / file.place, "--to", tmp_path / "second")
    for target in ("first", "second"):
        assert (tmp_path / target / file.place.removeprefix("data/")).read_bytes() == content
    assert server.sent == len(content)


def test_what_the_cache_has_no_room_for_is_fetched_all_the_same(served, server, own_demo, home, tmp_path):
    contents = {f"spikes.part{number}.npy": os.urandom(MIB + number) for number in range(3)}
    files = [served.add(name, content) for name, content in contents.items()]
    with mounted(own_demo.url, home, "--cache-limit", "0.0005") as drive:
        done((drive / files[0].place).parent, "--to", tmp_path)
    for file, content in zip(files, contents.values(), strict=True):
        assert (tmp_path / file.place.removeprefix("data/")).read_bytes() == content


def test_copies_that_an_interrupted_fetch_has_hashed_are_known_until_somebody_touches_them(tmp_path):
    copy = tmp_path / "spikes.times.npy"
    copy.write_bytes(b"times")
    WholeCopies(tmp_path / "whole").add(copy, "5" * 32)
    with (tmp_path / "whole").open("a") as file:
        file.write('["half of a li')
    assert WholeCopies(tmp_path / "whole").has(copy, "5" * 32)
    assert not WholeCopies(tmp_path / "whole").has(copy, "6" * 32)
    state = copy.stat()
    copy.write_bytes(b"TIMES")
    os.utime(copy, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert not WholeCopies(tmp_path / "whole").has(copy, "5" * 32)


def test_a_recording_that_is_not_on_its_server_keeps_no_other_file_from_being_fetched(shared_drive, tmp_path):
    """Listed in the demo, and shown as raw, too: only a header, which is not there, can tell the size of that."""
    folder = shared_drive / ABSENT
    named = {name for _, _, names in os.walk(folder) for name in names}
    missing = {name for name in named if name.endswith((".cbin", ".ch", ".bin"))}
    assert {os.path.splitext(name)[1] for name in missing} >= {".cbin", ".ch"}
    result = fetch(folder, "--to", tmp_path / "copy")
    assert "files were not fetched. Call it again later" in str(result.exception)
    copies = {path.name for path in (tmp_path / "copy").rglob("*") if path.is_file()}
    assert copies & named == named - missing != set()


def test_tables_of_others_are_left_and_two_fetches_into_one_directory_refused(shared_drive, tmp_path):
    (tmp_path / "sessions.pqt").write_bytes(b"somebody's")
    wheel = shared_drive / f"{SESSION}/alf/_ibl_wheel.position.npy"
    assert "not of `alyxfs fetch` and were left" in done(wheel, "--to", tmp_path)
    assert (tmp_path / "sessions.pqt").read_bytes() == b"somebody's"
    (tmp_path / PARTS).mkdir()
    descriptor = os.open(tmp_path / PARTS, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        assert "Another `alyxfs fetch` puts files into" in str(fetch(wheel, "--to", tmp_path).exception)
    finally:
        os.close(descriptor)
