"""`alyxfs cache`: what is kept is listed, cleared, verified and bounded while a drive uses it."""

from __future__ import annotations

import json
import os
import re

import pytest
from click.testing import CliRunner

from alyxfs.cli import commands
from alyxfs.files.disk import block_file
from alyxfs.files.disk.contents import kept_files
from mounted import mounted, until

SESSION = "data/cortexlab/Subjects/KS001/2023-01-02/001"
WHEEL = f"{SESSION}/alf/_ibl_wheel.position.npy"
"""1 MiB."""
AMPS = f"{SESSION}/alf/probe00/pykilosort/#2024-05-06#/spikes.amps.npy"
"""2 MiB."""
TRAINING = "data/cortexlab/Subjects/KS001/2023-01-03/001"
OTHER = f"{TRAINING}/alf/_ibl_wheel.timestamps.npy"
"""1 MiB."""
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("caching") / "home"


@pytest.fixture(scope="module")
def drive(demo, home):
    with mounted(demo.url, home) as drive:
        yield drive


def read(path):
    """Past the kernel's pages, of which the drive would not hear."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return file.read()


@pytest.fixture
def cache(home, drive):
    """The command, with the drive's cache, in which are two files of one session and one of another."""
    for name in (WHEEL, AMPS, OTHER):
        read(drive / name)

    def run(*arguments, fails=False):
        place = ["--cache-directory", str(home / ".cache" / "alyxfs")]
        result = CliRunner().invoke(commands, ["cache", *place, *map(str, arguments)])
        assert (result.exception is not None) == fails, (result.exception, result.output)
        return str(result.exception) if fails else result.output

    until(lambda: sum(session["here"] for session in json.loads(run("--json"))) >= 4 * MIB, "all of it, marked on disk")
    return run


def cached(path):
    return int(os.getxattr(path, "user.alyx.cached").decode().rstrip("%"))


def test_what_is_kept_is_listed_by_session(cache, drive, demo):
    sessions = {session["path"]: session for session in json.loads(cache("--json"))}
    assert set(sessions) == {SESSION, TRAINING}
    assert sessions[SESSION]["server"] == demo.url
    assert sessions[SESSION]["files"] >= 2  # beginnings of their neighbours may be here, too
    assert sessions[SESSION]["size"] >= sessions[SESSION]["here"] >= 3 * MIB - 1024
    assert re.search(rf"^ +\d\.\d MiB +\d+%  \d+ files, used .+ ago  {SESSION}$", cache(), re.MULTILINE)
    assert cache().splitlines()[-1].startswith("In ")


def test_directories_in_data_tell_how_much_of_them_is_here(cache, drive):
    for folder in (SESSION, f"{SESSION}/alf", f"{SESSION}/alf/probe00", (drive / SESSION).parent):
        files = [path for path in (drive / folder).rglob("*") if path.is_file() and path.suffix != ".bin"]
        total = sum(path.stat().st_size for path in files)
        here = sum(path.stat().st_size for path in files if str(path.relative_to(drive.path)) in {WHEEL, AMPS})
        assert 0 <= cached(drive / folder) - 100 * here // total <= 2  # with beginnings of their neighbours
    assert cached((drive / AMPS).parent) > cached(drive / SESSION) > 0


def test_clearing_leaves_what_is_pinned_or_open(cache, drive):
    pin = CliRunner().invoke(commands, ["pin", str(drive / WHEEL)])
    assert pin.exception is None
    with open(drive / AMPS, "rb") as file:
        file.read(1)
        assert re.match(r"Removed \d+ files? \(1\.\d MiB\)", cache("clear", drive / TRAINING))
        assert [session["path"] for session in json.loads(cache("--json"))] == [SESSION]
        assert re.search(r"\d files that are pinned or open stay\.$", cache("clear"))
        assert cached(drive / WHEEL) == cached(drive / AMPS) == 100
    assert CliRunner().invoke(commands, ["unpin", str(drive / WHEEL)]).exception is None
    assert "Removed 1 file" in cache("clear", WHEEL)  # as the list has it
    assert "Removed" in cache("clear")
    until(lambda: "Removed 0 files" in cache("clear"), "the end of what is fetched ahead")
    assert cached(drive / SESSION) == 0
    assert len(read(drive / WHEEL)) == (drive / WHEEL).stat().st_size
    assert "labs is not in a drive of alyxfs." in cache("clear", "labs", fails=True)


def test_what_is_damaged_is_found_removed_and_fetched_again(cache, drive, home):
    content = read(drive / OTHER)
    assert cache("verify").startswith("As the database says: ")
    [kept] = [kept for kept in kept_files(home / ".cache" / "alyxfs" / "files") if kept.path == OTHER]
    with kept.file.open("r+b") as file:
        file.seek(block_file.data_offset(kept.size, is_timed=True) + 70_000)
        file.write(b"damaged")
    assert cache("verify", fails=True) == "1 damaged file."
    assert cached(drive / OTHER) == 0
    assert read(drive / OTHER) == content
    until(lambda: cached(drive / OTHER) == 100, "the file, saved again")


def test_a_limit_holds_at_once_for_the_drives_that_use_the_cache(cache, drive):
    assert f"{drive.path}: 50.0 GiB at most." in cache("limit")
    told = cache("limit", "0.0021")  # 2.15 MiB
    assert str(drive.path) in told
    assert "cache_limit = 0.0021" in told
    assert sum(session["here"] for session in json.loads(cache("--json"))) <= 2.2 * MIB
    assert f"{drive.path}: 2.2 MiB at most." in cache("limit")
    cache("limit", "50")


def test_a_file_whose_size_is_known_costs_no_question_more_when_it_is_opened(demo, tmp_path):
    """What the kernel has been told of it holds: it need not be made to ask again."""
    with mounted(demo.url, tmp_path / "home") as drive:
        names = [path for path in (drive / SESSION).rglob("*.npy") if path.stat().st_size][:5]
        counts = [getattrs(drive), getattrs(drive)]
        for path in names:
            with path.open("rb") as file:
                assert os.fstat(file.fileno()).st_size > 0
                file.read(10)
        counts.append(getattrs(drive))
        assert len(names) == 5
        assert counts[2] - counts[1] == counts[1] - counts[0], "those that reading the status itself costs"


def getattrs(drive):
    return json.loads((drive / ".alyxfs/status.json").read_bytes())["kernel_requests"]["getattr"]
