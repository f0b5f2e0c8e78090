"""What another user of the machine may do with all that alyxfs makes: found by walking, not listed by hand.

The usual form makes what login, mount, pin, reads and writes make, and goes through two of the four ways to mount;
``ALYXFS_OTHERS=all`` goes through all, and runs ``alyxfs demo`` and the commands that only ask, too.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest

import stranger
from asking import Asking
from mounted import run_alyxfs
from stranger import LOOKING, as_stranger, everything_below, what_works
from writing import FAST

pytestmark = stranger.needs_root

SHARED = ("/tmp", "/var/tmp", "/dev/shm")  # places for everybody
DATA_FILE = "data/cortexlab/Subjects/KS001/2023-01-02/001/alf/_ibl_wheel.position.npy"
MOST_NAMES = 2
"""Of a folder of the drive: others are like them."""
ALL = os.environ.get("ALYXFS_OTHERS") == "all"
WAYS = [(0o000, ("--allow-other",)), (0o077, ()), *([(0o000, ()), (0o077, ("--allow-other",))] if ALL else [])]


@pytest.fixture
def street():
    """A place that every user can get to, as the temporary directory."""
    place = Path(tempfile.mkdtemp(prefix="test-", dir="/tmp"))
    place.chmod(0o1777)
    yield place
    shutil.rmtree(place)


def shared_names():
    return {path.path for place in SHARED if os.path.isdir(place) for path in os.scandir(place)}


def existing_below(directory):
    """What is there now; other tests may take it away meanwhile."""
    with contextlib.suppress(OSError):
        yield from everything_below(directory)


def live(demo, home, umask, *options):
    """A life with alyxfs, the drive mounted at its end: where that is, and what ran says of its processes."""
    home.mkdir()
    home.chmod(0o755)
    (home / "tmp").mkdir(mode=0o777)
    (home / "tmp").chmod(0o1777)
    place, token = home / "drive", Asking(demo.url).token
    common = {"umask": umask, "TMPDIR": str(home / "tmp")}

    def run(*command, typed=""):
        done = run_alyxfs(home, *command, typed=typed, **common)
        assert token not in done.stdout + done.stderr
        return done

    assert run("login", demo.url, "--user", "demo", "--password-stdin", typed="demo\n").returncode == 0
    if ALL:
        assert run("demo", str(home / "shown")).returncode == 0
        assert run("umount", str(home / "shown")).returncode == 0
    done = run("mount", "--rw", *FAST, *options, demo.url, str(place))
    assert done.returncode == 0, done.stderr
    os.listdir(place / "labs")
    for tag in ("repeated_site", "2022_Q4_brainwide"):
        assert "datasets.pqt" in os.listdir(place / "releases" / tag / "data")
    (place / DATA_FILE).read_bytes()
    assert run("pin", str(place / DATA_FILE)).returncode == 0
    note = place / "labs" / "cortexlab.json"
    note.write_text('{"json": {"a": 1}}')
    with pytest.raises(OSError, match="Input/output"):
        note.write_text('{"colour": "red"}')
    with pytest.raises(OSError, match="Input/output"):
        (place / "notes" / "new.json").write_text('{"colour": "red"}')
    (place / "labs" / ".x.json.swp").write_text("a scratch file")
    if ALL:
        number = json.loads(run("log", "--json", str(place)).stdout)[0]["number"]
        for command in ("diff", "undo"):
            run(command, str(number), "--drive", str(place))
        for command in (["status", str(place)], ["refresh", str(place)], ["whoami", demo.url]):
            assert run(*command).returncode == 0
    return place


def names_of_the_drive(place):
    """Paths of the drive, hidden ones among them, as its owner sees them; few of each folder."""
    waiting, found = [str(place)], []
    while waiting:
        path = waiting.pop()
        found.append(path)
        try:
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                continue
        except OSError:  # what is listed and no server has
            continue
        names = sorted(os.listdir(path))
        if path == str(place):
            waiting += [os.path.join(path, name) for name in [*names, ".alyxfs"]]
        elif path.count("/") < str(place).count("/") + 9:
            names = [name for name in (".schema.json", ".help.md") if os.path.lexists(os.path.join(path, name))] + names
            local = [name for name in names if name.startswith(".") or name == "new.json" or ".alyxfs" in path]
            waiting += [os.path.join(path, name) for name in dict.fromkeys([*local, *names[:MOST_NAMES]])]
    return found


def is_own(path, place):
    """Whether this of the drive is the owner's alone: what is not on the server yet, and all of ``.alyxfs``."""
    local = "user.alyx.local" in os.listxattr(path, follow_symlinks=False)
    is_scratch = path.endswith((".swp", "~"))
    return local or is_scratch or f"{place}/.alyxfs" in path


def processes_of(home):
    """The processes that have this home."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"HOME={home}\0".encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def open_secrets(process):
    """What a stranger may read of a process, by name."""
    found = {}
    for name in ("cmdline", "environ", "maps", "mem", "fd", "cwd", "stat"):
        path = f"/proc/{process}/{name}"
        try:
            found[name] = str(os.listdir(path)) if name == "fd" else Path(path).read_bytes().decode(errors="replace")
        except OSError:
            continue
    return found


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("umask", "options"), WAYS)
def test_all_that_is_made_is_closed_to_others(changing, street, umask, options):
    changing.control(reset=True)
    before, home = shared_names(), street / "home"
    place = home / "drive"
    try:
        place = live(changing, home, umask, *options)
        walked = names_of_the_drive(place)
        assert len(walked) > 80
        found = as_stranger(what_works, walked)
        if not options:
            assert found == {}
        for path, works in found.items():
            allowed = {"stat"} if is_own(path, place) else LOOKING
            assert set(works) <= allowed, (path, works)
        own = [path for path in walked if is_own(path, place)]
        assert len(own) >= 10, own

        door = json.loads((place / ".alyxfs" / "status.json").read_bytes())["control_socket"]
        kept = [path for path in everything_below(home) if path not in {str(home), str(home / "tmp"), str(place)}]
        kept += everything_below(os.path.dirname(door))
        for what in ("journal.sqlite", "tokens.json", "known.sqlite", "blocks-1", ".control", ".log"):
            assert any(what in path for path in kept), f"{what} is among what is looked at"
        of_demo = f"{home}/.cache/alyxfs/demo/"  # made-up data, by other programs: their folder is what is closed
        for path in kept:
            assert os.path.islink(path) or path.startswith(of_demo) or os.lstat(path).st_mode & 0o077 == 0, path
        reachable = {path for path in kept if os.path.dirname(path) in {str(home), str(home / "tmp"), "/tmp"}}
        # What other tests make meanwhile is among these: it, too, is in folders that nobody else can enter.
        elsewhere = [path for path in shared_names() - before if "alyxfs" in path]
        kept += [path for each in elsewhere for path in existing_below(each)]
        reachable |= set(elsewhere)
        works = as_stranger(what_works, kept)
        assert set(works) <= reachable
        assert all(names == ["stat"] for names in works.values()), works

        processes = processes_of(home)
        assert processes
        for process in processes:
            shown = as_stranger(open_secrets, process)
            assert set(shown) <= {"cmdline", "stat"}
            assert Asking(changing.url).token not in str(shown)
    finally:
        run_alyxfs(home, "umount", str(place))
        subprocess.run(["umount", "-l", str(place)], capture_output=True, check=False)
