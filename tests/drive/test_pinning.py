"""Pinned data files: whole on this machine, kept while others are evicted, until they are unpinned."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner

from alyxfs.cli import commands
from alyxfs.files.disk.eviction import evict
from mounted import mounted, until

SESSION = "data/cortexlab/Subjects/KS001/2023-01-02/001"
PINNED = f"{SESSION}/alf/_ibl_wheel.position.npy"
OTHER = f"{SESSION}/alf/probe00/pykilosort/#2024-05-06#/spikes.amps.npy"
"""2 MiB."""
NO_ROOM = ("--cache-limit", "0.0005")
"""Half a MiB, which is looked after at once when the drive is mounted."""
RECORDING = f"{SESSION}/raw_ephys_data/probe00/_spikeglx_ephysData_g0_t0.imec.ap"


def value(path, name):
    return os.getxattr(path, f"user.alyx.{name}").decode()


def state(path):
    return value(path, "pinned"), value(path, "cached")


def run(command, *arguments):
    return CliRunner().invoke(commands, [command, *map(str, arguments)])


def done(command, *arguments):
    result = run(command, *arguments)
    assert result.exception is None, result.exception
    return result.output


def row(size, share, path):
    """A line of the list of what is pinned."""
    return f"{size:>12}  {share:>4}  {path}"


@pytest.fixture
def obeying(changing):
    """A demo that takes commands, and forgets them afterwards."""
    yield changing
    changing.control(reset=True)


def kept_in(home):
    return home / ".cache" / "alyxfs" / "files"


def test_a_pinned_file_stays_over_a_remount_and_too_many_are_told(demo, home):
    with mounted(demo.url, home) as drive:
        contents = {name: (drive / name).read_bytes() for name in (PINNED, OTHER)}
        assert state(drive / PINNED)[0] == "no"
        assert done("pin", drive / PINNED) == "Pinned 1 file (1.0 MiB).\n"
    files = [path for path in kept_in(home).rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    with mounted(demo.url, home, *NO_ROOM) as drive:
        drive.wait_for_log("data files are not cached for now")
        assert state(drive / OTHER) == ("no", "0%")
        assert state(drive / PINNED) == ("yes", "100%")
        demo.clear_requests()
        assert (drive / PINNED).read_bytes() == contents[PINNED]
        assert not any(entry["path"].startswith("/data_files") for entry in demo.requests())
        result = run("pin", drive / OTHER)
        assert "take 3.0 MiB together, more than the cache may take (524.3 KiB)" in result.output
        assert "Pinned 1 file (2.0 MiB), 0 of them whole on this machine.\n" in result.output
        assert "1 pinned file could not be kept whole" in str(result.exception)
        assert "2 files, 3.0 MiB, of which 1.0 MiB are on this machine" in done("status", drive.path)
        assert (drive / OTHER).read_bytes() == contents[OTHER]
        assert state(drive / PINNED) == ("yes", "100%")


def test_mounts_that_share_a_cache_share_its_pins(demo, home, tmp_path):
    with mounted(demo.url, home, directory=tmp_path / "other") as other:
        with mounted(demo.url, home) as drive:
            done("pin", drive / PINNED)
            (drive / OTHER).read_bytes()
        assert row("1.0 MiB", "100%", other / PINNED) in done("pin", "--list", other.path).splitlines()
        until(lambda: state(other / OTHER) == ("no", "100%"), "what the other mount has read")
        evict(kept_in(home), 1)
        assert state(other / OTHER) == ("no", "0%")
        assert state(other / PINNED) == ("yes", "100%")
        listed, pinned = (
            json.loads(done("pin", "--list", "--json", other.path)),
            json.loads(done("pin", "--json", other / PINNED)),
        )
        assert [(file["path"], file["share"]) for file in listed] == [(PINNED, 1.0)]
        assert [(file["path"], file["size"], file["error"]) for file in pinned] == [(PINNED, 1048576, None)]
        assert "Unpinned 1 file" in done("unpin", other / PINNED)
        assert "Unpinned 0 files" in done("unpin", other / PINNED)
        assert done("pin", "--list", other.path) == "Pinned: nothing.\n"
        assert state(other / PINNED) == ("no", "100%")
        evict(kept_in(home), 1)
        assert state(other / PINNED) == ("no", "0%")


def test_all_files_below_a_directory_are_pinned(shared_drive):
    collection = shared_drive / SESSION / "alf" / "probe00"
    files = [path for path in collection.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert f"Pinned {len(files)} files" in done("pin", collection)
    assert {state(path) for path in files} == {("yes", "100%")}
    assert value(shared_drive / PINNED, "pinned") == "no"
    session = shared_drive / "sessions" / value(shared_drive / SESSION, "session")
    assert f"Unpinned {len(files)} files" in done("unpin", session)
    assert {value(path, "pinned") for path in files} == {"no"}


def test_a_recording_that_is_inflated_is_pinned_with_what_it_is_made_of(shared_drive):
    assert "Pinned 2 files" in done("pin", shared_drive / f"{RECORDING}.bin")
    for ending in (".cbin", ".ch", ".bin"):
        assert state(shared_drive / f"{RECORDING}{ending}") == ("yes", "100%")
    assert "Unpinned 2 files" in done("unpin", shared_drive / f"{RECORDING}.bin")


def test_a_file_is_fetched_although_the_kernel_still_has_its_pages(shared_drive):
    blocks = kept_in(shared_drive.path.parent) / "blocks-1"
    (shared_drive / PINNED).read_bytes()
    for path in blocks.glob("*/*"):
        path.unlink()
    done("pin", shared_drive / PINNED)
    assert state(shared_drive / PINNED) == ("yes", "100%")
    assert len(list(blocks.glob("*/*"))) == 1
    done("unpin", shared_drive / PINNED)


def test_what_is_pinned_is_listed_by_path_and_summed_up_by_status(demo, home, monkeypatch):
    with mounted(demo.url, home) as drive:
        assert "pinned        nothing\n" in done("status", drive.path)
        done("pin", drive / OTHER)
        done("pin", drive / PINNED)
        lines = [row("2.0 MiB", "100%", drive / OTHER), row("1.0 MiB", "100%", drive / PINNED)]
        total = "Pinned: 2 files, 3.0 MiB, all on this machine."
        assert done("pin", "--list", drive.path).splitlines() == [*lines, total]
        done("pin", drive / OTHER)
        monkeypatch.chdir(drive / "labs")
        assert done("pin").splitlines() == [*lines, total], "a file that is pinned again keeps its place"
        assert done("pin", "--list", (drive / PINNED).parent.joinpath("probe00")).splitlines()[:-1] == lines[:1]
        monkeypatch.chdir(home)
        for path in (kept_in(home) / "blocks-1").glob("*/*"):
            path.unlink()
        assert "pinned        2 files, 3.0 MiB, of which 0 Bytes are on this machine" in done("status", drive.path)


def test_marks_without_a_name_are_listed_as_such_and_broken_or_removed_ones_do_no_harm(demo, home):
    with mounted(demo.url, home) as drive:
        done("pin", drive / PINNED)
        [mark] = (kept_in(home) / "pinned").glob("*/*")
        mark.write_text("1048704")
        unnamed = "(without a name: pinned by an earlier version)"
        assert done("pin", "--list", drive.path).splitlines()[0] == row("1.0 MiB", "100%", unnamed)
        mark.write_text('{"size": 10')
        assert done("pin", "--list", drive.path).splitlines()[0] == row("0 Bytes", "100%", unnamed)
        assert state(drive / PINNED) == ("yes", "100%")
        done("pin", drive / PINNED)
        assert done("pin", "--list", drive.path).splitlines()[0] == row("1.0 MiB", "100%", drive / PINNED)
        mark.unlink()
        mark.mkdir()
        assert "not known. What is pinned cannot be read in the cache directory: Is a dir" in done("status", drive.path)
        shutil.rmtree(kept_in(home) / "pinned")
        assert state(drive / PINNED) == ("no", "100%")
        assert done("pin", "--list", drive.path) == "Pinned: nothing.\n"
        assert "Pinned 1 file" in done("pin", drive / PINNED)


def test_pins_of_another_server_are_listed_with_its_address(demo, changing, home, tmp_path):
    with mounted(demo.url, home) as drive:
        done("pin", drive / PINNED)
    with mounted(changing.url, home, directory=tmp_path / "other") as other:
        assert row("1.0 MiB", "100%", f"{PINNED} (of {demo.url})") in done("pin", "--list", other.path).splitlines()
        assert done("pin", "--list", other / SESSION) == "Pinned: nothing.\n"


def test_each_file_that_fails_is_told_and_the_others_are_fetched(obeying, home):
    with mounted(obeying.url, home) as drive:
        for address in addresses(drive, PINNED):
            obeying.control(fail={"status": 404, "path_prefix": address, "count": 1000})
        result = run("pin", drive / SESSION / "alf")
        assert result.output.count("was not fetched") == 1
        assert f"{drive / PINNED} was not fetched: " in result.output
        assert str(result.exception).startswith("1 pinned file could not be kept whole. ")
        assert state(drive / OTHER) == ("yes", "100%")


@pytest.fixture
def heard_signal():
    """What is started is interrupted by SIGINT, also where this was started in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard_signal")
def test_files_come_while_another_is_waited_for_and_stay_after_an_interruption(obeying, home):
    with mounted(obeying.url, home) as drive:
        count = sum(1 for path in (drive / SESSION).rglob("*") if path.is_file() and path.suffix != ".bin")
        first = addresses(drive, f"{SESSION}/alf/_ibl_trials.table.pqt")
        obeying.clear_requests()
        for address in first:
            obeying.control(delay={"seconds": 25, "path_prefix": address, "count": 1})
        command = [sys.executable, "-m", "alyxfs", "pin", str(drive / SESSION)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            until(lambda: len(fetched_from(obeying)) > count // 2, "files of other directories")
            assert not fetched_from(obeying) & set(first), "the slow one is still under way"
            process.send_signal(signal.SIGINT)
            told = process.stderr.readline()
            obeying.control(reset=True)
            told += process.communicate(timeout=30)[1]
        assert process.returncode == 1
        sentence = r"Interrupted after (\d+) of \d+ files: all stay pinned, and what was fetched is kept."
        assert (ended := re.search(sentence, told))
        assert "Traceback" not in told
        obeying.clear_requests()
        assert f"Pinned {count} files" in done("pin", drive / SESSION)
        assert len(fetched_from(obeying)) <= count - int(ended[1])
        assert "all on this machine" in done("status", drive.path)


def addresses(drive, name):
    """The paths, on the demo's file server, of the copies of a data file."""
    dataset = json.loads((drive / "datasets" / f"{value(drive / name, 'id')}.json").read_bytes())
    return [urlsplit(copy["data_url"]).path for copy in dataset["file_records"] if copy["data_url"]]


def fetched_from(demo):
    """The data files that the demo was asked for and has sent."""
    return {entry["path"] for entry in demo.requests() if entry["path"].startswith("/data_files")}


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("drive/labs", "only data files can be pinned"),
        ("drive/data/sessions.pqt", "no data file to pin"),
        (f"drive/{SESSION}/nothing", "No such file"),
        ("drive/data/cortexlab/Subjects/nobody", "No such file"),
        ("", "not in a drive"),
    ],
)
def test_what_cannot_be_pinned_is_refused_with_a_sentence(shared_drive, tmp_path, place, words):
    result = run("pin", shared_drive.path.parent / place if place else tmp_path)
    assert words in str(result.exception)
    assert not result.output
