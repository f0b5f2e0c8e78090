"""All that the commands print goes through here: names and words of a server must not steer the reader's terminal."""

from __future__ import annotations

import shutil
import sys
import textwrap
from typing import TYPE_CHECKING

import click

from alyxfs.visible_text import escaped

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def say(text: str, *, err: bool = False) -> None:
    """Print lines, hidden characters in them as escapes."""
    click.echo(escaped(text), err=err)


def say_of(word: str, sentence: str, width: int) -> None:
    """Print a sentence behind the word that it is about, which stands in a column of so many characters."""
    click.echo(f"{click.style(escaped(word).ljust(width), bold=True)}  {escaped(sentence)}")


def folded(line: str, indent: int) -> list[str]:
    """A line in as many as the terminal needs, those that follow indented; one where nothing is told to a terminal."""
    if not sys.stdout.isatty():
        return [line]
    wrapper = textwrap.TextWrapper(
        shutil.get_terminal_size().columns,
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
        replace_whitespace=False,
    )
    return wrapper.wrap(line)


def show_lines(lines: Iterable[str], colours: Mapping[str, str] | None = None) -> None:
    """Print lines, in a pager where they are more than the terminal has; the first character tells the colour."""
    shown = [click.style(escaped(line), fg=(colours or {}).get(line[:1])) for line in lines]
    text = "".join(f"{line}\n" for line in shown)
    if sys.stdout.isatty() and len(shown) >= shutil.get_terminal_size().lines:
        click.echo_via_pager(text)
    else:
        click.echo(text, nl=False)
