"""What the drive keeps is made for its owner alone, whatever the umask and whatever was there before."""

from __future__ import annotations

import ast
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from alyxfs import private_files
from alyxfs.errors import ConfigurationError

PACKAGE = Path(private_files.__file__).parent
OTHER_USER = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make things that belong to others")


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o277], ids=oct)
def any_umask(request):
    before = os.umask(request.param)
    yield
    os.umask(before)


def test_every_folder_that_is_made_is_private(tmp_path, any_umask):
    made = private_files.make_folder(tmp_path / "a" / "b" / "c")
    assert made == [tmp_path / "a", tmp_path / "a" / "b", tmp_path / "a" / "b" / "c"]
    assert {mode_of(folder) for folder in made} == {0o700}
    assert private_files.make_folder(tmp_path / "a") == []


def test_a_file_is_made_private_and_one_that_was_open_to_others_is_closed(tmp_path, any_umask):
    wide = tmp_path / "wide"
    wide.touch()
    wide.chmod(0o666)
    for path in (tmp_path / "new", wide):
        os.close(private_files.open_file(path, os.O_WRONLY))
        assert mode_of(path) == 0o600


def test_a_folder_of_ours_is_closed_and_one_of_the_users_is_left_as_it_is(tmp_path):
    ours, users = tmp_path / "ours", tmp_path / "users"
    for folder in (ours, users):
        folder.mkdir()
        folder.chmod(0o755)
    private_files.claim_folder(ours)
    private_files.trusted_folder(users)
    assert (mode_of(ours), mode_of(users)) == (0o700, 0o755)


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o757])
def test_a_folder_in_which_others_could_replace_what_is_kept_is_refused(tmp_path, mode):
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(ConfigurationError, match="chmod go-w"):
        private_files.trusted_folder(folder)
    folder.chmod(mode | stat.S_ISVTX)  # as /tmp: nobody can replace what is not his
    private_files.trusted_folder(folder)


@needs_root
@pytest.mark.parametrize("use", [private_files.claim_folder, private_files.trusted_folder])
def test_a_folder_that_somebody_else_made_first_is_refused(tmp_path, use):
    folder = tmp_path / "squatted"
    folder.mkdir()
    os.chown(folder, OTHER_USER, OTHER_USER)
    with pytest.raises(ConfigurationError, match=f"{OTHER_USER}"):
        use(folder)


def test_a_link_is_not_followed_where_a_file_of_ours_is_opened(tmp_path):
    (tmp_path / "elsewhere").touch()
    (tmp_path / "ours").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        private_files.open_file(tmp_path / "ours", os.O_WRONLY)


def test_no_program_that_we_start_inherits_a_descriptor(tmp_path):
    descriptor = private_files.open_file(tmp_path / "file", os.O_RDWR)
    try:
        found = subprocess.run(
            [sys.executable, "-c", f"import os; os.fstat({descriptor})"],
            capture_output=True,
            close_fds=False,
            check=False,
        )
        assert found.returncode != 0
    finally:
        os.close(descriptor)


MAKES = {"mkdir", "makedirs", "umask", "touch", "write_text", "write_bytes", "mktemp"}
ELSEWHERE = {
    "private_files.py": "this is where things are made",
    "kernel/session.py": "writes settings of the kernel under /sys",
    "kernel/guardian.py": "aborts connections under /sys",
}


def makings(path):
    """Calls that make a folder or a file with whatever mode the umask leaves."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        text = ast.unparse(node)
        if name in MAKES or (
            name == "open"
            and ("O_CREAT" in text or any(f"'{mode}'" in text for mode in ("w", "a", "x", "wb", "ab", "xb")))
        ):
            yield f"{path.relative_to(PACKAGE)}:{node.lineno}: {text}"


def test_nothing_else_in_the_package_makes_a_folder_or_a_file():
    """The demo's own data stand below one folder that is private."""
    modules = [path for path in PACKAGE.rglob("*.py") if "demo" not in path.relative_to(PACKAGE).parts]
    assert len(modules) > 80
    found = [line for path in modules if str(path.relative_to(PACKAGE)) not in ELSEWHERE for line in makings(path)]
    allowed = [line for line in found if "open(descriptor" in line or "open(reading" in line]
    assert [line for line in found if line not in allowed] == []


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (b"", 0o600, "There is no password in"),
        (b"\nsecond line", 0o600, "There is no password in"),
        (b"\xff\n", 0o600, "The password cannot be read from"),
        (None, 0o600, "The password cannot be read from .*No such file"),
        (b"secret", 0o640, "can be read by other users of this machine: chmod 600"),
    ],
)
def test_a_file_that_holds_no_secret_is_told_of(tmp_path, content, mode, words):
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)
    with pytest.raises(ConfigurationError, match=words):
        private_files.read_secret(path, "password")
    path.write_bytes(b"  of one line \nand no more")
    path.chmod(0o600)
    assert private_files.read_secret(path, "password") == "of one line"


def test_a_file_that_is_written_whole_is_private_and_replaces_what_was_there(tmp_path):
    path = tmp_path / "file"
    path.write_text("before")
    path.chmod(0o644)
    with path.open() as before:
        private_files.write_whole(path, b"after")
        assert before.read() == "before"
    assert path.read_bytes() == b"after"
    assert path.stat().st_mode & 0o777 == 0o600
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(IsADirectoryError):
        private_files.write_whole(folder, b"after")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "folder"]
