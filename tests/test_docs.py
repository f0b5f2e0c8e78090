"""The README, the help texts and the change log tell the truth: what they show is run."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

import alyxfs
from alyxfs import settings
from alyxfs.cli import commands
from mounted import mounted

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


@pytest.mark.parametrize("line", [line for line in commands_in(README) if line.startswith("alyxfs ")])
def test_the_commands_in_the_readme_exist(line):
    words = shlex.split(line)
    command = commands.commands[words[1]]
    known = {flag for parameter in command.params for flag in parameter.opts}
    for word in words[2:]:
        if word.startswith("-"):
            assert word in known, f"{word} is no flag of alyxfs {words[1]}"


def test_every_command_is_in_the_readme():
    for name in commands.commands:
        assert f"alyxfs {name}" in README, f"the README does not tell of alyxfs {name}"


def test_the_change_log_knows_this_version():
    assert f"## {alyxfs.__version__}" in (HELP / "changes.md").read_text(encoding="utf-8")


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
