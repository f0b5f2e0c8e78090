"""The programs that people use, on records that were never opened before: byte-exact."""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import tarfile
import zipfile

import pytest

from alyxfs import file_names
from asking import Asking, shown

ENDPOINT = "insertions"
"""Its rows are not its details, so sizes are estimates until a record is opened."""


@pytest.fixture(scope="module")
def truth(demo):
    """What each file must hold, asked from the server directly."""
    details = Asking(demo.url).details(ENDPOINT, "id")
    return {file_names.encode(key, ".json"): shown(detail) for key, detail in details.items()}


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, timeout=60, check=False, **options)
    assert done.returncode == 0, done.stderr.decode()
    assert not done.stderr, done.stderr.decode()
    return done.stdout


def held(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_ls_and_find_show_every_record_once(drive, truth):
    assert run("ls", drive / ENDPOINT).decode().split() == sorted(truth)
    assert sorted(run("find", drive / ENDPOINT, "-type", "f", "-printf", "%f\n").decode().split()) == sorted(truth)
    assert len(run("ls", "-l", drive / ENDPOINT).decode().splitlines()) == len(truth) + 1


def test_ls_a_shows_the_directory_and_the_one_above_with_their_inodes(drive):
    place = drive / "data" / "cortexlab" / "Subjects"
    for folder, above in ((place, place.parent), (drive.path / "labs", drive.path)):
        lines = [line.split() for line in run("ls", "-ai", "-U", folder).decode().splitlines()]
        assert {name: int(number) for number, name in lines[:2]} == {
            ".": folder.stat().st_ino,
            "..": above.stat().st_ino,
        }
        assert [name for _, name in lines].count(".") == 1
    with os.scandir(place) as entries:
        assert all(entry.inode() == entry.stat().st_ino for entry in entries)


def test_what_was_copied_from_a_read_only_drive_can_be_deleted_by_its_owner(drive, tmp_path):
    place = "data/cortexlab/Subjects/KS001/2023-01-02/001/alf/probe00"
    for name in (place, ".alyxfs"):
        copy = tmp_path / "copy"
        run("cp", "-a", drive / name, copy)
        assert any(path.is_file() for path in copy.rglob("*"))
        modes = {path.stat().st_mode & 0o700 for path in [copy, *copy.rglob("*")]}
        assert modes == {0o600, 0o700}  # root could delete anything
        run("rm", "-r", copy)
        with pytest.raises(OSError, match="Read-only file system"):
            (drive / name / "new").touch()


def test_tree(drive, truth):
    document = json.loads(run("tree", "-J", drive / ENDPOINT))
    assert sorted(entry["name"] for entry in document[0]["contents"]) == sorted(truth)


def test_cat(drive, truth):
    for name, content in list(truth.items())[:5]:
        assert run("cat", drive / ENDPOINT / name) == content


def test_head_and_tail(drive, truth):
    name, content = next(iter(truth.items()))
    assert run("head", "-c", "100", drive / ENDPOINT / name) == content[:100]
    name, content = list(truth.items())[1]
    assert run("tail", "-c", "100", drive / ENDPOINT / name) == content[-100:]


def test_grep(drive, truth):
    found = run("grep", "-r", "-l", "", drive / ENDPOINT).decode().split()
    assert sorted(os.path.basename(path) for path in found) == sorted(truth)
    lines = run("grep", "-r", "-h", '"name": ', drive / ENDPOINT).decode().splitlines()
    assert len(lines) == sum(content.count(b'"name": ') for content in truth.values())


def test_cp(drive, truth, tmp_path):
    run("cp", "-r", drive / ENDPOINT, tmp_path / "copy")
    assert held(tmp_path / "copy") == truth


def test_tar(drive, truth, tmp_path):
    run("tar", "-C", drive.path, "-cf", tmp_path / "copy.tar", ENDPOINT)
    with tarfile.open(tmp_path / "copy.tar") as archive:
        members = {os.path.basename(member.name): member for member in archive if member.isfile()}
        assert {name: archive.extractfile(member).read() for name, member in members.items()} == truth


def test_rsync(drive, truth, tmp_path):
    run("rsync", "-a", f"{drive / ENDPOINT}/", tmp_path / "copy")
    assert held(tmp_path / "copy") == truth


def test_zip(drive, truth, tmp_path):
    run("zip", "-q", "-r", tmp_path / "copy.zip", ENDPOINT, cwd=drive.path)
    with zipfile.ZipFile(tmp_path / "copy.zip") as archive:
        files = {os.path.basename(name): archive.read(name) for name in archive.namelist() if not name.endswith("/")}
        assert files == truth


def test_jq(drive, truth):
    name, content = next(iter(truth.items()))
    assert json.loads(run("jq", ".", drive / ENDPOINT / name)) == json.loads(content)


def test_wc(drive, truth):
    for name, content in list(truth.items())[:5]:
        assert run("wc", "-c", drive / ENDPOINT / name).split()[0] == str(len(content)).encode()


def test_diff(drive, truth, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for name, content in truth.items():
        (copy / name).write_bytes(content)
    assert run("diff", "-r", copy, drive / ENDPOINT) == b""


def test_python_open_and_mmap(drive, truth):
    (first, content), (second, other) = list(truth.items())[:2]
    assert (drive / ENDPOINT / first).read_bytes() == content
    with open(drive / ENDPOINT / second, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        assert bytes(view) == other


def test_sizes_are_exact_once_a_record_was_opened(drive, truth):
    name, content = next(iter(truth.items()))
    assert (drive / ENDPOINT / name).stat().st_size == len(content), "an unlisted record is fetched by its look-up"
    listed = [entry.name for entry in os.scandir(drive / ENDPOINT) if entry.name != name]
    path = drive / ENDPOINT / listed[0]
    with open(path, "rb") as file:
        assert os.fstat(file.fileno()).st_size == len(truth[listed[0]])
    assert path.stat().st_size == len(truth[listed[0]])
