"""What other users of the machine may see of a drive and change in it: the table, tried by one of them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

import stranger
from alyxfs.cli import commands
from alyxfs.cli.drives import ask_drive, drives
from alyxfs.control.client import send_command
from alyxfs.errors import AccessDenied, AlyxfsError
from asking import Asking
from mounted import run_alyxfs
from stranger import LOOKING, as_stranger, everything_below, what_works
from writing import FAST

pytestmark = stranger.needs_root

DATA_FILE = "data/cortexlab/Subjects/KS001/2023-01-02/001/alf/_ibl_wheel.position.npy"


@pytest.fixture
def street():
    """A place that every user can get to, as the temporary directory."""
    place = Path(tempfile.mkdtemp(prefix="test-"))
    place.chmod(0o1777)
    yield place
    shutil.rmtree(place)


@contextlib.contextmanager
def drive_of(demo, home, *options, umask=0o022, **extra):
    """A drive in the background, its folders and sockets in a home that all others may enter."""
    home.mkdir(exist_ok=True)
    home.chmod(0o755)
    scratch = home / "tmp"
    scratch.mkdir(exist_ok=True)
    scratch.chmod(0o1777)
    runtime = home / "run"
    runtime.mkdir(mode=0o700, exist_ok=True)
    account = {"ALYXFS_USER": "demo", "ALYXFS_PASSWORD": "demo", "XDG_RUNTIME_DIR": str(runtime)}
    place = home / "drive"
    done = run_alyxfs(
        home, "mount", *FAST, *options, demo.url, str(place), umask=umask, TMPDIR=str(scratch), **account | extra
    )
    try:
        assert done.returncode == 0, done.stderr
        yield place
        run_alyxfs(home, "umount", str(place))
    finally:
        subprocess.run(["umount", "-l", str(place)], capture_output=True, check=False)


def use(place):
    """Read and write as the owner, so that all there is to keep is kept: records, bytes, drafts, errors, a journal."""
    os.listdir(place / "labs")
    (place / "labs" / "cortexlab.json").read_bytes()
    data_file = place / DATA_FILE
    data_file.read_bytes()
    run_alyxfs(place.parent, "pin", str(data_file))
    note = place / "notes" / "new.json"
    with pytest.raises(OSError, match="Input/output error"), note.open("w") as file:
        file.write('{"text": "my draft", "colour": "red"}')
    scratch = place / "labs" / ".cortexlab.json.swp"
    scratch.write_text("a scratch file")
    with pytest.raises(OSError, match="Input/output error"), (place / "labs" / "cortexlab.json").open("w") as file:
        file.write('{"colour": "red"}')
    assert "colour" in os.getxattr(place / "labs" / "cortexlab.json", "user.alyx.error").decode()
    return {"scratch": scratch, "draft": note, "refused": place / "labs" / "cortexlab.json", "data": data_file}


PLACES = {
    ".": "directory",
    "labs": "directory",
    "labs/cortexlab.json": "file",
    "labs/.schema.json": "file",
    "labs/.help.md": "file",
    "sessions/lab=cortexlab": "directory",
    "data": "directory",
    "data/cortexlab/Subjects": "directory",
    "register-file": "directory",
}
OWN = {
    ".alyxfs": 0o700,
    ".alyxfs/status.json": 0o400,
    ".alyxfs/clusters.md": 0o400,
    ".alyxfs/errors.log": 0o400,
    ".alyxfs/first-steps.md": 0o400,
    ".alyxfs/help.md": 0o400,
    ".alyxfs/metrics": 0o400,
    ".alyxfs/changes.md": 0o400,
    ".alyxfs/semantics.md": 0o400,
    ".alyxfs/troubleshooting.md": 0o400,
    ".alyxfs/trust.md": 0o400,
    ".alyxfs/undo.md": 0o400,
    ".alyxfs/rejected": 0o700,
    "register-file/new.json": 0o600,
}


@pytest.mark.parametrize("umask", [0o000, 0o077], ids=oct)
@pytest.mark.parametrize("options", [(), ("--allow-other",)], ids=["owner alone", "allow-other"])
def test_others_see_what_the_table_says_and_change_nothing(changing, street, umask, options):
    changing.control(reset=True)
    home = street / "home"
    with drive_of(changing, home, "--rw", *options, umask=umask) as place:
        made = use(place)
        rejected = [str(path) for path in (place / ".alyxfs" / "rejected").iterdir()]
        assert len(rejected) >= 4
        own = [*(str(place / name) for name in OWN), *rejected, str(made["scratch"]), str(made["draft"])]
        public = [os.path.normpath(place / name) for name in PLACES]
        public += [str(made["refused"]), str(made["data"])]
        for name, mode in OWN.items():
            assert os.lstat(place / name).st_mode & 0o777 == mode, name

        found = as_stranger(what_works, own + public)
        if not options:
            assert found == {}
        else:
            for path in own:  # that some of them are there, and how large
                assert set(found.pop(path, ())) <= {"stat"}, path
            assert set(public) == found.keys()
            for path, names in found.items():
                assert set(names) <= LOOKING, (path, names)
            for name, kind in PLACES.items():
                looked = found[os.path.normpath(place / name)]
                assert ("list" if kind == "directory" else "read") in looked, name
        assert "colour" in os.getxattr(made["refused"], "user.alyx.error").decode()
        assert os.listdir(place / ".alyxfs")

        kept = [path for path in everything_below(home) if path not in {str(home), str(home / "tmp"), str(place)}]
        assert len(kept) > 10
        assert any(path.endswith("journal.sqlite") for path in kept)
        folders = {path for path in kept if Path(path).parent in {home, home / "tmp"}}
        assert set(as_stranger(what_works, kept)) <= folders
        assert as_stranger(what_works, folders) == {folder: ["stat"] for folder in folders}
        for path in kept:
            assert os.lstat(path).st_mode & 0o077 == 0 or os.path.islink(path), path


@pytest.mark.parametrize("umask", [0o000, 0o077], ids=oct)
def test_a_directory_to_mount_at_is_made_private_with_those_above_it(demo, street, umask):
    home = street / "home"
    home.mkdir()
    done = run_alyxfs(
        home, "mount", demo.url, str(home / "a" / "b"), umask=umask, ALYXFS_USER="demo", ALYXFS_PASSWORD="demo"
    )
    subprocess.run(["umount", "-l", str(home / "a" / "b")], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {(home / name).stat().st_mode & 0o777 for name in ("a", "a/b")} == {0o700}


COMMANDS = ["status", "refresh", "log", "pin", "unpin", "allow-deletes", "diff 1 --drive", "undo 1 --drive", "umount"]


def attempts(place):
    """What each command says of a drive, by its name."""
    found = {}
    for command in COMMANDS:
        done = CliRunner().invoke(commands, [*command.split(), str(place / "data") if "pin" in command else str(place)])
        found[command.split()[0]] = f"{type(done.exception).__name__}: {done.exception}"
    return found


def test_nobody_else_gives_a_drive_commands(demo, street):
    with drive_of(demo, street / "home", "--allow-other") as place:
        state = json.loads((place / ".alyxfs" / "status.json").read_bytes())
        door = Path(state["control_socket"])
        assert door.stat().st_mode & 0o777 == 0o600
        assert door.parent.stat().st_mode & 0o777 == 0o700

        def command():
            try:
                return send_command(door, "pins")
            except AlyxfsError as error:
                return str(error)

        assert "Permission denied" in as_stranger(command)
        # Even if the socket were opened to all, by the user or by a system that knows no modes of sockets:
        for path in (door, door.parent, door.parent.parent):
            path.chmod(0o777)

        def command_at_the_open_door():
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(20)
                connection.connect(str(door))
                try:
                    connection.sendall(b'{"command": "pins"}\n')
                    return connection.recv(1000).decode()
                except ConnectionError:  # it has hung up
                    return ""

        assert "not yours" in as_stranger(command)
        assert as_stranger(command_at_the_open_door) == ""
        assert ask_drive(place, "pins") == []

        for name in commands.list_commands(None):  # the stranger may not be able to read where they are imported from
            commands.get_command(None, name)
        refused = as_stranger(attempts, place)
        assert len(refused) == len(COMMANDS)
        for command, error in refused.items():
            expected = "ConfigurationError" if command == "umount" else "AccessDenied"
            assert error.startswith(expected), (command, error)
        assert "root (0)" in refused["status"]
        assert os.path.ismount(place)
        assert as_stranger(lambda: len(drives())) == 0
        assert [mount.place for mount in drives() if mount.place == place] == [place]


def test_a_planted_drive_is_not_believed(street):
    """A folder with a status.json, and a socket that would take commands."""
    heard = []
    planted = street / "planted"

    def plant():
        (planted / ".alyxfs").mkdir(parents=True)
        (planted / ".alyxfs" / "status.json").write_text(
            json.dumps({"control_socket": str(planted / "control"), "process": 1})
        )
        return True

    assert as_stranger(plant)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(planted / "control"))
        listening.listen()
        listening.settimeout(0.2)

        def listen():
            try:
                connection, _ = listening.accept()
            except TimeoutError:
                return
            with connection:
                heard.append(connection.recv(1000))

        for command in (
            ["status"],
            ["refresh"],
            ["log"],
            ["pin"],
            ["unpin"],
            ["allow-deletes"],
            ["diff", "1", "--drive"],
        ):
            thread = threading.Thread(target=listen)
            thread.start()
            done = run_alyxfs(street / "home", *command, str(planted))
            thread.join()
            assert done.returncode == 3, command
            assert "not in a drive" in done.stderr, done.stderr
    assert heard == []


def test_a_socket_of_somebody_else_is_told_nothing(street):
    door = street / "door"
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.setuid(stranger.NUMBER)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(door))
            door.chmod(0o777)
            listening.listen()
            os.write(writing, b"listening\n")
            connection, _ = listening.accept()
            os.write(writing, connection.recv(1000) or b"nothing\n")
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.readline() == b"listening\n"
        with pytest.raises(AccessDenied, match="not yours"):
            send_command(door, "undo", number=1)
        assert pipe.readline() == b"nothing\n"
    os.waitpid(child, 0)


@pytest.mark.parametrize("how", ["the folder of the session", "its own folder", "a link in its place"])
def test_a_place_for_sockets_that_somebody_else_made_first_is_not_used(demo, street, how):
    home = street / "home"
    runtime = home / "run"
    runtime.mkdir(parents=True, mode=0o700)
    mine = runtime / "alyxfs"
    if how == "the folder of the session":
        os.chown(runtime, stranger.NUMBER, stranger.NUMBER)
    elif how == "its own folder":
        mine.mkdir(mode=0o700)
        os.chown(mine, stranger.NUMBER, stranger.NUMBER)
    else:
        (street / "elsewhere").mkdir(mode=0o700)
        mine.symlink_to(street / "elsewhere")
    with drive_of(demo, home) as place:
        door = Path(json.loads((place / ".alyxfs" / "status.json").read_bytes())["control_socket"])
        assert not door.is_relative_to(street)
        state = door.parent.lstat()
        assert (state.st_uid, state.st_mode & 0o777, door.stat().st_mode & 0o777) == (os.geteuid(), 0o700, 0o600)
        assert ask_drive(place, "pins") == []


SQUATTED = [".cache/alyxfs", ".cache/alyxfs/servers", ".cache/alyxfs/files", ".local/state/alyxfs/log"]


@pytest.mark.parametrize("name", SQUATTED)
def test_a_folder_that_somebody_else_made_first_is_not_used(demo, street, name):
    """In a home (or a shared scratch directory) that others can write to."""
    home = street / "home"
    (home / name).mkdir(parents=True)
    os.chown(home / name, stranger.NUMBER, stranger.NUMBER)
    done = run_alyxfs(home, "mount", demo.url, str(home / "drive"), ALYXFS_USER="demo", ALYXFS_PASSWORD="demo")
    assert done.returncode == 3, done.stderr
    assert f"belongs to user nobody ({stranger.NUMBER})" in done.stderr
    assert not os.path.ismount(home / "drive")
    assert os.listdir(home / name) in ([], ["files"], ["servers"])


def test_a_token_file_that_somebody_else_planted_a_link_to_is_replaced_not_followed(demo, street):
    home = street / "home"
    folder = home / ".config" / "alyxfs"
    folder.mkdir(parents=True)
    target = street / "target"
    target.write_text("{}")
    (folder / "tokens.json").symlink_to(target)
    done = run_alyxfs(home, "login", demo.url, "--user", "demo", "--password-stdin", typed="demo\n", umask=0)
    assert done.returncode == 0, done.stderr
    assert target.read_text() == "{}"
    assert (folder / "tokens.json").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("options", [(), ("--rw",), ("--allow-other",)], ids=["read-only", "rw", "allow-other"])
def test_the_kernel_checks_permissions_and_obeys_no_program_of_the_drive(demo, street, options):
    with drive_of(demo, street / "home", *options) as place:
        line = next(line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f" {place} " in line)
        assert {"nosuid", "nodev"} <= set(line.split()[5].split(","))
        assert "default_permissions" in line.split()[-1].split(",")
        assert ("ro" in line.split()[5].split(",")) is ("--rw" not in options)


def arguments_of(process):
    return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def test_no_secret_stands_in_the_list_of_processes(changing, street):
    changing.control(reset=True)
    token = Asking(changing.url).token
    flags = [
        "--token",
        token,
        "--file-password=secret-file-password",
        "--file-user",
        "secret",
        "--file-server",
        "http://x.example",
    ]
    with drive_of(changing, street / "home", *flags) as place:
        process = json.loads((place / ".alyxfs" / "status.json").read_bytes())["process"]
        shown = as_stranger(arguments_of, process)
        assert "alyxfs mount" in shown
        assert "--token *" in shown
        for secret in (token, "secret-file-password"):
            assert secret not in shown
        with pytest.raises(AssertionError, match="PermissionError"):
            as_stranger(lambda: Path(f"/proc/{process}/environ").read_text())


def test_no_program_that_the_drive_starts_inherits_a_secret(demo, street, tmp_path):
    """fusermount3 is one; here a stand-in that is found first writes down what it was given."""
    from alyxfs.alyx import credentials

    noted = tmp_path / "noted"
    (tmp_path / "umount").write_text(f'#!/bin/sh\nenv > {noted}\nexec /bin/umount "$@"\n')
    (tmp_path / "umount").chmod(0o755)
    account = {"ALYXFS_USER": "demo", "ALYXFS_PASSWORD": "demo", "ALYXFS_FILE_PASSWORD": "secret-file-password"}
    with drive_of(demo, street / "home", **account) as place:
        done = run_alyxfs(street / "home", "umount", str(place), PATH=f"{tmp_path}:{os.environ['PATH']}", **account)
        assert done.returncode == 0, done.stderr
    assert "ALYXFS_USER=demo" in noted.read_text()
    for variable in credentials.SECRET_VARIABLES:
        assert variable not in noted.read_text()
