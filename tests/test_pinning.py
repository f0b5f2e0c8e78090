"""Pinned data files: whole on this machine, kept while others are evicted, until they are unpinned."""

from __future__ import annotations

import os
import stat

import pytest
from click.testing import CliRunner

from alyxfs.cli import commands
from alyxfs.files.eviction import evict
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


def run(command, path):
    return CliRunner().invoke(commands, [command, str(path)])


def done(command, path):
    result = run(command, path)
    assert result.exception is None, result.exception
    return result.output


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
        assert "Pinned 1 file" in result.output
        assert "1 pinned file could not be kept whole" in str(result.exception)
        assert (drive / OTHER).read_bytes() == contents[OTHER]
        assert state(drive / PINNED) == ("yes", "100%")


def test_mounts_that_share_a_cache_share_its_pins(demo, home, tmp_path):
    with mounted(demo.url, home, directory=tmp_path / "other") as other:
        with mounted(demo.url, home) as drive:
            done("pin", drive / PINNED)
            (drive / OTHER).read_bytes()
        until(lambda: state(other / OTHER) == ("no", "100%"), "what the other mount has read")
        evict(kept_in(home), 1)
        assert state(other / OTHER) == ("no", "0%")
        assert state(other / PINNED) == ("yes", "100%")
        assert "Unpinned 1 file" in done("unpin", other / PINNED)
        assert "Unpinned 0 files" in done("unpin", other / PINNED)
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
