"""The README, the help texts and the change log tell the truth: what they show is run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import alyxfs
from alyxfs import settings
from alyxfs.cli import commands, man_page
from alyxfs.edits import undo_help
from mounted import environment, mounted

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
HELP = ROOT / "alyxfs" / "help"


def commands_in(text):
    """The command lines of a Markdown text: indented blocks, without comments and prompts."""
    for line in re.findall(r"^    (?!\s)(?:\$ )?(.+)$", text, re.MULTILINE):
        yield line.split("   #")[0].strip()


def test_the_table_of_options_in_the_readme_is_that_of_the_program():
    shown = README.split("<!-- options -->\n")[1].split("<!-- end of options -->")[0]
    assert shown == settings.describe()


def test_every_option_is_a_flag_of_mount():
    text = CliRunner().invoke(commands, ["mount", "--help"]).output
    for option in settings.options():
        assert f"--{option.name.replace('_', '-')}" in text


CLUSTERS = (HELP / "clusters.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("line", [line for line in commands_in(README + CLUSTERS) if line.startswith("alyxfs ")])
def test_the_commands_in_the_readme_and_for_clusters_exist(line):
    words = shlex.split(line)
    command = commands.get_command(None, words[1])
    assert command is not None
    known = {flag for parameter in command.params for flag in parameter.opts}
    for word in words[2:]:
        if word.startswith("-"):
            assert word in known, f"{word} is no flag of alyxfs {words[1]}"


def test_every_command_is_in_the_readme():
    for name in commands.list_commands(None):
        assert f"alyxfs {name}" in README, f"the README does not tell of alyxfs {name}"


def test_what_the_help_says_of_undo_is_what_the_drive_knows():
    made = "python -m alyxfs.edits.undo_help > alyxfs/help/undo.md"
    assert (HELP / "undo.md").read_text(encoding="utf-8") == undo_help.text(), f"make it anew: {made}"


def every_command(group, name):
    """Each command with its name, those below others, too."""
    yield name, group
    for each in getattr(group, "list_commands", lambda _: ())(None):
        yield from every_command(group.get_command(None, each), f"{name} {each}")


def test_the_manual_page_names_each_command_and_each_of_its_options():
    page = (HELP / "alyxfs.1").read_text(encoding="utf-8")
    assert page == man_page.text(), "make it anew: python -m alyxfs.cli.man_page > alyxfs/help/alyxfs.1"
    plain = re.sub(r"\\f[BR]", " ", page.split(".SH FILES")[0]).replace("\\-", "-")
    sections = {}
    for section in plain.split('\n.SS "')[1:]:
        usage, _, body = section.partition('"\n')
        sections[re.match(r"alyxfs( [a-z][\w-]*)+", usage)[0]] = body
    everything = dict(list(every_command(commands, "alyxfs"))[1:])
    assert sections.keys() == everything.keys()
    for name, command in everything.items():
        shown = set(re.findall(r"(?<![\w-])--?\w[\w-]*", sections[name]))
        assert {flag for each in command.params for flag in each.opts if flag.startswith("-")} <= shown, name


GROFF = shutil.which("groff")


@pytest.mark.skipif(GROFF is None, reason="groff is not here: apt-get install groff")
def test_the_manual_page_is_read_without_a_complaint():
    page = [GROFF, "-man", "-ww", "-Tutf8", HELP / "alyxfs.1"]
    done = subprocess.run(page, capture_output=True, text=True, timeout=60, check=True)
    assert not done.stderr
    assert "Exit" in done.stdout


def test_the_change_log_knows_this_version():
    assert f"## {alyxfs.__version__}" in (HELP / "changes.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["trust.md", "semantics.md"])
def test_what_a_text_says_is_shown_by_the_tests_that_it_names(name):
    text = (HELP / name).read_text(encoding="utf-8")
    tests = {
        name for path in ROOT.glob("tests/**/test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    named = re.findall(r"`(test_\w+)`", text)
    assert len(named) > 20
    assert set(named) <= tests
    known = (commands.get_command(None, name) for name in commands.list_commands(None))
    flags = {flag for command in known for parameter in command.params for flag in parameter.opts}
    for flag in re.findall(r"`(--[\w-]+)`", text):
        assert flag in flags, f"{name} names {flag}, which is no option"


def test_the_examples_of_the_drives_own_help_run(demo, home):
    with mounted(demo.url, home) as drive:
        text = (drive / ".alyxfs" / "help.md").read_text(encoding="utf-8")
        assert text == (HELP / "help.md").read_text(encoding="utf-8")
        examples = list(commands_in(text))
        assert len(examples) > 3
        for line in examples:
            done = subprocess.run(
                line, shell=True, cwd=drive.path, capture_output=True, text=True, timeout=30, check=False
            )
            assert done.returncode == 0, f"{line}: {done.stderr}"
            assert done.stdout, f"{line} showed nothing"


def test_the_job_for_a_cluster_mounts_uses_and_unmounts_a_drive(demo, home):
    (script,) = re.findall(r"^```sh\n(.+?)^```$", CLUSTERS, re.MULTILINE | re.DOTALL)
    place = home / "tmp"
    place.mkdir()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    who = {"ALYXFS_USER": "demo", "ALYXFS_PASSWORD": "demo"}
    variables = environment(home, ALYX=demo.url, TMPDIR=str(place), PATH=path, **who)
    done = subprocess.run(["sh", "-c", script], env=variables, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "cortexlab" in done.stdout.split()
    assert str(home) not in Path("/proc/mounts").read_text()
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("name", ["semantics.md", "troubleshooting.md", "clusters.md", "first-steps.md", "trust.md"])
def test_the_readme_leads_to_the_texts_of_the_drive(name):
    assert f"(alyxfs/help/{name})" in README


INTERPRETERS = {"sh": "sh", "python": sys.executable, "octave": "octave", "r": "Rscript", "julia": "julia"}
"""What runs the examples of a language, where it is installed (apt-get install octave r-base-core)."""


def first_steps():
    """Text, and its examples by language."""
    text = (HELP / "first-steps.md").read_text(encoding="utf-8")
    examples = re.findall(r"^```(\w+)\n(.+?)^```$", text, re.MULTILINE | re.DOTALL)
    assert {language for language, _ in examples} == INTERPRETERS.keys()
    return text, {language: example for language, example in examples if not example.startswith("alyxfs ")}


@pytest.fixture(scope="module")
def first_drive(demo, tmp_path_factory):
    """Of somebody who follows the first steps."""
    home = tmp_path_factory.mktemp("home")
    with mounted(demo.url, home, directory=home / "alyx") as drive:
        yield drive


@pytest.fixture(scope="module")
def spikes(first_drive):
    """Their times, and how many are in the first ten seconds."""
    [times] = (first_drive / "data/cortexlab/Subjects/KS001/2023-01-02").rglob("pykilosort/#*#/spikes.times.npy")
    count = int(np.searchsorted(np.load(times), 10))
    assert count > 1000
    return times, count


@pytest.mark.parametrize("language", INTERPRETERS)
def test_the_first_steps_lead_to_a_raster_in_each_language_that_is_installed(first_drive, spikes, language):
    program = shutil.which(INTERPRETERS[language])
    if program is None:
        pytest.skip(f"{INTERPRETERS[language]} is not installed")
    home = first_drive.path.parent
    script = home / f"example.{language}"
    script.write_text(first_steps()[1][language], encoding="utf-8")
    done = subprocess.run([program, script], cwd=home, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    if language == "sh":
        assert len(done.stdout.splitlines()) > 5
    else:
        assert done.stdout.split()[-1] == str(spikes[1])
    if language == "python":
        assert dots_in(home / "raster.png") > 1000


def test_the_drive_shows_the_first_steps_and_its_raster_is_drawn(first_drive, spikes, tmp_path):
    assert (first_drive / ".alyxfs" / "first-steps.md").read_text(encoding="utf-8") == first_steps()[0]
    times, count = spikes
    raster = [sys.executable, ROOT / "scripts" / "raster.py", times.parent, tmp_path / "raster.png"]
    told = subprocess.run(raster, capture_output=True, text=True, timeout=60, check=True).stdout
    assert told == f"The raster of the first 10 s, {count:,} spikes, is {tmp_path / 'raster.png'}.\n"
    assert dots_in(tmp_path / "raster.png") > 1000


def dots_in(picture):
    """Dark points."""
    return (np.asarray(Image.open(picture).convert("L")) < 50).sum()
