"""Programs that read everything have no data file fetched, and people's own programs are never held up."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile

import pytest
from click.testing import CliRunner

from alyxfs.cli import commands
from alyxfs.kernel.crawlers import CRAWLERS, LONGEST_NAME
from mounted import mounted, until

FOLDER = "data/cortexlab/Subjects/KS001/2023-01-02/001/raw_behavior_data"
"""Of small files: who reads them in order has those that follow fetched ahead."""


@pytest.fixture
def programs(tmp_path):
    """A folder of programs that are called as crawlers are, and do what tar and cat do."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name, does_as in (("borg", "tar"), ("ffmpegthumbnailer", "cat")):
        (folder / name).symlink_to(shutil.which(does_as))
    (folder / "rsnapshot").write_text('#!/bin/sh\ncp "$1" "$2"\nexit $?\n')
    (folder / "rsnapshot").chmod(0o700)
    return folder


def run(*words):
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=60, check=False)


def drop_pages(path):
    """Have the drive asked for the file again: the kernel would give it by itself."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def data_files_asked_for(demo):
    return [entry["path"] for entry in demo.requests() if entry["path"].startswith("/data_files")]


def test_a_crawler_lists_all_and_reads_what_is_here(demo, home, programs, tmp_path):
    assert len({name[:LONGEST_NAME] for name in CRAWLERS}) == len(CRAWLERS)
    with mounted(demo.url, home) as drive:
        folder = drive / FOLDER
        files = sorted(folder.iterdir())
        assert len(files) > 3
        demo.clear_requests()
        refused = run(programs / "borg", "-cf", tmp_path / "archive.tar", folder, drive / "labs/cortexlab.json")
        assert refused.stderr.count("Cannot open: Permission denied") == len(files)
        assert "Exiting with failure status due to previous errors" in refused.stderr, "it went on to the end"
        with tarfile.open(tmp_path / "archive.tar") as archive:
            packed = [member.name for member in archive if member.isfile()]
        assert packed == [str(drive / "labs/cortexlab.json").lstrip("/")], "a record is no data file"
        assert "Permission denied" in run(programs / "ffmpegthumbnailer", files[0]).stderr
        assert "Permission denied" in run(programs / "rsnapshot", files[0], tmp_path / "copy").stderr
        assert data_files_asked_for(demo) == []

        counts = {"borg": len(files), "ffmpegthumbnailer": 1, "rsnapshot": 1}
        assert json.loads((drive / ".alyxfs/status.json").read_bytes())["crawlers_refused"] == counts
        told = CliRunner().invoke(commands, ["status", str(drive.path)]).output
        assert f"without --allow-crawlers: borg ({len(files)} files), ffmpegthumbnailer (1 file)" in told
        lines = (drive / ".alyxfs/errors.log").read_text().splitlines()
        [line] = [line for line in lines if "borg" in line]
        assert "open data: borg is not given data files that are not on this machine" in line
        assert f"({len(files)} times since" in line
        assert os.getxattr(files[0], "user.alyx.error").startswith(b"rsnapshot is not given data files")

        here = [files[1], files[0]]
        for path in here:
            assert run("cp", path, tmp_path / "own").returncode == 0
            until(lambda path=path: os.getxattr(path, "user.alyx.cached") == b"100%", "all of what a person copied")
            assert "user.alyx.error" not in os.listxattr(path)
            drop_pages(path)
        demo.clear_requests()
        assert run(programs / "rsnapshot", here[-1], tmp_path / "copy").returncode == 0
        assert (tmp_path / "copy").read_bytes() == (tmp_path / "own").read_bytes()
        drop_pages(here[-1])
        refused = run(programs / "borg", "-cf", tmp_path / "archive.tar", *files)
        assert refused.stderr.count("Cannot open: Permission denied") == len(files) - len(here)
        assert data_files_asked_for(demo) == [], "nor is one fetched ahead that comes after those that are here"
    with mounted(demo.url, home, "--allow-crawlers") as drive:
        assert run(programs / "borg", "-cf", tmp_path / "archive.tar", drive / FOLDER).returncode == 0
        with tarfile.open(tmp_path / "archive.tar") as archive:
            assert sum(member.size for member in archive) == sum(path.stat().st_size for path in files)
